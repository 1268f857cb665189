"""A stack with security on. Few files need it, so it ends with the last of them."""

from collections.abc import Iterator

import pytest

from tests.conftest import DEBUG_LOGS, Stack, start_stack, stop_stack
from tests.real.playground.conftest import browser, context, pytest_generate_tests  # noqa: F401


@pytest.fixture(scope="package")
def secured_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with security on, whose processes log everything."""
    started = start_stack(tmp_path_factory.mktemp("secured"), "--security", **DEBUG_LOGS)
    yield started
    stop_stack(started)
