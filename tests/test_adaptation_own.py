"""An adaptation of a user's own, in one module (own_adaptation.py), through everything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import analog
import own_adaptation
import pytest
import small
import torch
from own_adaptation import ON_CLUSTERS, ON_SRAM, ON_TILES, SharedA
from small import close
from torch import nn

import cimsim
from cimsim.accuracy import as_mapped
from cimsim.adaptation import (
    AdaptedModel,
    AdaptedTask,
    adaptation_named,
    adapted_weights,
    whole,
    without_lora,
)
from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload, save_workload
from cimsim.mappers import build_mapping
from cimsim.mapping import Mapping, Written

Cli = Callable[..., tuple[int, str, str]]
RANK = 3
MODEL = small.decoder(rank=RANK)
INPUTS = 2 * (32 + 32 + 32 + 48)
OUTPUTS = 2 * (32 + 16 + 16 + 32)
"""Of the adapted layers: q, k, v and down of two blocks."""
BASE = 2 * (32 * 32 * 2 + 2 * 32 * 16 + 3 * 32 * 48) + 32 * 50


@pytest.mark.parametrize("own", [ON_SRAM, ON_CLUSTERS, ON_TILES], ids=lambda own: own.name)
def test_a_switch_writes_b_alone(own: SharedA) -> None:
    machine = small.machine()
    report = cimsim.simulate(MODEL, machine, adaptation=own, pipeline="token").report
    switch, first = report.reprogramming.adapter_switch, report.reprogramming
    values = RANK * OUTPUTS
    cells, bits, tcdm = {"sram": (0, 8, 0), "pmca": (0, 0, 2), "rram": (1, 0, 0)}[own.unit]
    written = switch.cells_written, switch.sram_bits_written, switch.tcdm_bytes_written
    assert written == (cells * values, bits * values, tcdm * values)
    assert first.cells_written == BASE + RANK * INPUTS + cells * values
    # a bit out of DRAM, into the buffer and out of it, over the link
    pJ = machine.dram.energy_pJ_per_bit + 2 * machine.buffer.energy_pJ_per_bit
    moved = (pJ + machine.cluster_link.energy_pJ_per_bit) * 1e-12
    each = {"sram": 8 * (12e-15 + moved), "pmca": 16 * moved, "rram": 8 * moved}
    # 8.5 pulses and reads of a cell whose level changes
    assert switch.pulses == close(8.5 * switch.cells_changed)
    assert 0.9 * cells * values <= switch.cells_changed <= cells * values
    pulsed = 1.01e-12 * switch.pulses
    assert switch.energy_J == close(values * each[own.unit] + pulsed)
    assert report.adaptation == own.name


@pytest.mark.parametrize("own", [ON_SRAM, ON_CLUSTERS], ids=lambda own: own.name)
def test_a_and_b_run_where_they_are(own: SharedA) -> None:
    done = cimsim.simulate(MODEL, small.machine(), adaptation=own, pipeline="token")
    other = cimsim.simulate(
        MODEL, small.machine(), adaptation=own, engine="simpy", pipeline="token"
    )
    assert done.report.latency_s == other.report.latency_s
    for _, op in MODEL.ops():
        if isinstance(op, Linear):
            unit = {"lora_a": "rram", "lora_b": own.unit}.get(op.role, "rram")
            assert done.mapping.placements[op.weight].unit == unit


def test_a_saved_head_is_the_tasks_too() -> None:
    workload = small.saved(MODEL, "head")
    report = cimsim.simulate(workload, small.machine(), adaptation=ON_SRAM, pipeline="token").report
    bits = report.reprogramming.adapter_switch.sram_bits_written
    assert bits == 8 * (RANK * OUTPUTS + 32 * 50)


def test_on_a_model_a_and_b_are_exact_on_exact_units() -> None:
    machine, model = analog.machine(), analog.llama()
    mapping = build_mapping(analog.traced(model), machine, ON_SRAM)
    assert as_mapped(model, mapping) is model
    converted = analog.analogize(model, mapping, machine, **analog.ideal(machine))
    on_tiles = [name for name in converted.layers if ".lora_" in name]
    assert on_tiles
    assert all(".lora_A." in name for name in on_tiles)
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in (converted, model))
    assert float((found - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    machine = small.machine().model_dump(mode="json", exclude_none=True)
    (tmp_path / "m.json").write_text(json.dumps(machine))
    save_workload(MODEL, tmp_path / "w.json")
    return tmp_path


def test_the_command_line_takes_it_by_name(cimsim: Cli, files: Path) -> None:
    where, chosen = (files / "m.json", files / "w.json"), ("--adapt", "own_adaptation:ON_SRAM")
    code, out, err = cimsim("run", "--pipeline", "token", *where, *chosen, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["adaptation"] == "b-sram"
    switch = report["reprogramming"]["adapter_switch"]
    assert switch["sram_bits_written"] == 8 * RANK * OUTPUTS
    code, out, err = cimsim("map", *where, *chosen, "--json")
    assert (code, err) == (0, "")
    units = {(w["role"], w["unit"]) for w in json.loads(out)["weights"]}
    assert units == {("base", "rram"), ("lora_a", "rram"), ("lora_b", "sram")}
    code, out, err = cimsim("check", *where, *chosen)
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "no_such_module:X",
            "'no_such_module:X': No module named 'no_such_module': install it",
        ),
        ("own_adaptation:GONE", "module 'own_adaptation' has no attribute 'GONE'"),
        ("own_adaptation:SharedA", "is a class: name a value of it, such as X = SharedA()"),
        ("own_adaptation:HALF", "'own_adaptation:HALF' is no Adaptation: it lacks writes"),
        ("own_adaptation:NUMBER", "it lacks apply, home, name, writes"),
        ("broken_adaptation:X", "importing broken_adaptation failed: ZeroDivisionError: division"),
        ("own_adaptation", "unknown adaptation 'own_adaptation'; known: none, lora-sram"),
        ("own-adaptation:X", "unknown adaptation 'own-adaptation'; known: none, lora-sram"),
        ("", "unknown adaptation ''; known: none, lora-sram"),
    ],
)
def test_a_name_that_gives_none_says_why(
    cimsim: Cli, files: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (files / "broken_adaptation.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(files)
    code, out, err = cimsim(
        "run", "--pipeline", "token", files / "m.json", files / "w.json", "--adapt", text
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert "Traceback" not in err


def test_text_gives_the_value_itself() -> None:
    assert adaptation_named("own_adaptation:ON_SRAM") is own_adaptation.ON_SRAM


class MergedForTiming:
    """Merged LoRA of which only the timing was thought of."""

    name = "timing"

    def apply(self, workload: Workload) -> Workload:
        return without_lora(workload)

    def home(self, op: Linear) -> None:
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        return whole(mapping, adapted_weights(before.workload) | adapted_weights(after.workload))


class Merging(MergedForTiming):
    """The same with its form on a torch model."""

    name = "merging"

    def functional(self, model: AdaptedModel) -> nn.Module:
        assert model.adapters == ("default",)
        return model.merged()


def test_a_model_that_does_not_run_as_it_is_needs_a_functional_form() -> None:
    machine, model = analog.machine(), analog.llama()
    workload, exact = analog.traced(model), analog.ideal(machine)
    for own in (MergedForTiming(), Merging()):
        mapping = build_mapping(own.apply(workload), machine, own)
        if isinstance(own, Merging):
            converted = analog.analogize(as_mapped(model, mapping), mapping, machine, **exact)
            with torch.no_grad():
                found, wanted = (m(analog.IDS).logits for m in (converted, model))
            assert float((found - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())
            continue
        assert as_mapped(model, mapping) is model
        with pytest.raises(MappingError, match=r"with adaptation 'timing', but the model carries"):
            analog.analogize(as_mapped(model, mapping), mapping, machine, **exact)


def test_a_branch_of_which_a_half_has_no_unit_is_refused() -> None:
    machine, model = analog.machine(), analog.llama()
    mapping = build_mapping(analog.traced(model), machine, ON_SRAM)
    name = next(n for n in mapping.placements if ".lora_B." in n)
    fewer = {n: p for n, p in mapping.placements.items() if n != name}
    short = replace(mapping, placements=fewer)
    with pytest.raises(MappingError, match=f"carries '{re.escape(name)}', which it has no unit"):
        analog.analogize(model, short, machine, **analog.ideal(machine))
