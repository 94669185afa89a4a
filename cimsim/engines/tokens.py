"""Which execution of a verb moves which token of a buffer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cimsim.engines.program import Get, IntArray, Program, Put, count_in
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class TokenOrder:
    """The tokens that one actor moves at its end of a buffer, numbered from 0 in their order.

    `moves` are the steps that move them, in order; `through` counts the tokens moved up to the
    end of each iteration, or is the tokens of every iteration where they are the same.
    """

    actor: int
    moves: tuple[tuple[int, Get | Put], ...]
    through: int | IntArray

    @classmethod
    def of(
        cls, program: Program, actor: int, kind: type[Get] | type[Put], buffer: int
    ) -> TokenOrder:
        """The order in which `actor` gets from or puts into `buffer`."""
        moves = tuple(
            (step, verb)
            for step, verb in enumerate(program.actors[actor].steps)
            if isinstance(verb, kind) and verb.buffer == buffer
        )
        counts = [verb.count for _, verb in moves]
        total = counts[0]
        for count in counts[1:]:
            total = total + count
        through = np.cumsum(total) if isinstance(total, np.ndarray) else int(total)
        return cls(actor, moves, through)

    def last(self, iteration: int, step: int) -> int:
        """The last token moved when `step` of `iteration` is done, -1 if there is none."""
        moved = self._before(iteration)
        for at, verb in self.moves:
            if at > step:
                break
            moved += count_in(verb, iteration)
        return moved - 1

    def where(self, token: int) -> tuple[int, int]:
        """Iteration and step that move `token`, which is one of those moved in a run."""
        if isinstance(self.through, int):
            iteration = token // self.through
        else:
            iteration = int(np.searchsorted(self.through, token, side="right"))
        rest = token - self._before(iteration)
        for step, verb in self.moves:
            rest -= count_in(verb, iteration)
            if rest < 0:
                return iteration, step
        raise IndexError(f"token {token} is not moved")

    def _before(self, iteration: int) -> int:
        if isinstance(self.through, int):
            return self.through * iteration
        return int(self.through[iteration - 1]) if iteration else 0
