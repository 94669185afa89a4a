"""Matrix products: linear layers where one operand is a parameter, matmuls where none is."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from cimsim.errors import WorkloadError
from cimsim.frontend.builder import Builder, lora_role
from cimsim.frontend.graph import join_sources
from cimsim.frontend.recording import Call, Value
from cimsim.frontend.streams import windows_overlap
from cimsim.ir import Role


def lower_gemm(build: Builder, call: Call) -> None:
    """mm, addmm, bmm, baddbmm."""
    *addends, left, right = (value for value in call.args if isinstance(value, Value))
    weights = [build.fact(value).parameter is not None for value in (left, right)]
    bias = addends[0] if addends and build.fact(addends[0]).parameter is not None else None
    if weights == [False, True]:
        rows, columns = prod(left.shape[:-1]), right.shape[-1]
        _check_one_matrix(build, call, right)
        _add_linear(build, call, left, right, (rows, right.shape[-2], columns), bias)
    elif weights == [True, False]:
        rows, columns = prod(right.shape) // right.shape[-2], left.shape[-2]
        _check_one_matrix(build, call, left)
        _add_linear(build, call, right, left, (rows, left.shape[-1], columns), bias)
    else:
        _check_operands(build, call, left, right)
        _add_matmul(build, call, left, right)
        bias = None
    if addends and bias is None:
        inputs = [build.fact(addends[0]), build.fact(call.outputs[0])]
        placement = build.place(call.outputs[0], inputs, by_rows=False)
        build.add_elementwise(call, inputs, "add", placement)


def lower_convolution(build: Builder, call: Call) -> None:
    """A convolution as the linear layer over its patches; its groups are blocks of a diagonal."""
    x, weight, bias, stride, padding, dilation, transposed = call.args[:7]
    if transposed:
        raise WorkloadError(
            f"{build.where(call)}: a transposed convolution is no linear layer over patches. Use "
            "an upsampling and a convolution in its place, or trace the network without it."
        )
    if build.fact(weight).parameter is None:
        raise WorkloadError(
            f"{build.where(call)}: a convolution whose weight is computed. A weight is mapped as "
            "it is stored: fold the arithmetic into the parameter."
        )
    groups = call.args[8]
    out = call.outputs[0].shape
    sizes = (prod(out) // out[1], groups * prod(weight.shape[1:]), weight.shape[0])
    mixes = windows_overlap(weight.shape[2:], stride, padding, dilation)
    _add_linear(build, call, x, weight, sizes, bias, columns=1, mixes=mixes, groups=groups)


def _check_operands(build: Builder, call: Call, left: Value, right: Value) -> None:
    """Raises WorkloadError for a product that is none of two activations."""
    facts = [build.fact(left), build.fact(right)]
    if any(fact.stored for fact in facts) or all(fact.parameter is not None for fact in facts):
        raise WorkloadError(
            f"{build.where(call)}: a product with a matrix that is computed from parameters. A "
            "weight is mapped as it is stored: fold the arithmetic into the parameter, or give "
            "the product a linear layer of its own."
        )
    if not (left.live and right.live):
        raise WorkloadError(
            f"{build.where(call)}: a product with a constant matrix (a buffer, or made in the "
            "forward pass). Make the matrix a parameter."
        )


def _check_one_matrix(build: Builder, call: Call, weight: Value) -> None:
    batch = weight.shape[0] if len(weight.shape) == 3 else 1
    if batch != build.fact(weight).repeats and batch > 1:
        raise WorkloadError(
            f"{build.where(call)}: {batch} products with {batch} slices of one parameter at once "
            "(a bank of experts or heads) are not supported. Give each its own linear layer, or "
            "multiply with one slice after the other."
        )


def _add_linear(
    build: Builder,
    call: Call,
    x: Value,
    weight: Value,
    sizes: tuple[int, int, int],
    bias: Value | None,
    *,
    columns: int | None = None,
    mixes: bool = False,
    groups: int = 1,
) -> None:
    """Add a linear node of `sizes` rows, inputs, outputs; `columns` is the axis of the outputs.

    With `mixes` it reads values of several tokens for one.
    """
    fact = build.fact(x)
    name = build.weight(call, weight, "base")
    role: Role = lora_role(name) or "base"
    build.roles[build.parameter(call, weight, "base")] = role
    if bias is not None:
        build.parameter(call, bias, "bias")
    placement = build.place(call.outputs[0], [fact], by_rows=True, columns=columns)
    if mixes and fact.flow == "stream":
        placement = replace(placement, gathers=placement.streams)
    build.add(
        call,
        "linear",
        [fact],
        dict(zip(("rows", "in_features", "out_features"), sizes, strict=True)),
        placement,
        weight=name,
        bias=bias is not None,
        role=role,
        saved=build.is_saved(weight),
        tuned=build.is_tuned(weight),
        groups=groups,
    )


def _add_matmul(build: Builder, call: Call, left: Value, right: Value) -> None:
    moving, stationary = build.fact(left), build.fact(right)
    batch = right.shape[0] if len(right.shape) == 3 else 1
    k, n = right.shape[-2:]
    axis = _stationary_axis(build, right)
    first = join_sources([moving])[:1]
    if stationary.sources and not first:
        raise WorkloadError(
            f"{build.where(call)}: a product of the model's own input with an activation is not "
            "supported. Give the input to a linear layer first."
        )
    node = build.add(
        call,
        "matmul",
        [moving, stationary],
        {
            "batch": batch,
            "m": left.shape[-2],
            "k": k,
            "n": n,
            "stationary_batch": max(batch // stationary.repeats, 1),
        },
        build.place(call.outputs[0], [moving], by_rows=True),
        stationary_token_axis=axis,
    )
    if axis == "k":
        node.mask = moving.mask
    node.inputs = [*first, *join_sources([stationary])]


def _stationary_axis(build: Builder, right: Value) -> str:
    """The axis of a stationary operand that runs over tokens, of an own or another sequence."""
    rank = len(right.shape)
    for tokens in (build.axis.axes(right), build.axis.other_axes(right)):
        if rank - 2 in tokens:
            return "k"
        if rank - 1 in tokens:
            return "n"
    return "none"
