"""``python -m ilfo``: the command line, of the interpreter that is named."""

import sys

from ilfo.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
