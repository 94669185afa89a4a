"""How exactly torch multiplies float32 matrices while a model computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cimsim.errors import SpecError
from cimsim.functional.devices import torch_device

PRECISIONS = ("highest", "high", "medium")


def check_precision(precision: str | None, device: str | None) -> None:
    """Raise SpecError for a precision that torch does not know, or that would reach the tiles."""
    if precision is None:
        return
    if precision not in PRECISIONS:
        raise SpecError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision != "highest" and device is not None and torch_device(device).type != "cpu":
        raise SpecError(
            f"precision {precision!r} was asked for on device {device!r}, where the sums of the "
            "tiles are torch's products too and would be rounded with the rest: leave out one of "
            "them."
        )


@contextmanager
def multiplying(precision: str | None) -> Iterator[None]:
    """Float32 matrix products as `torch.set_float32_matmul_precision` has it for a while.

    `medium` rounds their operands to BF16 where the processor multiplies that faster, and adds in
    float32; attention is computed as plain products then, because torch's blocks of it are too
    small for BF16 (a third of the time at 64 tokens, measured on an EPYC with AVX512-BF16). None
    leaves torch as it is set. Raises SpecError where torch was set for one backend
    alone, which it does not let be read in common.
    """
    if precision is None:
        yield
        return
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError as problem:
        raise SpecError(
            f"precision {precision!r} was asked for, and torch.backends sets another for one "
            f"backend: leave one of them out ({str(problem).split(',')[0]})."
        ) from None
    torch.set_float32_matmul_precision(precision)
    try:
        with nullcontext() if precision == "highest" else sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
