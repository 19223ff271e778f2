"""Entry point of one replica."""

from __future__ import annotations

import sys

from vertexkit.emulator.serving.model_server.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
