"""`python -m esblend` runs the command line."""

from esblend.cli.main import main

if __name__ == "__main__":
    main()
