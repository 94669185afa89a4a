"""What users pass in from Python, checked against the annotations of what they call.

`@checked(Error)` stands above public functions and frozen values. Numbers of numpy count as
numbers, a list will do for a tuple. What is wrong raises `Error`, which names the argument, what it
takes and what was given. Annotations that say nothing about values (Any, arrays) check nothing.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from cimsim.errors import CimsimError
from cimsim.values.display import shown

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class AtLeast:
    """In `Annotated[int, AtLeast(0)]`: the smallest value that is taken."""

    least: int


Seed = Annotated[int, AtLeast(0)]
"""Of a random generator: a whole number of at least 0."""


class _RefusedError(Exception):
    """A value that an annotation does not take."""


def plain(value: Any) -> Any:
    """Numbers of numpy, alone or in containers, as Python's own; all else as it is."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return item()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    return value


def checked(error: type[CimsimError]) -> Callable[[Decorated], Decorated]:
    """Check the arguments of a function, or of the constructor of a class, before it runs."""

    def decorate(target: Decorated) -> Decorated:
        if isinstance(target, type):
            wrapped = _guarded(target.__init__, target.__name__, target.__module__, error)  # type: ignore[misc]
            target.__init__ = wrapped  # type: ignore[misc]
            return target
        return _guarded(target, target.__name__, target.__module__, error)  # type: ignore[return-value]

    return decorate


def _guarded(
    function: Callable[..., Any], name: str, module: str, error: type[CimsimError]
) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @cache
    def hints() -> dict[str, Any]:
        return dict(_hints(function, signature, module))

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for argument, hint in hints().items():
            if argument in bound.arguments:
                given = bound.arguments[argument]
                try:
                    bound.arguments[argument] = _taken(hint, given)
                except _RefusedError:
                    raise error(
                        f"{name}: {argument} must be {described(hint)}, got {_kind(given)}."
                    ) from None
        return function(*bound.args, **bound.kwargs)

    return guarded


def _kind(given: Any) -> str:
    """The value where it is one that can be read, else what it is."""
    if isinstance(given, bool | int | float | str | None):
        return shown(given)
    return f"{shown(given)} of type {type(given).__name__}"


def _hints(
    function: Callable[..., Any], signature: inspect.Signature, module: str
) -> Iterator[tuple[str, Any]]:
    """Parameter and annotation, but for those that take several arguments at once."""
    for name, parameter in signature.parameters.items():
        given = parameter.annotation
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if given is not parameter.empty:
            yield name, _resolved(given, module) if isinstance(given, str) else given


def _resolved(text: str, module: str) -> Any:
    """The annotation that `text` is; names that only type checkers import are looked for."""
    names = dict(vars(sys.modules[module]))
    while True:
        try:
            return eval(text, names)
        except NameError as missing:
            names[str(missing.name)] = _found(str(missing.name))


def _found(name: str) -> Any:
    for title, module in list(sys.modules.items()):
        if title.startswith("cimsim.") and isinstance(getattr(module, name, None), type):
            return getattr(module, name)
    return Any


def _taken(hint: Any, value: Any) -> Any:
    """`value` as the annotation `hint` takes it; raises _RefusedError."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _limited(hint, value)
    if origin in (Union, types.UnionType):
        return _one_of(typing.get_args(hint), value)
    if origin is Literal:
        value = plain(value)
        if any(value == option and type(value) is type(option) for option in hint.__args__):
            return value
        raise _RefusedError
    if hint is None or hint is type(None):
        return _if(value is None, value)
    if hint in (bool, int, float):
        return _number(hint, value)
    if origin is not None:
        return _contents(origin, typing.get_args(hint), value)
    if isinstance(hint, type) and hint is not Any:  # Any is a class since Python 3.11
        return _instance(hint, value)
    return value


def _if(fits: bool, value: Any) -> Any:
    if not fits:
        raise _RefusedError
    return value


def _limited(hint: Any, value: Any) -> Any:
    found = _taken(hint.__origin__, value)
    for limit in hint.__metadata__:
        if isinstance(limit, AtLeast):
            _if(found >= limit.least, found)
    return found


def _one_of(options: Sequence[Any], value: Any) -> Any:
    for option in options:
        try:
            return _taken(option, value)
        except _RefusedError:
            continue
    raise _RefusedError


def _number(kind: type, value: Any) -> Any:
    value = plain(value)
    if kind is bool or isinstance(value, bool):
        return _if(kind is bool and isinstance(value, bool), value)
    return _if(isinstance(value, int if kind is int else int | float), value)


def _contents(origin: Any, inner: tuple[Any, ...], value: Any) -> Any:
    """A container with what is in it; arrays of one axis count as lists."""
    if origin is Callable or not isinstance(origin, type):
        return _if(origin is not Callable or callable(value), value)
    if issubclass(origin, Mapping):
        _if(isinstance(value, Mapping), value)
        taken = {_taken(inner[0], k): _taken(inner[1], v) for k, v in value.items()}
        return taken if isinstance(value, dict) else value
    if not issubclass(origin, Collection):
        return value
    if len(getattr(value, "shape", ())) == 1 and hasattr(value, "tolist"):
        value = value.tolist()
    _if(isinstance(value, Sequence) and not isinstance(value, str | bytes), value)
    if origin is tuple and inner[-1] is not Ellipsis:
        _if(len(value) == len(inner), value)
        return tuple(map(_taken, inner, value))
    taken_all = [_taken(inner[0], entry) for entry in value]
    return taken_all if origin is list else tuple(taken_all)


def _instance(hint: type, value: Any) -> Any:
    if getattr(hint, "_is_protocol", False):
        return _if(not isinstance(value, type) and not lacking(hint, value), value)
    return _if(isinstance(value, hint), value)


def lacking(protocol: type, value: Any) -> set[str]:
    """Members of `protocol` that `value` has not."""
    kinds = [kind for kind in protocol.__mro__ if getattr(kind, "_is_protocol", False)]
    members = {name for kind in kinds for name in vars(kind) if name[0] != "_"}
    return {name for name in members if not hasattr(value, name)}


_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text",
          Path: "a path", None: "None", type(None): "None"}  # fmt: skip


def described(hint: Any) -> str:
    """What an annotation takes, in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [f" of at least {m.least}" for m in hint.__metadata__ if isinstance(m, AtLeast)]
        return described(inner[0]) + "".join(limits)
    if origin in (Union, types.UnionType):
        return " or ".join(described(option) for option in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if isinstance(hint, type) and origin is None:
        name = hint.__name__
        return _WORDS.get(hint, f"{'an' if name[0] in 'AEIO' else 'a'} {name}")
    if origin is Callable:
        return "a function"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping to {described(inner[1])}"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"a list, each {described(inner[0])}"
    return _WORDS.get(hint, "another value")
