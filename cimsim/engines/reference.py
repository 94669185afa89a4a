"""The reference engine: one SimPy process an actor. It defines what the right times are."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import repeat
from typing import Any, TypeAlias, cast

import numpy as np
import simpy
from simpy.events import EventPriority

from cimsim.engines.faults import Blocked, clock_overflow, deadlock
from cimsim.engines.program import CLOCK_MAX_PS, Get, Program, Put, Resource, Use, Verb
from cimsim.engines.record import Layout, Run

_END_OF_INSTANT = cast(EventPriority, 2)
"""After SimPy's URGENT (0) and NORMAL (1): last in its time step."""

Process: TypeAlias = Generator[simpy.Event, Any, None]


class Arbiter:
    """A resource that grants at the end of an instant, in a total order of the requests."""

    def __init__(self, env: simpy.Environment, resource: Resource, actor_count: int) -> None:
        self.env = env
        self.policy = resource.policy
        self.idle = resource.servers
        self.actor_count = actor_count
        self.last_granted = -1
        self.requests: dict[int, tuple[int, int, simpy.Event]] = {}
        self.arbitrating = False

    def use(self, actor: int, duration: int) -> simpy.Event:
        """Queue `actor`; the event fires when its service is over, its value is the start."""
        over = self.env.event()
        over.callbacks.append(self.release)
        self.requests[actor] = (int(self.env.now), duration, over)
        self.arbitrate()
        return over

    def arbitrate(self) -> None:
        """Have the pending requests looked at when this instant is over."""
        if self.idle and self.requests and not self.arbitrating:
            self.arbitrating = True
            end_of_instant = _decided(simpy.Event(self.env), None)
            end_of_instant.callbacks.append(self.grant)
            self.env.schedule(end_of_instant, priority=_END_OF_INSTANT)

    def grant(self, _: simpy.Event) -> None:
        """Give idle servers to requests until one of the two runs out."""
        self.arbitrating = False
        while self.idle and self.requests:
            actor = min(self.requests, key=self.rank)
            _asked, duration, over = self.requests.pop(actor)
            _check_clock(self.env, duration)
            self.idle -= 1
            self.last_granted = actor
            self.env.schedule(_decided(over, int(self.env.now)), delay=duration)

    def rank(self, actor: int) -> tuple[int, int]:
        """Sort key of a pending request: the smallest is granted first."""
        if self.policy == "fifo":
            return self.requests[actor][0], actor
        return (actor - self.last_granted - 1) % self.actor_count, actor

    def release(self, _: simpy.Event) -> None:
        """Take the server back at the end of a service."""
        self.idle += 1
        self.arbitrate()


def _decided(event: simpy.Event, value: int | None) -> simpy.Event:
    """`event`, to fire with `value` whenever it is scheduled (as SimPy's own Timeout is)."""
    event._ok = True
    event._value = cast(Any, value)
    return event


def _check_clock(env: simpy.Environment, duration_ps: int) -> None:
    if env.now + duration_ps > CLOCK_MAX_PS:
        raise clock_overflow()


class EventLoop:
    """One run of a program, with resources made by `arbiter`.

    `progress` is called with the share of all iterations that is done, for each hundredth of them
    (those of an actor without steps are none).
    """

    def __init__(
        self,
        program: Program,
        arbiter: type[Arbiter] = Arbiter,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.program, self.progress = program, progress
        self.iterations = sum(actor.iterations for actor in program.actors if actor.steps)
        self.done = self.told = 0
        self.env = simpy.Environment(0)
        self.buffers = [simpy.Container(self.env, b.capacity, b.initial) for b in program.buffers]
        self.resources = [arbiter(self.env, r, len(program.actors)) for r in program.resources]
        self.layout = Layout.of(program)
        self.start_ps = np.zeros(self.layout.interval_offset[-1], np.int64)
        self.end_ps = np.zeros(self.layout.interval_offset[-1], np.int64)
        self.iteration_end_ps = np.zeros(self.layout.iteration_offset[-1], np.int64)
        self.position = [(0, 0, 0)] * len(program.actors)

    def run(self) -> Run:
        """Run to the end; raises SimulationError as `cimsim.engines.run` does."""
        actors = [self.env.process(self.actor(i)) for i in range(len(self.program.actors))]
        self.env.run()
        blocked = [
            Blocked(number, *self.position[number])
            for number, process in enumerate(actors)
            if process.is_alive
        ]
        if blocked:
            raise deadlock(self.program, int(self.env.now), blocked)
        return Run(self.program, self.layout, self.start_ps, self.end_ps, self.iteration_end_ps)

    def actor(self, number: int) -> Process:
        """The life of one actor: its steps, over and over."""
        actor = self.program.actors[number]
        offset = self.layout.iteration_offset[number]
        for iteration, amounts in enumerate(_amounts(actor.steps, actor.iterations)):
            interval = self.layout.interval_offset[number] + iteration
            for step, (verb, amount) in enumerate(zip(actor.steps, amounts, strict=True)):
                if isinstance(verb, (Get, Put)):
                    buffer = self.buffers[verb.buffer]
                    move = buffer.get if isinstance(verb, Get) else buffer.put
                    for missing in range(amount, 0, -1):
                        self.position[number] = (iteration, step, missing)
                        yield move(1)
                    continue
                self.start_ps[interval] = self.env.now
                if amount and isinstance(verb, Use):
                    self.start_ps[interval] = yield self.resources[verb.resource].use(
                        number, amount
                    )
                elif amount:
                    _check_clock(self.env, amount)
                    yield self.env.timeout(amount)
                self.end_ps[interval] = self.env.now
                interval += actor.iterations
            self.iteration_end_ps[offset + iteration] = self.env.now
            self.count()

    def count(self) -> None:
        """One more iteration is done."""
        self.done += 1
        hundredths = 100 * self.done // self.iterations
        if self.progress is not None and hundredths > self.told:
            self.told = hundredths
            self.progress(self.done / self.iterations)


def _amounts(steps: tuple[Verb, ...], iterations: int) -> zip[tuple[int, ...]]:
    """The count or duration of each step, iteration by iteration, as plain integers."""
    columns = []
    for verb in steps:
        amount = verb.count if isinstance(verb, (Get, Put)) else verb.duration
        if isinstance(amount, np.ndarray):
            columns.append(amount.tolist())
        else:
            columns.append(repeat(int(amount), iterations))
    return zip(*columns, strict=True)


def simulate(program: Program, progress: Callable[[float], None] | None = None) -> Run:
    """Run `program` under SimPy; raises SimulationError as `cimsim.engines.run` does."""
    return EventLoop(program, progress=progress).run()
