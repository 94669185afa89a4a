"""A report beside a GPU: ratios, verdicts, batches, accountings, and bad GPU files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from cimsim.baseline import load_gpu
from cimsim.cli import app
from cimsim.comparison import batch_sweep, compare, comparison_rows, verdict, with_baseline
from cimsim.errors import SpecError
from cimsim.ir import Norm
from cimsim.report import Report
from cimsim.report.accounting import halora_accounting
from cimsim.simulation import simulate
from cimsim.spec import load_architecture

FILE = small.ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json"
HYBRID = small.ROOT / "arch_configs" / "halora_rram_sram.json"
BERT = small.ROOT / "workloads" / "bert_base_r8_s320.json"
GPU = load_gpu(FILE)
MODEL = small.decoder()
REPORT = simulate(MODEL, small.machine(), pipeline="token").report
PAPER_WORK = halora_accounting(
    hidden=64, intermediate=128, layers=1, heads=2, tokens=4, rank=2, name="paper"
)
PAPER = simulate(PAPER_WORK, load_architecture(HYBRID), pipeline="token").report


def only(report: Report) -> Any:
    """The baseline that ran LoRA as the machine did."""
    (found,) = (b for b in report.baselines.values() if b.like_for_like)
    return found


@given(st.floats(1e-6, 1e6))
def test_a_small_ratio_is_no_clear_win_either_way(ratio: float) -> None:
    said = verdict(ratio)
    assert (said == "wins") == (ratio >= 1.25)
    assert (said == "loses") == (ratio <= 0.8)
    assert said in ("wins", "loses", "no clear win")
    mirrored = {"wins": "loses", "loses": "wins", "no clear win": "no clear win"}
    if abs(ratio - 1.25) > 1e-9 and abs(ratio - 0.8) > 1e-9:
        assert verdict(1.0 / ratio) == mirrored[said]


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (1.25, "wins"), (1.249, "no clear win"), (1.0, "no clear win"), (0.801, "no clear win"),
        (0.8, "loses"), (0.75, "loses"),
    ],
)  # fmt: skip
def test_where_a_clear_win_begins(ratio: float, said: str) -> None:
    assert verdict(ratio) == said


def test_what_was_compared_is_said() -> None:
    found = only(with_baseline(REPORT, MODEL, GPU, batch=4))
    assert (found.mode, found.batch) == ("calibrated", 4)
    assert "fp16" in found.precision
    assert "kernels only" in found.software
    estimate = GPU.estimate(MODEL, batch=4)
    assert found.latency_s == estimate.latency_s / 4
    assert found.latency_ratio == found.latency_s / REPORT.latency_s
    assert found.energy_ratio == found.energy_J / REPORT.energy_J
    assert found.verdict["energy"] == verdict(found.energy_ratio)


@pytest.mark.parametrize("adaptation", ["lora-sram", "merged", "none"])
def test_the_gpu_stands_beside_merged_and_unmerged(adaptation: str) -> None:
    report = simulate(MODEL, small.machine(), pipeline="token", adaptation=adaptation).report
    beside = with_baseline(report, MODEL, GPU, batch=2).baselines
    assert set(beside) == {f"{GPU.name}, LoRA merged", f"{GPU.name}, LoRA unmerged"}
    for key, found in beside.items():
        estimate = GPU.estimate(MODEL, batch=2, lora=found.lora)
        assert (key, found.name, found.batch) == (found.key, GPU.name, 2)
        assert found.like_for_like == ((found.lora == "unmerged") == (adaptation == "lora-sram"))
        assert found.latency_ratio == estimate.latency_s / 2 / report.latency_s
        assert found.energy_ratio == estimate.energy_J / 2 / report.energy_J
        sweep = batch_sweep(MODEL, GPU, lora=found.lora)
        assert found.decode["batch 1"].latency_s == sweep[0].phases["decode"].latency_s


def test_without_lora_one_gpu_stands_beside() -> None:
    work = small.decoder(rank=None)
    report = simulate(work, small.machine(), pipeline="token").report
    beside = with_baseline(report, work, GPU).baselines
    assert [(key, b.lora, b.like_for_like) for key, b in beside.items()] == [
        (GPU.name, "none", True)
    ]


def test_a_branch_that_cannot_be_merged_leaves_the_unmerged_gpu_and_a_note() -> None:
    branch = next(op.name for _, op in MODEL.ops() if getattr(op, "role", "") == "lora_b")
    reader = next(op for op in MODEL.phases[0].ops if branch in op.inputs)
    norm = Norm(
        name=reader.name, inputs=(branch,), tokens=reader.tokens, norm="rms", rows=reader.tokens,
        columns=4,
    )  # fmt: skip
    ops = tuple(norm if op.name == reader.name else op for op in MODEL.phases[0].ops)
    odd = MODEL.model_copy(
        update={"phases": (MODEL.phases[0].model_copy(update={"ops": ops}), *MODEL.phases[1:])}
    )
    found = with_baseline(REPORT, odd, GPU)
    assert list(found.baselines) == [f"{GPU.name}, LoRA unmerged"]
    assert "cannot be taken out of the graph" in found.notes[-1]


def test_decode_stands_beside_batch_1_and_the_best_batches() -> None:
    found = only(with_baseline(REPORT, MODEL, GPU))
    sweep = batch_sweep(MODEL, GPU)
    decode = [(e.batch, e.phases["decode"]) for e in sweep]
    assert set(found.decode) == {"batch 1", "best throughput", "best energy"}
    assert found.decode["batch 1"].batch == 1
    assert found.decode["batch 1"].latency_s == decode[0][1].latency_s
    fast, frugal = found.decode["best throughput"], found.decode["best energy"]
    assert fast.latency_s == min(d.latency_s / b for b, d in decode)
    assert frugal.energy_J == min(d.energy_J / b for b, d in decode)
    assert frugal.energy_ratio == frugal.energy_J / REPORT.phases["decode"].energy_J
    assert fast.step_latency_s * MODEL.phases[1].steps / fast.batch == pytest.approx(fast.latency_s)
    assert fast.verdict["latency"] == verdict(fast.latency_ratio)


def test_the_sweep_doubles_until_the_memory_is_full() -> None:
    little = GPU.model_copy(update={"memory_GiB": 64 / 2**20, "memory_usable_share": 1.0})
    sweep = batch_sweep(MODEL, little)
    assert [e.batch for e in sweep] == [2**i for i in range(len(sweep))]
    need = [e.weight_bytes + e.kv_cache_bytes for e in sweep]
    assert need[-1] <= 64 * 1024
    following = 2 * sweep[-1].kv_cache_bytes + sweep[-1].weight_bytes
    assert following > 64 * 1024 or len(sweep) > 5


def test_a_model_without_decode_has_no_decode_points() -> None:
    work = small.encoder(layers=1, tokens=5)
    report = simulate(work, small.machine(), pipeline="token").report
    assert only(with_baseline(report, work, GPU)).decode == {}


def test_host_time_is_added_to_every_step() -> None:
    plain = only(with_baseline(REPORT, MODEL, GPU))
    hosted = only(with_baseline(REPORT, MODEL, GPU, host_s_per_step=2e-3))
    steps = sum(phase.steps for phase in MODEL.phases)
    assert hosted.latency_s - plain.latency_s == pytest.approx(2e-3 * steps, rel=1e-9)
    assert hosted.host_s_per_step == 2e-3
    assert "host time" in hosted.software


def test_a_stack_stands_beside_every_ratio() -> None:
    found = only(with_baseline(REPORT, MODEL, GPU, stack="vllm"))
    estimate = GPU.estimate(MODEL, stack="vllm", lora=found.lora)
    assert (found.stack, found.host_s_per_step) == ("vllm", 1.5e-3)
    assert found.latency_s == estimate.latency_s
    assert found.latency_band_s == estimate.latency_band_s
    points = batch_sweep(MODEL, GPU, stack="vllm", lora=found.lora)
    assert found.decode["batch 1"].latency_s == points[0].phases["decode"].latency_s


def test_paper_accounting_meets_the_int8_peak_alone() -> None:
    found = only(with_baseline(PAPER, PAPER_WORK, GPU))
    assert found.mode == "peak-int8"
    assert found.energy_J == pytest.approx(2 * PAPER_WORK.macs / 1.56e12, rel=1e-12)
    assert found.verdict["latency"] == "not compared"
    assert found.decode == {}
    for mode in ("calibrated", "roofline"):
        with pytest.raises(SpecError, match="mixes two accountings"):
            with_baseline(PAPER, PAPER_WORK, GPU, mode)
    with pytest.raises(SpecError, match="must be calibrated, roofline or peak-int8, got 'fast'"):
        with_baseline(REPORT, MODEL, GPU, "fast")


def test_reports_of_two_accountings_are_not_compared() -> None:
    assert comparison_rows([PAPER, PAPER])[1]["energy_ratio"] == 1.0
    with pytest.raises(SpecError, match="reports of true and of paper accounting"):
        comparison_rows([REPORT, PAPER])


def test_a_report_with_a_baseline_survives_the_way_through_json() -> None:
    report = with_baseline(REPORT, MODEL, GPU)
    assert Report.model_validate_json(report.to_json()) == report


def no_gemm(data: dict[str, Any]) -> None:
    del data["gemm"]


@pytest.mark.parametrize(
    ("change", "options", "code", "said"),
    [
        (lambda d: d.update(hbm_bandwidth_GBps=0), (), 2,
         "hbm_bandwidth_GBps: Input should be greater than or equal to 0.000001 (got 0)"),
        (no_gemm, (), 2, "gemm: Field required"),
        (lambda d: d["peak_TFLOPS"].pop("fp16"), (), 2, "no peak rate for fp16"),
        (lambda d: d["peak_TFLOPS"].pop("int8"), ("--baseline-mode", "peak-int8"), 2,
         "no peak rate for int8"),
        (lambda d: d.update(memory_GiB=0.1), (), 1,
         "weights and KV cache need 0.2 GiB, 0.1 GiB are usable: 85%"),
        (lambda d: None, ("--baseline-mode", "fast"), 2, "got 'fast'"),
        (lambda d: None, ("--gpu-stack", "fast"), 2, "no stack 'fast'"),
        (lambda d: None, ("--gpu-stack", "vllm", "--host-ms", "1"), 2, "a host time of its own"),
    ],
)  # fmt: skip
def test_bad_gpus_are_refused_in_one_line(
    change: Callable[[dict[str, Any]], object],
    options: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    cimsim: Callable[..., tuple[int, str, str]],
) -> None:
    data = json.loads(FILE.read_text())
    change(data)
    (tmp_path / "gpu.json").write_text(json.dumps(data))
    machine = small.ROOT / "arch_configs" / "ahwa_pcm_pmca.json"
    arguments = (
        "run",
        "--pipeline",
        "token",
        machine,
        BERT,
        "--baseline",
        tmp_path / "gpu.json",
        *options,
    )
    found, out, err = cimsim(*arguments)
    assert (found, out) == (code, "")
    assert err.startswith("error: ")
    assert said in err


def test_what_differs_stands_beside_the_numbers(tmp_path: Path) -> None:
    changed = small.machine().with_values({"rram.integration_ns": 128})
    other = simulate(MODEL, changed, pipeline="layer:block_tokens=2", mapper="dense").report
    found = compare([REPORT, other])
    assert found.rows == comparison_rows([REPORT, other])
    assert found.differs["set.architecture.rram.integration_ns"] == [None, 128.0]
    assert found.differs["was.architecture.rram.integration_ns"] == [None, 100.0]
    assert found.differs["pipeline"] == ["token", "layer:block_tokens=2"]
    assert found.differs["mapper"] == ["one-per-tile", "dense"]
    digests = found.differs["input.architecture_content_sha256"]
    assert digests == [small.machine().digest(), changed.digest()]
    assert "workload" not in found.differs
    assert "input.workload_content_sha256" not in found.differs
    assert len(repr(found)) < 500
    REPORT.save(tmp_path / "a.json")
    other.save(tmp_path / "b.json")
    assert compare([tmp_path / "a.json", str(tmp_path / "b.json")]) == found
    assert compare([REPORT, REPORT]).differs == {}


def test_a_comparison_needs_reports() -> None:
    with pytest.raises(SpecError, match="no report was given"):
        compare([])
    with pytest.raises(SpecError, match="reports must be a list, each a Report or text or a path"):
        compare([1])  # type: ignore[list-item]


def test_compare_prints_what_differs(tmp_path: Path, capsys: Any) -> None:
    other = simulate(MODEL, small.machine(), pipeline="layer", adaptation="merged").report
    with_baseline(other, MODEL, GPU, batch=4).save(tmp_path / "b" / "report.json")
    REPORT.save(tmp_path / "a.json")
    arguments = ["compare", str(tmp_path / "a.json"), str(tmp_path / "b")]
    app(arguments, standalone_mode=False)
    out = capsys.readouterr().out
    assert "What differs" in out
    assert "GPUs over machine" in out
    assert "merged (as)" in out
    (line,) = [line for line in out.splitlines() if "pipeline" in line and "layer" in line]
    assert "token" in line
    app([*arguments, "--json"], standalone_mode=False)
    rows = json.loads(capsys.readouterr().out)
    assert [row["differs"]["pipeline"] for row in rows] == ["token", "layer"]
    assert [len(row["baselines"]) for row in rows] == [0, 2]
    first, second = rows[1]["baselines"]
    assert (first["lora"], first["like_for_like"], first["batch"]) == ("merged", True, 4)
    assert (second["lora"], second["like_for_like"]) == ("unmerged", False)
    assert first["latency_ratio"] <= second["latency_ratio"]
