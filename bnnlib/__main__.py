"""``python -m bnnlib`` is the command line."""

from bnnlib.cli import main

if __name__ == "__main__":
    main()
