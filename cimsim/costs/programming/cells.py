"""What a write does to analog cells: which change, with how many pulses, for which energy.

Cells of which the level stays are known from what was written last and left alone; the others take
pulses of one size, each followed by a read, until they are in their window. Energy of a pulse:
`pulse_energy_pJ`, or V^2 G t of the mean of old and new conductance and C V^2 of the lines (the
rule of MLP+NeuroSim V3.0). Not modelled: levels that relaxed since they were written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cimsim.blocks import CrossbarTiles
from cimsim.costs.programming.joint import level_change
from cimsim.costs.programming.levels import level_shares, unrelated
from cimsim.costs.programming.pulses import PulseCounts, chain, erased_uS, geometric, mixed
from cimsim.costs.programming.timing import devices
from cimsim.costs.tile import PJ
from cimsim.mapping import FloatArray, LevelChange, Written
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class CellChange:
    """What becomes of the cells of one value or another, as shares and means of all its cells.

    `changed` is the share whose level differs, `pulse_uS` the sum over the pulses of a cell of
    the conductance (uS) that each drives.
    """

    counts: PulseCounts
    changed: float
    pulse_uS: float


@dataclass(frozen=True, slots=True)
class _Pulsed:
    """How cells are pulsed, and between which conductances."""

    pulses_per_cell: float | None
    window_uS: float | None
    g_min_uS: float
    g_max_uS: float


def change_of(tiles: CrossbarTiles, written: Written) -> CellChange:
    """What becomes of the cells that `written` goes into: as it says, or by default (`levels`)."""
    scheme = tiles.write
    how = _Pulsed(scheme.pulses_per_cell, scheme.window_uS, tiles.g_min_uS, tiles.g_max_uS)
    change = written.change
    if isinstance(change, LevelChange):
        return _known(how, change)
    if change is not None:
        return _known(how, level_change(tiles, change))
    shares = level_shares(tiles, written.narrow)
    return _unknown(how, written.erased, shares.shape, shares.tobytes())


@lru_cache(maxsize=128)
def _known(how: _Pulsed, change: LevelChange) -> CellChange:
    return _between_levels(how, change.share)


@lru_cache(maxsize=32)
def _unknown(how: _Pulsed, erased: bool, shape: tuple[int, int], data: bytes) -> CellChange:
    shares = np.frombuffer(data, np.float64).reshape(shape)
    if not erased:
        return _between_levels(how, unrelated(shares))
    after = shares.mean(axis=0)
    start = np.array([erased_uS(how.window_uS, how.g_min_uS)])
    same = np.arange(after.size)[None, :] == 0
    return _changed(how, after[None, :], start, _levels_uS(how, after.size), same)


def _levels_uS(how: _Pulsed, count: int) -> FloatArray:
    return np.linspace(how.g_min_uS, how.g_max_uS, count)


def _between_levels(how: _Pulsed, share: FloatArray) -> CellChange:
    g_uS = _levels_uS(how, share.shape[0])
    return _changed(how, share, g_uS, g_uS, np.eye(share.shape[0], dtype=bool))


def _changed(
    how: _Pulsed, share: FloatArray, before_uS: FloatArray, after_uS: FloatArray,
    same: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> CellChange:  # fmt: skip
    """Cells of each pair of conductances together; those of the same level take no pulse.

    An erased cell whose level is the least counts as changed where it must be pulsed to get there.
    """
    mean_uS = (before_uS[:, None] + after_uS[None, :]) / 2.0
    if how.window_uS is None:
        assert how.pulses_per_cell is not None
        changed = float(share[~same].sum())
        one = geometric(how.pulses_per_cell)
        driven = how.pulses_per_cell * float((share * mean_uS)[~same].sum())
        return CellChange(PulseCounts(changed * one.beyond), changed, driven)
    # choice: femtosiemens, so that levels that stand evenly have as many distances as levels
    error = np.abs(before_uS[:, None] - after_uS[None, :]).round(9)
    errors, which = np.unique(error, return_inverse=True)
    which = which.reshape(error.shape)
    kinds = chain(how.window_uS, tuple(errors.tolist()))
    weights = np.bincount(which.ravel(), share.ravel(), errors.size)
    means = np.array([kind.mean for kind in kinds])[which]
    changed = float(share[~same | (means > 0.0)].sum())
    driven = float((share * means * mean_uS).sum())
    return CellChange(mixed(list(kinds), weights.tolist()), changed, driven)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class CellWrite:
    """Cells that one write goes into, all together: how many, and how they are pulsed.

    `changed` are those whose level differs, `counts` the pulses of all of them; `tiles` how many
    arrays they are in. `energy_J` by part: pulses, lines, verify.
    """

    cells: int
    tiles: int
    changed: float
    counts: PulseCounts
    energy_J: dict[str, float]

    @property
    def pulses(self) -> float:
        """Expected pulses, all cells together."""
        return self.cells * self.counts.mean

    @property
    def unconverged(self) -> float:
        """Expected cells outside their window at the end."""
        return self.cells * self.counts.unconverged


def cell_write(
    tiles: CrossbarTiles, written: Sequence[Written], changes: Sequence[CellChange], units: int
) -> CellWrite:
    """All of `written` into cells of `units` tiles; `changes[i]` is what `written[i]` does."""
    scheme = tiles.write
    cells = [math.ceil(part.count * devices(tiles, part)) for part in written]
    counts = mixed([change.counts for change in changes], [float(n) for n in cells])
    pulses = sum(cells) * counts.mean
    if scheme.pulse_voltage_V is None:
        energy = {"pulses": pulses * (scheme.pulse_energy_pJ or 0.0) * PJ}
    else:
        square = scheme.pulse_voltage_V**2
        driven_uS = sum(n * c.pulse_uS for n, c in zip(cells, changes, strict=True))
        energy = {"pulses": square * driven_uS * 1e-6 * scheme.pulse_ns * 1e-9}
        if scheme.line_capacitance_fF is not None:
            energy["lines"] = pulses * square * scheme.line_capacitance_fF * 1e-15
    energy["verify"] = pulses * scheme.verify_energy_pJ * PJ
    changed = sum(n * change.changed for n, change in zip(cells, changes, strict=True))
    return CellWrite(sum(cells), units, changed, counts, energy)


def changed_levels(tiles: CrossbarTiles, *, erased: bool = False) -> LevelChange:
    """The default where contents are unknown, as a change of levels between foreign weights.

    With `erased` every cell is at the least level before.
    """
    shares = level_shares(tiles)
    if not erased:
        return LevelChange(unrelated(shares))
    joint = np.zeros((shares.shape[1],) * 2)
    joint[0] = shares.mean(axis=0)
    return LevelChange(joint)
