"""What all packages share: settings, connections, errors, encoder, and the command line that joins their commands."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("esblend")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
