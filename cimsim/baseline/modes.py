"""What may be asked of the baseline: mode and data type, and which of them go together.

`calibrated` predicts a real kernel, `roofline` is the larger of peak compute and peak bandwidth,
and `peak-int8` (every operation at the int8 peak, memory ignored) serves only to reproduce tables
that compare with the data sheet.
"""

from __future__ import annotations

from typing import Literal, get_args

from cimsim.errors import SpecError

Mode = Literal["calibrated", "roofline", "peak-int8"]
Dtype = Literal["fp16", "bf16", "int8", "tf32", "fp32"]
_CALIBRATED: tuple[Dtype, ...] = ("fp16", "bf16", "int8")

# counted: IEEE 754; TF32 values are kept as FP32
ELEMENT_BYTES: dict[Dtype, int] = {"fp16": 2, "bf16": 2, "int8": 1, "tf32": 4, "fp32": 4}
PRECISION: dict[Dtype, str] = {
    "fp16": "fp16 weights and activations, fp32 accumulation",
    "bf16": "bf16 weights and activations, taken as fast as fp16",
    "int8": "int8 weights and activations; assumed: fp16 efficiencies hold at the int8 peak rate",
    "tf32": "tf32 products of fp32 values",
    "fp32": "fp32 outside the tensor cores",
}


def check_mode(mode: str) -> Mode:
    """`mode` if there is such a mode; raises SpecError otherwise."""
    for known in get_args(Mode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise SpecError(f"unknown GPU mode {mode!r}. Use one of {', '.join(get_args(Mode))}.")


def check_dtype(dtype: str) -> Dtype:
    """`dtype` if there is such a data type; raises SpecError otherwise."""
    for known in get_args(Dtype):
        if dtype == known:
            return known  # type: ignore[no-any-return]
    raise SpecError(f"unknown data type {dtype!r}. Use one of {', '.join(get_args(Dtype))}.")


def check_pair(mode: Mode, dtype: Dtype) -> tuple[Mode, Dtype]:
    """Mode and data type as they will be used; raises SpecError where there is no model."""
    if mode == "peak-int8":
        return mode, "int8"
    if mode == "calibrated" and dtype not in _CALIBRATED:
        raise SpecError(
            f"mode calibrated has no {dtype} model: kernels were measured in fp16 only. "
            f"Use mode roofline, or {', '.join(_CALIBRATED)}."
        )
    return mode, dtype
