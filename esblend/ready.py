"""The file that tells a supervisor that a process is ready."""

from esblend.settings import Settings


def forget_ready(settings: Settings) -> None:
    """Remove the file of an earlier run."""
    if settings.ready_file:
        settings.ready_file.unlink(missing_ok=True)


def announce_ready(settings: Settings) -> None:
    """Write the ready file, if one is configured. Only its existence matters."""
    if settings.ready_file:
        settings.ready_file.parent.mkdir(parents=True, exist_ok=True)
        settings.ready_file.write_text("ready\n", "utf-8")
