"""``python -m xfelcat``: the same as the ``xfelcat`` program."""

from xfelcat.cli.app import main

if __name__ == "__main__":
    main()
