"""The ground that esblend's packages stand on, and the command line that joins them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("esblend")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
