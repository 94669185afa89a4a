"""The compiled engine: a program encoded as one block of words and run as machine code."""

from __future__ import annotations

import numpy as np

from cimsim.engines import loop as k
from cimsim.engines.encoding import MachineCode, encode
from cimsim.engines.faults import Blocked, clock_overflow, deadlock
from cimsim.engines.program import Get, Program, Put
from cimsim.engines.record import Layout, Run
from cimsim.errors import SimulationError


def simulate(program: Program) -> Run:
    """Run `program` as machine code; raises SimulationError as `cimsim.engines.run` does."""
    machine = encode(program)
    log = np.empty(machine.log_size, np.int64)
    todo = [
        place
        for place, actor in zip(machine.actors_at, program.actors, strict=True)
        if actor.iterations
    ]
    ready = np.array([*reversed(todo), 0], np.int64)
    done = k.run(machine.words, ready, len(todo), log)
    if done == k.OVERFLOW:
        raise clock_overflow()
    if done < len(todo):
        raise _deadlock(program, machine)
    return _read(program, machine, log)


def _read(program: Program, machine: MachineCode, log: k.Words) -> Run:
    layout = Layout.of(program)
    start = np.empty(layout.interval_offset[-1], np.int64)
    end = np.empty(layout.interval_offset[-1], np.int64)
    iteration_end = np.empty(layout.iteration_offset[-1], np.int64)
    k.read_tasks(machine.words, machine.task_rows, log, start, end)
    k.read_iterations(machine.iteration_rows, log, iteration_end)
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
        code += k.WIDTH[words[code]]
        step += 1
    return step


def _missing(program: Program, machine: MachineCode, number: int, step: int) -> int:
    """Tokens that a blocked actor still lacks, once it has moved every one that it can.

    The loop counts in units, and runs an actor only when that can move all it has left, or
    the buffer is full (Get) or empty (Put).
    """
    verb = program.actors[number].steps[step]
    assert isinstance(verb, (Get, Put))
    unit = machine.tokens_per_unit[verb.buffer]
    row = machine.words[machine.buffers_at + verb.buffer * k.BUFFER_WIDTH :]
    left = int(machine.words[machine.actors_at[number] + k.LEFT]) or 1
    if isinstance(verb, Get):
        return (left - int(row[k.TOKENS])) * unit
    free = int(row[k.LAST] - row[k.FIRST] - row[k.TOKENS])
    return (left - free) * unit - program.buffers[verb.buffer].capacity % unit
