"""Let another user reach a file of a test: pytest's directories are for their owner alone."""

from pathlib import Path


def open_the_way(path):
    """Let everyone enter and list the directories above ``path`` that pytest made."""
    for above in Path(path).parents:
        if above.name.startswith("pytest-of-"):
            above.chmod(0o755)
            break
        if above.is_dir():
            above.chmod(0o755)
