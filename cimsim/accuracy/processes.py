"""Independent pieces of work over processes, one core and one thread each.

The setting that all pieces share goes to a file once and is mapped into every process, so that
weights are in memory once.
"""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from cimsim.errors import TaskError

Setting = TypeVar("Setting")
Piece = TypeVar("Piece")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]

_shared: list[Any] = []
"""In a process of the pool: the work, and the setting it was started with."""


def spread_over(
    work: Callable[[Setting, Piece], Result],
    setting: Setting,
    pieces: Sequence[Piece],
    workers: int,
    progress: Progress | None = None,
) -> list[Result]:
    """`work(setting, piece)` for every piece, in their order, by up to `workers` processes.

    A single worker is this process. Every piece is computed with one thread, so that sums are
    the same wherever it runs. `work` is a function of a module; raises what it raises, and
    TaskError for a setting that cannot go to another process or a process that died.
    """
    tell = progress or (lambda done, total: None)
    workers = min(workers, len(pieces))
    tell(0, len(pieces))
    if workers == 1:
        results = []
        with _one_thread():
            for piece in pieces:
                results.append(work(setting, piece))
                tell(len(results), len(pieces))
        return results
    with tempfile.TemporaryDirectory(prefix="cimsim-") as folder:
        path = Path(folder) / "setting"
        _save((work, setting), path)
        return _in_pool(path, pieces, workers, tell)


def _in_pool(path: Path, pieces: Sequence[Any], workers: int, tell: Progress) -> list[Any]:
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(str(path),)
    )
    try:
        futures = [pool.submit(_run, piece) for piece in pieces]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            tell(done, len(pieces))
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise TaskError(
            f"one of {workers} processes died, probably for want of memory: lower workers."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _save(value: Any, path: Path) -> None:
    try:
        torch.save(value, path)
    except (pickle.PicklingError, AttributeError, TypeError) as problem:
        raise TaskError(
            f"the task or the model cannot be sent to another process ({problem}): define its "
            "functions at the top level of a module, or set workers to 1."
        ) from None


def _start(path: str) -> None:
    torch.set_num_threads(1)
    # The file is this program's own; mapped weights are shared between the processes.
    _shared[:] = torch.load(path, mmap=True, weights_only=False)


def _run(piece: Any) -> Any:
    work, setting = _shared
    return work(setting, piece)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
