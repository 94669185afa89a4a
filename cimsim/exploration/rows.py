"""A row: what one point came to, or why it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cimsim.exploration.space import Settings
from cimsim.values.display import brief

Scalar = float | str | None
Status = Literal["done", "infeasible", "pruned"]


@brief
@dataclass(frozen=True)
class Row:
    """What a point came to: `values` by output key, or the `shortage` of one that does not fit.

    `digest` is the point's; `seconds` is the time that evaluating it took. A pruned one was not
    run: its `bounds` (`at_least.KEY`, `at_most.KEY`) break a limit, which `shortage` names, or are
    beaten by the row with the digest `beaten_by`.
    """

    digest: str
    settings: Settings
    status: Status
    values: Mapping[str, Scalar]
    shortage: str
    seconds: float
    bounds: Mapping[str, float] = field(default_factory=dict)
    beaten_by: str = ""

    def flat(self) -> dict[str, object]:
        """Settings, status and values beside each other, for a table; an output called like an
        axis has `output.` before it.
        """
        twice = {key: f"output.{key}" for key in self.values if key in self.settings}
        values = {twice.get(key, key): value for key, value in self.values.items()}
        head = {"status": self.status, "shortage": self.shortage, "seconds": self.seconds}
        flat = {**self.settings, **values, **self.bounds, **head, "digest": self.digest}
        return flat | {"beaten_by": self.beaten_by} if self.beaten_by else flat
