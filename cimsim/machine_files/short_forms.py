"""Short forms of components: `"adc": {"model": "sar", "bits": 6}` in a block that has models.

A key of the component is the field of the block that begins with its name (`bits`: `adc_bits`),
else a field of the block, else a parameter of the model. `model` is the model's kind, null takes
the model out. `sources` go with the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from cimsim.costs.components import COMPONENTS, Component, Entry
from cimsim.values.display import shown

OF_MODEL = ("anchor", "anchor_sources")


def written_out(data: Mapping[str, Any], blocks: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """The content of a machine file with every short form written out.

    `blocks` are the types of its blocks. Raises ValueError for a key that is nothing of the
    component, and for a number that is given in both ways.
    """
    made = dict(data)
    for block, components in COMPONENTS.items():
        holder = made.get(block)
        if isinstance(holder, Mapping) and block in blocks:
            fields = blocks[block].model_fields.keys()
            for name, kinds in components.items():
                if isinstance(holder.get(name), Mapping):
                    holder = _written_out(holder, block, name, kinds, fields)
            made[block] = holder
    return made


def _written_out(
    holder: Mapping[str, Any], block: str, name: str, kinds: Mapping[str, Component], fields: Any
) -> dict[str, Any]:
    given = dict(holder[name])
    made = {key: value for key, value in holder.items() if key != name}
    path = f"{block}.{name}"
    models, sources = dict(made.get("models") or {}), dict(made.get("sources") or {})
    said = given.pop("sources", {})
    entry: dict[str, Any] | None = dict(models.get(name) or {})
    if "model" in given:
        kind = given.pop("model")
        entry = None if kind is None else {**entry, "kind": kind} if entry else {"kind": kind}
    for key, value in given.items():
        field = next((known for known in (f"{name}_{key}", key) if known in fields), None)
        if field is not None:
            if field in made:
                raise ValueError(f"{path}.{key} and {block}.{field} are one number: give one")
            made[field] = value
            if key in said:
                sources[field] = said[key]
        elif entry is not None and (key in OF_MODEL or key in _parameters(kinds)):
            entry[key] = value
            if key in said:
                entry["sources"] = {**entry.get("sources", {}), key: said[key]}
        else:
            raise ValueError(f"{path}.{key}: no such number, it has {_known(name, kinds, fields)}")
    if unknown := sorted(said.keys() - given.keys()):
        raise ValueError(f"{path}.sources names {shown(unknown[0])}, which is not given here")
    if entry is None or entry:
        models[name] = entry
    if models:
        made["models"] = models
    if sources:
        made["sources"] = sources
    return made


def _parameters(kinds: Mapping[str, Component]) -> list[str]:
    """Names of the parameters of the models of a component."""
    own = (kind.entry.model_fields.keys() - Entry.model_fields.keys() for kind in kinds.values())
    return sorted(set().union(*own))


def _known(name: str, kinds: Mapping[str, Component], fields: Any) -> str:
    own = [field.removeprefix(f"{name}_") for field in fields if field.startswith(f"{name}_")]
    return ", ".join(("model", *own, *_parameters(kinds), *OF_MODEL, "sources"))
