"""``python -m xfelcat``, and the ``xfelcat`` program."""

import signal
import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported ends it as at any other time."""
    try:
        from xfelcat.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("xfelcat: interrupted\n")
        sys.exit(130)
    finally:
        # One more Ctrl-C while the process ends would only show where in Python it came.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
