"""``python -m ilfo.pretraining frames|train|error``."""

import sys

from ilfo.pretraining.command import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
