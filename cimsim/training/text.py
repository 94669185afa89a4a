"""Methods as text, `halora:mu=0.1,norm=spectral`, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cimsim.errors import SpecError, TaskError
from cimsim.noise import Gaussian, device_from_json, device_to_json, parse_device
from cimsim.training.methods import METHODS, Method
from cimsim.training.parts import Distillation, Injection, LoraShape, Penalty, Schedule
from cimsim.values.arguments import checked
from cimsim.values.display import brief
from cimsim.values.parsing import parse_real, parse_whole

PARTS: dict[str, type[Any]] = {
    "recipe": Schedule,
    "lora": LoraShape,
    "injection": Injection,
    "penalty": Penalty,
    "distillation": Distillation,
}
_ADDED = ("penalty", "distillation")
"""Parts that an option adds to a method without them."""


def _optional(text: str) -> float | None:
    return None if text == "none" else parse_real(text)


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split("+")))


@brief
@dataclass(frozen=True)
class MethodOption:
    """A field of a part that text can set: how it is read, and what to call that."""

    part: str
    field: str
    read: Callable[[str], Any]
    what: str


NUMBER, WHOLE = (parse_real, "a number"), (parse_whole, "a whole number")
OPTIONAL, WORD = (_optional, "a number or none"), (str, "a word")
LIST, TRUTH = (_names, "names with + between them"), (_truth, "true or false")

OPTIONS: dict[str, MethodOption] = {
    "epochs": MethodOption("recipe", "epochs", *NUMBER),
    "batch": MethodOption("recipe", "batch", *WHOLE),
    "learning_rate": MethodOption("recipe", "learning_rate", *NUMBER),
    "warmup_ratio": MethodOption("recipe", "warmup_ratio", *NUMBER),
    "weight_decay": MethodOption("recipe", "weight_decay", *NUMBER),
    "clip_norm": MethodOption("recipe", "clip_norm", *OPTIONAL),
    "decay": MethodOption("recipe", "decay", *WORD),
    "rank": MethodOption("lora", "rank", *WHOLE),
    "alpha": MethodOption("lora", "alpha", *NUMBER),
    "dropout": MethodOption("lora", "dropout", *NUMBER),
    "targets": MethodOption("lora", "targets", *LIST),
    "saved": MethodOption("lora", "saved", *LIST),
    "device": MethodOption("injection", "noise", parse_device, "a device model or its JSON file"),
    "sigma": MethodOption("injection", "sigma_ratio", *NUMBER),
    "relative_to": MethodOption("injection", "relative_to", *WORD),
    "redraw_every": MethodOption("injection", "redraw_every", *WHOLE),
    "converters": MethodOption("injection", "converters", *TRUTH),
    "clean_share": MethodOption("injection", "clean_share", *NUMBER),
    "ramp": MethodOption("injection", "ramp", *NUMBER),
    "adc_noise": MethodOption("injection", "adc_noise", *OPTIONAL),
    "clip_sigma": MethodOption("injection", "clip_sigma", *OPTIONAL),
    "mu": MethodOption("penalty", "mu", *NUMBER),
    "norm": MethodOption("penalty", "norm", *WORD),
    "reduction": MethodOption("penalty", "reduction", *WORD),
    "distillation": MethodOption("distillation", "weight", *NUMBER),
    "temperature": MethodOption("distillation", "temperature", *NUMBER),
}


@checked(TaskError)
def option_names(method: Method) -> tuple[str, ...]:
    """Options that `method` takes: those of its parts, and of parts that can be added to it."""
    parts = {name for name in PARTS if getattr(method, name) is not None}
    parts |= {name for name in _ADDED if name != "penalty" or method.lora is not None}
    return tuple(key for key, option in OPTIONS.items() if option.part in parts)


@checked(TaskError)
def parse_method(text: str) -> Method:
    """A method from `name` or `name:option=value,...`; raises TaskError naming what is known.

    `sigma` and `relative_to` change Gaussian noise, `device` puts another model in its place.
    An option of the penalty or of distillation adds that part to a method without it.
    """
    name, _, options = text.partition(":")
    if name not in METHODS:
        raise TaskError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    method = METHODS[name]()
    known = option_names(method)
    given: dict[str, Any] = {}
    for part in filter(None, options.split(",")):
        key, equals, value = part.partition("=")
        if key not in known or not equals:
            raise TaskError(f"method {name!r} has no option {part!r}; options: {', '.join(known)}")
        if key in given:
            raise TaskError(f"method {name!r}: {key} is given twice")
        given[key] = _read(name, key, value)
    return with_options(method, given)


def _read(name: str, key: str, value: str) -> Any:
    option = OPTIONS[key]
    try:
        return option.read(value)
    except (ValueError, KeyError):
        raise TaskError(f"method {name!r}: {key} must be {option.what}, got {value!r}") from None
    except SpecError as problem:
        raise TaskError(f"method {name!r}: {key}: {problem}") from None


@checked(TaskError)
def with_options(method: Method, values: Mapping[str, Any]) -> Method:
    """`method` with other values of its options, by their names in `OPTIONS`."""
    changes: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        option = OPTIONS.get(key)
        if option is None or key not in option_names(method):
            known = ", ".join(option_names(method))
            raise TaskError(f"method {method.name!r} has no option {key!r}; options: {known}")
        changes.setdefault(option.part, {})[option.field] = value
    if "injection" in changes and method.injection is not None:
        changes["injection"] = _with_noise(method.injection, changes["injection"])
    parts = {}
    for part, change in changes.items():
        present = getattr(method, part)
        parts[part] = PARTS[part](**change) if present is None else replace(present, **change)
    return replace(method, **parts)


def _with_noise(injection: Injection, change: dict[str, Any]) -> dict[str, Any]:
    if change.get("converters") is False:
        # Without converters their noise goes too, unless it is asked for.
        change.setdefault("adc_noise", None)
    scale = {key: change.pop(key) for key in ("sigma_ratio", "relative_to") if key in change}
    if not scale:
        return change
    noise = change.get("noise", injection.noise)
    if not isinstance(noise, Gaussian):
        raise TaskError(f"sigma and relative_to belong to gaussian noise, not to {noise.name!r}.")
    try:
        return {**change, "noise": replace(noise, **scale)}
    except SpecError as problem:
        raise TaskError(str(problem)) from None


@checked(TaskError)
def method_to_json(method: Method) -> dict[str, Any]:
    """All of a method; `method_from_json` turns it back into an equal one."""
    value: dict[str, Any] = {"name": method.name}
    for name, kind in PARTS.items():
        part = getattr(method, name)
        value[name] = None
        if part is not None:
            value[name] = {f.name: _plain(getattr(part, f.name)) for f in fields(kind)}
            if name == "injection":
                value[name]["noise"] = device_to_json(part.noise)
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@checked(TaskError)
def method_from_json(value: Any, where: str = "method") -> Method:
    """The method that `value` describes; raises TaskError that starts with `where`."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise TaskError(f"{where}: a method is an object with a name, got {value!r}.")
    for key in value:
        if key != "name" and key not in PARTS:
            raise TaskError(f"{where}: a method has no part {key!r}; parts: {', '.join(PARTS)}.")
    parts: dict[str, Any] = {
        name: None if value.get(name) is None else _part(name, value[name], f"{where}.{name}")
        for name in PARTS
    }
    try:
        return Method(value["name"], **parts)
    except TaskError as problem:
        raise TaskError(f"{where}: {problem}") from None


def _part(name: str, value: Any, where: str) -> Any:
    kind = PARTS[name]
    known = [f.name for f in fields(kind)]
    if not isinstance(value, Mapping):
        raise TaskError(f"{where}: expected an object, got {value!r}.")
    given: dict[str, Any] = {}
    for key, entry in value.items():
        if key not in known:
            raise TaskError(f"{where} has no field {key!r}; fields: {', '.join(known)}.")
        given[key] = tuple(entry) if isinstance(entry, list) else entry
    try:
        if "noise" in given:
            given["noise"] = device_from_json(given["noise"], f"{where}.noise")
        return kind(**given)
    except TaskError as problem:
        raise TaskError(f"{where}: {problem}") from None
    except SpecError as problem:
        raise TaskError(str(problem)) from None
