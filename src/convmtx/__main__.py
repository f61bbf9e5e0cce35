"""Run the command line program: ``python -m convmtx``."""

import sys

from convmtx.cli import program

if __name__ == "__main__":
    sys.exit(program())
