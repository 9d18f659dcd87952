"""What is made once per test session, by the first worker that asks, and read by all of them."""

import fcntl
import os
import pickle


def shared_directory(tmp_path_factory):
    """The directory that the workers of this session have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(tmp_path_factory, name, make):
    """``make(directory)`` of the first worker that comes here; the others wait for it.

    What it returns is pickled beside the directory.
    """
    directory = shared_directory(tmp_path_factory) / name
    result = directory.with_suffix(".pickle")
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            directory.mkdir()
            made = make(directory)
            partial = result.with_suffix(".partial")
            partial.write_bytes(pickle.dumps(made))
            partial.rename(result)
    return pickle.loads(result.read_bytes())
