"""Where the work of a command is done: in processes here, or by the workers of a Dask cluster."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .options import option
from .output import count, say

if TYPE_CHECKING:
    from ..catalog.scan.executors import Jobs
    from ..catalog.store.store import Store

DaskOption = Annotated[
    str | None,
    option(
        "--dask",
        "ADDRESS",
        "Read on the workers of this Dask cluster: tcp://host:8786, or the path of a scheduler"
        " file.",
    ),
]
SlurmOption = Annotated[
    int | None,
    option(
        "--slurm",
        "N",
        "Read on N jobs of SLURM, which [slurm] in the config file describes.",
        min=1,
    ),
]


class Workers(NamedTuple):
    """What to give a job for its workers, and how many there are now."""

    jobs: "Jobs"
    now: Callable[[], int] | None = None


@contextmanager
def working(
    jobs: int | None, dask: str | None, slurm: int | None, store: "Store | None" = None
) -> Iterator[Workers]:
    """The workers that the options ask for, until the end of the block.

    Warns where the command writes to a ``store`` of which nobody knows whether nodes see each
    other's locks on it.
    """
    if dask is None and slurm is None:
        yield Workers(jobs)
        return
    if dask is not None and slurm is not None:
        raise typer.BadParameter("--dask names a cluster, --slurm makes one: choose")
    from ..catalog.model.errors import ConfigError

    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            "--dask and --slurm need dask.distributed: pip install 'xfelcat[cluster]'"
        ) from None
    with ExitStack() as stack:
        to: Any = stack.enter_context(_slurm_cluster(slurm)) if slurm else dask
        try:
            is_file = isinstance(to, str) and "://" not in to
            if is_file and not os.path.exists(to):  # Dask would wait for it, for ever
                raise FileNotFoundError("there is no such scheduler file")
            named = {"scheduler_file": to} if is_file else {"address": to}
            connect: Any = Client  # which has no types
            client = stack.enter_context(connect(**named))
        except (OSError, ValueError) as error:  # a timeout is an OSError
            raise ConfigError(f"no Dask scheduler answers at {dask}: {error}") from None

        def now() -> int:
            return sum(client.nthreads().values())

        if dask is not None:
            say(f"workers: {now()} of {client.scheduler.address}")
        if store is not None:
            _warn_of_locks(store)
        yield Workers(client, now)


def _warn_of_locks(store: "Store") -> None:
    from ..catalog.config import load_settings
    from ..catalog.store.locks import kind_of
    from ..catalog.store.locktest import is_proven

    kind = kind_of(load_settings().lock)
    if not is_proven(store, kind):
        say(
            f"it is not known whether nodes see each other's locks by {kind} on this catalog: let"
            " this command alone write, or run `xfelcat db locks` on two nodes"
        )


@contextmanager
def _slurm_cluster(n_jobs: int) -> Iterator[Any]:
    """A Dask cluster of so many jobs, as the config file describes them."""
    from ..catalog.config import load_slurm
    from ..catalog.model.errors import ConfigError

    described = load_slurm()
    ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError:
        raise ConfigError("--slurm needs dask-jobqueue: pip install 'xfelcat[cluster]'") from None
    finally:
        signal.signal(signal.SIGINT, ctrl_c)  # the import lets it end the process with success
    try:
        cluster: Any = SLURMCluster(**described)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise ConfigError(f"no SLURM jobs by [slurm] of the config file: {error}") from None
    with cluster:
        # The cluster itself submits in the background, and waits for ever for what was refused.
        try:
            tried = subprocess.run(
                ["sbatch", "--test-only"],
                input=cluster.job_script(),
                capture_output=True,
                text=True,
            )
        except OSError as error:
            raise ConfigError(f"--slurm needs SLURM's commands on this machine: {error}") from None
        if tried.returncode:
            why = " ".join(tried.stderr.split())
            raise ConfigError(f"SLURM refuses jobs by [slurm] of the config file: {why}")
        cluster.scale(jobs=n_jobs)
        say(f"{count(n_jobs, 'job')} submitted to SLURM: work begins as soon as one starts")
        yield cluster
