"""The side-by-side comparison: rows, sweeps, models, command line and pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from small import ROOT, decoder, encoder, machine
from typer.testing import CliRunner

from cimsim.cli.pipelines import pipelines
from cimsim.errors import CimsimError, WorkloadError
from cimsim.ir import Workload, load_workload, save_workload
from cimsim.mappers import Mapper
from cimsim.schedule.pipelines import (
    PIPELINES,
    AsIs,
    GivenBlock,
    Replicated,
    SearchedBlock,
    SplitBlock,
    Strategy,
    WholeStep,
    WithoutEngine,
    parse_pipeline,
)
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture, load_architecture
from cimsim.studies.layer import layer_workload, with_integration
from cimsim.studies.pipelines import Shape, Study, adapted_shapes, parse_layer, with_blocks

FILE = ROOT / "arch_configs" / "ahwa_pcm_pmca.json"
AHWA = load_architecture(FILE)
KEYS = {
    "strategy", "adaptation", "layer", "integration_ns", "block_tokens", "tile_time_s",
    "pmca_time_s", "pmca_tile_ratio", "makespan_s", "aimc_only_s", "overhead", "tcdm_bytes",
    "energy_J",
}  # fmt: skip


def run(*arguments: object) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(pipelines)
    result = CliRunner().invoke(app, [*map(str, arguments)])
    error = result.exception
    if isinstance(error, CimsimError):
        return error.exit_code, result.stdout, str(error)
    assert error is None or isinstance(error, SystemExit), error
    return result.exit_code, result.stdout, result.stderr


def test_a_row_is_what_the_simulation_says() -> None:
    shape = Shape(128, 128, 8, 64)
    row = Study(AHWA).layer(shape, parse_pipeline("token:16"))
    workload = layer_workload(128, 128, 8, 64)
    report = simulate(workload, AHWA, pipeline=parse_pipeline("token:16")).report
    alone = simulate(workload, AHWA, pipeline=parse_pipeline("token:16"), adaptation="none").report
    assert (row.makespan_s, row.energy_J) == (report.latency_s, report.energy_J)
    assert row.aimc_only_s == alone.latency_s
    assert row.overhead == pytest.approx(report.latency_s / alone.latency_s - 1)
    assert row.tile_time_s == pytest.approx(16 * 256e-9)
    assert row.pmca_tile_ratio == pytest.approx((row.pmca_time_s or 0) / (row.tile_time_s or 1))
    assert 0 < row.pmca_utilisation < row.tile_utilisation <= 1


@pytest.mark.parametrize("barrier", ["always", "layers", "never"])
@pytest.mark.parametrize("choice", [AsIs(), Replicated(), WithoutEngine()])
def test_the_run_without_lora_may_be_shared(barrier: Any, choice: Any) -> None:
    """Strategies that schedule a model alike without LoRA share one run of it, and no others."""
    workload, study = encoder(tokens=24), Study(machine())
    for blocks in (WholeStep(), GivenBlock(8), SearchedBlock(), SplitBlock(), SplitBlock(8)):
        pipeline = Strategy(blocks, barrier, choice)
        row = study.model(workload, pipeline)
        alone = simulate(workload, machine(), pipeline=pipeline, adaptation="none").report
        assert row.aimc_only_s == alone.latency_s


@dataclass(frozen=True)
class Slower:
    """A machine of the strategy's own."""

    name: str = "slower"

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper, pipeline: str
    ) -> tuple[Architecture, Mapper]:
        return with_integration(architecture, 700), mapper


def test_the_run_without_lora_is_on_the_machine_of_the_strategy() -> None:
    strategy = Strategy(GivenBlock(), "always", Slower())
    row = Study(machine()).model(encoder(), strategy)
    alone = simulate(encoder(), machine(), pipeline=strategy, adaptation="none").report
    usual = simulate(encoder(), machine(), pipeline="sequential", adaptation="none").report
    assert row.aimc_only_s == alone.latency_s > usual.latency_s


@pytest.mark.parametrize("name", list(PIPELINES))
def test_the_run_without_lora_keeps_barrier_and_machine(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    given: list[Any] = []

    def spying(*arguments: Any, **options: Any) -> Simulation:
        given.append((options["adaptation"], options["pipeline"]))
        return simulate(*arguments, **options)

    monkeypatch.setattr("cimsim.studies.pipelines.simulate", spying)
    strategy = parse_pipeline(name)
    Study(machine()).model(encoder(), strategy)
    (with_lora, first), (without, second) = given
    assert (with_lora.name, first, without) == ("lora-pmca", strategy, "none")
    assert (second.barrier, second.machine) == (strategy.barrier, strategy.machine)


def test_the_adaptation_is_the_machines_or_the_one_asked_for() -> None:
    workload = decoder(prompt=16, steps=2)
    hybrid = machine(adaptation="lora-sram")
    rows = {}
    for asked in (None, "lora-sram", "lora-pmca", "merged", "none"):
        row = rows[asked] = Study(hybrid, adaptation=asked).model(workload, PIPELINES["token"])
        report = simulate(workload, hybrid, adaptation=asked, pipeline="token").report
        assert (row.makespan_s, row.energy_J) == (report.latency_s, report.energy_J)
        assert row.adaptation == report.adaptation == (asked or "lora-sram")
    assert rows[None] == rows["lora-sram"] != rows["lora-pmca"]
    assert rows["none"].overhead == rows["merged"].overhead == 0.0


def test_a_layer_with_lora_elsewhere_has_no_pair() -> None:
    hybrid, shape = machine(adaptation="lora-sram"), Shape(32, 16, 2, 32)
    row = Study(hybrid).layer(shape, parse_pipeline("token:8"))
    assert row.block_tokens == 8, "of the merge, which clusters compute"
    assert (row.tile_time_s, row.pmca_time_s, row.pmca_tile_ratio) == (None, None, None)
    report = simulate(layer_workload(32, 16, 2, 32), hybrid, pipeline="token:8").report
    assert row.pmca_utilisation == pytest.approx(report.utilisation["pmca"])
    alone = Study(hybrid, adaptation="none").layer(shape, parse_pipeline("token:8"))
    assert (alone.block_tokens, alone.pmca_utilisation, alone.tcdm_bytes) == (None, 0.0, 0)


def test_busy_time_of_the_pair_is_its_blocks() -> None:
    row = Study(with_integration(AHWA, 128)).layer(
        Shape(512, 128, 8, 64), parse_pipeline("token:16")
    )
    assert row.pmca_time_s is not None
    busy = row.pmca_utilisation * row.makespan_s
    assert busy == pytest.approx(4 * row.pmca_time_s, rel=1e-9)


def test_spills_are_reported() -> None:
    """8 KiB hold no A and B of 10 KiB and no 64 rows of outputs of 16 KiB: A and B come with every
    block, X.W goes out and in; so in 128 KiB for two blocks of 128 tokens, not for the last 64."""
    shape = Shape(512, 128, 8, 320)
    large = Study(AHWA).layer(shape, parse_pipeline("token:128"))
    assert large.spill_bytes == 2 * (10240 + 2 * 32768)
    held = Study(AHWA).layer(shape, parse_pipeline("token:64"))
    assert (held.spill_bytes, held.spill_time_s) == (0, 0.0)
    assert large.tcdm_bytes == 172 * 1024
    small = Study(AHWA.with_values({"pmca.tcdm_KiB": 8}))
    five = small.layer(shape, parse_pipeline("token:64"))
    assert five.spill_bytes == 5 * (10240 + 2 * 16384)
    assert five.spill_time_s > 0
    six = small.layer(shape, parse_pipeline("token:60"))
    assert six.spill_bytes == 6 * 10240 + 2 * 320 * 128 * 2


def test_shapes_of_a_model() -> None:
    mobilebert = load_workload(ROOT / "workloads" / "mobilebert_squad_r8_s320.json")
    shapes = {shape.name: count for shape, count in adapted_shapes(mobilebert)}
    assert shapes == {"128x128": 72, "128x512": 120, "384x512": 1, "512x128": 168, "512x2": 1}
    with pytest.raises(WorkloadError, match=r"no LoRA layers .*--rank"):
        adapted_shapes(decoder(rank=None))


def test_sweeps_multiply_strategies_with_a_block() -> None:
    names = ("balanced", "token", "layer")
    found = with_blocks([PIPELINES[name] for name in names], [8, 16])
    texts = ("balanced", "token:8", "token:16", "layer:8", "layer:16")
    assert found == [parse_pipeline(text) for text in texts]
    assert with_blocks([PIPELINES["token"]], []) == [PIPELINES["token"]]


@pytest.mark.parametrize(
    ("text", "rank", "tokens", "message"),
    [
        ("512", 8, 320, r"^--layer takes INxOUT, such as 512x128, got '512'$"),
        ("0x128", 8, 320, r"^--layer takes INxOUT, "),
        ("512x128", 0, 320, r"^--rank and --tokens must be at least 1, got 0 and 320$"),
        ("512x128", 129, 320, r"^rank 129 is larger than the 512x128 layer, .* lower --rank "),
    ],
)
def test_bad_layers(text: str, rank: int, tokens: int, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        parse_layer(text, rank, tokens)


def test_integration_needs_analog_tiles() -> None:
    bare = machine(rram=None, weights_on="sram")
    with pytest.raises(WorkloadError, match="has no analog tiles"):
        with_integration(bare, 128)
    row = Study(bare).layer(Shape(16, 16, 2, 8), PIPELINES["balanced"])
    assert row.integration_ns is None
    assert row.makespan_s > 0


def test_json_has_every_strategy_block_and_time() -> None:
    code, out, _ = run(
        FILE, "--layer", "128x128", "--tokens", 64, "--integration-ns", "128,256",
        "--block-tokens", "8,16", "--json",
    )  # fmt: skip
    assert code == 0
    rows = json.loads(out)
    assert all(row.keys() >= KEYS for row in rows)
    assert {row["integration_ns"] for row in rows} == {128, 256}
    assert {row["strategy"] for row in rows} == {"auto", *PIPELINES}
    token = [row for row in rows if row["strategy"] == "token"]
    assert {row["block_tokens"] for row in token} == {8, 16}
    assert len(token) == 4


def test_a_model_has_a_row_of_its_own_and_one_a_shape(tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    save_workload(encoder(tokens=16), file)
    code, out, _ = run(FILE, file, "--strategy", "split", "--json", "-o", tmp_path / "out")
    assert code == 0
    rows = json.loads(out)
    assert [row["layer"] for row in rows] == ["tiny-encoder", "24x24", "40x24"]
    assert rows[0]["block_tokens"] is None
    assert json.loads((tmp_path / "out" / "pipelines.json").read_text()) == rows
    for picture in ("bars.png", "gantt.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_the_table_names_strategies() -> None:
    code, out, _ = run(FILE, "--layer", "128x128", "--tokens", 16, "--strategy", "balanced")
    assert code == 0
    assert "balanced" in out
    assert "128x128, lora-pmca, integration 256 ns; without LoRA" in out


def test_the_machines_adaptation_is_the_default_and_told(tmp_path: Path) -> None:
    layer = ("halora_rram_sram", "--layer", "64x32", "--tokens", 16, "--strategy", "token")
    file = ROOT / "arch_configs" / f"{layer[0]}.json"
    found = {}
    for asked in ("", "lora-sram", "lora-pmca"):
        options = (file, *layer[1:], *(("--adapt", asked) if asked else ()))
        code, out, _ = run(*options)
        assert code == 0
        assert f"64x32, {asked or 'lora-sram'}, integration" in out
        (row,) = json.loads(run(*options, "--json")[1])
        assert row["adaptation"] == (asked or "lora-sram")
        found[asked] = row
    assert found[""] == found["lora-sram"]
    assert found["lora-pmca"]["makespan_s"] > found["lora-sram"]["makespan_s"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either a WORKLOAD or --layer INxOUT"),
        (("--layer", "128x128", "--integration-ns", "0"), "--integration-ns takes positive"),
        (("--layer", "128x128", "--integration-ns", "x"), "--integration-ns takes positive"),
        (("--layer", "128x128", "--block-tokens", "8,400"), "block_tokens is 400"),
        (("--layer", "128x128", "--block-tokens", "1.5"), "--block-tokens takes positive"),
        (("--layer", "128x128", "--rank", "200"), "rank 200 is larger"),
        (("--layer", "128x128", "--strategy", "magic"), "unknown pipeline 'magic'"),
        (("--layer", "128x128", "--adapt", "magic"), "unknown adaptation 'magic'"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str) -> None:
    code, out, error = run(FILE, *arguments)
    assert (code, out) == (2, "")
    assert message in error


def test_the_figure_runs(tmp_path: Path) -> None:
    folder, data = ROOT / "benchmarks" / "figures" / "ahwa_fig4", tmp_path / "data.json"
    for arguments in (["run.py", "--smoke", "-o", data], ["plot.py", "-i", data, "-o", tmp_path]):
        command = [sys.executable, str(folder / arguments[0]), *map(str, arguments[1:])]
        subprocess.run(command, check=True, capture_output=True)
    assert {row["block_tokens"] for row in json.loads(data.read_text())["blocks"]} == {
        8, 16, 32, 64, 128,
    }  # fmt: skip
    for picture in ("ahwa_fig4.png", "beyond_fig4.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
