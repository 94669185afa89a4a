"""What is kept of a report: dotted keys of its JSON, and what is worked out beside it."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from cimsim.errors import SpecError
from cimsim.exploration.rows import Scalar
from cimsim.report import Report
from cimsim.values.display import shown

OUTPUTS = ("latency_s", "energy_J", "area_used_mm2")
"""Choice: what is kept where nothing was asked for."""
BOUND, ACCURACY = "bound", "accuracy"
BESIDE = {
    BOUND: "the longest phase, the unit on its critical path, and what that waits for",
    ACCURACY: "the mean of a task over chips, where it is asked for",
}
"""Keys that are no field of a report."""
_OF_THE_MACHINE = ("accuracy.lora_reload", "accuracy.inputs")
"""Parts of an accuracy that points which score alike do not share."""


def check_outputs(keys: Sequence[str]) -> None:
    """Raise SpecError for a key that no report has, with the names near it, or that stands twice.

    Names that differ from machine to machine (`energy_by_unit_J.rram`) are not known beforehand.
    """
    if not keys:
        raise SpecError("no output was asked for: give one or more (--output latency_s).")
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise SpecError(f"the output {shown(key)} is asked for twice.")
        if key.startswith(_OF_THE_MACHINE):
            raise SpecError(
                f"output {shown(key)} is not kept: take reprogramming.adapter_switch, which is the "
                "cost of loading an adapter."
            )
        if key not in BESIDE:
            _check(key, Report, key, "a report")


def check_numbers(keys: Sequence[str]) -> None:
    """Raise SpecError for a key that no report has as a number: none is less than another."""
    for key in keys:
        if key == BOUND or (
            key != ACCURACY and not _is_number(_check(key, Report, key, "a report"))
        ):
            raise SpecError(
                f"{shown(key)} is no number, so that it can be neither sought nor limited: name "
                "another output (latency_s, energy_J), and have this one kept with --output."
            )


def check_named(key: str, names: Mapping[str, Sequence[str]]) -> None:
    """Raise SpecError for a key below one of `names` that has none of the names known there."""
    top, _, rest = key.partition(".")
    known = names.get(top)
    if known is None or any(rest == name or rest.startswith(f"{name}.") for name in known):
        return
    listed = f"it has {', '.join(known)}" if known else "nothing is there in this sweep"
    lever = ": give a GPU (--baseline)" if top == "baselines" and not known else ""
    raise SpecError(f"output {shown(key)}: no design has this name below `{top}`, {listed}{lever}.")


def values_of(report: Report, keys: Sequence[str], bound: str | None) -> dict[str, Scalar]:
    """The value of each key; None where the report of this design has no such name.

    `bound` is what binds, where that is asked for.
    """
    accuracy = None if report.accuracy is None else report.accuracy.noisy_mean
    made: dict[str, Scalar] = {BOUND: bound, ACCURACY: accuracy}
    return {key: made[key] if key in made else _scalar(_value(report, key)) for key in keys}


def needs_accuracy(keys: Sequence[str]) -> bool:
    """Whether one of the keys is of the accuracy."""
    return any(key.partition(".")[0] == ACCURACY for key in keys)


def _value(here: Any, rest: str) -> Any:
    """What stands at `rest` below `here`; None where nothing does. A name may have dots in it."""
    if not rest:
        return here
    if isinstance(here, Mapping):
        names = [name for name in here if rest == name or rest.startswith(f"{name}.")]
        name = max(names, key=len, default=None)
        return None if name is None else _value(here[name], rest[len(name) + 1 :])
    name, _, further = rest.partition(".")
    return _value(getattr(here, name, None), further)


def _scalar(value: Any) -> Scalar:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | float | str) else None


def _is_number(kind: Any) -> bool:
    return any(option in (int, float) for option in _options(kind))


def _check(key: str, kind: Any, rest: str, where: str) -> Any:
    """The type of what `rest` leads to from `kind`, the type of `where`.

    Raises SpecError where that is no single value.
    """
    options = _options(kind)
    model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    named = next((get_args(o)[1] for o in options if get_origin(o) is dict), None)
    if model is not None:
        name, _, further = rest.partition(".")
        if name not in model.model_fields:
            names = list(model.model_fields)
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
            listed = ", ".join(dict.fromkeys([*near, *(BESIDE if kind is Report else ())]))
            raise SpecError(f"there is no output {shown(key)}: {where} has {listed}.")
        return _check(key, model.model_fields[name].annotation, further, f"`{name}`")
    if named is not None and rest:
        return _check_named(key, named, rest, where)
    if named is not None or any(get_origin(o) is tuple for o in options):
        raise SpecError(f"output {shown(key)}: {where} is no single value: name one of its parts.")
    if rest:
        raise SpecError(f"output {shown(key)}: {where} is a value without parts.")
    return kind


def _check_named(key: str, kind: Any, rest: str, where: str) -> Any:
    """As `_check`, below a name that may have dots in it and is free."""
    parts = rest.split(".")
    problems = []
    for cut in range(1, len(parts) + 1):
        try:
            return _check(key, kind, ".".join(parts[cut:]), f"an entry of {where}")
        except SpecError as problem:
            problems.append(problem)
    raise problems[0]


def _options(kind: Any) -> list[Any]:
    """The types that a value may have."""
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [found for option in get_args(kind) for found in _options(option)]
    return [kind]
