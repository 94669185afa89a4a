"""Processes that work for this one: what they inherit, how they end, and signals meanwhile.

Nothing heavy is imported here, so that a process watches its parent before it loads torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed
from concurrent.futures import wait as first_of
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import process, reduction, spawn
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import IO, Any, TypeVar

from cimsim.errors import TaskError, WorkerError

Given = TypeVar("Given")
Piece = TypeVar("Piece")
Result = TypeVar("Result")

IN_FLIGHT = 2
"""Choice: pieces of a stream that a process has, one at work and one that it can go on with."""
WATCH_S = 1.0
"""How often a process looks whether its parent is another one, beside watching the connection."""
ENDING = ("SIGTERM", "SIGHUP")
GUARD = (
    "every process reads the main program anew, and what that does is not guarded: put it below "
    '`if __name__ == "__main__":` in a file, or set workers to 1.'
)


def in_processes(
    run: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    workers: int,
    file: IO[bytes],
    tell: Callable[[int, int], None],
) -> list[Result]:
    """`run(piece)` for every piece, in their order, by `workers` processes that inherit `file`.

    `run` is a function of a module; it finds the file as the one element of `inherited`. `tell` is
    called with the pieces done and all. However this process ends, the others end with it: at once,
    or a second after SIGKILL. SIGTERM and SIGHUP raise SystemExit(128 + number) meanwhile, unless
    the program handles them itself.

    Raises what `run` raises, WorkerError for a process that died, and TaskError where none started.
    """
    with _pool(workers, Inherited(file.fileno())) as pool:
        with _without_interrupts():
            futures = [pool.submit(run, piece) for piece in pieces]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            tell(done, len(pieces))
        return [future.result() for future in futures]


def streamed(
    run: Callable[[Given, Piece], Result], given: Given, pieces: Iterable[Piece], workers: int
) -> Iterator[Result]:
    """`run(given, piece)` for every piece, as they are done, by `workers` processes.

    Pieces are taken in the thread that takes results, and only as they are needed: at most
    `IN_FLIGHT` a process are out at once, however many there are. `run` is a function of a module;
    `given` goes to every process once. Processes end with this one, and when the iterator is
    closed. Raises as `in_processes` does.
    """
    ahead, left = workers * IN_FLIGHT, iter(pieces)
    out: set[Future[Result]] = set()
    with _pool(workers, given) as pool:
        while True:
            with _without_interrupts():
                for piece in islice(left, ahead - len(out)):
                    out.add(pool.submit(_on_given, run, piece))
            if not out:
                return
            done, out = first_of(out, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _on_given(run: Callable[[Any, Piece], Result], piece: Piece) -> Result:
    (given,) = inherited
    return run(given, piece)


@contextmanager
def _pool(workers: int, given: object) -> Iterator[ProcessPoolExecutor]:
    """Processes that have `given` in `inherited`, and end with this one; raises as
    `in_processes` does.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    initial = (given, theirs, os.getpid())
    with _ending_on_signals():
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=initial)
        try:
            yield pool
        except BrokenProcessPool:
            if not ours.poll():
                raise TaskError(f"none of {workers} processes could start: {GUARD}") from None
            raise WorkerError(
                f"one of {workers} processes died or was killed, as the system does for want of "
                "memory: lower workers, or give the program more memory."
            ) from None
        finally:
            ours.close()  # ends what still runs
            theirs.close()
            pool.shutdown(wait=True, cancel_futures=True)


def require_guard() -> None:
    """Leave a process that is only just reading the main program; refuse one without a file.

    Raises SystemExit in a process of a pool, whose parent then says why, and TaskError, also in a
    daemon.
    """
    if getattr(process.current_process(), "_inheriting", False):
        raise SystemExit(1)
    if process.current_process().daemon:
        raise TaskError("a process of another pool may start none of its own: set workers to 1.")
    main = spawn.get_preparation_data("cimsim").get("init_main_from_path")
    if main is not None and not os.path.exists(main):
        raise TaskError(f"the main program is no file that could be read again ({main}): {GUARD}")


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Inherited:
    """An open file by its descriptor; a process that is started with it inherits it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @property
    def path(self) -> str:
        """A name to open the file by, also where it has none of its own."""
        folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
        return f"{folder}/{self.descriptor}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.descriptor),)


def _received(duplicate: Any) -> Inherited:
    return Inherited(duplicate.detach())


inherited: list[Any] = []
"""In a process of a pool: what it was started with."""


def _start(given: object, parent: Connection, number: int) -> None:
    """Begin in a process of a pool; its parent has the process number and holds the connection."""
    threading.Thread(target=_watch, args=(parent, number), daemon=True).start()
    inherited[:] = [given]
    with suppress(OSError):  # all may be done by then
        parent.send_bytes(b"started")


def _watch(parent: Connection, number: int) -> None:
    """End this process when its parent has ended, or has closed the connection."""
    while os.getppid() == number and not wait([parent], WATCH_S):
        pass
    os._exit(1)


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise SystemExit(128 + number) where nobody handles them.

    Only the main thread may set handlers; in another one nothing changes.
    """
    ours: list[int] = []
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
        ours = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes started within it never see SIGINT: of a Ctrl-C only this process hears."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
