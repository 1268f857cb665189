"""Settings: typed, from the environment, with masked secrets."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from esblend.elasticsearch_connection import back_off
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


def test_the_environment_wins_over_dotenv_and_that_over_yaml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esblend.yaml").write_text("model: yaml\nes_url: http://yaml:9200\nencoder_threads: 3\n")
    (tmp_path / ".env").write_text("ESBLEND_MODEL=dotenv\nESBLEND_ES_URL=http://dotenv:9200\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("ESBLEND_MODEL", "environment")
    settings = Settings()
    assert (settings.model, settings.es_url, settings.encoder_threads) == ("environment", "http://dotenv:9200", 3)
    origins = Settings.origins()
    assert [origins[name] for name in ("model", "es_url", "encoder_threads")] == ["environment", ".env", "YAML"]


def test_a_secret_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden\n")
    monkeypatch.setenv("ESBLEND_ES_API_KEY_FILE", str(tmp_path / "secret"))
    key = Settings().es_api_key
    assert key is not None
    assert key.get_secret_value() == "hidden"
    monkeypatch.setenv("ESBLEND_ES_API_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings()


def test_unknown_names_are_errors_with_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esblend.yaml").write_text("modle: x\n")
    with pytest.raises(ValidationError, match=r"unknown setting in esblend.yaml; did you mean model\?"):
        Settings()
    (tmp_path / "esblend.yaml").unlink()
    (tmp_path / ".env").write_text("ESBLEND_ES_URI=http://x\n")
    with pytest.raises(ValidationError, match=r"in .env; did you mean es_url\?"):
        Settings()
    (tmp_path / ".env").unlink()
    monkeypatch.setenv("ESBLEND_REDIS", "redis://x")
    with pytest.raises(ValidationError, match=r"in the environment; did you mean redis_url\?"):
        Settings()


def test_what_kubernetes_tells_of_services_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESBLEND_FEED_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("ESBLEND_FEED_PORT_80_TCP_ADDR", "10.0.0.1")
    Settings()


def test_a_fingerprint_is_a_fingerprint_of_something() -> None:
    fingerprint = ":".join(["AB"] * 32)
    assert Settings(es_url="https://es:9200", es_ca_fingerprint=fingerprint).es_ca_fingerprint == "ab" * 32
    for wrong in (
        {"es_ca_fingerprint": "abc", "es_url": "https://es:9200"},
        {"es_ca_fingerprint": fingerprint, "es_url": "http://es:9200"},
        {"es_ca_fingerprint": fingerprint, "es_url": "https://es:9200", "es_ca_certs": "ca.pem"},
    ):
        with pytest.raises(ValidationError, match=r"fingerprint|FINGERPRINT"):
            Settings(**wrong)
