"""A device that is not there: tensors that say that they are on it, and compute on the CPU.

Whatever meets tensors of the CPU in one operation fails, as on an accelerator, but for those of a
single number and for indices; NumPy cannot see them, and no generator can draw on them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("mps", 0)
aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default}
INDEXES = {aten.index.Tensor, aten.index_put_.default}


class Elsewhere(torch.Tensor):
    """`held` on a device that is not there."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device="meta",
            requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held.detach()
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __repr__(self) -> str:
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class Pretending(TorchDispatchMode):
    """Tensors that are made on the device are `Elsewhere`; `done` counts operations there."""

    done = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.done += any(isinstance(leaf, Elsewhere) for leaf in tree_flatten((args, kwargs))[0])
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_flatten((args, kwargs))[0]
    there = any(isinstance(leaf, Elsewhere) for leaf in leaves)
    target = kwargs.get("device")
    if there and func not in MOVES | INDEXES:
        here = [x for x in leaves if type(x) is torch.Tensor and x.dim() > 0]
        assert not here, f"{func} got tensors of the device and {len(here)} of the CPU"
    if target is not None:
        there = torch.device(target).type in (DEVICE.type, "meta")
        kwargs = kwargs | {"device": torch.device("cpu")}
    if func is aten.copy_.default:
        there = isinstance(args[0], Elsewhere)
    held = tree_map(lambda x: x.held if isinstance(x, Elsewhere) else x, (args, kwargs))
    found = func(*held[0], **held[1])
    if func._schema.is_mutable and isinstance(args[0], Elsewhere):
        return args[0]
    return tree_map(lambda x: Elsewhere(x) if there and _is_plain(x) else x, found)


def _is_plain(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere)


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """`module` with its parameters and buffers on the device."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(
                    Elsewhere(parameter.detach()), requires_grad=False
                )
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = Elsewhere(buffer)
    return module
