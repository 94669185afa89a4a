"""Bands: energies folded anew are those of simulated machines, effects two runs, ranges checked."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from conftest import Cli
from small import close

from cimsim import machine as shipped
from cimsim import workload
from cimsim.errors import MappingError, SpecError
from cimsim.ir import save_workload
from cimsim.report.bands import Band, Effect, is_chosen
from cimsim.schedule.pipelines import ShapedBlock, Strategy
from cimsim.search.shorten import samples
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture
from cimsim.studies.sensitivity import ends as at_ends
from cimsim.studies.sensitivity import sensitivity
from cimsim.studies.sensitivity.costs import Costs, costs_of, planned
from cimsim.studies.sensitivity.ends import BothEnds, Probe
from cimsim.studies.sensitivity.numbers import Ranged, doubled, ranged
from cimsim.studies.sensitivity.surface import Surface

WHY = "assumed: for a test"
PIPELINE = "layer:block_tokens=1"


def machine(**ranges: tuple[float, float]) -> Architecture:
    """The small machine with ranges; `__` stands for the dots of a path."""
    told = {key.replace("__", "."): [low, high, WHY] for key, (low, high) in ranges.items()}
    data = small.machine().model_dump(mode="json", exclude_none=True)
    return Architecture.model_validate(data | {"ranges": told})


def folding() -> Architecture:
    """The small machine with a range of half to twice for every number that moves no time."""
    plain = small.machine()
    data = plain.model_dump(mode="json", exclude_none=True)
    found: dict[str, Any] = {}
    for name, block in data.items():
        for key, value in block.items() if isinstance(block, dict) else ():
            number = Ranged(f"{name}.{key}", value, 0.0, 0.0, "")
            if isinstance(value, float) and value and number.folds and name != "paper_accounting":
                found[f"{name}.{key}"] = [value / 2, value * 2, WHY]
    return Architecture.model_validate(data | {"ranges": found})


def run_on(made: Architecture) -> Simulation:
    return simulate(small.encoder(), made, pipeline=PIPELINE)


@pytest.fixture(scope="module")
def folded() -> tuple[Simulation, dict[str, Effect]]:
    simulation = run_on(folding())
    found = sensitivity(simulation, metrics=["energy_J"], samples=16)
    return simulation, {effect.path: effect for effect in found.bands[0].effects}


def test_folded_energies_are_those_of_simulated_machines(
    folded: tuple[Simulation, dict[str, Effect]],
) -> None:
    simulation, effects = folded
    made = simulation.job.architecture
    assert len(made.ranges) > 15
    assert {"rram.adc_energy_pJ", "rram.leakage_uW", "dram.background_mW"} <= effects.keys()
    for path, (low, high, _) in made.ranges.items():
        for value, name in ((low, "at_low"), (high, "at_high")):
            again = run_on(made.with_values({path: value})).report
            assert again.latency_s == simulation.report.latency_s, path
            told = getattr(effects[path], name) if path in effects else simulation.report.energy_J
            assert told == close(again.energy_J), path


def test_an_effect_is_two_runs() -> None:
    made = machine(pmca__clock_MHz=(500.0, 2000.0), rram__integration_ns=(50.0, 200.0))
    found = sensitivity(run_on(made), metrics=["latency_s", "energy_J"], samples=16)
    for band in found.bands:
        for effect in band.effects:
            assert effect.by == "run"
            for value, told in ((effect.low, effect.at_low), (effect.high, effect.at_high)):
                again = run_on(made.with_values({effect.path: value})).report
                assert told == close(getattr(again, band.metric))


def test_a_part_tells_which_way_time_goes() -> None:
    made = machine(pmca__clock_MHz=(500.0, 2000.0))
    found = sensitivity(run_on(made), metrics=["latency_s"], runs=0, samples=16).bands[0]
    (effect,) = found.effects
    assert effect.by == "part"
    assert effect.at_low > found.value > effect.at_high


def test_band_of_one_energy_in_closed_form() -> None:
    made = machine(rram__leakage_uW=(0.25, 400.0))
    simulation = run_on(made)
    (band,) = sensitivity(simulation, metrics=["energy_J"], samples=4096).bands
    tiles, time = simulation.plan.unit_counts["rram"], simulation.report.latency_s
    rest = simulation.report.energy_J - 0.5e-6 * tiles * time
    for quantile, told in ((0.05, band.low), (0.95, band.high)):
        leakage = 0.25 * (400.0 / 0.25) ** quantile
        assert told == pytest.approx(rest + leakage * 1e-6 * tiles * time, rel=1e-3)
    assert band.effects[0].share == pytest.approx(1.0, abs=0.05)


def test_ranking_asks_for_no_order() -> None:
    one = machine(rram__adc_energy_pJ=(1.0, 3.0), dram__background_mW=(5.0, 40.0))
    data = one.model_dump(mode="json", exclude_none=True)
    turned = Architecture.model_validate(data | {"ranges": dict([*one.ranges.items()][::-1])})
    assert list(one.ranges) != list(turned.ranges)
    assert (
        sensitivity(run_on(one), samples=16).bands == sensitivity(run_on(turned), samples=16).bands
    )


def test_factors_multiply_and_leakages_add() -> None:
    base = Costs({"a": 2.0, "b": 1.0}, {"u": 3.0}, (1.0,))
    x = Ranged("x_ns", 1.0, 0.0, 2.0, WHY)
    slow = BothEnds(x, replace(base, phases_s=(0.5,)), replace(base, phases_s=(2.0,)), "run")
    leak = BothEnds(replace(x, path="y_uW"), base, replace(base, leakage_W={"u": 5.0}), "fold")
    both = Surface(base, (slow, leak)).at(np.array([[1.0, 0.25], [1.0, 0.75], [0.5, 0.5]]))
    assert both.latency_s == pytest.approx([2.0, 0.75])
    assert both.energy_J == pytest.approx([3.0 + 5.0 * 2.0, 3.0 + 4.0 * 0.75])


def test_numbers_without_range_are_held_and_named() -> None:
    made = machine(rram__leakage_uW=(0.25, 400.0))
    plain = sensitivity(run_on(made), metrics=["energy_J"], samples=16)
    assert plain.varied == 1
    assert "rram.leakage_uW" not in plain.without_range
    assert set(plain.without_range) == made.assumed().keys() - made.ranges.keys()


@pytest.mark.parametrize(
    ("ranges", "says"),
    [
        ({"rram.leakage": [0.1, 1.0, "x"]}, "rram.leakage is no number of this machine"),
        ({"rram.leakage_uW": [1.0, 2.0, "x"]}, "is 0.5, outside its 1 to 2"),
        ({"rram.leakage_uW": [0.1, 0.2, "x"]}, "is 0.5, outside its 0.1 to 0.2"),
        ({"rram.leakage_uW": [0.5, 0.5, "x"]}, "has low 0.5, not below high 0.5"),
        ({"rram.leakage_uW": [0.1, 1.0, "assumed: "]}, "the source of rram.leakage_uW is empty"),
        ({"rram.device": [0.1, 1.0, "x"]}, "rram.device is no number"),
    ],
)
def test_ranges_are_checked_when_read(ranges: dict[str, Any], says: str) -> None:
    data = small.machine().model_dump(mode="json", exclude_none=True)
    with pytest.raises(ValueError, match=says):
        Architecture.model_validate(data | {"ranges": ranges})


def test_another_value_has_no_range() -> None:
    made = machine(rram__leakage_uW=(0.25, 400.0), dram__background_mW=(5.0, 40.0))
    assert list(made.with_values({"rram.leakage_uW": 900.0}).ranges) == ["dram.background_mW"]
    with pytest.raises(SpecError, match="ranges"):
        made.with_values({"ranges.rram": 1})


SCREENED = ("rram.adc_energy_pJ", "rram.integration_ns", "pmca.cores", "rram.dac_bits")


def test_halving_and_doubling_is_two_runs() -> None:
    """A model of few layers is its own part; None where the machine does not run."""
    made = small.machine()
    done = run_on(made)
    times = tuple(phase.latency_s for phase in done.report.phases.values())
    probe = Probe(done.job, done.pipeline, costs_of(done.plan, done.job, made, times), done.plan)
    numbers = [number for number in doubled(made) if number.path in SCREENED]
    found = probe.halved_and_doubled(numbers, lambda stage: None)
    assert sorted(number.path for number, _, _ in found) == sorted(SCREENED)
    for number, *ends in found:
        assert number.ends == (number.value / 2, number.value * 2)
        for value, costs in zip(number.ends, ends, strict=True):
            if number.path == "rram.dac_bits" and value < number.value:
                assert costs is None
                continue
            again = run_on(made.with_values({number.path: value})).report
            assert costs is not None
            assert costs.latency_s == close(again.latency_s), number.path
            assert costs.energy_J == close(again.energy_J), number.path


def test_a_screen_ranks_what_has_no_range() -> None:
    made = machine(rram__leakage_uW=(0.25, 400.0))
    done = run_on(made)
    ask = {"metrics": ["energy_J"], "samples": 16, "shares": False, "hold_times": True}
    assert not sensitivity(done, **ask).screens
    found = sensitivity(done, screen=True, **ask)
    (screen,) = found.screens
    assert screen.value == close(done.report.energy_J)
    paths = [number.path for number in screen.numbers]
    assert "rram.leakage_uW" not in paths
    assert set(paths) <= set(found.without_range)
    reaches = [number.reach(screen.value) for number in screen.numbers]
    assert reaches == sorted(reaches, reverse=True)
    assert 0 < len(screen.moving) < len(reaches)
    most = screen.numbers[0]
    again = run_on(made.with_values({most.path: 2 * most.value})).report
    assert most.at_double == close(again.energy_J)


def test_whole_numbers_move_by_one_at_least() -> None:
    number = {n.path: n for n in doubled(small.machine())}["rram.input_pulses"]
    assert number.value == 1
    assert number.ends == (0, 2)


def test_errors_say_what_to_do() -> None:
    done = run_on(machine(rram__tile_count=(1, 8192)))
    with pytest.raises(SpecError, match=r"the range of rram\.tile_count, 1 to 8192"):
        sensitivity(done, metrics=["energy_J"], samples=16)
    with pytest.raises(SpecError, match="no metric 'power_W'"):
        sensitivity(done, metrics=["power_W"])
    with pytest.raises(SpecError, match="needs a GPU"):
        sensitivity(done, metrics=["energy_ratio"])


@pytest.mark.parametrize("path", small.ARCHITECTURES, ids=lambda path: path.stem)
def test_shipped_machines_run_at_the_ends_of_their_ranges(path: Any) -> None:
    from cimsim.spec import load_architecture

    made = load_architecture(path)
    assert made.ranges
    for number in ranged(made):
        for end in number.ends:
            made.with_values({number.path: end})


def test_the_verb(cimsim: Cli, tmp_path: Any) -> None:
    made = machine(rram__leakage_uW=(0.25, 400.0), dram__background_mW=(5.0, 40.0))
    (tmp_path / "m.json").write_text(made.model_dump_json(exclude_none=True))
    save_workload(small.encoder(), tmp_path / "w.json")
    given = ["sensitivity", str(tmp_path / "m.json"), str(tmp_path / "w.json")]
    given += ["--pipeline", "token", "--samples", "16"]
    code, out, _ = cimsim(*given, "-o", str(tmp_path / "out"))
    assert code == 0
    assert "rram.leakage_uW" in out
    assert "have no range and were held" in out
    assert (tmp_path / "out" / "tornado.png").stat().st_size > 10_000
    code, out, _ = cimsim(*given, "--json")
    found = json.loads(out)
    assert [band["metric"] for band in found["bands"]] == ["energy_J", "latency_s"]
    assert found == json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    code, out, _ = cimsim(*given, "--screen", "--hold-times")
    assert code == 0
    assert "halving and doubling" in out
    assert "move it; 0 do not run" in out
    code, _, err = cimsim(*given, "--metric", "speed")
    assert code == 2
    assert "no metric 'speed'" in err


def test_a_strategy_may_have_blocks_for_shapes_that_the_part_lacks() -> None:
    """LLaMA's layers shared by all clusters have a chain that one layer alone has not."""
    made, model = shipped("halora_rram_sram"), workload("llama3.2_1b_r4_p512_d128")
    done = simulate(model, made, pipeline="layer:share_clusters=512")
    shapes = sorted(set(done.plan.shapes.values()))
    assert isinstance(done.pipeline, Strategy)
    strategy = replace(done.pipeline, blocks=ShapedBlock(tuple((s, 1) for s in shapes)))
    part = replace(done.job, workload=samples(done.job.workload, (1,))[0].workload)
    with pytest.raises(MappingError, match="gives a block to"):
        planned(part, strategy)
    times = tuple(phase.latency_s for phase in done.report.phases.values())
    base = costs_of(done.plan, done.job, made, times)
    number = Ranged("cluster_link.models.port.anchor.leakage_uW", 1.0, 0.1, 10.0, WHY)
    (ends,) = Probe(done.job, strategy, base, done.plan).folded([number])
    ports = done.plan.unit_counts["pmca"]
    assert ends.high.energy_J - ends.low.energy_J == close(9.9e-6 * ports * sum(times))


def test_run_says_its_band(cimsim: Cli) -> None:
    asked = ["run", "halora_rram_sram", "minilm_sentiment_r8_s32", "--pipeline", "token"]
    code, out, _ = cimsim(*asked)
    assert code == 0
    assert "energy_J" in out
    assert "so were numbers that move time, technology_nm among them" in " ".join(out.split())
    assert "most by" in out
    assert "so were numbers" not in cimsim(*asked, "--no-band")[1]
    code, out, _ = cimsim(*asked, "--json", "--band")
    report = json.loads(out)
    (band,) = report["bands"]["bands"]
    assert band["value"] == close(report["energy_J"])
    assert band["low"] < band["value"] < band["high"]
    assert report["bands"]["times_held"]
    assert "bands" not in json.loads(cimsim(*asked, "--json")[1])


def test_a_run_without_ranges_or_scipy_has_no_band(
    cimsim: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shipped("halora_rram_sram").model_dump(mode="json", exclude_none=True)
    (tmp_path / "m.json").write_text(json.dumps(data | {"ranges": {}}))
    asked = ["run", tmp_path / "m.json", "minilm_sentiment_r8_s32", "--pipeline", "token"]
    code, out, err = cimsim(*asked)
    assert (code, err) == (0, "")
    assert "so were numbers" not in out
    monkeypatch.setattr(sys.modules["cimsim.cli.sensitivity"], "find_spec", lambda name: None)
    code, out, err = cimsim("run", "halora_rram_sram", *asked[2:])
    assert code == 0
    assert "so were numbers" not in out
    assert "no bands, which need scipy: pip install '.[sensitivity]'" in err


def test_a_band_tells_its_name() -> None:
    band = Band(metric="energy_J", beside=None, value=1.0, low=0.5, high=2.0, effects=())
    assert band.name == "energy_J"
    assert band.model_copy(update={"beside": "A100"}).name == "energy_J, A100"


def test_gated_tiles_leak_by_state() -> None:
    """As a tile wakes and waits: folded energies are those of runs here too."""
    from cimsim.spec import load_architecture

    made = load_architecture(small.ROOT / "arch_configs" / "halora_rram_sram.json")
    kept = {
        path: made.ranges[path]
        for path in made.ranges
        if path.startswith("rram.") and "leak" in path
    }
    assert len(kept) == 2
    made = made.model_copy(update={"ranges": kept})
    simulation = run_on(made)
    (band,) = sensitivity(simulation, metrics=["energy_J"], samples=16).bands
    assert band.value == close(simulation.report.energy_J)
    for effect in band.effects:
        assert effect.by == "fold"
        for value, told in ((effect.low, effect.at_low), (effect.high, effect.at_high)):
            again = run_on(made.with_values({effect.path: value})).report
            assert told == close(again.energy_J)


def test_numbers_of_models_are_not_rounded_to_whole_ones() -> None:
    """`router_ns` 1 in a file is 1.0: its low end is 0.5, not 0; counts stay whole."""
    made = shipped("halora_rram_sram")
    found = {n.path: n for n in ranged(made)}
    assert found["tile_link.models.wire.router_ns"].ends == (0.5, 4.0)
    assert found["sram.models.unit.anchor.leakage_uW"].ends == (0.5, 50.0)
    assert found["rram.columns_per_adc"].ends == (8, 64)
    assert all(n.ends == (n.low, n.high) for n in found.values())


def test_a_range_hides_no_other_number_of_its_model() -> None:
    """Energies of the digital part say nothing of its area, a published anchor needs no range."""
    made = shipped("halora_rram_sram")
    energies = {
        path: kept
        for path, kept in made.ranges.items()
        if path != "rram.models.logic.anchor.digital_area_um2"
    }
    assert any(path.startswith("rram.models.logic.anchor.") for path in energies)
    held = set(made.model_copy(update={"ranges": energies}).without_range())
    assert held - set(made.without_range()) == {"rram.digital_area_um2"}


def test_what_a_part_did_not_read_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sine that no layer takes changes nothing, and no part is run to find it out."""
    simulation = run_on(shipped("halora_rram_sram"))
    base = costs_of(simulation.plan, simulation.job, simulation.job.architecture,
                    tuple(p.latency_s for p in simulation.report.phases.values()))  # fmt: skip
    probe = Probe(simulation.job, simulation.pipeline, base, simulation.plan)
    sine = Ranged("pmca.core.sine_cycles_per_element", 80.0, 60.0, 150.0, WHY)
    access = Ranged("dram.access_ns", 100.0, 50.0, 150.0, WHY)
    probe.timed([sine], 0, lambda told: None)
    runs = []
    real = at_ends.run_costs
    monkeypatch.setattr(at_ends, "run_costs", lambda *a: runs.append(a) or real(*a))
    (still,) = probe.timed([sine], 0, lambda told: None)
    assert runs == []
    assert still.low.phases_s == still.high.phases_s == base.phases_s
    (moved,) = probe.timed([access], 0, lambda told: None)
    assert len(runs) == 2
    assert moved.low.latency_s < moved.high.latency_s


def test_choices_of_a_designer_are_told_from_unknowns() -> None:
    """HaLoRA's machines have ranges for all but choices, DRAM's background and a fit."""
    left = {"dram.background_mW", "paper_accounting.periphery_energy_pJ"}
    for name in ("halora_rram_sram", "halora_rram_only", "halora_sram_only"):
        assert {p for p in shipped(name).without_range() if not is_chosen(p)} == left
    assert is_chosen("rram.tile_count")
    assert is_chosen("sram.write_bits_per_cycle")
    assert is_chosen("sram.rows_per_multiplier")
    left = {p for p in shipped("neurram").without_range() if not is_chosen(p)}
    assert left == {"dram.background_mW"}
    assert not is_chosen("pmca.models.cluster.anchor.core_energy_pJ_per_cycle")
    assert not is_chosen("rram.load_ns")
