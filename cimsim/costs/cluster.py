"""Cycles of the RISC-V cluster around its matrix engine: cores, DMA, barriers, TCDM space.

Every number is for a Snitch cluster (snitch_cluster 2fa3848): cores with a 64-bit FPU path
(4 FP16 or 2 FP32 values an instruction), stream registers and hardware loops, a 512-bit DMA.
None of them is a measured cycle count; each is marked
  counted   read or counted from upstream source: a lower bound set by FPU issue,
  assumed   an estimate, with its reason.
Not modelled: instruction cache misses, the exact bank pattern (a contention factor stands in).
"""

from __future__ import annotations

import math

from cimsim.errors import MappingError, SpecError, WorkloadError

SIMD_WIDTH: dict[str, int] = {"fp16": 4, "fp32": 2}  # counted: values in one 64-bit FPU word

_ISSUE = 0.25  # counted: one streamed FP16 instruction for 4 elements (add, scale, axpy)
_CAST = 0.5  # assumed: a conversion and a pack for 4 elements of two widths
_SELECT = 0.75  # assumed: a compare and two masked moves for 4 elements
_DIVIDE = 11.0  # assumed: the FPU's divider is iterative and scalar, about 11 cycles at FP16
_ROOT = 11.0  # assumed: as the divider
_EXP = 60.0  # assumed: scalar library expf, most of the 60..150 that a softmax element takes
_TANH = 80.0  # assumed: middle of 60..150 for scalar library tanh (upstream GELU)
_POWER = 100.0  # assumed: a logarithm, a product and an exponential, scalar library
_TRIG = 80.0  # assumed: scalar library sine or cosine, as tanh

CORE_CYCLES_PER_ELEMENT: dict[str, float] = {
    # streamed FP16 SIMD instructions: counted for add and scale, assumed alike for the others
    "add": _ISSUE,
    "sub": _ISSUE,
    "mul": _ISSUE,
    "scale": _ISSUE,
    "axpy": _ISSUE,
    "neg": _ISSUE,
    "abs": _ISSUE,
    "square": _ISSUE,
    "relu": _ISSUE,
    "maximum": _ISSUE,
    "minimum": _ISSUE,
    "copy": _ISSUE,
    "fill": _ISSUE,
    "sum": _ISSUE,
    "mean": _ISSUE,
    "amax": _ISSUE,
    "amin": _ISSUE,
    "compare": _ISSUE,
    "logical": _ISSUE,
    "clamp": 2 * _ISSUE,  # assumed: a maximum and a minimum
    "to": _CAST,
    "where": _SELECT,
    "masked_fill": _SELECT,
    # scalar, iterative or library code
    "div": _DIVIDE,
    "reciprocal": _DIVIDE,
    "sqrt": _ROOT,
    "rsqrt": _ROOT + _DIVIDE,
    "exp": _EXP,
    "log": _EXP,
    "erf": _TANH,
    "tanh": _TANH,
    "sigmoid": _EXP + _DIVIDE,
    "silu": _EXP + _DIVIDE + 1.0,
    "gelu": _TANH,
    "gelu_polynomial": 4.0,  # assumed: 3..5, a polynomial in FP16 SIMD
    "pow": _POWER,
    "sin": _TRIG,
    "cos": _TRIG,
    # whole-row kernels: the part an element takes (see norm_cycles and softmax_cycles)
    "layer_norm": 1.75,  # counted: 1.5 in three passes; assumed: 0.25 for gamma and beta
    "rms_norm": 0.75,  # assumed: a square-and-add pass and a scale-and-gamma pass
    "softmax": 20.0 + _EXP,  # assumed: scalar maximum, subtraction, sum and division around it
}

_SAME_AS: dict[str, str] = {
    "eq": "compare",
    "ne": "compare",
    "lt": "compare",
    "le": "compare",
    "gt": "compare",
    "ge": "compare",
    "bitwise_and": "logical",
    "bitwise_or": "logical",
    "bitwise_not": "logical",
    "logical_and": "logical",
    "logical_or": "logical",
    "logical_not": "logical",
    "clone": "copy",
    "clamp_min": "maximum",
    "clamp_max": "minimum",
    "addcmul": "axpy",
    "rsub": "sub",
    "hardtanh": "clamp",
    "max": "amax",
    "min": "amin",
}

# assumed: random banks serve 24 streams (8 cores x 3) on 32 banks at 71 % a cycle
STREAM_CONTENTION = 1.4
STREAM_SETUP_CYCLES = 20  # assumed: 10..30 to set up the streams and the hardware loop of a call
NORM_ROW_CYCLES = 90  # assumed: 60..120, counted: 2 divisions, a square root, reductions, fences
SOFTMAX_ROW_CYCLES = 40  # assumed: two reductions and a division a row
JOB_REGISTER_ACCESSES = 8  # counted: 1 read and 7 writes for one job of the matrix engine
JOB_ACCESS_CYCLES = 5  # assumed: 2..10 an access over the peripheral bus
JOB_WAKE_UP_CYCLES = 20  # assumed: 10..30 from the done event to the next instruction
BARRIER_CYCLES = 10  # assumed: 5..15 beyond the waiting; counted: one blocking CSR read a core
DMA_SETUP_CYCLES = 45  # assumed: 30..60 from the first instruction to the last beat, no memory
DMA_BYTES_PER_CYCLE = 64  # counted: 512-bit data path


def core_cycles_per_element(function: str) -> float:
    """Cycles that one core takes for one FP16 element of `function`, streams not stalled.

    Knows the names of torch's aten elementwise functions (a trailing "_" is ignored).
    Raises MappingError for a function without a cycle count.
    """
    name = function.removesuffix("_")
    try:
        return CORE_CYCLES_PER_ELEMENT[_SAME_AS.get(name, name)]
    except KeyError:
        known = ", ".join(sorted({*CORE_CYCLES_PER_ELEMENT, *_SAME_AS}))
        raise MappingError(
            f"the cluster has no cycle count for function {function!r}; known: {known}."
        ) from None


def elementwise_cycles(
    elements: int,
    cycles_per_element: float,
    cores: int,
    *,
    setup_cycles: int = STREAM_SETUP_CYCLES,
    contention: float = STREAM_CONTENTION,
) -> int:
    """Cycles of a kernel over `elements`, shared evenly, the last core to finish counted.

    setup + ceil(ceil(elements / cores) * cycles_per_element * contention); 0 for no elements.
    `contention` (at least 1) is the slow-down of streams by bank conflicts.
    Raises WorkloadError for a negative count, SpecError for cores or factors that cannot be.
    """
    _check_count("elements", elements)
    _check_cores(cores)
    _check_factor("cycles_per_element", cycles_per_element, 0.0)
    _check_factor("contention", contention, 1.0)
    if elements == 0:
        return 0
    share = -(-elements // cores)
    return setup_cycles + math.ceil(share * cycles_per_element * contention)


def reduction_cycles(
    elements: int,
    rows: int,
    cores: int,
    *,
    row_cycles: int = 10,
    setup_cycles: int = STREAM_SETUP_CYCLES,
    contention: float = STREAM_CONTENTION,
) -> int:
    """Cycles to reduce `rows` rows of together `elements` to one value a row (sum, mean, max).

    A streamed pass, and `row_cycles` to fold a row's SIMD partial results (assumed: three
    dependent instructions of 3 cycles, and a store). Raises as `elementwise_cycles` does.
    """
    per_element = CORE_CYCLES_PER_ELEMENT["sum"]
    return _row_kernel_cycles(
        elements, rows, cores, per_element, row_cycles, setup_cycles, contention
    )


def norm_cycles(
    elements: int,
    rows: int,
    cores: int,
    *,
    kind: str = "layer_norm",
    row_cycles: int = NORM_ROW_CYCLES,
    setup_cycles: int = STREAM_SETUP_CYCLES,
    contention: float = STREAM_CONTENTION,
) -> int:
    """Cycles to normalise `rows` rows of together `elements`; `kind` layer_norm or rms_norm.

    Rows are dealt to the cores whole. Raises as `elementwise_cycles` does, and MappingError for
    another kind.
    """
    if kind not in ("layer_norm", "rms_norm"):
        raise MappingError(
            f"the cluster has no normalisation {kind!r}; known: layer_norm, rms_norm."
        )
    per_element = CORE_CYCLES_PER_ELEMENT[kind]
    return _row_kernel_cycles(
        elements, rows, cores, per_element, row_cycles, setup_cycles, contention
    )


def softmax_cycles(
    elements: int,
    rows: int,
    cores: int,
    *,
    exp_cycles: float = CORE_CYCLES_PER_ELEMENT["exp"],
    other_cycles: float = CORE_CYCLES_PER_ELEMENT["softmax"] - CORE_CYCLES_PER_ELEMENT["exp"],
    row_cycles: int = SOFTMAX_ROW_CYCLES,
    setup_cycles: int = STREAM_SETUP_CYCLES,
) -> int:
    """Cycles of a softmax over `rows` rows of together `elements`.

    An element takes `exp_cycles` for its exponential and `other_cycles` for the rest. The
    exponential decides: a cluster with an instruction for it, and a kernel streamed around it,
    is 162.7x faster (VEXP, arXiv 2504.11227, abstract); lower both for such a cluster. Scalar
    code, so no stream contention. Rows are dealt to the cores whole.
    Raises as `elementwise_cycles` does.
    """
    _check_factor("exp_cycles", exp_cycles, 0.0)
    _check_factor("other_cycles", other_cycles, 0.0)
    per_element = exp_cycles + other_cycles
    return _row_kernel_cycles(elements, rows, cores, per_element, row_cycles, setup_cycles, 1.0)


def dma_cycles(
    bytes_per_row: int,
    rows: int = 1,
    *,
    aligned: bool = True,
    setup_cycles: int = DMA_SETUP_CYCLES,
    bytes_per_cycle: int = DMA_BYTES_PER_CYCLE,
) -> int:
    """Cycles of one DMA transfer of `rows` rows of `bytes_per_row`, the memory's latency aside.

    setup + rows * (ceil(bytes_per_row / bytes_per_cycle) + 1 beat if not aligned); 0 for no
    bytes. A contiguous transfer is one row. Raises WorkloadError for a negative count, SpecError
    for a width below 1 byte.
    """
    _check_count("bytes_per_row", bytes_per_row)
    _check_count("rows", rows)
    if bytes_per_cycle < 1:
        raise SpecError(
            f"the cluster's DMA needs bytes_per_cycle of at least 1, got {bytes_per_cycle}."
        )
    if bytes_per_row * rows == 0:
        return 0
    beats = -(-bytes_per_row // bytes_per_cycle) + (0 if aligned else 1)
    return setup_cycles + rows * beats


def job_overhead_cycles(
    *,
    register_accesses: int = JOB_REGISTER_ACCESSES,
    access_cycles: int = JOB_ACCESS_CYCLES,
    wake_up_cycles: int = JOB_WAKE_UP_CYCLES,
) -> int:
    """Software cycles around one job of the matrix engine: configure, trigger, wake up."""
    return register_accesses * access_cycles + wake_up_cycles


def barrier_cycles(cores: int, *, cycles: int = BARRIER_CYCLES) -> int:
    """Cycles of a hardware barrier of `cores`, the waiting aside; 0 for a single core."""
    _check_cores(cores)
    return cycles if cores > 1 else 0


def lora_tcdm_bytes(
    block_tokens: int, in_features: int, out_features: int, rank: int, bytes_per_value: int = 2
) -> int:
    """TCDM bytes of an adapter on a block: inputs, A and B, X . A, and outputs, held once each.

    bytes_per_value * (t * m + r * (m + n) + t * r + t * n), which reproduces the end points of
    Fig. 4b of arXiv 2411.17367 (the formula printed in its Fig. 1b does not).
    Raises WorkloadError for a negative size.
    """
    t, m, n, r = block_tokens, in_features, out_features, rank
    for name, value in (("block_tokens", t), ("in_features", m), ("out_features", n), ("rank", r)):
        _check_count(name, value)
    return bytes_per_value * (t * m + r * (m + n) + t * r + t * n)


def _row_kernel_cycles(
    elements: int,
    rows: int,
    cores: int,
    cycles_per_element: float,
    row_cycles: int,
    setup_cycles: int,
    contention: float,
) -> int:
    """Cycles of a kernel that deals whole rows to the cores: the busiest core's rows."""
    _check_count("elements", elements)
    _check_count("rows", rows)
    _check_cores(cores)
    _check_factor("contention", contention, 1.0)
    if elements == 0 or rows == 0:
        return 0
    busiest_rows = -(-rows // cores)
    share = -(-elements * busiest_rows // rows)
    per_core = share * cycles_per_element * contention + busiest_rows * row_cycles
    return setup_cycles + math.ceil(per_core)


def _check_count(name: str, value: int) -> None:
    if value < 0:
        raise WorkloadError(f"the cluster was asked for {name} = {value}; the least is 0.")


def _check_cores(cores: int) -> None:
    if cores < 1:
        raise SpecError(f"the cluster needs at least 1 core, got {cores}. Raise its core count.")


def _check_factor(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise SpecError(f"the cluster needs {name} of at least {least:g}, got {value!r}.")
