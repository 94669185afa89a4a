"""Independent pieces of work over processes, one core and one thread each.

The setting that all pieces share goes to a file without a name, which every process maps, so that
weights are in memory once and nothing is left behind however the program ends. A process ends as
soon as this one does (`cimsim.runtime.workers`).
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Any, TypeVar

import torch

from cimsim.errors import TaskError, WorkerError
from cimsim.runtime.workers import in_processes, inherited, require_guard

Setting = TypeVar("Setting")
Piece = TypeVar("Piece")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


def spread_over(
    work: Callable[[Setting, Piece], Result],
    setting: Setting,
    pieces: Sequence[Piece],
    workers: int,
    progress: Progress | None = None,
) -> list[Result]:
    """`work(setting, piece)` for every piece, in their order, by up to `workers` processes.

    A single worker is this process. Every piece is computed with one thread, so that sums are
    the same wherever it runs. `work` is a function of a module. SIGTERM and SIGHUP end several
    workers and then this process (`cimsim.runtime.workers`).

    Raises what `work` raises, TaskError for a setting that cannot go to another process and for a
    main program that cannot be started twice, and WorkerError for a process that died or a
    temporary folder without space.
    """
    tell = progress or (lambda done, total: None)
    workers = min(workers, len(pieces))
    if workers > 1:
        require_guard()
    tell(0, len(pieces))
    if workers == 1:
        results = []
        with _one_thread():
            for piece in pieces:
                results.append(work(setting, piece))
                tell(len(results), len(pieces))
        return results
    with _saved((work, setting)) as file:
        return in_processes(_run, pieces, workers, file, tell)


def _saved(value: Any) -> IO[bytes]:
    """A file without a name that holds `value`."""
    file = None
    try:
        file = tempfile.TemporaryFile(prefix="cimsim-")  # noqa: SIM115 the caller closes it
        torch.save(value, file)
        file.flush()
        return file
    except (pickle.PicklingError, AttributeError, TypeError) as problem:
        error: TaskError = _unsendable(problem)
    except (OSError, RuntimeError) as problem:
        # torch reports a full disk as a RuntimeError of its own, raised while handling it.
        error = _unwritable(problem.__context__ or problem)
    if file is not None:
        with suppress(OSError):
            file.close()
    raise error


def _unsendable(problem: Exception) -> TaskError:
    return TaskError(
        f"the task or the model cannot be sent to another process ({problem}): define its "
        "functions and classes at the top level of a module, or set workers to 1."
    )


def _unwritable(problem: BaseException) -> WorkerError:
    return WorkerError(
        f"the weights for several processes cannot be written to a temporary file ({problem}): "
        "point TMPDIR to a folder with space, or set workers to 1."
    )


@cache
def _received() -> tuple[Callable[[Any, Any], Any], Any]:
    """In a process of the pool: the work and its setting, whose weights all processes share."""
    torch.set_num_threads(1)
    (file,) = inherited
    try:
        # The file is this program's own.
        work, setting = torch.load(file.path, mmap=True, weights_only=False)
    except (AttributeError, ImportError) as problem:
        raise _unsendable(problem) from None
    return work, setting


def _run(piece: Any) -> Any:
    work, setting = _received()
    return work(setting, piece)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
