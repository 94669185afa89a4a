"""Other values of a machine's component models, such as `rram.models.adc.anchor.adc_energy_pJ`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cimsim.costs.components.catalog import COMPONENTS
from cimsim.costs.components.component import Component
from cimsim.costs.components.filling import from_model
from cimsim.errors import SpecError
from cimsim.values.display import shown


def names_model(path: str) -> bool:
    """Whether a field path leads into the models of a block."""
    return path.split(".")[1:2] == ["models"]


def put_model_value(data: dict[str, Any], path: str, value: Any, why: str) -> None:
    """Set a value of a model in `data`, the content of a machine file.

    None for the component takes its model out: its numbers stay, with the source `why`. A `kind`
    starts a model without anchor; numbers that it gives give way. Raises SpecError for a path that
    names no component of the block.
    """
    block, _, *parts = path.split(".")
    known = COMPONENTS.get(block, {})
    if block not in data or not parts or parts[0] not in known:
        named = ", ".join(f"{block}.models.{name}" for name in known) or "no models"
        raise SpecError(f"{shown(path)} cannot be set: `{block}` has {named}.")
    component, *fields = parts
    holder = data[block]
    models = holder.setdefault("models", {})
    if not fields:
        if value is not None:
            raise SpecError(
                f"{shown(path)} cannot be set to {shown(value)}: set its kind, or null."
            )
        _take_out(holder, component, why)
    elif fields == ["kind"]:
        _take_out(holder, component, why)
        models[component] = {"kind": value, "sources": {}}
        for name in known[component][value].gives if value in known[component] else ():
            holder.pop(name, None)
            holder["sources"].pop(name, None)
    elif component not in models:
        raise SpecError(
            f"{shown(path)} cannot be set: {block} has no model of its {component}. Set "
            f"{block}.models.{component}.kind first ({', '.join(known[component])})."
        )
    else:
        _put_parameter(models[component], known[component], path, fields, value, why)


def _take_out(holder: dict[str, Any], component: str, why: str) -> None:
    holder["models"].pop(component, None)
    for name, source in holder["sources"].items():
        if from_model(source, component):
            holder["sources"][name] = why


def _put_parameter(
    entry: dict[str, Any],
    kinds: Mapping[str, Component],
    path: str,
    fields: list[str],
    value: Any,
    why: str,
) -> None:
    if fields[0] == "anchor" and len(fields) == 2:
        if "anchor" not in entry:
            raise SpecError(f"{shown(path)} cannot be set: the model has no anchor.")
        entry["anchor"][fields[1]] = value
        sources = entry.setdefault("anchor_sources", {})
        model = kinds.get(entry["kind"])
        given = model is not None and fields[1] in model.gives
        sources.update(dict.fromkeys([fields[1]] if given else sources, why))
    elif fields == ["anchor"] and value is None:
        entry.pop("anchor", None)
        entry.pop("anchor_sources", None)
    elif len(fields) == 1 and value is None:
        entry.pop(fields[0], None)
        entry.get("sources", {}).pop(fields[0], None)
    elif len(fields) == 1:
        entry[fields[0]] = value
        if isinstance(value, int | float) and not isinstance(value, bool):
            entry.setdefault("sources", {})[fields[0]] = why
    else:
        raise SpecError(f"{shown(path)} cannot be set: it is no single value.")
