"""Settings: typed, from the environment, with secrets that do not show."""

import pytest
from pydantic import ValidationError

from esblend.elastic import back_off
from esblend.settings import Settings


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESBLEND_ES_URL", "http://es:9200")
    monkeypatch.setenv("ESBLEND_ES_PASSWORD", "hidden")
    settings = Settings()
    assert settings.es_url == "http://es:9200"
    assert "hidden" not in repr(settings)


def test_credentials_in_the_url_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESBLEND_ES_URL", "http://user:secret@es:9200")
    with pytest.raises(ValidationError, match="ESBLEND_ES_USERNAME"):
        Settings()


def test_the_back_off_doubles_up_to_a_limit() -> None:
    assert [back_off(attempt) for attempt in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
