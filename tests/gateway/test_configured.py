"""The app as the settings describe it, in each process that serves it."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from gateway import configured
from gateway.configuration.reading import BadConfiguration, read_configuration
from gateway.configuration.sources import Sources
from gateway.configured import ConfiguredApp, from_configuration, keys_and_origins

if TYPE_CHECKING:
    from pathlib import Path

SECRET, NEW_SECRET = "tr_test_the_secret_of_the_app_0000000001", "tr_test_the_secret_of_the_app_0000000002"
URL = "redis://localhost:1/0"


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app sets up the logging of its process, and this one is pytest's."""
    monkeypatch.setattr(configured, "configure_logging", lambda *options: None)


def write(directory: Path, secret: str, more: str = "") -> None:
    (directory / "runcast.toml").write_text(f'{more}\n[environments.acme]\nsecret_key = "{secret}"\n')


def started_in(directory: Path) -> ConfiguredApp:
    """What the first process of a gateway sends to its workers."""
    sources = Sources(flags={"port": "9000"}, environ={"REDIS_URL": URL}, directory=directory)
    configuration = read_configuration(sources)
    return ConfiguredApp(configuration.settings(), keys_and_origins(configuration), sources)


def opens(app: Any, secret: str) -> bool:
    return app.app.state.services.admission.keyring.environment_of(secret) is not None


async def test_a_worker_has_the_settings_of_the_start_and_the_keys_of_now(tmp_path: Path) -> None:
    """Sent to another process, and there after somebody wrote other ones."""
    write(tmp_path, SECRET, "heartbeat = 5")
    sent = pickle.dumps(started_in(tmp_path))
    write(tmp_path, NEW_SECRET, "heartbeat = 6\nport = 1")

    app: Any = pickle.loads(sent)()

    settings = app.app.state.services.settings
    assert (settings.port, settings.heartbeat_seconds) == (9000, 5)
    assert (opens(app, SECRET), opens(app, NEW_SECRET)) == (False, True)


async def test_what_cannot_be_read_any_more_is_as_it_was_read_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the process that starts workers, and reads again when they do. What is wrong is told."""
    write(tmp_path, SECRET)
    app = started_in(tmp_path)
    write(tmp_path, NEW_SECRET)
    app.remember()
    write(tmp_path, SECRET, "prot = 1")
    app.remember()

    with caplog.at_level(logging.ERROR, "runcast.reload"):
        worker = app()

    assert (opens(worker, SECRET), opens(worker, NEW_SECRET)) == (False, True)
    assert "prot in runcast.toml is not a setting" in caplog.text


async def test_any_server_can_have_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment and the file of its directory; or it says all that is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNCAST_SECRET_KEY", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("RUNCAST_REDIS_URL", raising=False)
    with pytest.raises(BadConfiguration) as refused:
        from_configuration()
    assert len(refused.value.problems) == 2

    write(tmp_path, SECRET, f'redis_url = "{URL}"')
    assert opens(from_configuration(), SECRET)
