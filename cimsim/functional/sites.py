"""Which modules of a torch model a mapping speaks of, and whether both belong together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from cimsim.adaptation import Protected, outliers_of
from cimsim.adaptation.layers.columns import ColumnLayer
from cimsim.adaptation.layers.protected import ProtectedLinear
from cimsim.errors import MappingError, SpecError
from cimsim.frontend.adapters import adapters_in_use, several_act, unwrap
from cimsim.frontend.graph import adapted_by, clean
from cimsim.mapping import Mapping, Placement
from cimsim.spec import Architecture
from cimsim.unit_kinds import RRAM, are_arrays, holding, kind_named
from cimsim.values.arguments import checked

Layer = nn.Linear | Conv1D | nn.Conv2d
SHOWN = 5


@dataclass(frozen=True, eq=False)
class Site:
    """A module with a weight that multiplies activations; `name` is the weight's in a workload."""

    name: str
    path: str
    layer: Layer

    @property
    def shape(self) -> tuple[int, int]:
        """Inputs and outputs of the weight, those of all groups together."""
        inputs, outputs = inputs_by_outputs(self.layer).shape
        return self.groups * inputs, outputs

    @property
    def groups(self) -> int:
        """Groups of a convolution; 1 of all else."""
        return self.layer.groups if isinstance(self.layer, nn.Conv2d) else 1


@dataclass(frozen=True)
class Unmapped:
    """A weight that stays as it is in the converted model, and why."""

    weight: str
    why: str


def inputs_by_outputs(layer: Layer) -> torch.Tensor:
    """The weight as crossbars hold it, [inputs of a group, outputs], a view."""
    weight = layer.weight.detach()
    return weight if isinstance(layer, Conv1D) else weight.flatten(1).T


@checked(SpecError)
def find_sites(model: nn.Module) -> dict[str, Site]:
    """Every linear layer of `model` by the name that tracing gives its weight.

    Only adapters in use count, and of modules that PEFT saves with an adapter only the copy
    in use. Raises WorkloadError for whatever else PEFT put on the model (`adapters_in_use`).
    """
    adapters_in_use(model)
    several = several_act(model)
    inner = unwrap(model)
    adapters = dict(_active_adapters(inner))
    idle = tuple(_idle_copies(inner))
    found: dict[str, Site] = {}
    for path, module in inner.named_modules():
        if not isinstance(module, Layer) or f"{path}.".startswith(idle):
            continue
        owner, _, adapter = path.rpartition(".")
        wrapper, _, part = owner.rpartition(".")
        if part in ("lora_A", "lora_B") and adapter not in adapters.get(wrapper, (adapter,)):
            continue
        name = clean(f"{path}.weight", several=several)
        found[name] = Site(name, path, module)
    return found


def _active_adapters(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for path, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "active_adapters"):
            off = getattr(module, "disable_adapters", False) or getattr(module, "merged", False)
            yield path, () if off else tuple(module.active_adapters)


def _idle_copies(model: nn.Module) -> Iterator[str]:
    """Beginnings of the paths of copies that PEFT keeps for other adapters, or for none."""
    for path, module in model.named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            active = [] if module.disable_adapters else module.active_adapters
            copies = module.modules_to_save
            used = active[0] if active and active[0] in copies else None
            if used is not None:
                yield f"{path}.original_module."
            yield from (f"{path}.modules_to_save.{name}." for name in copies if name != used)


def check_fit(sites: dict[str, Site], mapping: Mapping, architecture: Architecture) -> None:
    """Raise MappingError, with names, unless the three belong together."""
    if mapping.architecture != architecture.name:
        raise MappingError(
            f"the mapping was made for architecture {mapping.architecture!r}, not for "
            f"{architecture.name!r}: call build_mapping with the one that is to run the model."
        )
    _check_tiles(mapping, architecture)
    check_layers(sites, mapping)
    _check_columns(sites, mapping)
    _check_protected(sites, mapping)


def check_layers(sites: dict[str, Site], mapping: Mapping) -> None:
    """Raise MappingError, with names, unless model and mapping are of the same layers."""
    _check_adapter(sites, mapping)
    _check_names(sites, mapping)


def _check_protected(sites: dict[str, Site], mapping: Mapping) -> None:
    """What `protected` prices is in the model, and what is in the model is priced."""
    adaptation = mapping.adaptation
    wanted = isinstance(adaptation, Protected) and adaptation.changes
    made = any(isinstance(site.layer, ProtectedLinear) for site in sites.values())
    if wanted and not made:
        raise MappingError(
            f"the mapping of {mapping.workload!r} rescales inputs or keeps outliers apart, the "
            "model does neither: give what cimsim.functional.protected makes of it."
        )
    if made and not wanted:
        raise MappingError(
            f"the model is rescaled or has outliers apart, the mapping of {mapping.workload!r} has "
            f"adaptation {adaptation.name!r}: map with protected."
        )
    for name, p in mapping.placements.items():
        if p.grid.nonzeros is None:
            continue
        owner = next((site for key, site in sites.items() if outliers_of(key) == name), None)
        rest = None if owner is None else getattr(owner.layer, "rest", None)
        held = 0 if rest is None else int(rest.values().numel())
        if held > p.grid.nonzeros:
            raise MappingError(
                f"{name!r} has {held} nonzeros, the mapping has places for {p.grid.nonzeros}: make "
                "the model for this mapping."
            )


def _check_columns(sites: dict[str, Site], mapping: Mapping) -> None:
    """Numbers on columns are those of one array size."""
    for name, placement in mapping.placements.items():
        layer = sites[name].layer if name in sites else None
        if not isinstance(layer, ColumnLayer) or layer.columns.rows == placement.grid.block_rows:
            continue
        raise MappingError(
            f"{name!r} has masks for arrays of {layer.columns.rows} rows, the mapping cuts it for "
            f"{placement.grid.block_rows}: masks are those of one array size; train them for this "
            "one."
        )


def _check_tiles(mapping: Mapping, architecture: Architecture) -> None:
    units = architecture.units
    for name, p in analog(mapping).items():
        if p.unit != RRAM.name:
            raise MappingError(
                f"the mapping puts {name!r} on {p.unit!r} units: noise is known of the tiles in "
                f"`{RRAM.name}` alone. Map it there, or let its kind of unit be an exact one."
            )
        if p.turn is not None:
            raise MappingError(
                f"{name!r} takes turns with other weights on its tiles (mapper "
                f"{mapping.mapper!r}) and is programmed anew in every run, which is not followed "
                "here: map it with one-per-tile on a machine with enough tiles (rram.tile_count), "
                "whose cells at time 0 have the noise of one such programming."
            )
        arrays = units.get(p.unit)
        arrays = None if arrays is None else holding(arrays, p.grid.narrow)
        tile = arrays.shape if arrays is not None and are_arrays(arrays) else None
        block = (p.grid.block_rows, p.grid.block_columns)
        if block != tile:
            now = "no tiles" if tile is None else f"tiles of {tile[0]}x{tile[1]} weights"
            raise MappingError(
                f"the mapping cuts {name!r} for tiles of {block[0]}x{block[1]} weights, "
                f"architecture {architecture.name!r} now has {now}: map again."
            )


def _check_adapter(sites: dict[str, Site], mapping: Mapping) -> None:
    """A layer on a unit whose LoRA branch has none would compute without a part of itself."""
    placed = mapping.placements
    left = [name for name in sites if adapted_by(name) in placed and name not in placed]
    if left:
        raise MappingError(
            f"the mapping was made with adaptation {mapping.adaptation.name!r}, but the model "
            f"carries {_some(left)}, which it has no unit for: merge the adapter "
            "(merge_and_unload), disable or remove it, or map for another adaptation."
        )


def _check_names(sites: dict[str, Site], mapping: Mapping) -> None:
    placed = {n: p for n, p in running(mapping).items() if p.role != "outliers"}
    missing = [name for name in placed if name not in sites]
    if missing:
        raise MappingError(
            f"the mapping of {mapping.workload!r} places {_some(missing)}, which the model has no "
            "linear layer for: it was made for another model, adapter or adaptation."
        )
    for name, p in placed.items():
        here, there = sites[name], p.grid
        if (*here.shape, here.groups) != (there.rows, there.columns, there.groups):
            raise MappingError(
                f"{name!r} is {_size(*here.shape, here.groups)} in the model and "
                f"{_size(there.rows, there.columns, there.groups)} in the mapping of "
                f"{mapping.workload!r}: it was made for another model."
            )


def _size(rows: int, columns: int, groups: int) -> str:
    return f"{rows}x{columns}" + (f" in {groups} groups" if groups > 1 else "")


def list_unmapped(model: nn.Module, sites: dict[str, Site], mapping: Mapping) -> list[Unmapped]:
    """Weights of two or more dimensions that the mapping gives no unit."""
    found = []
    several = several_act(model)
    for raw, tensor in unwrap(model).named_parameters(remove_duplicate=False):
        name = clean(raw, several=several)
        if tensor.dim() < 2 or name in mapping.placements or ".original_module." in f".{raw}":
            continue
        why = "not in the mapping: stays exact" if name in sites else "no linear layer: digital"
        found.append(Unmapped(name, why))
    return found


def analog(mapping: Mapping) -> dict[str, Placement]:
    """Placements on analog units; raises MappingError for a kind of unit that nobody knows.

    Without those of differences that other tasks have beside a weight.
    """
    placed = running(mapping).items()
    return {name: p for name, p in placed if kind_named(p.unit).exactness == "analog"}


def running(mapping: Mapping) -> dict[str, Placement]:
    """Placements that a task reads: of differences beside a weight, which are narrow, the first.

    Those of the others stand on arrays that no vector is driven into.
    """
    placed = mapping.placements
    idle = {n for n, p in placed.items() if p.grid.narrow and n.rpartition(".")[0] in placed}
    return {name: p for name, p in placed.items() if name not in idle}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in islice(names, SHOWN)) + more
