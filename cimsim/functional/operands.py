"""One programmed copy of one weight: how it is read, and its operands for either path."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from cimsim.analog.compensation import compensated
from cimsim.analog.converters import Dac
from cimsim.analog.crossbar import Crossbar, Cuts, Readout, program
from cimsim.analog.hardware import Hardware
from cimsim.analog.kernels.philox import normals
from cimsim.analog.layout import TileRow, tile_row
from cimsim.analog.mvm import Mvm, adc_full_scale, row_converter
from cimsim.analog.places import TilePlace
from cimsim.values.display import brief

F32 = npt.NDArray[np.float32]


@brief
@dataclass(eq=False)
class KeptCells:
    """The programmed cells of one chip, so that a read at another time need not program them again.

    What is read has the same bits with them and without. A weight that changed is programmed anew.
    """

    held: dict[int, tuple[tuple[object, ...], Crossbar]] = field(default_factory=dict)

    def crossbar(
        self, seed: int, state: tuple[object, ...], made: Callable[[], Crossbar]
    ) -> Crossbar:  # fmt: skip
        """The copy of `seed` if it was programmed in this state, else what `made` programs."""
        found = self.held.get(seed)
        if found is None or found[0] != state:
            self.held.pop(seed, None)  # frees its memory first
            found = self.held[seed] = state, made()
        return found[1]


@brief
@dataclass(frozen=True)
class Deployment:
    """How every copy of a weight is cut, programmed and read; `kept` are cells to read again."""

    hardware: Hardware
    grid: Cuts
    t_s: float
    compensate: bool
    kept: KeptCells | None = None


@brief
@dataclass(frozen=True, eq=False)
class Ranges:
    """Converter ranges of one copy: the DAC and, by row of tiles and slice, the ADCs."""

    dac: Dac
    full_scale_TS: F32


def seed_for(seed: int, weight: str, replica: int) -> int:
    """64-bit seed of one copy of a weight; `seed` is that of the chip."""
    text = f"{seed} {replica} {weight}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


Places = tuple[TilePlace, ...] | None
"""Where the blocks of a copy stand in their tiles, by number; None: each fills one."""


def read_out(
    weight_KN: torch.Tensor,
    recipe: Deployment,
    seed: int,
    places: Places = None,
    ranges: Ranges | None = None,
) -> Readout:
    """Program a copy from its seed and read it at the recipe's time.

    `ranges` are those of converters that compensation is read through, where they are calibrated.
    """
    bar, hardware = programmed(weight_KN, recipe, seed, places), recipe.hardware
    mode = hardware.read_noise
    if not (recipe.compensate and hardware.compensation == "converters"):
        return bar.read(recipe.t_s, read_noise=mode, compensate=recipe.compensate)
    now, before = (bar.read(t_s, read_noise=mode) for t_s in (recipe.t_s, 0.0))
    known = ranges or _plain_ranges(now, hardware)
    later, first = (seed_for(seed, f"compensation at {t_s!r} s", 0) for t_s in (recipe.t_s, 0.0))
    return compensated(
        now, before, known.dac, hardware.adc, known.full_scale_TS, (later, first)
    )  # fmt: skip


def programmed(
    weight_KN: torch.Tensor, recipe: Deployment, seed: int, places: Places = None
) -> Crossbar:
    """A copy, programmed from its seed; kept where the recipe says so."""
    hardware, kept = recipe.hardware, recipe.kept

    def made() -> Crossbar:
        weight = weight_KN.detach().to("cpu", torch.float32).numpy()
        return program(
            weight, recipe.grid, hardware.coding, hardware.device,
            seed=seed, wires=hardware.wires, places=places, keep_cells=kept is not None,
        )  # fmt: skip

    if kept is None:
        return made()
    state = weight_KN.data_ptr(), weight_KN._version, hardware.coding, recipe.grid
    return kept.crossbar(seed, state, made)


def clipped_away(weight_KN: torch.Tensor, recipe: Deployment) -> F32:
    """What clipping takes from a weight [K, N]: 0 where its cells are aimed at all of it."""
    weight = weight_KN.detach().to("cpu", torch.float32).numpy()
    coding, away = recipe.hardware.coding, np.zeros(weight.shape, np.float32)
    if coding == coding.unclipped():
        return away
    tensor = coding.scale(weight) if coding.scaling == "tensor" else None
    for _, _, rows, columns in recipe.grid.tiles():
        tile = weight[rows, columns]
        scale = coding.scale(tile) if tensor is None else tensor[columns]
        away[rows, columns] = tile - np.clip(tile, -scale, scale)
    return away


def weight_errors(
    weight_KN: torch.Tensor, recipe: Deployment, seed: int, places: Places = None
) -> F32:
    """What a copy, programmed from its seed, holds more than its targets, as weights [K, N]."""
    bar = programmed(weight_KN, recipe, seed, places)
    return bar.errors(
        recipe.t_s, read_noise=recipe.hardware.read_noise, compensate=recipe.compensate
    )


def find_ranges(readout: Readout, hardware: Hardware, samples_BK: F32 | None) -> Ranges:
    """Converter ranges, from sample inputs where they are calibrated."""
    dac, adc = hardware.dac, hardware.adc
    if dac.range == "calibrated" and samples_BK is not None:
        dac = dac.calibrated(samples_BK)
    built = Mvm.build(readout, dac, adc, samples_BK)
    return Ranges(built.dac, built.full_scale_TS)


def kernel_operands(readout: Readout, hardware: Hardware, ranges: Ranges | None) -> Mvm:
    """The copy for the numerical kernels, without the conductances they were laid out from."""
    nothing = np.empty((0, 0, 0), np.float32)
    lean = replace(readout, steps_SKN=nothing)
    if ranges is None:
        return replace(Mvm.build(readout, hardware.dac, hardware.adc), readout=lean)
    tiles: tuple[TileRow, ...] = tuple(
        tile_row(readout, ranges.dac, t) for t in range(len(readout.gain_TN))
    )
    plain = Mvm(lean, ranges.dac, hardware.adc, tiles, ranges.full_scale_TS, ())
    converters = tuple(row_converter(plain, t, row) for t, row in enumerate(ranges.full_scale_TS))
    return replace(plain, converters=converters)


@brief
@dataclass(frozen=True, eq=False)
class TorchOperands:
    """The copy as tensors: `steps_KSN` and the rest of a `Readout`, converter ranges."""

    hardware: Hardware
    dac: Dac
    rows: tuple[slice, ...]
    steps_KSN: torch.Tensor
    variance_KSN: torch.Tensor | None
    gain_TN: torch.Tensor
    offset_TN: torch.Tensor
    significance_S: torch.Tensor
    full_scale_TS: torch.Tensor
    has_offset: bool

    @property
    def unit(self) -> float:
        """A full input on one cell at g_max, in DAC codes times steps."""
        coding = self.hardware.coding
        return coding.g_max_uS / coding.step_uS * self.dac.pulse_max


def torch_operands(
    readout: Readout, hardware: Hardware, ranges: Ranges | None, device: torch.device
) -> TorchOperands:
    """The copy as tensors on `device`."""
    if ranges is None:
        ranges = _plain_ranges(readout, hardware)

    def tensor(array: F32) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    spread = readout.variance_SKN
    return TorchOperands(
        hardware,
        ranges.dac,
        tuple(readout.grid.row_tiles()),
        tensor(readout.steps_SKN.transpose(1, 0, 2)),
        None if spread is None else tensor(spread.transpose(1, 0, 2)),
        tensor(readout.gain_TN),
        tensor(readout.offset_TN),
        tensor(readout.significance_S),
        tensor(ranges.full_scale_TS),
        bool(readout.offset_TN.any()),
    )


def _plain_ranges(readout: Readout, hardware: Hardware) -> Ranges:
    """Ranges that need no samples, without laying the conductances out for the kernels."""
    tiles = tuple(TileRow(rows, None, None, None, None) for rows in readout.grid.row_tiles())
    plain = Mvm(readout, hardware.dac, hardware.adc, tiles, np.ones((1, 1), np.float32), ())
    if hardware.dac.range == "calibrated":
        return Ranges(Mvm.build(readout, hardware.dac, hardware.adc).dac, plain.full_scale_TS)
    return Ranges(hardware.dac, adc_full_scale(plain, None))


Normals = Callable[[int, int], torch.Tensor]
"""Standard normals of a row of tiles (first argument) and stream p S + s, [B, N]."""


def counted_normals(
    seed: int, vectors: int, columns: int, first_vector: int, device: torch.device
) -> Normals:
    """The very numbers that the kernels draw."""

    def draw(t: int, stream: int) -> torch.Tensor:
        z = normals(seed, t, vectors, columns, stream=stream, first_vector=first_vector)
        return torch.from_numpy(np.ascontiguousarray(z)).to(device)

    return draw


def generated_normals(
    vectors: int, columns: int, source: torch.Generator, device: torch.device
) -> Normals:
    """Numbers of a torch generator of the CPU, for training: the same on every device."""

    def draw(t: int, stream: int) -> torch.Tensor:
        return torch.randn((vectors, columns), generator=source).to(device)

    return draw
