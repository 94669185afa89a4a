"""Methods as text, `halora:mu=0.1,norm=spectral`: options are the fields of their parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from inspect import getdoc
from typing import Any

from cimsim.errors import SpecError, TaskError
from cimsim.noise import DEVICE_CODEC, Device, Gaussian
from cimsim.training.methods import METHODS, PARTS, Method
from cimsim.training.parts import Injection
from cimsim.values.arguments import checked
from cimsim.values.codec import Codec, Member, Option, options_of
from cimsim.values.codec.options import fields_of

_ADDED = ("penalty", "distillation")
"""Parts that an option adds to a method without them."""
_NOISE = ("injection", "noise")
_SCALE = {"sigma": "sigma_ratio", "relative_to": "relative_to"}
"""Options of a method that change Gaussian noise, and its fields."""


@checked(TaskError)
def method_options(method: Method) -> dict[str, Option]:
    """Options that `method` takes: those of its parts, and of parts that can be added to it."""
    return {option.name: option for option in _options(method)}


def _options(method: Method) -> Iterator[Option]:
    for name, kind in PARTS.items():
        part = getattr(method, name)
        added = name in _ADDED and (name != "penalty" or method.lora is not None)
        if part is None and not added:
            continue
        for option in fields_of(kind, part, (name,)):
            yield option
            if option.path == _NOISE:
                yield from _scale(part.noise)


def _scale(noise: Device) -> Iterator[Option]:
    known = options_of(Gaussian)
    for name, field in _SCALE.items():
        default = getattr(noise, field, known[field].default)
        yield Option(name, known[field].hint, (*_NOISE, field), default)


@checked(TaskError)
def option_names(method: Method) -> tuple[str, ...]:
    """The names of `method_options`."""
    return tuple(method_options(method))


@checked(TaskError)
def with_options(method: Method, values: Mapping[str, Any]) -> Method:
    """`method` with other values of its options.

    `sigma` and `relative_to` change Gaussian noise, `device` puts another model in its place. An
    option of the penalty or of distillation adds that part to a method without it.
    """
    options = method_options(method)
    changes: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key not in options:
            known = ", ".join(options)
            raise TaskError(f"method {method.name!r} has no option {key!r}; options: {known}")
        part, *field = options[key].path
        changes.setdefault(part, {})[field[-1]] = value
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
    scale = {key: change.pop(key) for key in _SCALE.values() if key in change}
    if not scale:
        return change
    noise = change.get("noise", injection.noise)
    if not isinstance(noise, Gaussian):
        raise TaskError(f"sigma and relative_to belong to gaussian noise, not to {noise.name!r}.")
    try:
        return {**change, "noise": replace(noise, **scale)}
    except SpecError as problem:
        raise TaskError(str(problem)) from None


def _values(preset: Method, method: Method) -> dict[str, Any] | None:
    """Options of `method` that are not those of `preset`; None for a method of another name."""
    if method.name != preset.name:
        return None
    return {
        option.name: option.of(method)
        for option in _options(preset)
        if getattr(method, option.path[0]) is not None and _differs(preset, method, option)
    }


def _differs(preset: Method, method: Method, option: Option) -> bool:
    if option.path[:2] == _NOISE:
        # Gaussian noise is told by sigma and what it is relative to, any other as a device.
        scaled = _is_scaled(preset) and _is_scaled(method)
        if scaled != (len(option.path) > len(_NOISE)):
            return False
    elif getattr(preset, option.path[0]) is None:
        first = next(fields_of(PARTS[option.path[0]], None, option.path[:1]))
        return option.path == first.path or option.of(method) != option.default
    return bool(option.of(method) != option.default)


def _is_scaled(method: Method) -> bool:
    noise = None if method.injection is None else method.injection.noise
    return isinstance(noise, Gaussian) and noise.sigma_uS == 0.0


def _member(preset: Method, about: str) -> Member[Method]:
    return Member(about, method_options(preset), partial(with_options, preset),
                  partial(_values, preset))  # fmt: skip


METHOD_CODEC: Codec[Method] = Codec(
    "method",
    TaskError,
    {
        name: _member(make(), (getdoc(make) or "").partition("\n\n")[0].replace("\n", " "))
        for name, make in METHODS.items()
    },
    inside={Device: DEVICE_CODEC},
)


@checked(TaskError)
def parse_method(text: str) -> Method:
    """A method from `name` or `name:option=value,...`; raises TaskError naming what is known.

    See `with_options` for what the options do.
    """
    return METHOD_CODEC.parse(text)


@checked(TaskError)
def format_method(method: Method) -> str:
    """The text that `parse_method` reads back as `method`.

    Raises TaskError for a method that no text names, such as one of another name.
    """
    return METHOD_CODEC.format(method)
