"""Products on a cluster: the matrix engine, the cores, or the faster of them."""

from __future__ import annotations

from typing import Any

import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from cimsim import shipped
from cimsim.blocks import PmcaClusters
from cimsim.costs import (
    cores_beat_engine,
    cores_product_cycles,
    matrix_engine_cycles,
    product_busy,
)
from cimsim.errors import MappingError, SpecError
from cimsim.ir import Workload
from cimsim.schedule.pipelines import PIPELINES
from cimsim.simulation import simulate
from cimsim.studies.layer import layer_workload

sizes = st.integers(1, 300)


def clusters(**changes: Any) -> PmcaClusters:
    return small.machine(pmca=changes).pmca


def product_cycles(pmca: PmcaClusters, count: int, m: int, n: int, k: int) -> int:
    return product_busy(pmca, count, m, n, k).cycles


def test_a_product_on_the_cores_is_its_closed_form() -> None:
    """24 * 16 * 40 multiply-adds, 16 lanes at three quarters, and a barrier."""
    pmca = clusters(
        core={"product_utilisation_ratio": 0.75}, cores=8, simd_width=2, barrier_cycles=9
    )
    assert cores_product_cycles(pmca, 24, 16, 40) == 1280 + 9
    assert cores_product_cycles(pmca, 1, 1, 13) == 2 + 9  # 1.08 cycles


@pytest.mark.parametrize(
    ("products_on", "first", "second"),
    [("engine", 8267 + 60, 4268 + 60), ("cores", 295, 295), ("faster", 295, 295)],
)
def test_one_token_of_lora_at_rank_4(products_on: str, first: int, second: int) -> None:
    """8279 - 12 and, at an inner size padded to 8, 4268 cycles of RTL, and 60 of software.

    8 cores of four lanes at 0.9 do 28.8 of the 8192 multiply-adds a cycle: 284.4, and a barrier.
    """
    machine = shipped.machine("halora_rram_sram")
    pmca = machine.with_values({"pmca.products_on": products_on}).pmca
    assert product_cycles(pmca, 1, 1, 2048, 4) == first
    assert product_cycles(pmca, 1, 1, 4, 2048) == second


def test_a_large_product_stays_on_the_engine() -> None:
    """128 tiles of 512 cycles and 93 on the engine; 2097152 / 28.8 = 72817.8 on the cores."""
    assert product_cycles(clusters(), 3, 128, 128, 128) == 3 * (65629 + 60)
    assert product_cycles(clusters(products_on="cores"), 3, 128, 128, 128) == 3 * (72818 + 10)
    assert not cores_beat_engine(clusters(), 128, 128, 128)


@given(count=st.integers(1, 9), m=sizes, n=sizes, k=sizes)
def test_the_faster_is_taken_job_by_job(count: int, m: int, n: int, k: int) -> None:
    pmca = clusters()
    engine, cores = (
        product_cycles(clusters(products_on=where), count, m, n, k) for where in ("engine", "cores")
    )
    assert engine == count * (matrix_engine_cycles(m, n, k) + 60)
    assert cores == count * cores_product_cycles(pmca, m, n, k)
    assert product_cycles(pmca, count, m, n, k) == min(engine, cores)
    assert cores_beat_engine(pmca, m, n, k) == (cores < engine)
    for where in ("engine", "cores"):
        assert not cores_beat_engine(clusters(products_on=where), m, n, k)


@given(m=sizes, n=sizes, k=sizes)
def test_without_an_engine_the_cores_multiply(m: int, n: int, k: int) -> None:
    pmca = clusters(matrix_engine=None)
    assert product_cycles(pmca, 1, m, n, k) == cores_product_cycles(pmca, m, n, k)
    assert not cores_beat_engine(pmca, m, n, k)


def test_an_engine_that_is_not_there_cannot_be_asked_for() -> None:
    bare = small.machine(pmca={"matrix_engine": None})
    with pytest.raises(SpecError, match="products_on is engine, but there is no matrix_engine"):
        bare.with_values({"pmca.products_on": "engine"})
    with pytest.raises(MappingError, match=r"^pipeline engine-only .* of tiny have none: give pm"):
        simulate(small.encoder(), bare, pipeline=PIPELINES["engine-only"])


def notes(workload: Workload, pipeline: str, **changes: Any) -> list[str]:
    done = simulate(workload, small.machine(pmca=changes), pipeline=PIPELINES[pipeline])
    return [note for note in done.report.notes if "lower bound" in note]


def test_a_report_says_that_cores_multiplied() -> None:
    """In LoRA beside a tile and in attention products; not where there is no choice."""
    (note,) = notes(small.encoder(), "token")
    assert note.startswith("products of ")
    assert "engine-only" in note
    assert len(notes(small.encoder(rank=None), "token")) == 1, "products of attention"
    assert len(notes(layer_workload(64, 64, 4, 8), "token")) == 1, "LoRA alone"
    assert notes(small.encoder(), "engine-only") == []
    assert notes(small.encoder(), "cores-only") == []
    assert notes(small.encoder(), "token", matrix_engine=None) == []
    slow = {"product_utilisation_ratio": 1e-3}
    assert notes(small.encoder(), "token", core=slow) == []


def test_the_two_presets_bound_the_choice() -> None:
    machine, workload = small.machine(), small.encoder(tokens=9)
    times = {
        name: simulate(workload, machine, pipeline=PIPELINES[name]).run.makespan_ps
        for name in ("token", "engine-only", "cores-only")
    }
    assert times["token"] <= min(times["engine-only"], times["cores-only"])
    assert times["engine-only"] != times["cores-only"]
