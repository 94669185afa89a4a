"""The AHWA-LoRA machine: calibration rows, physics of each constant, MobileBERT on its tiles."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from small import ROOT, changed, machine
from typer.testing import CliRunner

from cimsim.adaptation import adaptation_named
from cimsim.cli.validate import validate
from cimsim.errors import SpecError
from cimsim.ir import load_workload
from cimsim.mappers import DensePacking, build_mapping
from cimsim.schedule.pair import LoraBranch, Pair
from cimsim.schedule.pipelines import PIPELINES, parse_pipeline
from cimsim.simulation import simulate
from cimsim.spec import Architecture, load_architecture
from cimsim.studies.layer import layer_workload, with_integration
from cimsim.studies.pipelines import Shape, Study
from cimsim.validation import GROUPS, Judged, rows

AHWA = load_architecture(ROOT / "arch_configs" / "ahwa_pcm_pmca.json").with_values(
    {"pmca.products_on": "engine"}, why="as published"
)
SMALL, LARGE = LoraBranch(128, 128, 8), LoraBranch(512, 128, 8)


def ratio(
    architecture: Architecture, adapter: LoraBranch, block: int, time_ns: float = 128
) -> float:
    return Pair(adapter, with_integration(architecture, time_ns)).ratio(block)


def test_every_published_row_is_within_tolerance() -> None:
    found = rows(("ahwa-lora", "matrix-engine"))
    assert {row.group for row in found} == {"ahwa-lora", "matrix-engine"} <= set(GROUPS)
    assert [row.quantity for row in found if not row.passed] == []
    assert len({row.quantity for row in found}) == len(found)


def test_calibrated_constants_say_so() -> None:
    assumed = AHWA.assumed()
    for field in ("clock_MHz", "merge_cycles_per_element", "matrix_engine.job_cycles"):
        assert assumed[f"pmca.{field}"].startswith("calibrated on ")


def test_ratio_falls_with_the_block_and_with_integration() -> None:
    for adapter in (SMALL, LARGE):
        held = (t for t in (8, 16, 32, 64, 128) if adapter.tiles(AHWA.pmca, t).whole)
        by_block = [ratio(AHWA, adapter, t) for t in held]
        assert by_block == sorted(by_block, reverse=True)
        assert ratio(AHWA, adapter, 8, 512) == pytest.approx(ratio(AHWA, adapter, 8, 128) / 4)


def test_x_a_of_four_times_the_inputs_takes_four_times_the_cycles() -> None:
    """The engine's main term; the fixed part of a job stays."""
    first = [a.cycles(AHWA.pmca, 64)[0] for a in (SMALL, LARGE)]
    assert first[1] / first[0] == pytest.approx(4.0, rel=0.03)
    second = [a.cycles(AHWA.pmca, 64)[1] for a in (SMALL, LARGE)]
    assert second[0] == second[1]


def test_a_group_is_two_jobs_a_merge_and_a_barrier() -> None:
    """The RTL's cycles for X.A (8x128x8) and (X.A).B (8x8x128), and what software adds."""
    pmca = AHWA.pmca
    assert pmca.matrix_engine is not None
    software = 2 * pmca.matrix_engine.job_cycles + pmca.barrier_cycles
    merge = 8 * 128 * pmca.merge_cycles_per_element
    assert sum(SMALL.cycles(pmca, 8)) == pytest.approx(597 + 355 + software + merge, abs=1)


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"clock_MHz": 1200.0}, -1),
        ({"merge_cycles_per_element": 0.4}, 1),
        ({"barrier_cycles": 60}, 1),
        ({"matrix_engine": {"job_cycles": 90}}, 1),
        ({"matrix_engine": {"rows": 4}}, 1),
    ],
)
def test_each_constant_moves_time_as_physics_says(change: dict[str, Any], sign: int) -> None:
    """Faster clock: less; dearer merge, software or barrier, or half the array: more."""
    other = changed(AHWA, pmca=change)
    workload = layer_workload(512, 128, 8, 64)
    for block in (8, 64):
        assert sign * (ratio(other, LARGE, block) - ratio(AHWA, LARGE, block)) > 0
        before, after = (
            simulate(workload, with_integration(a, 128), pipeline=parse_pipeline(f"token:{block}"))
            for a in (AHWA, other)
        )
        assert sign * (after.report.latency_s - before.report.latency_s) > 0


def test_software_weighs_on_small_blocks_and_the_merge_on_all() -> None:
    def relative(change: dict[str, Any], block: int) -> float:
        return ratio(changed(AHWA, pmca=change), SMALL, block) / ratio(AHWA, SMALL, block) - 1

    jobs = {"matrix_engine": {"job_cycles": 90}}
    assert relative(jobs, 8) > 10 * relative(jobs, 128)
    merge = {"merge_cycles_per_element": 0.4}
    assert relative(merge, 128) == pytest.approx(relative(merge, 8), rel=0.3)
    clock = {"clock_MHz": 1950.0}
    assert relative(clock, 8) == pytest.approx(-0.5) == relative(clock, 128)


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        ("tile_link", {"bandwidth_GBps": 1.0}),
        ("cluster_link", {"bandwidth_GBps": 2.0}),
        ("pmca", {"dma_setup_cycles": 2000}),
        ("pmca", {"dma_bytes_per_cycle": 2}),
        ("rram", {"integration_ns": 200.0}),
    ],
)
def test_slower_transfers_never_help(block: str, fields: dict[str, float]) -> None:
    workload = layer_workload(512, 128, 8, 64)
    slow = simulate(workload, changed(AHWA, **{block: fields}), pipeline=parse_pipeline("token:8"))
    fast = simulate(workload, with_integration(AHWA, 128), pipeline=parse_pipeline("token:8"))
    assert slow.report.latency_s > fast.report.latency_s


@pytest.mark.parametrize(("inputs", "kib"), [(128, (8.125, 70.0)), (512, (20.125, 172.0))])
def test_tcdm_need_of_the_figure(inputs: int, kib: tuple[float, float]) -> None:
    adapter = LoraBranch(inputs, 128, 8)
    assert tuple(adapter.whole_bytes(AHWA.pmca, t) / 1024 for t in (8, 128)) == kib
    largest = max(t for t in range(1, 321) if adapter.tiles(AHWA.pmca, t).whole)
    assert largest == {128: 240, 512: 93}[inputs]


def test_other_strategies_beat_the_papers_on_the_pmca_bound_layer() -> None:
    study, shape = Study(with_integration(AHWA, 128)), Shape(512, 128, 8, 320)
    paper, split, copied = (
        study.layer(shape, PIPELINES[name]) for name in ("balanced", "split", "replicated")
    )
    assert paper.pmca_tile_ratio is not None
    assert paper.pmca_tile_ratio > 2.5
    assert 0.93 < split.makespan_s / paper.makespan_s < 0.97
    assert 0.49 < copied.makespan_s / paper.makespan_s < 0.53


def test_best_overhead_is_at_most_four_percent() -> None:
    rows_512 = [
        Study(with_integration(AHWA, 512)).layer(Shape(n, 128, 8, 320), PIPELINES["balanced"])
        for n in (128, 512)
    ]
    assert all(0.0 < row.overhead <= 0.04 for row in rows_512)


def test_zero_clusters_is_refused() -> None:
    with pytest.raises(ValueError, match="cluster_count"):
        machine(pmca={"cluster_count": 0})
    with pytest.raises(SpecError, match="no-such-file"):
        load_architecture(ROOT / "arch_configs" / "no-such-file.json")


def test_validate_prints_rows_and_fails_when_one_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    command = typer.Typer()
    command.command()(validate)
    found = CliRunner().invoke(command, ["ahwa-lora", "--json"])
    assert found.exit_code == 0
    listed = json.loads(found.stdout)
    assert all(row["passed"] for row in listed)
    assert {row["fitted"] for row in listed} == {True, False}
    bad = Judged("ahwa-lora", "a quantity", "", 1.0, 1.2, 0.1, False, "nobody")
    monkeypatch.setattr("cimsim.validation.ahwa_lora.rows", lambda: [bad])
    found = CliRunner().invoke(command, ["ahwa-lora"])
    assert found.exit_code == 1
    assert "0 of 1 within tolerance" in found.stdout
    unknown = CliRunner().invoke(command, ["nothing"])
    assert isinstance(unknown.exception, SpecError)
    assert str(unknown.exception).startswith("unknown group nothing; known: ahwa-lora, ")


def test_dense_packing_needs_close_to_78_tiles() -> None:
    mobilebert = load_workload(ROOT / "workloads" / "mobilebert_squad_r8_s320.json")
    adaptation = adaptation_named("lora-pmca")
    packed = build_mapping(mobilebert, AHWA, adaptation, DensePacking())
    assert 78 <= packed.used("rram") <= 80
    whole = build_mapping(mobilebert, AHWA, adaptation)
    assert (whole.used("rram"), round(whole.cell_utilisation, 3)) == (362, 0.213)
