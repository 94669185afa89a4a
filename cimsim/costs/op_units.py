"""Time and energy of operations on units that take what a table says.

A row goes through one unit in the entry of the least size that holds it; a row longer than all
entries takes several passes of the longest. Attention is all of a sequence in one run: scores,
softmax and values of all heads, in the fastest entry that holds its queries, keys and values.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from cimsim.blocks import OpCost, OpUnits
from cimsim.costs.cluster import FUNCTIONS
from cimsim.errors import MappingError
from cimsim.values.display import shown

ATTENTION = "attention"
ROW_OPS = (
    "argmax", "group_norm", "layer_norm", "move", "reduce", "rms_norm", "softmax",
)  # fmt: skip
KNOWN_OPS = (ATTENTION, *ROW_OPS, *FUNCTIONS)
"""What tables may list: attention, ops on rows, and elementwise functions by torch's names."""
_SIZE_MAX = 2**31 - 1
"""Choice: as large as any count of a machine file."""


@dataclass(frozen=True, slots=True)
class OpWork:
    """One run of an op: a row of `values`, or `queries` of `values` each that see `keys` tokens."""

    op: str
    values: int
    queries: int = 0
    keys: int = 0

    @property
    def sizes(self) -> str:
        """Its size as a table would name it."""
        if self.op == ATTENTION:
            return f"{self.queries}x{self.keys}x{self.values}"
        return str(self.values)


def parsed_size(op: str, text: str) -> tuple[int, ...]:
    """The size that a key names: values, or queries, keys and values. ValueError for others."""
    parts = text.split("x")
    # counted: tokens and values, or queries, keys and values; values of a row
    counts = (2, 3) if op == ATTENTION else (1,)
    if len(parts) not in counts or not all(p.isascii() and p.isdigit() for p in parts):
        wanted = "64x512 or 1x64x512" if op == ATTENTION else "512"
        raise ValueError(f"{op} has size {shown(text)}: write it like {wanted}")
    found = tuple(int(part) for part in parts)
    if not all(0 < size <= _SIZE_MAX for size in found):
        raise ValueError(f"{op} has size {shown(text)}: each number is 1 to {_SIZE_MAX}")
    # counted: a prompt has as many keys as queries
    return (found[0], *found) if len(found) == 2 else found


def check_tables(units: Mapping[str, OpUnits]) -> None:
    """Raise ValueError for ops that nobody knows, that two units have, and sizes that are none."""
    owner: dict[str, str] = {}
    for name, unit in units.items():
        for op, sizes in unit.ops.items():
            if op not in KNOWN_OPS:
                near = difflib.get_close_matches(op, KNOWN_OPS) or KNOWN_OPS
                raise ValueError(
                    f"op_units.{name}.ops lists {shown(op)}, which is no op of a workload: name "
                    f"one of {', '.join(near)}"
                )
            if op in owner:
                raise ValueError(
                    f"op_units.{owner[op]} and op_units.{name} both list {op}: leave it to one"
                )
            owner[op] = name
            parsed = [parsed_size(op, text) for text in sizes]
            if len(set(parsed)) < len(parsed):
                raise ValueError(f"op_units.{name}.ops.{op} names a size twice: keep one")


def owners(units: Mapping[str, OpUnits] | None) -> dict[str, str]:
    """Op -> the units whose table lists it."""
    return {op: name for name, unit in (units or {}).items() for op in unit.ops}


def cost_of(units: Mapping[str, OpUnits], name: str, work: OpWork) -> tuple[float, float]:
    """Time (ns) and energy (nJ) of `work` on one of the units `name`.

    Raises MappingError for attention larger than all entries.
    """
    sizes = {parsed_size(work.op, text): entry for text, entry in units[name].ops[work.op].items()}
    if work.op == ATTENTION:
        entry = _attention(name, work, sizes)
        return entry.time_ns, entry.energy_nJ
    held = min((size for (size,) in sizes if size >= work.values), default=None)
    longest = max(size for (size,) in sizes)
    entry = sizes[held or longest,]
    passes = 1 if held is not None else -(-work.values // longest)
    return passes * entry.time_ns, passes * entry.energy_nJ


def _attention(name: str, work: OpWork, sizes: Mapping[tuple[int, ...], OpCost]) -> OpCost:
    wanted = work.queries, work.keys, work.values
    holding = [
        entry
        for size, entry in sizes.items()
        if all(have >= want for have, want in zip(size, wanted, strict=True))
    ]
    if not holding:
        raise MappingError(
            f"attention of {work.queries} queries, {work.keys} keys and {work.values} values was "
            f"asked of op_units.{name}, whose largest entries hold "
            f"{', '.join('x'.join(map(str, size)) for size in _largest(sizes))}: add one to its "
            "table, or shorten the sequence"
        )
    return min(holding, key=lambda entry: (entry.time_ns, entry.energy_nJ))


def _largest(sizes: Mapping[tuple[int, ...], OpCost]) -> list[tuple[int, ...]]:
    """Sizes that no other one holds."""
    return [
        a
        for a in sizes
        if not any(b != a and all(y >= x for x, y in zip(a, b, strict=True)) for b in sizes)
    ]
