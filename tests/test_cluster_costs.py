"""The cluster's cost equations against closed forms, published points and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimsim.costs import (
    CORE_CYCLES_PER_ELEMENT,
    barrier_cycles,
    core_cycles_per_element,
    dma_cycles,
    elementwise_cycles,
    job_overhead_cycles,
    lora_tcdm_bytes,
    norm_cycles,
    reduction_cycles,
    softmax_cycles,
)
from cimsim.errors import MappingError, SpecError, WorkloadError

TORCH_FUNCTIONS = [
    "add",
    "sub",
    "mul",
    "div",
    "neg",
    "pow",
    "sqrt",
    "rsqrt",
    "exp",
    "log",
    "tanh",
    "sigmoid",
    "erf",
    "relu",
    "silu",
    "gelu",
    "sin",
    "cos",
    "where",
    "maximum",
    "minimum",
    "clamp",
    "abs",
    "square",
    "reciprocal",
    "to",
    "masked_fill",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "copy",
    "add_",
    "logical_not",
    "bitwise_and",
    "rsub",
    "mean",
    "sum",
    "amax",
    "softmax",
    "layer_norm",
    "rms_norm",
]

counts = st.integers(0, 5000)
cores = st.integers(1, 32)


@pytest.mark.parametrize("function", TORCH_FUNCTIONS)
def test_every_torch_function_has_a_cost(function: str) -> None:
    assert core_cycles_per_element(function) > 0.0


def test_costs_order_as_the_hardware_does() -> None:
    cost = CORE_CYCLES_PER_ELEMENT
    assert cost["add"] == cost["scale"] == 0.25  # one FP16 SIMD instruction for 4 elements
    assert cost["layer_norm"] == 1.75
    assert cost["add"] < cost["where"] < cost["div"] < cost["exp"] < cost["softmax"]
    assert 60.0 <= cost["softmax"] <= 150.0
    assert 60.0 <= cost["gelu"] <= 150.0
    assert 3.0 <= cost["gelu_polynomial"] <= 5.0


def test_unknown_function_is_named() -> None:
    message = r"^the cluster has no cycle count for function 'foo'; known: abs, add, .*where\.$"
    with pytest.raises(MappingError, match=message):
        core_cycles_per_element("foo")


@pytest.mark.parametrize(
    ("elements", "core_count", "expected"),
    [(0, 8, 0), (4096, 8, 128), (4096, 1, 1024), (4097, 8, 129), (8, 8, 1)],
)
def test_elementwise_is_its_closed_form(elements: int, core_count: int, expected: int) -> None:
    cycles = elementwise_cycles(elements, 0.25, core_count, setup_cycles=0, contention=1.0)
    assert cycles == expected


def test_elementwise_adds_setup_and_contention() -> None:
    assert elementwise_cycles(800, 0.25, 8, setup_cycles=20, contention=1.4) == 20 + 35


@given(elements=counts, more=counts, n=cores, factor=st.floats(0.0, 100.0))
def test_elementwise_laws(elements: int, more: int, n: int, factor: float) -> None:
    cycles = elementwise_cycles(elements, factor, n)
    assert elementwise_cycles(elements + more, factor, n) >= cycles
    assert elementwise_cycles(elements, factor, n + 1) <= cycles
    assert elementwise_cycles(elements, factor + 1.0, n) >= cycles
    assert elementwise_cycles(elements, factor, n, contention=2.0) >= cycles


@given(share=st.integers(1, 500), n=cores)
def test_cores_divide_the_work(share: int, n: int) -> None:
    alone = elementwise_cycles(share, 3.0, 1, setup_cycles=0)
    assert elementwise_cycles(share * n, 3.0, n, setup_cycles=0) == alone


@given(rows=st.integers(1, 64), width=st.integers(1, 512), n=cores)
def test_row_kernels_laws(rows: int, width: int, n: int) -> None:
    elements = rows * width
    for kernel in (norm_cycles, softmax_cycles, reduction_cycles):
        cycles = kernel(elements, rows, n)
        assert kernel(elements + rows, rows, n) >= cycles
        assert kernel(elements + width, rows + 1, n) >= cycles
        assert kernel(elements, rows, n + 1) <= cycles
        assert kernel(elements, rows, max(rows, n)) == kernel(elements, rows, rows)


def test_one_row_keeps_one_core_busy() -> None:
    assert norm_cycles(512, 1, 8) == norm_cycles(512, 1, 1) == norm_cycles(8 * 512, 8, 8)


def test_norm_is_its_closed_form() -> None:
    cycles = norm_cycles(8 * 128, 8, 8, row_cycles=90, setup_cycles=20, contention=1.0)
    assert cycles == 20 + 128 * 7 // 4 + 90
    assert norm_cycles(1024, 8, 8, kind="rms_norm") < norm_cycles(1024, 8, 8)
    assert norm_cycles(0, 0, 8) == 0


def test_the_exponential_decides_the_softmax() -> None:
    slow = softmax_cycles(8 * 320, 8, 8)
    fast = softmax_cycles(8 * 320, 8, 8, exp_cycles=0.25, other_cycles=0.25)
    assert slow == 20 + 320 * 80 + 40
    assert fast == 20 + 160 + 40


@pytest.mark.parametrize(
    ("transfer", "beats"),
    [((64,), 1), ((65,), 2), ((4096,), 64), ((256, 8), 32), ((100, 3), 6), ((0,), None)],
)
def test_dma_counts_beats(transfer: tuple[int, ...], beats: int | None) -> None:
    expected = 0 if beats is None else 45 + beats
    assert dma_cycles(*transfer) == expected


@given(size=st.integers(1, 10_000), rows=st.integers(1, 100))
def test_unaligned_rows_cost_a_beat_each(size: int, rows: int) -> None:
    assert dma_cycles(size, rows, aligned=False) - dma_cycles(size, rows) == rows
    assert dma_cycles(size, rows) >= dma_cycles(size * rows)
    assert (dma_cycles(size, rows) - 45) * 64 >= size * rows


def test_job_overhead_lies_in_the_estimated_range() -> None:
    assert job_overhead_cycles() == 8 * 5 + 20
    assert 30 <= job_overhead_cycles() <= 110
    assert job_overhead_cycles(register_accesses=0, wake_up_cycles=7) == 7


def test_barrier_waits_for_others_only() -> None:
    assert barrier_cycles(1) == 0
    assert 5 <= barrier_cycles(9) <= 15


@pytest.mark.parametrize(
    ("t", "m", "n", "kib"),
    [
        (8, 128, 128, 8.125),
        (128, 128, 128, 70.0),
        (8, 512, 128, 20.125),
        (128, 512, 128, 172.0),
        (32, 128, 512, 50.5),
    ],
)
def test_tcdm_need_of_the_published_points(t: int, m: int, n: int, kib: float) -> None:
    assert lora_tcdm_bytes(t, m, n, 8) == kib * 1024


@given(t=counts, m=counts, n=counts, r=counts)
def test_tcdm_need_is_symmetric_and_scales(t: int, m: int, n: int, r: int) -> None:
    assert lora_tcdm_bytes(t, m, n, r) == lora_tcdm_bytes(t, n, m, r)
    assert lora_tcdm_bytes(t, m, n, r) == 2 * lora_tcdm_bytes(t, m, n, r, bytes_per_value=1)


def test_refusals_name_the_field() -> None:
    with pytest.raises(WorkloadError, match=r"^the cluster was asked for elements = -1; "):
        elementwise_cycles(-1, 1.0, 8)
    with pytest.raises(SpecError, match=r"^the cluster needs at least 1 core, got 0\. Raise"):
        elementwise_cycles(1, 1.0, 0)
    with pytest.raises(SpecError, match=r"contention of at least 1, got 0\.5\.$"):
        elementwise_cycles(1, 1.0, 8, contention=0.5)
    with pytest.raises(SpecError, match=r"exp_cycles of at least 0, got nan\.$"):
        softmax_cycles(8, 1, 8, exp_cycles=float("nan"))
    with pytest.raises(MappingError, match=r"no normalisation 'batch'; known: layer_norm, rms"):
        norm_cycles(8, 1, 8, kind="batch")
    with pytest.raises(SpecError, match=r"bytes_per_cycle of at least 1, got 0\.$"):
        dma_cycles(8, bytes_per_cycle=0)
    with pytest.raises(WorkloadError, match=r"asked for rank = -1; the least is 0\.$"):
        lora_tcdm_bytes(1, 1, 1, -1)
    with pytest.raises(SpecError, match="at least 1 core"):
        barrier_cycles(0)
