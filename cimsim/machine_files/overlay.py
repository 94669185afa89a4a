"""A machine as another one with other numbers; a number that differs loses its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from cimsim.blocks import ASSUMED
from cimsim.costs.components import COMPONENTS
from cimsim.values.history import value_at
from cimsim.values.keyed import keyed_blocks

_NOTES = ("sources", "anchor_sources")


def laid_over(
    base: Mapping[str, Any], given: Mapping[str, Any], kind: type[BaseModel], why: str
) -> dict[str, Any]:
    """The content of a file of `kind`: that of `base` with what is `given`.

    Objects are laid over each other field by field; null takes a field out. A number that is new
    or differs takes the source that `given` has for it, else `assumed: why`. A model of a device or
    a component of another `kind` starts anew. `ranges` of numbers that differ are dropped.
    """
    made = _block(base, given, kind, f"{ASSUMED} {why}")
    if "ranges" in base:
        kept = {
            path: spread
            for path, spread in base["ranges"].items()
            if value_at(made, path) == value_at(base, path)
        }
        own = given.get("ranges") or {}
        made["ranges"] = {p: s for p, s in {**kept, **own}.items() if s is not None}
    return made


def _block(
    base: Mapping[str, Any], given: Mapping[str, Any], kind: type[BaseModel] | None, why: str
) -> dict[str, Any]:
    made = dict(base)
    said = _objects(given.get("sources"))
    sources = dict(base.get("sources", {}))
    blocks = {} if kind is None else block_types(kind)
    for key, value in given.items():
        if key in _NOTES or key.endswith("_source"):
            continue
        inner = blocks.get(key)
        if value is None:
            _take_out(made, sources, key)
        elif key == "models" and isinstance(value, Mapping):
            made[key] = _models(made, sources, value, given, why)
        elif isinstance(value, Mapping) and f"{key}_source" in _fields(kind):
            made[key] = _free(base.get(key), value)
            if made[key] != base.get(key) or f"{key}_source" in given:
                made[f"{key}_source"] = given.get(f"{key}_source", why)
        elif isinstance(value, Mapping) and (keyed := _keyed(kind, key)) is not None:
            made[key] = _by_key(_objects(base.get(key)), value, *keyed, why)
        elif isinstance(value, Mapping) and inner is not None:
            made[key] = _block(_objects(base.get(key)), value, inner, why)
        else:
            made[key] = value
            _take_source(sources, key, value, base, why)
    made["sources"] = {**sources, **said}
    return made


def _by_key(
    base: Mapping[str, Any], given: Mapping[str, Any], depth: int, kind: type[BaseModel], why: str
) -> dict[str, Any]:
    """Blocks of `kind` behind `depth` keys, those of `given` over those of `base`."""
    made = dict(base)
    for key, value in given.items():
        if value is None:
            made.pop(key, None)
        elif not isinstance(value, Mapping):
            made[key] = value
        elif depth > 1:
            made[key] = _by_key(_objects(base.get(key)), value, depth - 1, kind, why)
        else:
            made[key] = _block(_objects(base.get(key)), value, kind, why)
    return made


def _keyed(kind: type[BaseModel] | None, field: str) -> tuple[int, type[BaseModel]] | None:
    found = _fields(kind).get(field)
    return None if found is None else keyed_blocks(found.annotation)


def _models(
    holder: dict[str, Any], sources: dict[str, str], given: Mapping[str, Any],
    block: Mapping[str, Any], why: str,
) -> dict[str, Any]:  # fmt: skip
    """The models of a block; numbers that another model gives are no longer given beside it."""
    made = dict(_objects(holder.get("models")))
    for component, entry in given.items():
        old = _objects(made.get(component))
        if entry is None:
            made.pop(component, None)
            continue
        if not isinstance(entry, Mapping):
            made[component] = entry
            continue
        if entry.get("kind", old.get("kind")) != old.get("kind"):
            for name in _outputs(component, entry["kind"]):
                if name not in block:
                    _take_out(holder, sources, name)
            old = {}
        made[component] = _entry(old, entry, why)
    return made


def _entry(old: Mapping[str, Any], given: Mapping[str, Any], why: str) -> dict[str, Any]:
    """A model's entry: parameters with sources, an anchor whose outputs have others.

    An anchor whose conditions differ is another point: all of its outputs lose their sources.
    """
    made = _block({k: v for k, v in old.items() if k != "anchor"}, given, None, why)
    anchor = given.get("anchor", old.get("anchor"))
    if "anchor" in given and isinstance(anchor, Mapping):
        before, said = _objects(old.get("anchor")), _objects(given.get("anchor_sources"))
        anchor = {k: v for k, v in {**before, **anchor}.items() if v is not None}
        differ = {k for k in anchor.keys() | before.keys() if anchor.get(k) != before.get(k)}
        known = dict(_objects(old.get("anchor_sources")))
        lost = known if differ - known.keys() else differ
        made["anchor_sources"] = {
            k: said.get(k, why if k in lost else text) for k, text in known.items() if k in anchor
        } | dict(said)
    elif "anchor_sources" in given:
        made["anchor_sources"] = {**_objects(old.get("anchor_sources")), **given["anchor_sources"]}
    if anchor is None:
        made.pop("anchor_sources", None)
    else:
        made["anchor"] = anchor
    return made


def _free(old: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """A model with free fields; another `kind` starts anew."""
    same = isinstance(old, Mapping) and given.get("kind", old.get("kind")) == old.get("kind")
    made = {**(old if same else {}), **given}
    return {key: value for key, value in made.items() if value is not None}


def _take_source(
    sources: dict[str, str], key: str, value: Any, base: Mapping[str, Any], why: str
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and key != "format"
    if not number:
        sources.pop(key, None)
    elif key not in base or base[key] != value or key not in sources:
        sources[key] = why


def _take_out(block: dict[str, Any], sources: dict[str, str], key: str) -> None:
    block.pop(key, None)
    block.pop(f"{key}_source", None)
    sources.pop(key, None)


def _outputs(component: str, kind: Any) -> tuple[str, ...]:
    for known in COMPONENTS.values():
        if component in known and isinstance(kind, str) and kind in known[component]:
            return known[component][kind].gives
    return ()


def _fields(kind: type[BaseModel] | None) -> Mapping[str, Any]:
    return {} if kind is None else kind.model_fields


def block_types(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The types of the blocks that a file or a block of `kind` holds, by field."""
    found = {}
    for name, field in kind.model_fields.items():
        for option in (field.annotation, *get_args(field.annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                found[name] = option
    return found


def keyed_types(kind: type[BaseModel]) -> dict[str, tuple[int, type[BaseModel]]]:
    """Of the fields of `kind` that hold blocks by keys how many keys, and the type of block."""
    found = {name: keyed_blocks(field.annotation) for name, field in kind.model_fields.items()}
    return {name: keyed for name, keyed in found.items() if keyed is not None}


def _objects(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
