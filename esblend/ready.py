"""Tells whoever started a process that it is ready for work."""

from esblend.settings import Settings


def forget_ready(settings: Settings) -> None:
    """Remove what an earlier run of this process left: it is not ready yet."""
    if settings.ready_file:
        settings.ready_file.unlink(missing_ok=True)


def announce_ready(settings: Settings) -> None:
    """Write the ready file, if one is configured. It holds no information beyond being there."""
    if settings.ready_file:
        settings.ready_file.parent.mkdir(parents=True, exist_ok=True)
        settings.ready_file.write_text("ready\n", "utf-8")
