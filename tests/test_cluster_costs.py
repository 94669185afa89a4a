"""The cluster's cost equations against closed forms, published points and laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import small
from hypothesis import example, given
from hypothesis import strategies as st

from cimsim.blocks import PmcaClusters
from cimsim.costs import (
    FUNCTIONS,
    dma_cycles,
    elementwise_busy,
    function_cycles,
    lora_tcdm_bytes,
    norm_busy,
    reduction_busy,
    softmax_busy,
)
from cimsim.errors import MappingError, WorkloadError


def elementwise_cycles(*work: Any) -> int:
    return elementwise_busy(*work).cycles


def norm_cycles(*work: Any) -> int:
    return norm_busy(*work).cycles


def reduction_cycles(*work: Any) -> int:
    return reduction_busy(*work).cycles


def softmax_cycles(*work: Any) -> int:
    return softmax_busy(*work).cycles


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
]

counts = st.integers(0, 5000)
cores = st.integers(1, 32)


def clusters(core: dict[str, Any] | None = None, **changes: Any) -> PmcaClusters:
    return small.machine(pmca={**changes, "core": core or {}}).pmca


PMCA = clusters()


def of(cores: int) -> PmcaClusters:
    return clusters(cores=cores)


@pytest.mark.parametrize("function", TORCH_FUNCTIONS)
def test_every_torch_function_has_a_cost(function: str) -> None:
    assert function_cycles(PMCA, function) > 0.0


# A value of every field, by which the cycles of every function are told apart.
PRIMES = {
    "stream_cycles_per_word": 2.0, "convert_cycles_per_word": 3.0, "select_cycles_per_word": 5.0,
    "divide_cycles_per_element": 7.0, "root_cycles_per_element": 11.0,
    "power_cycles_per_element": 13.0,
    "sine_cycles_per_element": 17.0, "sigmoid_cycles_per_word": 19.0,
    "silu_cycles_per_word": 23.0, "tanh_cycles_per_word": 29.0,
    "erf_cycles_per_word": 31.0, "gelu_cycles_per_word": 37.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "a_word", "an_element"),
    [
        ("add", 2, 0), ("sub", 2, 0), ("mul", 2, 0), ("neg", 2, 0), ("relu", 2, 0), ("gt", 2, 0),
        ("copy", 2, 0), ("mean", 2, 0), ("clamp", 4, 0), ("hardtanh", 4, 0), ("clamp_min", 2, 0),
        ("to", 3, 0), ("where", 5, 0), ("masked_fill", 5, 0), ("div", 0, 7), ("reciprocal", 0, 7),
        ("sqrt", 0, 11), ("rsqrt", 0, 18), ("pow", 0, 13), ("sin", 0, 17), ("cos", 0, 17),
        ("exp", 0, 41), ("log", 0, 41), ("sigmoid", 19, 41), ("silu", 23, 41), ("tanh", 29, 41),
        ("erf", 31, 41), ("gelu", 37, 41), ("silu_", 23, 41), ("add_", 2, 0),
    ],
)  # fmt: skip
def test_a_function_takes_its_instructions(function: str, a_word: int, an_element: int) -> None:
    for width in (1, 2, 4):
        pmca = clusters(PRIMES, simd_width=width, exp_cycles=41.0)
        assert function_cycles(pmca, function) == a_word / width + an_element


def test_all_known_functions_have_their_fields() -> None:
    assert all(function_cycles(PMCA, function) > 0.0 for function in FUNCTIONS)


def test_unknown_function_is_named() -> None:
    message = r"^the cluster has no cycle count for function 'foo'; known: abs, add, .*where\.$"
    with pytest.raises(MappingError, match=message):
        function_cycles(PMCA, "foo")


@pytest.mark.parametrize(
    ("elements", "core_count", "expected"),
    [(0, 8, 0), (4096, 8, 20 + 180), (4096, 1, 20 + 1434), (4097, 8, 20 + 180), (8, 8, 20 + 1)],
)
def test_elementwise_is_its_closed_form(elements: int, core_count: int, expected: int) -> None:
    """512 * 0.25 * 1.4 = 179.2; 4096 * 0.25 * 1.4 = 1433.6; 513 * 0.35 = 179.55."""
    assert elementwise_cycles(of(core_count), elements, {"add": 1}) == expected


def test_functions_of_a_chain_add_up() -> None:
    """100 elements a core at 3 * 0.25 + 11 = 11.75 cycles, 1.5 times as long by contention."""
    pmca = clusters({"tcdm_contention_ratio": 1.5, "stream_setup_cycles": 7})
    assert elementwise_cycles(pmca, 800, {"add": 1, "mul": 2, "div": 1}) == 7 + 1763


@given(elements=counts, more=counts, n=cores, times=st.integers(0, 100))
def test_elementwise_laws(elements: int, more: int, n: int, times: int) -> None:
    cycles = elementwise_cycles(of(n), elements, {"add": times})
    assert elementwise_cycles(of(n), elements + more, {"add": times}) >= cycles
    assert elementwise_cycles(of(n + 1), elements, {"add": times}) <= cycles
    assert elementwise_cycles(of(n), elements, {"add": times + 1}) >= cycles


@given(share=st.integers(1, 500), n=cores)
def test_cores_divide_the_work(share: int, n: int) -> None:
    alone = elementwise_cycles(of(1), share, {"div": 1})
    assert elementwise_cycles(of(n), share * n, {"div": 1}) == alone


def layer_norm(pmca: PmcaClusters, elements: int, rows: int) -> int:
    return norm_cycles(pmca, elements, rows, "layer")


KERNELS = (layer_norm, softmax_cycles, reduction_cycles)


@given(rows=st.integers(1, 64), width=st.integers(1, 512), n=cores)
@example(rows=9, width=300, n=8)
def test_row_kernels_laws(rows: int, width: int, n: int) -> None:
    elements = rows * width
    for kernel in KERNELS:
        cycles = kernel(of(n), elements, rows)
        assert kernel(of(n), elements + rows, rows) >= cycles
        assert kernel(of(n), elements + width, rows + 1) >= cycles
        assert kernel(of(n + 1), elements, rows) <= cycles


@given(rows=st.integers(1, 40), width=st.integers(1, 400), n=cores)
def test_a_row_kernel_is_no_slower_than_whole_rows_or_all_cores_on_each(
    rows: int, width: int, n: int
) -> None:
    """Elements at 0.25 * 1.4 = 0.35 cycles and two levels and a store of 4 lanes, 7 a row, 20 to
    set up; shared: a barrier of 10, levels of the cores and a store."""
    cycles = reduction_cycles(of(n), rows * width, rows)
    busiest, share = -(-rows // n), -(-width // n)
    whole = 20 + busiest * (0.35 * width + 7)
    shared = 20 + rows * (0.35 * share + 7 + 10 + 3 * math.ceil(math.log2(n)) + 1)
    assert cycles < min(whole, shared) + 1
    assert cycles >= 20 + rows * 0.35 * width / n, "no core does more than it can"


def test_a_row_is_shared_by_all_cores_where_that_is_faster() -> None:
    """64 of 512 elements a core; each reduction adds a barrier of 10 and a fold of 10."""
    assert norm_cycles(of(8), 512, 1, "layer") == 20 + 287  # 64 * 2.45 = 156.8; 90 and 2 * 20
    assert norm_cycles(of(8), 512, 1, "rms") == 20 + 178  # 64 * 1.05 = 67.2; 90 and 20
    assert reduction_cycles(of(8), 512, 1) == 20 + 50  # 64 * 0.35 = 22.4; 7 and 20
    assert softmax_cycles(of(8), 512, 1) == 20 + 1008  # 64 * 14.5 = 928; 40 and 2 * 20


def test_a_short_row_stays_with_one_core() -> None:
    """8 elements alone: 8 * 0.35 + 7; shared by two 4 * 0.35 + 7 + 14."""
    assert reduction_cycles(of(8), 8, 1) == 20 + 10


def test_nine_rows_on_eight_cores() -> None:
    """Whole rows: two on a core. Four teams of two: three rows each. All on each: nine times."""
    whole, pairs, all_on_each = 2 * (600 * 14.5 + 40), 3 * (300 * 14.5 + 68), 9 * (75 * 14.5 + 80)
    assert (whole, pairs, all_on_each) == (17480, 13254, 10507.5)
    assert softmax_cycles(of(8), 9 * 600, 9) == 20 + 10508
    assert softmax_cycles(of(9), 9 * 600, 9) == 20 + 600 * 14.5 + 40
    assert softmax_cycles(of(8), 9 * 10, 9) == 20 + 2 * (10 * 14.5 + 40)


def test_teams_of_cores_work_side_by_side() -> None:
    """Two rows: four of eight cores on each, three of six; all seven on one row after the other.
    Three and four cores fold in two levels, 40 + 2 * (10 + 7), seven in three."""
    assert softmax_cycles(of(8), 2 * 600, 2) == 20 + 150 * 14.5 + 74
    assert softmax_cycles(of(7), 2 * 600, 2) == 20 + 172 * 14.5 + 160  # 86 of each row, in turn
    assert softmax_cycles(of(6), 2 * 600, 2) == 20 + 200 * 14.5 + 74


@pytest.mark.parametrize(
    ("members", "levels"), [(2, 1), (3, 2), (4, 2), (5, 3), (7, 3), (8, 3), (9, 4), (17, 5)]
)
def test_a_team_folds_its_partial_results_in_a_tree(members: int, levels: int) -> None:
    """A long row: 1000 elements a core, 40 a row; two barriers, and for each reduction 3 cycles a
    level of the tree and 1 for the store."""
    cycles = softmax_cycles(of(members), 1000 * members, 1)
    assert cycles == 20 + 14500 + 40 + 2 * (10 + 3 * levels + 1)


def test_four_of_five_cores_are_faster_where_a_fifth_adds_a_level() -> None:
    """100 elements: 25 * 0.35 + 7 + 10 + 7 = 32.75 by four, 20 * 0.35 + 7 + 10 + 10 by five."""
    assert reduction_cycles(of(5), 100, 1) == 20 + 33


def test_row_kernels_are_their_closed_forms() -> None:
    """Three rows of 128 on two cores: two on the busier one, 256 elements; or 64 of each row."""
    pmca = of(2)
    assert norm_cycles(pmca, 384, 3, "layer") == 20 + 808  # 256 * 1.75 * 1.4 = 627.2, 2 * 90
    assert norm_cycles(pmca, 384, 3, "rms") == 20 + 449  # 256 * 0.75 * 1.4 = 268.8, 2 * 90
    assert reduction_cycles(pmca, 384, 3) == 20 + 104  # 256 * 0.25 * 1.4 = 89.6, 2 * 7
    assert softmax_cycles(pmca, 384, 3) == 20 + 2988  # 3 * (64 * 14.5 + 40 + 2 * 14)
    for kernel in KERNELS:
        assert kernel(pmca, 0, 0) == 0


def test_the_exponential_decides_the_softmax() -> None:
    slow = clusters(exp_cycles=60.0, softmax_other_cycles_per_word=80.0)
    fast = clusters(exp_cycles=0.25, softmax_other_cycles_per_word=1.0)
    assert softmax_cycles(slow, 8 * 320, 8) == 20 + 320 * 80 + 40
    assert softmax_cycles(fast, 8 * 320, 8) == 20 + 160 + 40


@pytest.mark.parametrize(
    ("transfer", "cycles"),
    [((64, 1), 46), ((65, 1), 47), ((4096, 1), 109), ((4096, 3), 199), ((0, 2), 0)],
)
def test_dma_counts_beats(transfer: tuple[int, int], cycles: int) -> None:
    assert dma_cycles(PMCA, *transfer) == cycles


@given(size=st.integers(1, 10_000), count=st.integers(1, 100))
def test_every_transfer_is_set_up(size: int, count: int) -> None:
    assert dma_cycles(PMCA, size, count) - dma_cycles(PMCA, size, 1) == 45 * (count - 1)
    assert (dma_cycles(PMCA, size, 1) - 45) * 64 >= size


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
        elementwise_cycles(PMCA, -1, {"add": 1})
    with pytest.raises(WorkloadError, match=r"^the cluster was asked for rows = -2; "):
        softmax_cycles(PMCA, 8, -2)
    with pytest.raises(WorkloadError, match=r"^the cluster was asked for total_bytes = -1; "):
        dma_cycles(PMCA, -1, 1)
    with pytest.raises(WorkloadError, match=r"asked for rank = -1; the least is 0\.$"):
        lora_tcdm_bytes(1, 1, 1, -1)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_narrower_word_makes_streams_slower_and_scalar_work_no_slower(width: int) -> None:
    """800 elements a core: 7, 3, 1 and 10 cycles a word; an exponential and a division a value."""
    pmca = clusters(simd_width=width, cores=1)
    assert norm_cycles(pmca, 800, 1, "layer") == 20 + 90 + 7840 // width
    assert norm_cycles(pmca, 800, 1, "rms") == 20 + 90 + 3360 // width
    assert reduction_cycles(pmca, 800, 1) == 20 + {1: 1, 2: 4, 4: 7}[width] + 1120 // width
    assert softmax_cycles(pmca, 800, 1) == 20 + 40 + 9600 + 8000 // width
    assert elementwise_cycles(pmca, 800, {"div": 1}) == 20 + 12320
