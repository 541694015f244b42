"""Run the command line as `python -m invert`."""

import sys

from invert.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
