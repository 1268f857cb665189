"""What all packages share: settings, connections, errors, encoder, and the command line that joins their commands."""

__version__: str


def __getattr__(name: str) -> str:
    """Find the version when someone asks for it: importing the package metadata would slow down each `--help`."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("esblend")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
