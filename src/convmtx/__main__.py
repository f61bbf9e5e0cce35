"""``python -m convmtx``."""

import sys

from convmtx.cli import main

if __name__ == "__main__":
    sys.exit(main())
