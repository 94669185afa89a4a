"""Where a Dask cluster is: an address that answers, workers started here, or jobs of Slurm.

Dask is imported where it is used. What it logs stays off the terminal; dashboards are off.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from cimsim.errors import ClusterError
from cimsim.files import load_json
from cimsim.runtime.libraries import library
from cimsim.runtime.workers import cores, require_guard
from cimsim.values.arguments import AtLeast, checked
from cimsim.values.codec import Codec, member
from cimsim.values.display import shown

if TYPE_CHECKING:
    from distributed import Client

ANSWER_S = 10.0
"""Choice: how long a scheduler may take to answer."""
WORKERS_S = 60.0
"""Choice: how long a cluster may be without a worker; one that died is back in seconds."""


class Place(Protocol):
    """A cluster; `patience_s` is how long it may be without any worker, None for ever."""

    @property
    def patience_s(self) -> float | None:
        """In seconds."""

    def client(self) -> AbstractContextManager[Client]:
        """A connection to it, and an end to what was started for it; raises ClusterError."""


@checked(ClusterError)
@dataclass(frozen=True)
class Address:
    """A scheduler that runs already, such as tcp://10.0.0.7:8786."""

    address: str
    patience_s: ClassVar[float | None] = WORKERS_S

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Raises ClusterError where no scheduler of Dask answers within 10 s."""
        with _quiet(), ThreadPoolExecutor(1) as apart:  # a notebook has a loop of its own
            try:
                apart.submit(asyncio.run, _answer(self.address)).result()
            except TimeoutError:
                raise ClusterError(
                    f"no Dask scheduler answers at {shown(self.address)} within {ANSWER_S:g} s: "
                    "start one there (dask scheduler), or give the address that it prints."
                ) from None
            except Exception as problem:  # what else answers there sends anything
                raise ClusterError(
                    f"{shown(self.address)} is no address of a Dask scheduler: {problem}; it looks "
                    "like tcp://HOST:8786."
                ) from None
            with _client(self.address) as client:
                yield client


@checked(ClusterError)
@dataclass(frozen=True)
class Local:
    """Worker processes on this machine, as many as it has cores where no number is given."""

    workers: Annotated[int, AtLeast(1)] | None = None
    patience_s: ClassVar[float | None] = WORKERS_S

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Raises TaskError where the main program cannot be read again by the workers."""
        require_guard()
        with _quiet():
            from distributed import LocalCluster

            count = self.workers or cores()
            made = LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )  # fmt: skip
            with made as cluster, _client(cluster) as client:
                yield client


@checked(ClusterError)
@dataclass(frozen=True)
class Slurm:
    """Jobs of Slurm through dask-jobqueue, with the queue, cores and memory of its own file."""

    jobs: Annotated[int, AtLeast(1)] = 1
    patience_s: ClassVar[float | None] = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Raises ClusterError without dask-jobqueue, or where its settings are not whole."""
        with _quiet():
            try:
                from dask_jobqueue import SLURMCluster
            except ModuleNotFoundError:
                raise ClusterError(
                    "jobs of Slurm need dask-jobqueue: pip install dask-jobqueue"
                ) from None
            try:
                made = SLURMCluster(scheduler_options={"dashboard_address": None})
            except (ValueError, TypeError) as problem:
                raise ClusterError(
                    f"dask-jobqueue cannot make a job of Slurm: {problem}; its settings stand in "
                    "~/.config/dask/jobqueue.yaml (jobqueue: slurm: cores, memory, queue, walltime)"
                ) from None
            with made as cluster:
                cluster.scale(jobs=self.jobs)
                with _client(cluster) as client:
                    yield client


@dataclass(frozen=True, eq=False)
class Given:
    """A cluster object of Dask's, such as one of dask-jobqueue's; it stays open."""

    cluster: Any
    patience_s: ClassVar[float | None] = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connection, which ends with the `with`."""
        with _quiet(), _client(self.cluster) as client:
            yield client


def _written(path: str) -> Address:
    """The scheduler that wrote a file (dask scheduler --scheduler-file FILE.json)."""
    content = load_json(path, ClusterError, "scheduler")
    if not isinstance(content, dict) or not isinstance(content.get("address"), str):
        raise ClusterError(f"{path}: a file of a Dask scheduler has its `address`; this has none.")
    return Address(content["address"])


PLACE_CODEC: Codec[Local | Slurm | Address] = Codec(
    "cluster", ClusterError, {"local": member(Local), "slurm": member(Slurm)}, load=_written
)


@checked(ClusterError)
def place_named(text: str) -> Place:
    """The cluster that a text names: an address, `local[:N]`, `slurm[:JOBS]`, a scheduler's file.

    Raises ClusterError for another text.
    """
    if "://" in text:
        return Address(text)
    try:
        return PLACE_CODEC.parse(text)
    except ClusterError as problem:
        raise ClusterError(f"{problem}; or an address, such as tcp://HOST:8786") from None


async def _answer(address: str) -> None:
    """Return if a scheduler answers at `address`; a client alone may wait for ever."""
    from distributed.comm import connect
    from distributed.security import Security

    given = Security().get_connection_args("client")
    connected = connect(address, timeout=2 * ANSWER_S, **given)  # choice: ours ends first
    comm = await asyncio.wait_for(connected, ANSWER_S)
    comm.abort()


@contextmanager
def _client(where: Any) -> Iterator[Client]:
    from distributed import Client

    with Client(where, timeout=ANSWER_S, set_as_default=False) as client:
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it Dask says nothing by itself; raises ClusterError without Dask."""
    library("distributed", "a Dask cluster needs distributed", "cluster", ClusterError)
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    before = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"distributed|dask|tornado|bokeh")
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
