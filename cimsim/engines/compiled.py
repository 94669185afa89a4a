"""The compiled engine: a program encoded as one block of words and run as machine code."""

from __future__ import annotations

import numpy as np

from cimsim.engines import loop as k
from cimsim.engines.cover import Cover
from cimsim.engines.encoding import MachineCode, encode
from cimsim.engines.faults import Blocked, clock_overflow, deadlock
from cimsim.engines.program import Get, Program, Put
from cimsim.engines.reading import read_iterations, read_tasks
from cimsim.engines.record import Ends, Kept, Layout, Part, Run, check_marks
from cimsim.engines.stepping import Stepper
from cimsim.engines.times import TimeTable
from cimsim.errors import SimulationError
from cimsim.values.display import brief

_SOME = (k.GET_SOME, k.PUT_SOME)
_SPANS = 1 << 18
"""Choice: spans that are written before they are put together, 6 MB."""


def simulate(program: Program) -> Run:
    """Run `program` as machine code; raises SimulationError as `cimsim.engines.run` does."""
    machine = encode(program)
    nothing = np.array([0, 1, 0], np.int64)
    log = np.empty(machine.log_size, np.int64)
    stepper = Stepper(program, machine, 0, 0)
    ready = _ready(program, machine)
    machine.words[k.READY] = ready.size - 1
    _go_on(program, machine, ready, log, nothing, stepper)
    return _read(program, machine, log)


def simulate_ends(program: Program, kept: Kept) -> Ends:
    """Run `program` and keep what `kept` asks for; raises SimulationError as `simulate` does."""
    return Prepared(program, kept, TimeTable.of(program)).run_once()


@brief
class Prepared:
    """A program, encoded once for runs with other times (see `cimsim.engines.times`).

    Of each run is kept what `kept` asks for; `steps` says how many steps of the last one were run
    many at once (see `cimsim.engines.steps`). Raises ValueError as `run_for_ends` does.
    """

    def __init__(self, program: Program, kept: Kept, times: TimeTable) -> None:
        check_marks(program, kept.marks)
        self.program, self.kept, self.steps = program, kept, 0
        self._code = encode(program, kept, times)
        self._todo = _ready(program, self._code)
        # counted: what one iteration or one grant to each client may write beyond the limit
        most = max(map(_most_parts, kept.parts), default=0)
        self._slack = (program.actor_count + 1) * (1 + most)

    def _facts(self) -> dict[str, object]:
        return {"words": self._code.words.size, "steps": self.steps}

    def run(self, times: TimeTable) -> Ends:
        """A run with `times`, those of every timed verb of the program.

        Raises SimulationError as `simulate` does.
        """
        if times.shape != self._code.slots.shape:
            self._code = encode(self.program, self.kept, times)
            self._todo = _ready(self.program, self._code)
        return self._run(self._code.timed(times))

    def run_once(self) -> Ends:
        """The run with the times that it was encoded with, which leaves nothing for another."""
        return self._run(self._code)

    def _run(self, machine: MachineCode) -> Ends:
        program, kept = self.program, self.kept
        machine.words[k.READY] = self._todo.size - 1
        log, ready = np.empty(machine.log_size, np.int64), self._todo.copy()
        cover = Cover(len(kept.groups))
        spans = np.zeros(k.SPANS_FIRST + 3 * (_SPANS + self._slack), np.int64)
        spans[k.SPANS_PAUSE] = _SPANS
        stepper = Stepper(program, machine, len(kept.cells), len(kept.groups))
        while not _go_on(program, machine, ready, log, spans, stepper):
            cover.add(_written(spans))
        self.steps = stepper.steps
        cover.add(_written(spans))
        cells = machine.words[machine.cells_at :][: k.CELL_WIDTH * len(kept.cells)]
        rows = cells.reshape(-1, k.CELL_WIDTH)[:, [k.CELL_GROUP, k.CELL_START, k.CELL_END]]
        cover.add(rows[rows[:, 2] >= rows[:, 1]])
        covered = zip(cover.time_ps(), stepper.covered_ps.tolist(), strict=True)
        return Ends.of(program, kept, log, [a + b for a, b in covered])


def _most_parts(verbs: tuple[tuple[Part, ...], ...]) -> int:
    return sum(map(len, verbs))


def _written(spans: k.Words) -> k.Words:
    """Take the spans (group, start, end) that the loop has written, a row each."""
    used = int(spans[k.SPANS_USED])
    spans[k.SPANS_USED] = 0
    return spans[k.SPANS_FIRST :][: 3 * used].reshape(-1, 3)


def _ready(program: Program, machine: MachineCode) -> k.Words:
    """The actors that have something to do, all of them to begin with."""
    works = np.zeros(program.actor_count, np.bool_)
    for company in program.companies:
        works[company.numbers] = company.sizes > 0
    return np.append(machine.actors_at[works][::-1], 0)


def _go_on(
    program: Program, machine: MachineCode, ready: k.Words, log: k.Words, spans: k.Words,
    stepper: Stepper,
) -> bool:  # fmt: skip
    """Run on; return whether all is done, or `spans` are to be emptied first."""
    while (done := k.run(machine.words, ready, log, spans, stepper.trace)) == k.QUIET:
        stepper.quiet(log)
    if done == k.PAUSED:
        return False
    if done == k.OVERFLOW:
        raise clock_overflow()
    if done < ready.size - 1:
        raise _deadlock(program, machine)
    return True


def _read(program: Program, machine: MachineCode, log: k.Words) -> Run:
    layout = Layout.of(program)
    start = np.empty(layout.interval_offset[-1], np.int64)
    end = np.empty(layout.interval_offset[-1], np.int64)
    iteration_end = np.empty(layout.iteration_offset[-1], np.int64)
    read_tasks(machine.words, machine.task_rows, log, start, end)
    read_iterations(machine.iteration_rows, log, iteration_end)
    return Run(program, layout, start, end, iteration_end)


def _deadlock(program: Program, machine: MachineCode) -> SimulationError:
    """The error for a machine in which no actor can go on."""
    blocked = []
    latest_ps = 0
    for number, actor in enumerate(program.actors):
        row = machine.words[machine.actors_at[number] :]
        latest_ps = max(latest_ps, int(row[k.CLOCK]))
        iteration = int(row[k.ITERATION])
        if iteration < actor.iterations:
            step = _step(machine, number)
            missing = _missing(program, machine, number, step)
            blocked.append(Blocked(number, iteration, step, missing))
    return deadlock(program, latest_ps, blocked)


def _step(machine: MachineCode, number: int) -> int:
    """Which step of its actor the code is that actor `number` would run next."""
    words = machine.words
    place = machine.actors_at[number]
    code = place + k.ACTOR_WIDTH
    step = 0
    while code < words[place + k.PC]:
        step += words[code + 3] if words[code] in _SOME else 1
        code += k.WIDTH[words[code]]
    if words[code] in _SOME:
        row = words[words[code + 2] + words[place + k.ITERATION]]
        step += words[row + 1 + words[row] - words[place + k.LEFT]] // k.BUFFER_WIDTH
    return int(step)


def _missing(program: Program, machine: MachineCode, number: int, step: int) -> int:
    """Tokens that a blocked actor still lacks, once it has moved every one that it can.

    The loop counts in units, and runs an actor only when that can move all it has left, or
    the buffer is full (Get) or empty (Put).
    """
    verb = program.actors[number].steps[step]
    assert isinstance(verb, (Get, Put))
    unit = machine.tokens_per_unit[verb.buffer]
    row = machine.words[machine.buffers_at + verb.buffer * k.BUFFER_WIDTH :]
    actor = machine.words[machine.actors_at[number] :]
    left = 1 if machine.words[actor[k.PC]] in _SOME else int(actor[k.LEFT]) or 1
    if isinstance(verb, Get):
        return (left - int(row[k.TOKENS])) * unit
    free = int(row[k.LAST] - row[k.FIRST] - row[k.TOKENS])
    return (left - free) * unit - program.buffers[verb.buffer].capacity % unit
