"""The committed adapters and measurements: of the recipes in study.py, and real.

MiniLM and the sentences are fetched once (86 MB); without them the tests that need them skip.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

import pytest
import torch
from pages import page, says
from small import ROOT

FOLDER = ROOT / "benchmarks" / "figures" / "accuracy"
sys.path.insert(0, str(FOLDER))

import plot  # noqa: E402
import run  # noqa: E402
import study  # noqa: E402

import cimsim  # noqa: E402
from cimsim.accuracy import Subject, measure, place  # noqa: E402
from cimsim.report import Accuracy  # noqa: E402
from cimsim.report.writes import adapter_switch, whole_reload  # noqa: E402
from cimsim.tasks import load_model, load_task  # noqa: E402
from cimsim.training import load_record, parse_method  # noqa: E402

torch.set_num_threads(1)
ADAPTERS = sorted(path.name for path in (FOLDER / "adapters").iterdir())
DATA = sorted((FOLDER / "data").rglob("*.json"))
SENTENCES_TESTED = 200


@pytest.fixture(scope="module")
def minilm(sentences):
    model = load_model("minilm")
    return model, load_task("sentiment", model)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_was_made_by_its_recipe(name):
    wanted, record = study.ADAPTERS[name], load_record(FOLDER / "adapters" / name)
    assert record is not None
    assert record.method == parse_method(wanted.method)
    assert (record.seed, record.model, record.task) == (wanted.seed, wanted.model, wanted.task)
    assert (record.start_sha256 is None) == (wanted.start is None)


@pytest.mark.parametrize("path", DATA, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_measurement_is_of_its_adapter(path: Path):
    found = Accuracy.model_validate_json(path.read_text())
    wanted = study.MEASUREMENTS[f"{path.parent.name}/{path.stem}"]
    assert found.adapter == wanted.adapter
    assert found.draws == wanted.settings.seeds
    assert found.examples == (wanted.settings.limit or found.examples_available)


def accuracies(method: str) -> tuple[list[float], list[float]]:
    """Of all seeds: digital, and every draw at sigma 0.1."""
    files = sorted((FOLDER / "data" / "sigma").glob(f"{method}-s*.json"))
    found = [Accuracy.model_validate_json(path.read_text()) for path in files]
    noisy = [v for f in found for v in f.by_noise[-1].by_time[0].values]
    assert {f.by_noise[-1].device["sigma_ratio"] for f in found} == {0.1}
    assert all(f.examples == f.examples_available == 2114 for f in found)
    return [f.digital for f in found], noisy


def test_halora_wins_under_noise_and_costs_little_without():
    (plain, plain_noisy), (halora, halora_noisy) = accuracies("plain"), accuracies("halora")
    assert len(plain) == len(halora) == 3
    assert len(plain_noisy) == len(halora_noisy) == 15
    assert mean(halora_noisy) - mean(plain_noisy) >= 15.0
    assert mean(plain) - mean(halora) <= 1.5


def test_protection_saves_what_halora_loses():
    def values(path):
        found = Accuracy.model_validate_json((FOLDER / "data" / f"{path}.json").read_text())
        (noise,) = [n for n in found.by_noise if n.device["sigma_ratio"] == 0.1]
        return found.digital, noise.by_time[0].values

    before = [values(f"sigma/halora-s{seed}") for seed in study.SEEDS]
    after = [values(f"protected/halora-s{seed}") for seed in study.SEEDS]
    assert [digital for digital, _ in before] == [digital for digital, _ in after]
    noisy = [v for _, draws in after for v in draws]
    assert mean(noisy) >= 80.0
    same = [v for _, draws in before for v in draws[:3]]
    assert all(new > old + 2.0 for new, old in zip(noisy, same, strict=True))


def test_committed_adapters_on_a_chip_today(minilm):
    model, task = minilm
    machine = run.machine_of(study.HYBRID, {})
    found = {}
    for name in ("plain-s0", "halora-s0"):
        subject = Subject.of(model, run.adapter_path(name))
        workload, mapping = place(model, machine, tokens=run.TOKENS, adapted=subject.module)
        settings = study.on_weights(*study.channel(0.1), seeds=2, limit=SENTENCES_TESTED)
        found[name] = measure(subject, task, workload, mapping, machine, settings)
    plain, halora = found["plain-s0"], found["halora-s0"]
    assert plain.digital > 80.0
    assert halora.digital > 80.0
    assert halora.noisy_mean > 70.0
    assert halora.noisy_mean > plain.noisy_mean + 5.0
    assert plain.lora_reload.cells_written == halora.lora_reload.cells_written == 0
    assert halora.lora_reload.sram_bits_written > 0


def test_what_loading_takes_is_what_the_pages_say():
    workload = cimsim.workload("minilm_sentiment_r8_s32")
    pcm, hybrid = (
        (machine, cimsim.simulate(workload, machine, pipeline="token").mapping)
        for machine in map(cimsim.machine, (study.PCM_MACHINE, study.HYBRID))
    )
    bare = cimsim.simulate(workload, pcm[0], pipeline="token", adaptation="none").mapping
    switch, whole = adapter_switch(workload, *pcm), whole_reload(pcm[0], bare)
    lora = f"{switch.energy_J * 1e6:.1f} uJ", f"{switch.time_s * 1e6:.1f} us"
    weights = f"{whole.energy_J * 1e3:.1f} mJ", f"{whole.time_s:.2f} s"
    other = adapter_switch(workload, *hybrid)
    says(
        "README.md",
        "is loaded for {} in {} where new weights take {} and {}.".format(*lora, *weights),
        f"another adapter 0 cells, {other.energy_J * 1e6:.1f} uJ, {other.time_s * 1e6:.1f} us.",
    )
    figures = "benchmarks/figures/accuracy/README.md"
    assert page(figures).count("| 0 cells, {}, {} |".format(*lora)) == 2
    says(figures, f"| {whole.cells_written / 1e6:.1f} M cells, {', '.join(weights)} |")


def test_pictures_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["plot.py", "-o", str(tmp_path)])
    plot.main()
    assert (tmp_path / "sigma.png").stat().st_size > 10_000


def test_every_recipe_can_be_read():
    for adapter in study.ADAPTERS.values():
        parse_method(adapter.method)
        assert adapter.start is None or adapter.start in study.ADAPTERS
    for measured in study.MEASUREMENTS.values():
        assert measured.adapter is None or measured.adapter in study.ADAPTERS
