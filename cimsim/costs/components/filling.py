"""Numbers of a machine file that models of its components give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from cimsim.blocks import ASSUMED
from cimsim.costs.components.catalog import COMPONENTS
from cimsim.costs.components.component import NODE, Component, Entry, RefusedError
from cimsim.values.display import brief


@brief
@dataclass(frozen=True)
class Modelled:
    """What the model of `component` in `block` came to: outputs, each in the unit of its name.

    `outside` says which inputs lie outside the range in which the law was fitted.
    """

    block: str
    component: str
    kind: str
    inputs: dict[str, float]
    outputs: dict[str, float]
    sources: dict[str, str]
    outside: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where the model stands in the machine file."""
        return f"{self.block}.models.{self.component}"


LARGEST = 1e300
"""Choice: a larger input is no number of hardware; a whole one may not even be a float."""


class UnreadInputError(ValueError):
    """An input of a model is missing or no number; `stub` is the file as if its readers gave 1."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.stub: dict[str, Any] = {}


Derived = Mapping[str, Callable[[Mapping[str, Any]], float]]
"""Inputs that follow from several blocks, by name, from the content of a machine file."""


def filled(
    data: Mapping[str, Any], derived: Derived
) -> tuple[dict[str, Any], tuple[Modelled, ...]]:
    """The content of a machine file with the numbers that its models give, and those models.

    Models may read what is `derived` from blocks whose own models stand before theirs.
    A number that stands beside a model that gives it, and does not come from it, is refused.
    Raises ValueError with the path of the model.
    """
    full, models = copied(data), []
    for block, component, raw in _entries(full):
        try:
            found = _modelled(full, block, component, raw, derived)
        except UnreadInputError as error:
            error.stub = _stubbed(full)
            raise
        holder = full[block]
        sources = holder.setdefault("sources", {})
        for name, value in found.outputs.items():
            if name in holder and not from_model(sources.get(name), component):
                raise ValueError(
                    f"{block}.{name} is given, and so is {found.path}, which gives it: leave one "
                    f"out, or set {found.path}.anchor.{name} (null takes the model out)"
                )
            holder[name], sources[name] = value, found.sources[name]
        models.append(found)
    return full, tuple(models)


_STUB_LEAKAGE = 1e9
"""Choice: a machine that lacks an input is not blamed for what a gated unit leaks beside this."""


def _stubbed(data: dict[str, Any]) -> dict[str, Any]:
    """`data` with 1 for every number that a model would give, leakage above what gates leave."""
    for block, component, raw in _entries(data):
        kinds = COMPONENTS[block][component]
        kind = raw.get("kind") if isinstance(raw, Mapping) else None
        given = kinds[kind].gives if isinstance(kind, str) and kind in kinds else ()
        holder = data[block]
        sources = holder.setdefault("sources", {})
        for name in given:
            holder.setdefault(name, _STUB_LEAKAGE if name.startswith("leakage") else 1)
            sources.setdefault(name, "model")
    return data


def _entries(data: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(block, component, entry) of every model, in the order in which they are worked out."""
    for block, holder in data.items():
        models = holder.get("models") if isinstance(holder, Mapping) else None
        if not isinstance(models, Mapping):
            continue
        known = COMPONENTS.get(block, {})
        for component in models:
            if component not in known:
                names = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"{block}.models.{component}: no such component, {names}")
    for block, component in _IN_ORDER:
        holder = data.get(block)
        models = holder.get("models") if isinstance(holder, Mapping) else None
        if isinstance(models, Mapping) and component in models:
            yield block, component, models[component]


def _reads_a_die(component: Mapping[str, Component]) -> bool:
    return any(name.startswith("die.") for kind in component.values() for name in kind.reads)


_IN_ORDER = sorted(
    ((block, name) for block, known in COMPONENTS.items() for name in known),
    key=lambda found: _reads_a_die(COMPONENTS[found[0]][found[1]]),
)
"""Components as the catalog has them, those that read the area of a die after all others."""


def _modelled(
    data: Mapping[str, Any], block: str, component: str, raw: Any, derived: Derived
) -> Modelled:
    path = f"{block}.models.{component}"
    model, entry = _read(path, COMPONENTS[block][component], raw)
    inputs = {name: _input(data, block, name, path, model, derived) for name in model.reads}
    _inside_limits(path, model, inputs)
    _not_refused(path, model, entry, inputs)
    outputs = _worked_out(path, model, entry, inputs)
    if entry.anchor is not None:
        outputs = _anchored(path, model, entry, inputs, outputs)
    outside = tuple(
        f"{name} {inputs[name]:g} outside {low:g} to {high:g}"
        for name, (low, high) in model.fitted.items()
        if not low <= inputs[name] <= high
    )
    sources = {name: _source(component, model, entry, name) for name in outputs}
    return Modelled(block, component, entry.kind, inputs, outputs, sources, outside)


def _read(path: str, kinds: Mapping[str, Component], raw: Any) -> tuple[Component, Entry]:
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{path}.kind is {kind!r}, not {' or '.join(map(repr, kinds))}")
    model = kinds[kind]
    try:
        return model, model.entry.model_validate({"sources": {}, **raw})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join((path, *map(str, first["loc"])))
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _input(
    data: Mapping[str, Any], block: str, name: str, path: str, model: Component, derived: Derived
) -> float:
    if name in derived:
        try:
            return derived[name](data)
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            raise UnreadInputError(f"{path} reads {name}, which cannot be told: {error}") from None
    found: Any = data
    outside = name == NODE or name.split(".")[0] in COMPONENTS
    *groups, last = (name if outside else f"{block}.{name}").split(".")
    for part in groups:
        found = found.get(part) if isinstance(found, Mapping) else None
    found = found.get(last) if isinstance(found, Mapping) else None
    if found is None and name in model.absent:
        return model.absent[name]
    if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > LARGEST:
        raise UnreadInputError(f"{path} reads {name}, which is missing or no number")
    return float(found)


def _worked_out(
    path: str, model: Component, entry: Entry, inputs: Mapping[str, float]
) -> dict[str, float]:
    """What the law gives; UnreadInputError where it gives no finite number of `inputs`."""
    try:
        found = model.law(entry, inputs)
        finite = all(math.isfinite(value) for value in found.values())
    except (ArithmeticError, ValueError, TypeError) as error:
        raise UnreadInputError(f"{path} gives no number: {error}") from None
    if not finite:
        raise UnreadInputError(f"{path} gives no finite number")
    return found


def _not_refused(path: str, model: Component, entry: Entry, inputs: Mapping[str, float]) -> None:
    try:
        if model.refuse is not None:
            model.refuse(entry, inputs)
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from None
    except (ArithmeticError, ValueError) as error:
        raise UnreadInputError(f"{path} gives no number: {error}") from None


def _inside_limits(path: str, model: Component, inputs: Mapping[str, float]) -> None:
    for name, (low, high) in model.limits.items():
        if not low <= inputs[name] <= high:
            raise ValueError(
                f"{path} holds for {name} {low:g} to {high:g}, not {inputs[name]:g} "
                f"({model.source}): take another kind, or give the numbers"
            )


def _anchored(
    path: str,
    model: Component,
    entry: Entry,
    inputs: Mapping[str, float],
    outputs: Mapping[str, float],
) -> dict[str, float]:
    """The law's outputs, scaled so that the anchor's inputs give the anchor's outputs."""
    anchor = entry.anchor or {}
    parameters = _parameters(model)
    if unknown := sorted(anchor.keys() - {*model.reads, *model.gives, *parameters}):
        known = ", ".join((*model.reads, *model.gives, *parameters))
        raise ValueError(f"{path}.anchor names {', '.join(unknown)}; it may name {known}")
    if unsaid := sorted(name for name, must in parameters.items() if must and name not in anchor):
        raise ValueError(f"{path}.anchor does not say its {', '.join(unsaid)}")
    if anchor.keys() & {*model.gives} != entry.anchor_sources.keys():
        raise ValueError(
            f"{path}.anchor_sources names {', '.join(entry.anchor_sources) or 'nothing'}: each of "
            f"{', '.join(model.gives)} that the anchor gives needs a source, a citation or "
            "`assumed: why`"
        )
    defaults = {name: None for name, must in parameters.items() if not must}
    said = {name: anchor[name] for name in parameters if name in anchor}
    there = {name: anchor.get(name, value) for name, value in inputs.items()}
    _inside_limits(f"{path}.anchor", model, there)
    stated = entry.model_copy(update=defaults | said)
    at_anchor = _worked_out(f"{path}.anchor", model, stated, there)
    scaled = dict(outputs)
    for name in model.gives:
        if name not in anchor:
            continue
        if at_anchor[name] <= 0.0:
            raise ValueError(f"{path}.anchor.{name}: the law gives {at_anchor[name]:g} there")
        same = outputs[name] == at_anchor[name]
        scaled[name] = anchor[name] * (1.0 if same else outputs[name] / at_anchor[name])
    return scaled


def _parameters(model: Component) -> dict[str, bool]:
    """The parameters of a model by name, and whether each must be given."""
    own = model.entry.model_fields.keys() - Entry.model_fields.keys()
    return {name: model.entry.model_fields[name].is_required() for name in sorted(own)}


def _source(component: str, model: Component, entry: Entry, output: str) -> str:
    told = f"{_mark(component)}({entry.kind}): {model.source}"
    if anchored := entry.anchor_sources.get(output):
        told += f"; anchored on {anchored.removeprefix(ASSUMED).strip()}"
    sized = output in entry.anchor_sources
    assumed = entry.is_assumed(output) or (output in model.assumed and not sized)
    return f"{ASSUMED} {told}" if assumed else told


def _mark(component: str) -> str:
    return f"model {component} "


_LEAVES = {str, int, float, bool, type(None)}


def copied(data: Any) -> Any:
    """The content of a file, its objects and lists anew; several times as fast as `deepcopy`."""
    if type(data) in _LEAVES:  # most are, and to ask for a Mapping is slow
        return data
    if type(data) is dict or isinstance(data, Mapping):
        return {key: copied(value) for key, value in data.items()}
    return [copied(value) for value in data] if isinstance(data, list) else data


def model_of(data: Mapping[str, Any], path: str) -> str | None:
    """The path of the model that gave the number at `path` of a block; None where none did."""
    block, _, name = path.partition(".")
    holder = data.get(block)
    models = holder.get("models") if isinstance(holder, Mapping) else None
    if not isinstance(holder, Mapping) or not isinstance(models, Mapping):
        return None
    source = holder["sources"].get(name)
    return next((f"{block}.models.{c}" for c in models if from_model(source, c)), None)


def from_model(source: Any, component: str) -> bool:
    """Whether the source of a number says that the model of `component` gave it."""
    return isinstance(source, str) and source.removeprefix(ASSUMED).strip().startswith(
        _mark(component)
    )
