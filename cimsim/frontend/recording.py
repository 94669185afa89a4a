"""Recording: every aten call of a forward pass on the meta device, with its module call.

Only shapes run. With `real` numbers for inputs and buffers (possibly for none of them), a value
that follows from those and from constants alone is computed beside the meta call as its shadow:
that is how an attention mask can be read although the model has no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from cimsim.values.display import brief

SHAPE_ONLY = frozenset(
    [
        "empty_like",
        "zeros_like",
        "ones_like",
        "full_like",
        "rand_like",
        "randn_like",
        "new_empty",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty_strided",
    ]
)
LITERALS = frozenset([torch.tensor, torch.as_tensor, torch.asarray])
"""Functions that make a tensor of Python numbers without an aten call that could be recorded."""

_T = TypeVar("_T")


def _leaves(data: Any, kind: type[_T]) -> Iterator[_T]:
    """The objects of `kind` in nested lists and tuples, in order (faster than a pytree)."""
    if isinstance(data, kind):
        yield data
    elif isinstance(data, list | tuple):
        for item in data:
            yield from _leaves(item, kind)


def _replace(data: Any, kind: type[_T], by: Callable[[_T], Any]) -> Any:
    """`data` with the objects of `kind` in its nested lists and tuples replaced."""
    if isinstance(data, kind):
        return by(data)
    if isinstance(data, list | tuple):
        return type(data)([_replace(item, kind, by) for item in data])
    return data


@brief
@dataclass(eq=False)
class Value:
    """One version of a tensor; `live` if it depends on parameters or on activations.

    `given` if it depends on inputs or buffers alone, as masks do; `source` is the number of an
    input of the model.
    """

    shape: tuple[int, ...]
    live: bool
    parameter: int | None = None
    shadow: torch.Tensor | None = None
    given: bool = False
    source: int | None = None


@dataclass(frozen=True)
class Frame:
    """One call of one module; `leaf` if it called no other module."""

    number: int
    path: str
    leaf: bool


@brief
@dataclass(eq=False)
class Call:
    """One aten call: tensors in `args` and `kwargs` are replaced by their values."""

    index: int
    segment: int
    op: str
    overload: str
    frame: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Value, ...]

    @cached_property
    def inputs(self) -> list[Value]:
        """The values read, in the order of the arguments."""
        return list(_leaves((self.args, *self.kwargs.values()), Value))

    @cached_property
    def live(self) -> bool:
        """Whether the result depends on parameters or activations."""
        return any(value.live for value in self.outputs)


@brief
@dataclass
class Recording:
    """The calls of all segments (0 prefill, then decode steps) and the module calls by number."""

    calls: list[Call] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


def _picked(source: Value, shape: torch.Size) -> torch.Tensor | None:
    """What unknown indices pick from `source`: known where all of its numbers are equal."""
    numbers = source.shadow
    if numbers is None or numbers.numel() == 0 or bool((numbers != numbers.reshape(-1)[0]).any()):
        return None
    return numbers.reshape(-1)[:1].expand(shape).clone()


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that fills `recording`; `real` maps tensor identities to their numbers.

    Numbers of more than `most` values are not followed.
    """

    def __init__(
        self,
        model: nn.Module,
        real: Mapping[int, torch.Tensor] | None = None,
        most: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._most = most
        self.recording = Recording(frames=[Frame(0, "", True)])
        self.segment = -1
        self._real = real
        self._stack = [0]
        self._values: dict[int, Value] = {}
        self._alive: list[torch.Tensor] = []
        self._aliases: dict[int, list[torch.Tensor]] = {}
        for parameter in model.parameters():
            self._bind(parameter, Value(tuple(parameter.shape), True, id(parameter)))
        for buffer in model.buffers():
            self._declare(buffer, live=False)

    @property
    def path(self) -> str:
        """Path of the module that is running."""
        return self.recording.frames[self._stack[-1]].path

    def begin(self, inputs: Any) -> None:
        """Open the next segment; `inputs` holds what the model is called with.

        Floating-point inputs are activations, unless an earlier segment computed them.
        """
        self.segment += 1
        for number, leaf in enumerate(tree_leaves(inputs)):
            if isinstance(leaf, torch.Tensor) and id(leaf) not in self._values:
                self._declare(leaf, live=leaf.is_floating_point(), source=number)

    def _declare(self, tensor: torch.Tensor, *, live: bool, source: int | None = None) -> None:
        """Announce a tensor that no recorded call produces, with its real numbers if known."""
        known = None if self._real is None else self._real.get(id(tensor))
        if self._real is not None and not tensor.is_meta:
            known = tensor
        shadow = None if known is None else known.detach().clone()
        self._bind(
            tensor, Value(tuple(tensor.shape), live, shadow=shadow, given=True, source=source)
        )

    def literal(self, tensor: torch.Tensor, numbers: torch.Tensor) -> None:
        """Announce the `numbers` of a tensor that stands in the model's code."""
        shadow = None if self._real is None else numbers
        self._bind(tensor, Value(tuple(tensor.shape), live=False, shadow=shadow))

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Follow the module calls of `model` while the context lasts."""
        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(self._enter(path)))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            frames = self.recording.frames
            above = self._stack[-1]
            frames[above] = Frame(above, frames[above].path, leaf=False)
            frames.append(Frame(len(frames), path, leaf=True))
            self._stack.append(len(frames) - 1)

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()

    def _bind(self, tensor: torch.Tensor, value: Value) -> None:
        self._values[id(tensor)] = value
        self._alive.append(tensor)
        self._aliases.setdefault(tensor.untyped_storage()._cdata, []).append(tensor)

    def _value(self, tensor: torch.Tensor) -> Value:
        if id(tensor) not in self._values:
            self._declare(tensor, live=False)
        return self._values[id(tensor)]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.ops.aten._local_scalar_dense.default:
            known = self._value(args[0]).shadow
            if known is not None:  # a mask or buffer whose numbers do not depend on weights
                return known.item()
        result = func(*args, **kwargs)
        tensors = list(_leaves(result, torch.Tensor))
        if not tensors:
            return result
        op = func._schema.name.split("::")[1]
        seen_args = _replace(args, torch.Tensor, self._value)
        seen_kwargs = {k: _replace(v, torch.Tensor, self._value) for k, v in kwargs.items()}
        sources = list(_leaves((seen_args, *seen_kwargs.values()), Value))
        live = op not in SHAPE_ONLY and any(value.live for value in sources)
        shadows: list[torch.Tensor | None] = [None] * len(tensors)
        if self._most is None or all(tensor.numel() <= self._most for tensor in tensors):
            shadows = self._shadow(func, op, seen_args, seen_kwargs, sources, len(tensors))
            if op == "index" and shadows == [None]:
                shadows = [_picked(sources[0], tensors[0].shape)]
        given = any(value.given for value in sources) and all(
            value.given or not value.live for value in sources
        )
        values = tuple(
            Value(tuple(tensor.shape), live, shadow=shadow, given=given)
            for tensor, shadow in zip(tensors, shadows, strict=True)
        )
        self._note(op, func._schema.overload_name, seen_args, seen_kwargs, values)
        for tensor, value in zip(tensors, values, strict=True):
            self._bind(tensor, value)
        if func._schema.is_mutable:
            self._spread(tensors, values)
        return result

    def _note(
        self,
        op: str,
        overload: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: tuple[Value, ...],
    ) -> None:
        calls = self.recording.calls
        calls.append(
            Call(len(calls), self.segment, op, overload, self._stack[-1], args, kwargs, outputs)
        )

    def _shadow(
        self,
        func: Any,
        op: str,
        args: Any,
        kwargs: dict[str, Any],
        sources: list[Value],
        count: int,
    ) -> list[torch.Tensor | None]:
        """The real numbers of the outputs where all inputs have theirs, else None for each."""
        unknown: list[torch.Tensor | None] = [None] * count
        if self._real is None or any(v.shadow is None for v in sources) or op.startswith("empty"):
            return unknown
        real_args = _replace(args, Value, lambda value: value.shadow)
        real_kwargs = {k: _replace(v, Value, lambda value: value.shadow) for k, v in kwargs.items()}
        if "device" in real_kwargs:
            real_kwargs["device"] = torch.device("cpu")
        return list(_leaves(func(*real_args, **real_kwargs), torch.Tensor))

    def _spread(self, tensors: list[torch.Tensor], values: tuple[Value, ...]) -> None:
        """After a write in place, every other view of the storage depends on what was written."""
        for tensor, written in zip(tensors, values, strict=True):
            aliases = {id(a): a for a in self._aliases[tensor.untyped_storage()._cdata]}
            for identity, alias in aliases.items():
                if alias is tensor or not written.live:
                    continue
                before = self._values[identity]
                after = Value(before.shape, live=True)
                self._note("alias", "write", (before, written), {}, (after,))
                self._values[identity] = after


class Literals(TorchFunctionMode):
    """Function mode that tells `recorder` the numbers of tensors which the model writes out."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if func in LITERALS and made.is_meta and not list(_leaves(args, torch.Tensor)):
            with _disable_current_modes():
                numbers = func(*args, **{**kwargs, "device": "cpu"})
            self._recorder.literal(made, numbers)
        return made
