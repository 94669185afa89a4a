"""The matrix engine's cycles against measured rows, closed forms and laws."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimsim.costs import FORMAT_BYTES, matrix_engine_accesses, matrix_engine_cycles
from cimsim.errors import SpecError, WorkloadError

SAMPLE = Path(__file__).parent / "data" / "redmule_cycles_sample.csv"
FULL_DIR = Path(
    os.environ.get(
        "CIMSIM_RTL_DATA", Path(__file__).resolve().parents[2] / "shared" / "reference" / "rtl"
    )
)

sizes = st.integers(1, 200)
arrays = st.tuples(st.integers(1, 16), st.integers(1, 8), st.integers(0, 4))


def sample_rows() -> list[dict[str, str]]:
    with SAMPLE.open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def within(predicted: int, measured: int) -> bool:
    """The accuracy that is asked of every row: 1 cycle or 0.5 %."""
    return abs(predicted - measured) <= max(1.0, 0.005 * measured)


@pytest.mark.parametrize(
    "row", sample_rows(), ids=lambda r: f"{r['operation']}-{r['m']}x{r['n']}x{r['k']}-L{r['rows']}"
)
def test_measured_sample(row: dict[str, str]) -> None:
    shape = (int(row["m"]), int(row["n"]), int(row["k"]))
    array = {name: int(row[name]) for name in ("rows", "columns", "pipeline")}
    gemm = row["operation"] == "gemm"
    cycles = matrix_engine_cycles(*shape, **array, format=row["format"], accumulate=gemm)
    assert within(cycles, int(row["cycles"])), (cycles, row)
    if gemm:
        assert matrix_engine_accesses(*shape, **array) == int(row["accesses"])


def test_sample_is_large_enough_to_mean_something() -> None:
    rows = sample_rows()
    assert len(rows) >= 35
    assert {row["rows"] for row in rows} == {"8", "12"}
    assert {row["operation"] for row in rows} == {"gemm", "matmul"}


@pytest.mark.skipif(
    not (FULL_DIR / "redmule_cycles.csv").is_file(),
    reason="no redmule_cycles.csv: set CIMSIM_RTL_DATA to its folder",
)
def test_every_measured_row() -> None:
    with (FULL_DIR / "redmule_cycles.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["status"] == "ok"]
    rows = [r for r in rows if r["mismatched_outputs"] == "0"]
    assert len(rows) > 200
    missed, exact = [], 0
    for r in rows:
        stall = float(r["port_stall_prob"])
        predicted = matrix_engine_cycles(
            *(int(r[name]) for name in "MNK"),
            rows=int(r["L"]),
            columns=int(r["H"]),
            pipeline=int(r["P"]),
            format=r["format"],
            stall_probability=stall,
            accumulate=r["op"] == "gemm",
        )
        measured = int(r["cycles"])
        exact += predicted == measured
        # a refused port is random: single runs scatter about their mean
        if not (within(predicted, measured) or (stall and abs(predicted / measured - 1) < 0.05)):
            missed.append((predicted, measured, r["group"], r["M"], r["N"], r["K"]))
    assert not missed
    assert exact >= 0.95 * sum(float(r["port_stall_prob"]) == 0 for r in rows)


@pytest.mark.parametrize("m", [1, 8, 32])
@pytest.mark.parametrize("n", [128, 512])
def test_rank_changes_stage_a_by_the_drained_columns_only(m: int, n: int) -> None:
    at_16 = matrix_engine_cycles(m, n, 16)
    assert at_16 - matrix_engine_cycles(m, n, 8) == 8
    assert at_16 - matrix_engine_cycles(m, n, 4) == 12


@given(n=st.integers(1, 500), k=st.integers(1, 16), m=st.integers(1, 8))
def test_one_tile_is_compute_plus_a_bounded_edge(m: int, n: int, k: int) -> None:
    compute = 4 * 4 * -(-n // 4)
    edge = matrix_engine_cycles(m, n, k) - compute
    assert 93 - 15 - 11 <= edge <= 93


@given(m=sizes, n=sizes, k=sizes, array=arrays)
def test_never_faster_than_the_array_or_the_port(
    m: int, n: int, k: int, array: tuple[int, int, int]
) -> None:
    rows, columns, pipeline = array
    shape = {"rows": rows, "columns": columns, "pipeline": pipeline}
    cycles = matrix_engine_cycles(m, n, k, **shape)
    assert cycles * rows * columns >= m * n * k
    assert cycles >= matrix_engine_accesses(m, n, k, **shape) - 4 * rows


@pytest.mark.parametrize(("rows", "n"), [(8, 16), (8, 100), (12, 64), (4, 8)])
def test_many_tiles_cost_their_compute(rows: int, n: int) -> None:
    few, many = (
        matrix_engine_cycles(rows * t, n, 16, rows=rows, columns=4, pipeline=3) for t in (4, 104)
    )
    assert many - few == 100 * 4 * n


def test_rank_8_costs_33_cycles_a_tile() -> None:
    assert matrix_engine_cycles(128, 8, 2048) - matrix_engine_cycles(64, 8, 2048) == 33 * 1024


@given(m=sizes, n=st.integers(9, 200), k=sizes, more=st.integers(1, 40))
def test_more_work_never_takes_less(m: int, n: int, k: int, more: int) -> None:
    cycles = matrix_engine_cycles(m, n, k)
    assert matrix_engine_cycles(m + more, n, k) >= cycles
    assert matrix_engine_cycles(m, n + more, k) >= cycles
    assert matrix_engine_cycles(m, n, k + more) >= cycles


@given(tiles=st.integers(1, 20), n=st.integers(1, 8), k=sizes, more=st.integers(1, 40))
def test_more_work_never_takes_less_when_the_port_is_full(
    tiles: int, n: int, k: int, more: int
) -> None:
    cycles = matrix_engine_cycles(8 * tiles, n, k)
    assert matrix_engine_cycles(8 * (tiles + 1), n, k) >= cycles
    assert matrix_engine_cycles(8 * tiles, n + more, k) >= cycles
    assert matrix_engine_cycles(8 * tiles, n, k + more) >= cycles


@given(m=sizes, n=sizes, k=sizes, p=st.floats(0.0, 0.9), q=st.floats(0.0, 0.9))
def test_more_stalls_never_take_less(m: int, n: int, k: int, p: float, q: float) -> None:
    low, high = sorted((p, q))
    slow = matrix_engine_cycles(m, n, k, stall_probability=high)
    assert slow >= matrix_engine_cycles(m, n, k, stall_probability=low)
    assert slow >= matrix_engine_cycles(m, n, k)


@given(m=sizes, n=sizes, k=sizes, p=st.floats(0.001, 0.95))
def test_stalls_lie_between_the_two_bounds_and_their_corner(
    m: int, n: int, k: int, p: float
) -> None:
    ideal = matrix_engine_cycles(m, n, k)
    cycles = matrix_engine_cycles(m, n, k, stall_probability=p)
    port = (matrix_engine_accesses(m, n, k) - 24) / (1 - p)
    edge, fixed = 24 * p / (1 - p), 93
    assert cycles >= ideal
    if matrix_engine_accesses(m, n, k) < ideal - fixed:  # else start-up hides some accesses
        assert cycles >= port
    assert cycles <= (max(ideal, port) + edge + fixed) * 2 ** (1 / 14) + 1


def test_a_third_of_the_port_tolerates_half_of_its_requests_refused() -> None:
    ideal = matrix_engine_cycles(8, 512, 8)
    assert matrix_engine_cycles(8, 512, 8, stall_probability=0.5) < 1.02 * ideal
    assert matrix_engine_cycles(8, 512, 8, stall_probability=0.8) > 1.5 * ideal


@given(m=sizes, n=sizes, k=sizes, p=st.floats(0.0, 0.9))
def test_fp8_is_never_slower(m: int, n: int, k: int, p: float) -> None:
    fp8 = matrix_engine_cycles(m, n, k, format="fp8", stall_probability=p)
    assert fp8 <= matrix_engine_cycles(m, n, k, stall_probability=p)


def test_fp8_halves_the_reads_of_x() -> None:
    fp16, fp8 = (matrix_engine_accesses(64, 256, 64, format=f) for f in ("fp16", "fp8"))
    assert fp16 - fp8 == 64 * 4 * 8
    assert FORMAT_BYTES["fp16"] == 2 * FORMAT_BYTES["fp8"]


@given(m=st.integers(9, 200), n=st.integers(1, 4), k=sizes)
def test_small_n_over_several_tiles_is_padded(m: int, n: int, k: int) -> None:
    assert matrix_engine_cycles(m, n, k) == matrix_engine_cycles(m, 8, k)


def test_both_jobs_of_an_adapter_for_one_token() -> None:
    assert matrix_engine_cycles(1, 128, 8) + matrix_engine_cycles(1, 8, 128) == 591 + 348


@pytest.mark.parametrize("bad", [{"m": 0}, {"n": 0}, {"k": -1}])
def test_refuses_empty_jobs(bad: dict[str, int]) -> None:
    ((name, value),) = bad.items()
    message = rf"^a matrix engine job needs {name} of at least 1, got {value}\.$"
    with pytest.raises(WorkloadError, match=message):
        matrix_engine_cycles(**({"m": 1, "n": 1, "k": 1} | bad))


def test_refuses_what_the_array_cannot_do() -> None:
    with pytest.raises(SpecError, match=r"^the matrix engine needs rows of at least 1, got 0\. "):
        matrix_engine_cycles(1, 1, 1, rows=0)
    with pytest.raises(SpecError, match=r"has no format 'fp4'; known: fp16, fp8\.$"):
        matrix_engine_cycles(1, 1, 1, format="fp4")
    with pytest.raises(SpecError, match=r"at least 0 and below 1, got 1\.0\. Lower it"):
        matrix_engine_cycles(1, 1, 1, stall_probability=1.0)
    with pytest.raises(WorkloadError, match=r"tile of 8x16 only; 9x8x8 has 2 tiles\. Clear the"):
        matrix_engine_cycles(9, 8, 8, accumulate=False)
