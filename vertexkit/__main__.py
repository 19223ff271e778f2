"""``python -m vertexkit``."""

from vertexkit.cli.main import main

if __name__ == "__main__":
    main()
