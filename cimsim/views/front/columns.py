"""Axes and objectives of a study as they are drawn: numbers with SI units, or categories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cimsim.exploration.effects import ordered, spans_decades, told
from cimsim.units import prefix_of
from cimsim.values.display import brief
from cimsim.values.plaintext import literal, shortened

F64 = npt.NDArray[np.float64]
PLAIN = ("s", "J", "W")
"""Unprefixed units of results, drawn with the prefix that fits."""
PRINTED = ("mm2", "um2", "ps", "ns", "us", "ms", "fJ", "pJ", "nJ", "uJ", "mJ", "nW", "uW", "mW",
           "V", "uA", "fF", "nm", "MHz", "GHz", "KiB", "MiB", "GiB")  # fmt: skip
"""Units at the end of the keys of objectives that are drawn as they are."""
FEW = 7
"""Choice: distinct numbers of an axis that are all named beside it."""
MOST_CATEGORIES = 16
"""Choice: categories of an axis that are named beside it; of more, an even choice."""


@brief
@dataclass(frozen=True)
class Column:
    """An axis or objective: its exact value at each point as text, and where it is drawn.

    `numbers` are in the unit of `label`; of categories they are positions, 0 for the first.
    """

    key: str
    label: str
    texts: tuple[str, ...]
    numbers: F64
    unit: str = ""
    categories: tuple[str, ...] = ()
    log: bool = False
    maximise: bool = False

    @property
    def heights(self) -> F64:
        """Where each point lies between the lowest (0) and highest (1) value; 0.5 where all are
        equal.
        """
        return self.height_of(self.numbers)

    def height_of(self, numbers: F64) -> F64:
        """Where `numbers` lie between the ends of this column."""
        low, high = self.numbers.min(), self.numbers.max()
        if low == high:
            return np.full(len(numbers), 0.5)
        if self.log:
            return np.asarray(np.log(numbers / low) / np.log(high / low))
        return np.asarray((numbers - low) / (high - low))

    def ticks(self) -> list[tuple[float, str]]:
        """Heights to name and what stands there."""
        if self.categories:
            step = -(-len(self.categories) // MOST_CATEGORIES)
            chosen = range(0, len(self.categories), step)
            at, names = np.array(chosen, np.float64), [self.categories[i] for i in chosen]
        else:
            at = _marks(self.numbers, self.log)
            names = [f"{value:.4g}" for value in at.tolist()]
        return list(zip(self.height_of(at).tolist(), names, strict=True))


def objective(key: str, values: Sequence[float], *, maximise: bool) -> Column:
    """The column of an objective: finite numbers, in SI units by the end of its key."""
    numbers = np.asarray(values, np.float64)
    name, unit, factor = _scaled(key, numbers)
    texts = tuple(repr(float(value)) for value in values)
    return Column(key, _label(name, unit), texts, numbers / factor, unit,
                  log=spans_decades(numbers), maximise=maximise)  # fmt: skip


def axis(key: str, values: Sequence[Any]) -> Column:
    """The column of an axis: numbers, whose unit stands in its name, or else categories."""
    texts = tuple(told(value) for value in values)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        numbers = np.asarray(values, np.float64)
        return Column(key, key, texts, numbers, log=spans_decades(numbers))
    names = [told(value) for value in ordered(values)]
    place = {name: number for number, name in enumerate(names)}
    at = np.array([place[text] for text in texts], np.float64)
    return Column(key, key, texts, at, categories=tuple(names))


def exact(column: Column, point: int) -> str:
    """A value as people read it, in a fitting unit; that of a category as it is."""
    if column.categories:
        return column.texts[point]
    return f"{column.numbers[point]:.4g}{f' {column.unit}' if column.unit else ''}"


def short(text: str, most: int = 28) -> str:
    """A name beside an axis: no control characters, its middle left out where it is long."""
    return shortened(literal(text), most)


def _label(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _scaled(key: str, numbers: F64) -> tuple[str, str, float]:
    """The name without its unit, the unit with a fitting prefix, and the factor of the prefix."""
    name, _, unit = key.rpartition("_")
    if name and unit in PLAIN:
        factor, prefix = prefix_of(float(np.median(np.abs(numbers))))
        return name, _typeset(f"{prefix}{unit}"), factor
    return (name, _typeset(unit), 1.0) if name and unit in PRINTED else (key, "", 1.0)


def _typeset(unit: str) -> str:
    return f"{unit[:-1]}²" if unit.endswith("2") else re.sub("^u", "µ", unit)


def _marks(numbers: F64, log: bool) -> F64:
    """Numbers to name beside an axis: each of a few, else round ones between the ends."""
    distinct = np.unique(numbers)
    if len(distinct) <= FEW:
        return distinct
    low, high = float(distinct[0]), float(distinct[-1])
    if log:
        round_ones = decades(numbers)
    else:
        step = _round_step((high - low) / FEW)
        round_ones = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    inside = round_ones[(round_ones >= low) & (round_ones <= high)]
    if len(inside) > 2 * FEW:
        inside = inside[:: -(-len(inside) // FEW)]
    return inside if len(inside) >= 2 else np.array([low, high])


def decades(numbers: F64) -> F64:
    """1, 2 and 5 times powers of ten, from one power around `numbers` to the other."""
    ends = np.log10([numbers.min(), numbers.max()])
    powers = range(int(np.floor(ends[0])), int(np.ceil(ends[1])) + 1)
    return np.array([digit * 10.0**power for power in powers for digit in (1, 2, 5)])


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least))
