"""Request streams as a scenario file describes them, and drawn: which task, and when it arrives.

One sequence runs at a time; a stream says nothing of that, so that several may run later.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from cimsim.engines.program import CLOCK_MAX_PS
from cimsim.errors import SpecError
from cimsim.units import PS_PER_S, seconds_to_ps
from cimsim.values.bounds import Amount, Name, Positive, Rate, Size
from cimsim.values.display import brief
from cimsim.values.frozen import Frozen

PLACES_MAX = 1_024
"""Choice: most sets of units that take turns; the wear of each is found."""
REQUESTS_MAX = 200_000
"""Choice: most requests of one stream, which take 1 GB; statistics settle long before."""

Requested = Annotated[int, Field(strict=True, gt=0, le=REQUESTS_MAX)]
Seeded = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Instant = Annotated[float, Field(strict=True, ge=0.0, le=1e6, allow_inf_nan=False)]
Arrival: TypeAlias = Literal["closed"] | Rate


@brief
@dataclass(frozen=True, slots=True, eq=False)
class RequestStream:
    """Requests in order: `task[i]` is an index into the tasks, `arrival_ps[i]` when it comes.

    `arrival_ps` is None for a closed stream, in which a request comes when the last one ends.
    """

    task: npt.NDArray[np.int64]
    arrival_ps: npt.NDArray[np.int64] | None

    @property
    def count(self) -> int:
        """How many requests there are."""
        return int(self.task.size)


class _Drawn(Frozen):
    """What streams that are not written out share."""

    count: Requested = Field(description="requests")
    arrival: Arrival = Field(
        default="closed",
        description="`closed`: the next request comes when the last one ends; or requests a "
        "second, at exponential intervals (Poisson)",
    )
    seed: Seeded = Field(default=0, description="of what is drawn: intervals, and tasks of `zipf`")

    def _arrivals(self) -> npt.NDArray[np.int64] | None:
        if self.arrival == "closed":
            return None
        gaps = np.random.default_rng((self.seed, 1)).exponential(1.0 / self.arrival, self.count)
        arrival = np.rint(np.cumsum(gaps) * PS_PER_S)
        if arrival[-1] > CLOCK_MAX_PS / 2:  # choice: half of the clock is left for the last request
            raise SpecError(
                f"requests.arrival: {self.count} requests at {self.arrival:g} a second come over "
                f"{arrival[-1] / PS_PER_S:.3g} s, the event clock ends at "
                f"{CLOCK_MAX_PS / PS_PER_S:.3g} s: raise arrival or lower count"
            )
        return np.asarray(arrival.astype(np.int64))


class RoundRobin(_Drawn):
    """Every task in turn."""

    pattern: Literal["round_robin"]

    def stream(self, tasks: tuple[str, ...]) -> RequestStream:
        """The requests."""
        return RequestStream(np.arange(self.count) % len(tasks), self._arrivals())


class Bursts(_Drawn):
    """Every task in turn, `length` requests each time."""

    pattern: Literal["bursts"]
    length: Requested = Field(description="requests of one task in a row")

    def stream(self, tasks: tuple[str, ...]) -> RequestStream:
        """The requests."""
        return RequestStream(np.arange(self.count) // self.length % len(tasks), self._arrivals())


class Zipf(_Drawn):
    """Tasks drawn at random: task k (from 1, in the order of the file) in proportion to k^-s.

    The popularity of requests in L. Breslau et al., Web Caching and Zipf-like Distributions
    (INFOCOM 1999).
    """

    pattern: Literal["zipf"]
    exponent: Amount = Field(description="s; 0 draws all tasks alike")

    def shares(self, tasks: int) -> npt.NDArray[np.float64]:
        """How likely each task is."""
        weights = np.arange(1, tasks + 1, dtype=np.float64) ** -self.exponent
        return np.asarray(weights / weights.sum())

    def stream(self, tasks: tuple[str, ...]) -> RequestStream:
        """The requests."""
        drawn = np.random.default_rng((self.seed, 0))
        task = drawn.choice(len(tasks), self.count, p=self.shares(len(tasks)))
        return RequestStream(np.asarray(task, np.int64), self._arrivals())


class Trace(Frozen):
    """Requests written out: when each arrives (s), and its task."""

    pattern: Literal["trace"]
    trace: tuple[tuple[Instant, Name], ...] = Field(
        min_length=1, max_length=REQUESTS_MAX, description="[time_s, task] in order of time"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for number, ((before, _), (after, _)) in enumerate(pairwise(self.trace), 1):
            if after < before:
                raise ValueError(
                    f"trace.{number} arrives at {after:g} s, before trace.{number - 1} at "
                    f"{before:g} s: write requests in order of time"
                )
        return self

    def stream(self, tasks: tuple[str, ...]) -> RequestStream:
        """The requests."""
        index = {name: at for at, name in enumerate(tasks)}
        times = [seconds_to_ps(time_s) for time_s, _ in self.trace]
        return RequestStream(np.array([index[task] for _, task in self.trace]), np.array(times))


Requests: TypeAlias = Annotated[RoundRobin | Bursts | Zipf | Trace, Field(discriminator="pattern")]


class Residency(Frozen):
    """What of the adapters stays in the buffer, a part of which is set aside for them; DRAM behind.

    A switch to a task that is there loads nothing from DRAM. Pinned tasks stay once they were
    loaded; with `lru` the rest of the room goes to those used last, with `pinned` to none.
    """

    policy: Literal["lru", "pinned"] = "lru"
    size_KiB: Positive = Field(description="of the buffer, set aside for adapters")
    pinned: tuple[Name, ...] = Field(default=(), description="tasks that stay once loaded")
    prefetch: bool = Field(
        default=False,
        strict=True,
        description="the adapter of the next request that has come is fetched from DRAM while one "
        "runs",
    )

    @model_validator(mode="after")
    def _pinned_are_named(self) -> Self:
        if self.policy == "pinned" and not self.pinned:
            raise ValueError(
                "policy is `pinned`, but `pinned` names no task: name some, or take lru"
            )
        return self


class Levelling(Frozen):
    """Wear levelling: what switches write goes to other units every so many switches, in turn.

    The move is a switch that writes the weights whole, in their next place (`serving.levelling`).
    """

    every: Size = Field(description="switches that write into one place before the next")
    places: Annotated[Size, Field(le=PLACES_MAX)] = Field(
        default=2, description="sets of units that take turns, with the one of the mapping"
    )  # choice: the fewest that level anything
