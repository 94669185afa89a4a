"""The baseline against published whole models, and its constants against measured kernels."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cimsim.baseline import ValidationRow, gemm, load_gpu, validate
from cimsim.baseline.published import load_figures

ROOT = Path(__file__).resolve().parents[1]
CARDS = [load_gpu(ROOT / "arch_configs" / "gpu" / f"a100_sxm4_{size}gb.json") for size in (80, 40)]


@pytest.fixture(scope="module")
def rows() -> list[ValidationRow]:
    return [row for gpu in CARDS for row in validate(gpu)]


def mean_size(rows: list[ValidationRow]) -> float:
    assert len(rows) > 2
    return float(np.mean([abs(row.error) for row in rows]))


def test_every_published_figure_is_met_within_its_tolerance(rows: list[ValidationRow]) -> None:
    assert len(rows) == len(load_figures().figures) >= 40
    assert [f"{r.case}: {100 * r.error:+.1f} %" for r in rows if not r.within] == []


def test_mean_errors_of_published_models(rows: list[ValidationRow]) -> None:
    latency = [r for r in rows if r.quantity == "latency_s"]
    assert not any(r.fitted for r in latency)
    encoders = [r for r in latency if r.case.startswith("BERT")]
    one_card = [r for r in latency if "LLM-Inf" in r.source and " 1 card" in r.case]
    prefill = [r for r in latency if "+1 batch" in r.case]
    few = [r for r in prefill if " 1 card" in r.case or " 2 card" in r.case]
    assert (len(few), len(prefill)) == (9, 15)
    assert mean_size(encoders) <= 0.11
    assert mean_size([r for r in one_card if r not in prefill]) <= 0.10
    assert mean_size(few) <= 0.05
    assert mean_size([r for r in prefill if r not in few]) <= 0.15
    for cards in (1, 2, 4):
        large = [r for r in latency if f" {cards} card" in r.case and r not in encoders
                 and ("batch 32," in r.case or "batch 64," in r.case)]  # fmt: skip
        assert len(large) >= 2
        assert float(np.mean([abs(row.error) for row in large])) <= 0.12
    assert mean_size([r for r in rows if r.quantity.endswith("power_W")]) <= 0.10
    assert mean_size([r for r in rows if r.quantity == "energy_per_token_J"]) <= 0.10


def test_a_row_holds_its_error_and_licence(rows: list[ValidationRow]) -> None:
    for row in rows:
        assert row.error == pytest.approx(row.simulated / row.published - 1)
        assert row.licence
        assert row.source


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, ModuleType]]:
    """The modules of benchmarks/a100."""
    pytest.importorskip("scipy")
    folder = str(ROOT / "benchmarks" / "a100")
    sys.path.insert(0, folder)
    names = ("data", "fit_gemm", "fit_link", "fit_others", "fit_power", "fit")
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(folder)
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def folder(tools: dict[str, ModuleType]) -> Path:
    found: Path | None = tools["data"].find_data()
    if found is None:
        pytest.skip(f"no measured kernels: set {tools['data'].VARIABLE} to the CSV folder")
    return found


def test_a_fit_on_half_of_the_shapes_predicts_the_other_half(
    tools: dict[str, ModuleType], folder: Path
) -> None:
    rows = tools["data"].read_gemm(folder)
    seconds = tools["fit_gemm"].cross_validate(rows, 2, 1, starts=1, evaluations=15, stride=8)
    score = tools["data"].score(rows, seconds)
    assert score.mape <= 6.0
    assert score.p90 <= 13.0
    assert abs(score.bias) <= 2.0
    assert max(size for size, _ in score.bands) <= 10.0


def test_the_shipped_constants_are_those_of_the_measured_kernels(
    tools: dict[str, ModuleType], folder: Path
) -> None:
    rows, gpu = tools["data"].read_gemm(folder), CARDS[0]
    sizes = [[int(x) for x in column] for column in (rows.m, rows.k, rows.n)]
    ones = [1] * len(sizes[0])
    calibrated = gpu.gemm_times_s(*sizes, ones, "fp16", "calibrated")
    roofline = gpu.gemm_times_s(*sizes, ones, "fp16", "roofline")
    assert tools["data"].score(rows, calibrated).mape <= 5.5
    assert tools["data"].score(rows, roofline).mape >= 30.0
    assert (calibrated > roofline).all()


def test_the_shipped_all_reduce_is_the_fit_of_the_table(tools: dict[str, ModuleType]) -> None:
    found, _ = tools["fit_link"].fit_link()
    for gpu in CARDS:
        for name, value in found.items():
            assert getattr(gpu.link, name) == pytest.approx(value, rel=2e-3), name
    ranks, size, seconds = tools["fit_link"].read_link()
    many = ranks > 2
    error = tools["fit_link"].predict_link(found, ranks[many], size[many]) / seconds[many] - 1
    assert abs(error.mean()) < 0.1
    large = size[many] > 5e6
    assert abs(error[large]).max() < 0.12


def test_a_fit_recovers_the_constants_that_made_the_times(tools: dict[str, ModuleType]) -> None:
    random = np.random.default_rng(0)
    m, k, n = (2.0 ** random.uniform(*span, 1500) for span in ((0, 13), (9, 14), (9, 15)))
    m, k, n = (np.round(x) for x in (m, k, n))
    truth = CARDS[0].gemm.model_dump(exclude={"sources"})
    seconds = tools["fit_gemm"].predict(gemm.candidates(m, k, n, 1, CARDS[0].sm_count), truth)
    rows = tools["data"].GemmRows(m, k, n, seconds)
    found, cost = tools["fit_gemm"].fit_gemm(rows, starts=1, evaluations=40, stride=1)
    assert cost < 1e-5
    for name in ("hbm_efficiency", "fixed_us", "l2_bandwidth_GBps"):
        assert found[name] == pytest.approx(truth[name], rel=0.1)


def test_without_data_the_script_says_what_it_needs(
    tools: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tools["fit"], "find_data", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    assert tools["fit"].main() == 2
    message = "No gemm_latency.csv found: give its folder, or set CIMSIM_A100_DATA.\n"
    assert capsys.readouterr().err == message
