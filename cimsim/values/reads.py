"""What a computation read of a model: its result is that of every model that agrees there.

A computation that is given `watched(model, reads)` in place of a model notes every field that it
reads and what it found. It is a function of these: on another model with the same there it would
read the same fields and come to the same result. So no list says which numbers matter to what.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")
Path = tuple[str, ...]

ALL = "*"
"""Ends the path of a model that was read as a whole."""


class Reads:
    """The fields of one model that were read, in order, and what stood there."""

    def __init__(self) -> None:
        self.found: dict[Path, Hashable] = {}

    def note(self, path: Path, value: object) -> None:
        """Note that `value` was read at `path`."""
        if path not in self.found:
            self.found[path] = _content(value, whole=path[-1:] == (ALL,))


_Name = tuple[Hashable, tuple[Path, ...], tuple[Hashable, ...]]
"""Key, what was read, and what stood there."""


class Remembered(Generic[Result]):
    """Results of one function of a model and a key, the `most` that were used last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._results: OrderedDict[_Name, Result] = OrderedDict()
        self._paths: dict[Hashable, dict[tuple[Path, ...], int]] = {}

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: Hashable, model: Model, make: Callable[[Model], Result]) -> Result:
        """What `make` gave for `key` and a model that agrees in all that it read, else anew.

        `make` gets a model that is watched, and must not keep it. What it raises is not kept.
        """
        name: _Name
        for paths in self._paths.get(key, ()):
            name = key, paths, tuple([_at(model, path) for path in paths])
            if name in self._results:
                self._results.move_to_end(name)
                return self._results[name]
        reads = Reads()
        result = make(watched(model, reads))
        paths = tuple(reads.found)
        self._results[key, paths, tuple(reads.found.values())] = result
        counts = self._paths.setdefault(key, {})
        counts[paths] = counts.get(paths, 0) + 1
        while len(self._results) > self._most:
            (old, gone, _), _ = self._results.popitem(last=False)
            self._forget(old, gone)
        return result

    def _forget(self, key: Hashable, paths: tuple[Path, ...]) -> None:
        self._paths[key][paths] -= 1
        if not self._paths[key][paths]:
            del self._paths[key][paths]
        if not self._paths[key]:
            del self._paths[key]


class _State(NamedTuple):
    """What is watched: a model at `path`, in which the fields `set_since` are no longer its own."""

    model: BaseModel
    reads: Reads
    path: Path
    set_since: frozenset[str]
    inner: dict[str, Any]


def watched(model: Model, reads: Reads, path: Path = ()) -> Model:
    """A model like `model` that notes in `reads` which fields are read of it."""
    return _watching(model, reads, path, frozenset())


def _watching(model: Model, reads: Reads, path: Path, set_since: frozenset[str]) -> Model:
    kind = _watched_kind(type(model))
    made: Model = kind.__new__(kind)
    object.__setattr__(made, "__dict__", {"": _State(model, reads, path, set_since, {})})
    return made


_KINDS: dict[type[BaseModel], type[BaseModel]] = {}
_KIND_OF: dict[type[BaseModel], type[BaseModel]] = {}


def _watched_kind(kind: type[BaseModel]) -> Any:
    """The type of watched models of a type: one of its own, with all its methods."""
    if kind not in _KINDS:
        namespace = {"__module__": kind.__module__, **_methods(kind)}
        metaclass: Any = type(kind)
        made = metaclass(kind.__name__, (kind,), namespace)
        _KINDS[kind], _KIND_OF[made] = made, _KIND_OF.get(kind, kind)
    return _KINDS[kind]


def _methods(kind: type[BaseModel]) -> dict[str, Any]:
    fields = frozenset(kind.model_fields)
    as_whole = {"__dict__", "__iter__", "__getstate__", "model_dump", "model_dump_json"}
    as_whole |= {"digest", "with_values", "modelled", *kind.__private_attributes__}

    def getattribute(self: BaseModel, name: str) -> Any:
        if name in fields:
            return _field(_state(self), name)
        if name in as_whole:
            state = _state(self)
            _note_whole(state)
            return getattr(state.model, name)
        return object.__getattribute__(self, name)

    def model_copy(self: BaseModel, *, update: dict[str, Any]) -> BaseModel:
        """The same with other values, which are no longer read of the model."""
        state = _state(self)
        copy = state.model.model_copy(update={k: _behind(value) for k, value in update.items()})
        made = _watching(copy, state.reads, state.path, state.set_since | update.keys())
        _state(made).inner.update({k: v for k, v in update.items() if isinstance(v, BaseModel)})
        return made

    def equal(self: BaseModel, other: object) -> bool:
        _note_whole(_state(self))
        return bool(_state(self).model == _plain(other))

    return {
        "__getattribute__": getattribute,
        "model_copy": model_copy,
        "__eq__": equal,
        "__hash__": None,
        "remembering": lambda self, before, changes: self,
    }


def _state(made: BaseModel) -> _State:
    found: _State = object.__getattribute__(made, "__dict__")[""]
    return found


def _plain(value: Any) -> Any:
    """The model behind one that is watched, all of it read; other values as they are."""
    if isinstance(value, BaseModel) and type(value) in _KIND_OF:
        _note_whole(_state(value))
    return _behind(value)


def _behind(value: Any) -> Any:
    """The model behind one that is watched; other values as they are."""
    if isinstance(value, BaseModel) and type(value) in _KIND_OF:
        return _behind(_state(value).model)
    return value


def _field(state: _State, name: str) -> Any:
    if name in state.inner:
        return state.inner[name]
    value = getattr(state.model, name)
    if name not in state.set_since:
        state.reads.note((*state.path, name), value)
    if isinstance(value, BaseModel):
        value = state.inner[name] = watched(value, state.reads, (*state.path, name))
    return value


def _note_whole(state: _State) -> None:
    """Note all of a model; of one with values of its own the fields that are not."""
    if not state.set_since:
        state.reads.note((*state.path, ALL), state.model)
        return
    for name in type(state.model).model_fields:
        if name not in state.set_since:
            state.reads.note((*state.path, name, ALL), getattr(state.model, name))
        elif name in state.inner:
            _plain(state.inner[name])


def agrees(model: BaseModel, reads: Reads) -> bool:
    """Whether a computation with these `reads` would read of `model` what it read then."""
    return all(_at(model, path) == found for path, found in reads.found.items())


def _at(model: BaseModel, path: Path) -> Hashable:
    """What stands at `path`, None below what is not there."""
    found: Any = model
    for name in path:
        if name == ALL:
            return _content(found, whole=True)
        found = getattr(found, name, None)
    return _content(found, whole=False)


def _content(value: Any, *, whole: bool) -> Hashable:
    """What tells a value from others: of a model its type, or all that it holds."""
    if isinstance(value, BaseModel):
        kind = _KIND_OF.get(type(value), type(value))
        return (kind, value.model_dump_json()) if whole else kind
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return tuple((key, _content(inner, whole=True)) for key, inner in value.items())
    return repr(value)
