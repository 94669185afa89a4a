"""A converted model and the chip that it runs on: program once, read at any later time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from cimsim.adaptation import Protected
from cimsim.adaptation.layers.masked import MaskedLayer
from cimsim.analog.crossbar import Cuts
from cimsim.analog.hardware import Hardware, hardware_of
from cimsim.errors import MappingError, SpecError
from cimsim.frontend.adapters import unwrap
from cimsim.frontend.dora import with_folded_dora
from cimsim.functional.devices import on_device
from cimsim.functional.groups import GroupedLayer, require_converters
from cimsim.functional.layers import PATHS, AnalogLayer, HalfConv2d, HalfLayer, Path
from cimsim.functional.mode import in_evaluation
from cimsim.functional.operands import Deployment, KeptCells
from cimsim.functional.padding import Padding
from cimsim.functional.seats import seat
from cimsim.functional.sites import (
    Site,
    Unmapped,
    analog,
    check_fit,
    find_sites,
    inputs_by_outputs,
    list_unmapped,
    running,
)
from cimsim.functional.training import Redraw
from cimsim.functional.weights import WeightLayer
from cimsim.mapping import Mapping as WeightMapping
from cimsim.mapping import Placement
from cimsim.noise import Device
from cimsim.spec import Architecture
from cimsim.unit_kinds import kind_named
from cimsim.values.arguments import checked
from cimsim.values.display import brief
from cimsim.values.ranges import LARGEST

Samples = Sequence[Any] | Mapping[str, Any]
SAMPLE_VECTORS = 2048
"""Vectors of a layer's input that calibration looks at."""


@brief
class AnalogModel(nn.Module):
    """`model` as its chip computes it; parameters are those of the model it was made from.

    `digital` names the unit of each mapped weight that is computed digitally; `unmapped` lists
    the weights that the mapping does not know, which stay exact, with the reason. In `train()`
    every forward pass has fresh noise, in `eval()` the noise of the chip. What an attention mask
    leaves out as padding is not given to the tiles, whose outputs there are zero plus bias.
    """

    def __init__(
        self, chip: Chip, model: nn.Module, layers: dict[str, AnalogLayer], t_s: float
    ) -> None:
        super().__init__()
        self.model, self.chip, self.layers, self.t_s = model, chip, layers, t_s
        self.unmapped: tuple[Unmapped, ...] = tuple(
            list_unmapped(chip.model, find_sites(chip.model), chip.mapping)
        )
        placed = running(chip.mapping).items()
        self.digital = {name: p.unit for name, p in placed if name not in layers}
        self.training = model.training
        model.register_forward_pre_hook(self._advance, with_kwargs=True)
        model.register_forward_hook(self._forget_padding, always_call=True)

    def _advance(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        padding = Padding.of(module, args, kwargs)
        for layer in self.layers.values():
            layer.advance()
            layer.padding = padding

    def _forget_padding(self, module: nn.Module, args: Any, output: Any) -> None:
        for layer in self.layers.values():
            layer.padding = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model itself."""
        return self.model(*args, **kwargs)

    def _facts(self) -> dict[str, object]:
        return {
            "model": type(self.chip.model).__name__,
            "draws": self.draws,
            "t_s": self.t_s,
            "analog": len(self.layers),
            "digital": len(self.digital),
            "unmapped": len(self.unmapped),
        }

    @property
    def draws(self) -> int:
        """Chips evaluated side by side."""
        return len(self.chip.seeds)

    def restart(self) -> None:
        """Number vectors from 0 again and forget counts, so that a pass repeats bit for bit."""
        for layer in self.layers.values():
            layer.restart()

    def seek(self, step: int) -> None:
        """The next training pass draws what pass number `step` (from 0) draws."""
        for layer in self.layers.values():
            layer.seek(step)

    def convert(self, adc_bits: int) -> None:
        """Read the same cells through ADCs of so many bits in the same ranges, from 0 again.

        Scales that were fitted to columns through other bits (`recalibrate`) stay as they are.
        """
        for layer in self.layers.values():
            layer.convert(adc_bits)
        self.restart()

    def saturation(self) -> dict[str, float]:
        """Share of saturated conversions by weight, since the last restart."""
        return self._shares("saturated")

    def overflow(self) -> dict[str, float]:
        """Share of conversions whose shifted word overflowed, by weight, since the last restart."""
        return self._shares("overflowed")

    def shortening(self) -> dict[str, float]:
        """Share of conversions whose shift lost bits that were not 0, by weight, likewise."""
        return self._shares("shortened")

    def _shares(self, count: str) -> dict[str, float]:
        return {
            name: getattr(layer.counts, count) / max(1, layer.counts.conversions)
            for name, layer in self.layers.items()
        }


@brief
@dataclass(frozen=True, eq=False)
class Chip:
    """Weights of `model` programmed into the tiles of `mapping`: one chip for each of `seeds`.

    It keeps seeds instead of cells: the state of every cell at any time follows from them and
    from the weights, bit for bit. Changing a weight writes its cells again with the same draw.
    `kept` holds the cells all the same, for reads at several times.
    """

    model: nn.Module
    mapping: WeightMapping
    hardware: Hardware
    seeds: tuple[int, ...]
    kept: KeptCells | None = None

    def at(
        self,
        t_s: float = 0.0,
        *,
        compensate: bool = False,
        samples: Samples | None = None,
        recalibrate: Samples | None = None,
        ranges_of: AnalogModel | None = None,
        path: Path = "auto",
        redraw: Redraw | None = None,
        converters: bool = True,
    ) -> AnalogModel:
        """The model on this chip `t_s` seconds after programming.

        `compensate` applies global drift compensation, one factor a tile. Calibrated converter
        ranges come from the tokens of `samples` (the positional or keyword arguments of one call
        of the model; what their attention mask leaves out does not count) or are those of an
        earlier read-out, `ranges_of`. `recalibrate` fits a scale and an offset to every column of
        every tile as it is now, to the exact results of such tokens. path: `kernel` (CPU), `torch`
        (any device, gradients) or `auto`, by what a call needs. `redraw` says how often training
        sees new noise. Without `converters` every layer is the digital one with the error of its
        cells, none of which is clipped (see `cimsim.functional.weights`): noise on weights and
        nothing else.
        """
        if path not in PATHS:
            raise SpecError(f"path is one of {', '.join(PATHS)}, got {path!r}.")
        twin = _twin(self.model)
        layers: dict[str, AnalogLayer] = {}
        inner = unwrap(twin)
        for name, site in find_sites(twin).items():
            placement = self.mapping.placements.get(name)
            exactness = "exact" if placement is None else kind_named(placement.unit).exactness
            if placement is None or exactness == "exact":
                continue
            if exactness == "half":
                _put(inner, site.path, _on_cluster(name, site))
                continue
            tiles = _narrow(self.hardware) if placement.grid.narrow else self.hardware
            recipe = Deployment(tiles, _grid(placement), t_s, compensate, self.kept)
            layer = self._layer(name, site, placement, recipe, path if converters else None,
                                redraw or Redraw())  # fmt: skip
            _put(inner, site.path, layer)
            layers[name] = layer
        if self.hardware.wires is not None:
            seat(layers, self.mapping)
        result = AnalogModel(self, twin, layers, t_s)
        if ranges_of is not None:
            for name, layer in layers.items():
                layer.take_ranges(ranges_of.layers[name])
        if samples is not None and converters:
            _visit(self.model, layers, samples, "calibrate")
        if recalibrate is not None:
            if not converters:
                raise SpecError(
                    "recalibration reads columns through their converters: leave those in, or "
                    "leave recalibrate out."
                )
            _visit(self.model, layers, recalibrate, "recalibrate")
        return result

    def _layer(
        self, name: str, site: Site, placement: Placement, recipe: Deployment, path: Path | None,
        redraw: Redraw,
    ) -> AnalogLayer:  # fmt: skip
        """What computes one weight; without a path it has no converters."""
        given = name, site.layer, recipe
        copies = self.seeds, placement.replicas
        if path is None:
            require_converters(name, site.layer)
            return WeightLayer(*given, *copies, redraw)
        if placement.grid.groups > 1:
            return GroupedLayer(*given, placement.grid, *copies, path, redraw)
        return AnalogLayer(*given, *copies, path, redraw)


@checked(SpecError)
def program_chip(
    model: nn.Module,
    mapping: WeightMapping,
    architecture: Architecture,
    hardware: Hardware | Device | str | None = None,
    seed: int | Sequence[int] = 0,
    device: str | None = None,
) -> Chip:
    """Program the weights of `model` as `mapping` places them on `architecture`.

    `hardware` is what the tiles do to numbers: that of the architecture file if left out, with
    another device model if only that is given (see `hardware_of`). Several seeds give as many
    chips, evaluated side by side. `device` is where the model computes (cpu, cuda, mps; where it is
    if left out): a copy of it there, with the same cells and the same random numbers as on the CPU.
    Every weight that the mapping puts on analog tiles is multiplied
    by those tiles; on SRAM it stays exact in the model's own precision (digital units of at least
    its bits), on clusters it is computed in FP16. Everything else stays as it is, as does `model`:
    what is read of the chip (`Chip.at`) shares all parameters with it.

    Raises MappingError where model, mapping and architecture do not belong together, SpecError for
    weights that are not finite and for settings that make no sense.
    """
    tiles = _for_outliers(hardware_of(architecture, hardware), mapping)
    model = with_folded_dora(on_device(model, device))
    sites = find_sites(model)
    check_fit(sites, mapping, architecture)
    for name in analog(mapping):
        _require_finite(name, sites[name])
        _require_own_weight(name, sites[name])
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    if not seeds or any(s < 0 for s in seeds) or len(set(seeds)) != len(seeds):
        raise SpecError(f"seeds are different whole numbers of at least 0, got {seeds}.")
    return Chip(model, mapping, tiles, seeds)


def _for_outliers(hardware: Hardware, mapping: WeightMapping) -> Hardware:
    """Tiles that clip nothing where what is clipped is kept apart: that limit is the tile's."""
    if not isinstance(mapping.adaptation, Protected) or not mapping.adaptation.outliers:
        return hardware
    coding = replace(hardware.coding, clip_sigma=None, clip_percentile=None)
    return replace(hardware, coding=coding)


def _on_cluster(name: str, site: Site) -> nn.Module:
    if isinstance(site.layer, nn.Linear):
        return HalfLayer(name, site.layer)
    if isinstance(site.layer, nn.Conv2d):
        return HalfConv2d(name, site.layer)
    raise MappingError(f"{name!r} runs on a cluster, which takes nn.Linear and nn.Conv2d only.")


def _narrow(hardware: Hardware) -> Hardware:
    """Tiles that hold an element of three levels in as few cells as those take.

    That is one of the cells of a weight: a pair of signs has them with a bit each, an offset with
    two bits. That some elements take another cell (1.12 in the mean) is not modelled.
    """
    coding = hardware.coding
    bits = 2 if coding.scheme == "offset" else 1  # counted: three levels, or two of each sign
    cells = 1 if coding.bits_per_cell is None else -(-bits // coding.bits_per_cell)
    return replace(hardware, coding=replace(coding, cells_per_weight=cells))


def side_by_side(inputs: Any, draws: int) -> Any:
    """Tensors of any nesting with the batch repeated once for each chip."""
    from torch.utils._pytree import tree_map

    def repeat(leaf: Any) -> Any:
        return torch.cat([leaf] * draws) if isinstance(leaf, torch.Tensor) else leaf

    return tree_map(repeat, inputs)


def by_draw(output: torch.Tensor, draws: int) -> torch.Tensor:
    """An output of `side_by_side` inputs as [draws, batch, ...]."""
    return output.reshape(draws, -1, *output.shape[1:])


def _twin(model: nn.Module) -> nn.Module:
    """A copy of the module tree around the same parameters and buffers."""
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    if not path:
        raise MappingError("the model is a single layer: wrap it, as in nn.Sequential(layer).")
    model.set_submodule(path, module)


def _grid(placement: Placement) -> Cuts:
    grid = placement.grid
    return Cuts.of((grid.rows, grid.columns), (grid.block_rows, grid.block_columns))


def _require_own_weight(name: str, site: Site) -> None:
    if isinstance(site.layer, MaskedLayer):
        raise MappingError(
            f"{name} has a mask over its weights, which tiles would not see: take adaptation "
            "`piggyback`, which writes the masked weights."
        )


def _require_finite(name: str, site: Site) -> None:
    weight = inputs_by_outputs(site.layer)
    bad = int((~torch.isfinite(weight)).sum())
    if bad:
        raise SpecError(
            f"{name}: {bad} of {weight.numel()} weights are NaN or infinite; repair the "
            "checkpoint before programming it."
        )
    largest = float(weight.abs().max())
    if largest > LARGEST:
        raise SpecError(
            f"{name}: a weight has the magnitude {largest:g}, tiles compute up to {LARGEST:g}; "
            "repair the checkpoint before programming it."
        )


def _visit(
    model: nn.Module, layers: dict[str, AnalogLayer], samples: Samples,
    step: Literal["calibrate", "recalibrate"],
) -> None:  # fmt: skip
    """Run the digital model once; every layer takes the step as its input passes by."""
    waiting = dict(layers)
    args, kwargs = ((), samples) if isinstance(samples, Mapping) else (samples, {})
    padding = Padding.of(model, args, kwargs)
    hooks = []
    for name, site in find_sites(model).items():
        if name in layers:
            hooks.append(site.layer.register_forward_pre_hook(_taker(name, waiting, padding, step)))
    try:
        with in_evaluation(model):
            model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    if waiting:
        raise SpecError(
            f"the samples never reach {', '.join(map(repr, waiting))}, which have to be "
            "calibrated: give samples that use every layer."
        )


def _taker(name: str, waiting: dict[str, AnalogLayer], padding: Padding | None, step: str) -> Any:
    def take(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        layer = waiting.pop(name, None)
        if layer is None:
            return
        layer.padding = padding
        vectors = layer.tokens_of(args[0])
        layer.padding = None
        if not len(vectors):
            raise SpecError(f"{name}: the samples hold no token to calibrate it on.")
        getattr(layer, step)(_thinned(vectors))

    return take


def _thinned(flat_BK: torch.Tensor) -> torch.Tensor:
    """At most so many vectors, whose choice depends on what is in them and not on their order."""
    if len(flat_BK) <= SAMPLE_VECTORS:
        return flat_BK
    places = torch.linspace(0, len(flat_BK) - 1, SAMPLE_VECTORS, dtype=torch.float64).round()
    # Projections on one line: norms are equal behind a normalisation.
    line = torch.arange(1.0, flat_BK.shape[1] + 1.0, device=flat_BK.device).cos()
    return flat_BK[(flat_BK.to(torch.float32) @ line).argsort()[places.long()]]
