"""What each aten operation is to cimsim: the one table that names them all."""

from __future__ import annotations

from typing import Literal

Category = Literal[
    "view",
    "elementwise",
    "move",
    "reduce",
    "pooling",
    "batch_norm",
    "scatter_add",
    "gemm",
    "convolution",
    "softmax",
    "norm",
    "embedding",
]

_NAMES: dict[Category, str] = {
    "view": (
        "view _unsafe_view reshape _reshape_alias t transpose permute expand unsqueeze squeeze "
        "slice select detach alias split split_with_sizes unbind chunk narrow diagonal unfold "
        "_to_copy lift_fresh view_as movedim swapaxes flatten"
    ),
    "elementwise": (
        "add sub rsub mul div neg pow exp exp2 expm1 log log2 log1p sqrt rsqrt reciprocal square "
        "abs sign sin cos tan tanh sigmoid relu relu6 gelu silu elu celu selu leaky_relu softplus "
        "hardtanh hardswish hardsigmoid mish erf clamp clamp_min clamp_max maximum minimum where "
        "masked_fill log_sigmoid_forward prelu _prelu_kernel threshold floor ceil round trunc "
        "addcmul addcdiv lerp eq ne lt le gt ge logical_not logical_and logical_or bitwise_and "
        "bitwise_or bitwise_not tril triu nan_to_num glu floor_divide remainder fmod atan2 isnan "
        "isinf"
    ),
    "move": (
        "clone cat stack copy constant_pad_nd pad reflection_pad1d reflection_pad2d "
        "replication_pad1d replication_pad2d roll flip "
        "index index_select gather repeat index_put index_copy scatter slice_scatter "
        "select_scatter"
    ),
    "reduce": "sum mean amax amin max min argmax var topk",
    "pooling": "max_pool2d_with_indices adaptive_max_pool2d avg_pool2d _adaptive_avg_pool2d",
    "batch_norm": "native_batch_norm _native_batch_norm_legit_no_training",
    "scatter_add": "index_add",
    "gemm": "mm addmm bmm baddbmm",
    "convolution": "convolution _convolution convolution_overrideable",
    "softmax": "_softmax _log_softmax _safe_softmax",
    "norm": "native_layer_norm native_group_norm _fused_rms_norm",
    "embedding": "embedding",
}

CATEGORIES: dict[str, Category] = {
    name: category for category, names in _NAMES.items() for name in names.split()
}

FUNCTIONS = {"rsub": "sub", "clamp_min": "clamp", "clamp_max": "clamp", "_prelu_kernel": "prelu"}
REDUCTIONS = {"amax": "max", "amin": "min", "topk": "max"} | {
    "max_pool2d_with_indices": "max",
    "adaptive_max_pool2d": "max",
    "avg_pool2d": "mean",
    "_adaptive_avg_pool2d": "mean",
}
"""The function of a reduction; the k largest are found by k passes over all."""


def category(op: str) -> Category | None:
    """The category of an aten operation, in place or not; None if it is not in the table."""
    return CATEGORIES.get(op) or CATEGORIES.get(op.removesuffix("_"))


def function_name(op: str) -> str:
    """The name under which an elementwise operation is counted."""
    plain = op if op in CATEGORIES else op.removesuffix("_")
    return FUNCTIONS.get(plain, plain)
