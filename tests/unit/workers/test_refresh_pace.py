"""How often live vectors are made visible at once."""

from typing import cast

import pytest

from mappings.attachment import Attachment
from workers import refresh_pace
from workers.documents import Target
from workers.refresh_pace import RefreshPace


def target(uuid: str = "u", *, refreshes_each_second: bool = True) -> Target:
    return Target("articles", uuid, cast(Attachment, None), "g1", 1, 1, refreshes_each_second)


def test_a_cheap_refresh_may_soon_follow_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(refresh_pace.time, "monotonic", lambda: now)
    pace = RefreshPace()
    assert pace.is_due(target())
    pace.note(target(), seconds=0.02)
    assert not pace.is_due(target())
    assert pace.is_due(target("another"))
    now = 50.3
    assert pace.is_due(target())


def test_after_an_expensive_refresh_elasticsearch_refreshes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(refresh_pace.time, "monotonic", lambda: now)
    pace = RefreshPace()
    pace.note(target(), seconds=20.0)
    now = 50.9
    assert not pace.is_due(target())
    now = 51.1
    assert pace.is_due(target())


def test_an_index_with_another_interval_is_never_refreshed() -> None:
    assert not RefreshPace().is_due(target(refreshes_each_second=False))
