"""``python -m vertexkit``."""

import sys

from vertexkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
