"""Runs the command line: `python -m esblend`, and the script `esblend`."""

import sys

from esblend.errors import EsblendError


def main() -> None:
    """Entry point. Checks the packages first: the command line imports all of them."""
    from esblend.own_packages import check_own_packages

    try:
        check_own_packages()
    except EsblendError as error:
        sys.exit(error.reason)
    from esblend.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
