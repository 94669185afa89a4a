"""How many tokens a model has learned positions for, read from the rows that it looks up.

RoBERTa begins behind its padding id, OPT and BART at row 2: the table has more rows than the
model has positions, and no field of the configuration says by how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend.graph import ParameterNames
from cimsim.frontend.recording import Call, Recording, Value


@dataclass(frozen=True)
class PositionTable:
    """A table with one row a position, the first of which is row `first`."""

    parameter: str
    rows: int
    first: int

    @property
    def tokens(self) -> int:
        """The longest sequence that it has positions for."""
        return self.rows - self.first


def check_positions(model: nn.Module, probe: Recording, wanted: Mapping[int, int]) -> None:
    """Raises WorkloadError if a table has too few rows.

    `wanted` says, for each sequence length in `probe`, how long that sequence shall become.
    """
    names = ParameterNames(model)
    for call in probe.calls:
        found = _table(call)
        if found is None or found[1] not in wanted:
            continue
        weight, length, first = found
        assert weight.parameter is not None
        name = names.find(weight.parameter, probe.frames[call.frame].path)
        table = PositionTable(name, weight.shape[0], first)
        if wanted[length] > table.tokens:
            raise WorkloadError(
                f"{wanted[length]} tokens were asked, but {type(model).__name__} has positions for "
                f"{table.tokens}: {table.parameter} has {table.rows} rows and positions begin at "
                f"row {table.first}. Lower prefill or decode."
            )


def position_limit(probe: Recording) -> int | None:
    """The most tokens that the position tables looked up in `probe` have rows for."""
    tables = [table for call in probe.calls if (table := _table(call)) is not None]
    # A table of token types has fewer rows than a probe has tokens.
    return min((w.shape[0] - first for w, n, first in tables if w.shape[0] >= n), default=None)


def _table(call: Call) -> tuple[Value, int, int] | None:
    """Table, sequence length and first row of a look-up of consecutive rows."""
    if call.op not in ("embedding", "index", "index_select"):
        return None
    values = call.inputs
    if len(values) != 2 or values[0].parameter is None or len(values[0].shape) != 2:
        return None
    rows = values[1].shadow
    if rows is None or rows.dtype == torch.bool or rows.dim() == 0 or rows.shape[-1] < 2:
        return None
    first = rows.reshape(-1)[0]
    consecutive = first + torch.arange(rows.shape[-1])
    if not bool((rows == consecutive).all()):
        return None
    return values[0], rows.shape[-1], int(first)
