"""When the compiled engine runs many steps at once, see `steps`."""

from __future__ import annotations

import numpy as np

from cimsim.engines import loop as k
from cimsim.engines import steps
from cimsim.engines.encoding import MachineCode
from cimsim.engines.program import Program

_TRACE = 1 << 20
"""Choice: most notes of a step, 32 MB; twice those of LLaMA-405B."""
_ACTORS_A_GRANT = 16
"""Choice: a look at so many actors costs less than what is run for a grant."""
_WAIT_MAX = 64
"""Choice: quiet moments that are passed over where nothing repeats."""
_MISSES_MAX = 3
"""Choice: moments at which nothing repeats before another actor is watched."""


class Stepper:
    """Looks at a run whenever one actor's request is all that is pending.

    Where two such moments are alike, the step that follows is noted, and where it ends alike too,
    further ones are run at once: `steps` of them so far. `covered_ps` is the time in which
    intervals of each group ran in those.
    """

    def __init__(self, program: Program, machine: MachineCode, cells: int, groups: int) -> None:
        self.steps = 0
        self.covered_ps = np.zeros(groups, np.int64)
        self.trace = np.zeros(1 + k.TRACE_WIDTH * _TRACE, np.int64)
        self.trace[k.TRACE_USED] = k.NOT_TRACED
        self._words = machine.words
        self._words[k.WATCHED] = k.ANYBODY
        self._actors = machine.actors_at
        self._places = (
            machine.buffers_at, program.buffer_count, machine.resources_at, len(program.resources),
        )  # fmt: skip
        self._cells = cells
        self._last: tuple[k.Words, k.Words, k.Words] | None = None
        self._misses = self._wait = self._looked = 0

    def quiet(self, log: k.Words) -> None:
        """At a moment at which the run has stopped: look, and make it go on."""
        words = self._words
        words[k.RESUMED] = 1
        words[k.WATCHED] = steps.pending(words)
        if self._wait:
            self._wait -= 1
            return
        grants = int(words[k.GRANTS])
        if (grants - self._looked) * _ACTORS_A_GRANT < self._actors.size:
            return
        self._looked = grants
        *now, latest = steps.state(words, self._actors, *self._places)
        last, noted = self._last, int(self.trace[k.TRACE_USED])
        self.trace[k.TRACE_USED] = k.NOT_TRACED
        self._last = now[0], now[1], now[2]
        if latest > steps.pending_ps(words) or noted == k.TRACE_FULL:
            self._miss()
        elif last is None:
            return
        elif not np.array_equal(last[0], now[0]):
            self._miss()
        elif noted == k.NOT_TRACED:
            self.trace[k.TRACE_USED] = 0
        else:
            self.trace[k.TRACE_USED] = noted
            self._go_on(last[1], last[2], log)

    def _go_on(self, iterations: k.Words, ends: k.Words, log: k.Words) -> None:
        """Run steps like the one noted, then note the next one."""
        words = self._words
        step = steps.lower(
            words, self.trace, self._actors, iterations, self._places[3], self._cells,
            np.zeros(words.size, np.int64),
        )  # fmt: skip
        start = steps.pending_ps(words)
        done, end = steps.replay(words, step, start, log, self.covered_ps)
        self.trace[k.TRACE_USED] = k.NOT_TRACED
        self.steps += done
        if done:
            steps.advance(
                words, self._actors, iterations, step.number, self._places[0], ends, done, end
            )
        if done < steps.BATCH:
            self._miss()
        else:
            self._misses = 0
            *now, _ = steps.state(words, self._actors, *self._places)
            self._last = now[0], now[1], now[2]
            self.trace[k.TRACE_USED] = 0

    def _miss(self) -> None:
        self._misses += 1
        self._wait = min(1 << self._misses, _WAIT_MAX)
        self._last = None
        if self._misses % _MISSES_MAX == 0:
            self._words[k.WATCHED] = k.ANYBODY
