"""Levers: predicted from the critical path and the bounds, measured by simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
from conftest import Cli
from small import close

from cimsim.errors import SimulationError
from cimsim.ir import save_workload
from cimsim.report import Bottlenecks, Bound, PhaseBounds
from cimsim.report.levers import KNOBS, LEVERS, predicted_s, with_levers
from cimsim.simulation import simulate
from cimsim.spec import Architecture, load_architecture

KNOB = {(knob.factors[0][0], knob.acts_on): knob for knob in KNOBS}
BANKS, BANDWIDTH = KNOB["buffer.banks", "shared"], KNOB["buffer.bandwidth_GBps", "work"]
INTEGRATION = KNOB["rram.integration_ns", "work"]


def part(**changes: Any) -> PhaseBounds:
    """10 s: 6 on the buffer, of which 4 are a wait for it, 4 on tiles."""
    given: dict[str, Any] = {
        "latency_s": 10.0, "by_unit_s": {"buffer": 6.0, "rram": 4.0}, "by_kind_s": {"base": 10.0},
        "by_layer_s": {"a": 10.0}, "by_wait_s": {"shared": 4.0, "data": 6.0},
        "waits_by_unit_s": {"buffer": {"shared": 4.0, "data": 2.0}, "rram": {"data": 4.0}},
        "waits_by_kind_s": {"base": {"shared": 4.0, "data": 6.0}},
        "waits_by_layer_s": {"a": {"shared": 4.0, "data": 6.0}}, "latency_by_unit_s": {},
        "busiest": None, "chain": None,
        "busiest_by_unit_s": {},
    }  # fmt: skip
    return PhaseBounds(**given | changes)


def test_half_of_the_time_that_a_knob_acts_on() -> None:
    assert predicted_s(BANDWIDTH, part()) == 3.0
    assert predicted_s(BANKS, part()) == 2.0
    assert predicted_s(INTEGRATION, part()) == 2.0
    assert predicted_s(KNOB["dram.channels", "shared"], part()) == 0.0


def test_latency_follows_no_rate() -> None:
    waits = part(latency_by_unit_s={"buffer": 5.0})
    assert predicted_s(BANDWIDTH, waits) == 0.5
    assert predicted_s(BANKS, waits) == 2.0, "a wait for others does"
    assert predicted_s(INTEGRATION, waits) == 2.0


def test_no_more_than_the_bounds_leave() -> None:
    chain = Bound(name="chain", time_s=9.0, latency_ratio=10 / 9)
    assert predicted_s(BANKS, part(chain=chain)) == 1.0, "more servers shorten no chain"
    assert predicted_s(BANDWIDTH, part(chain=chain)) == 3.0, "a quicker unit does"
    busy = {"buffer": 9.5, "rram": 8.0}
    assert predicted_s(BANDWIDTH, part(busiest_by_unit_s=busy)) == 2.0, "the tiles stay"
    assert predicted_s(INTEGRATION, part(busiest_by_unit_s=busy)) == 0.5, "the buffer stays"
    over = part(busiest_by_unit_s={"rram": 10.0}, chain=chain)
    assert predicted_s(BANDWIDTH, over) == predicted_s(BANKS, over) == 0.0


@pytest.mark.parametrize("path", small.ARCHITECTURES, ids=lambda path: path.stem)
def test_every_number_is_one_of_the_machines(path: Path) -> None:
    machine = load_architecture(path)
    for knob in KNOBS:
        fields = [field for field, _ in knob.factors]
        if all(machine.model_dump().get(field.partition(".")[0]) for field in fields):
            for field, factor in knob.factors:
                value: Any = machine
                for name in field.split("."):
                    value = getattr(value, name)
                assert machine.with_values({field: value * factor}) != machine


def test_half_the_integration_time_by_hand() -> None:
    machine = small.machine()
    done = simulate(small.one_layer(tokens=1), machine, pipeline="token")
    total = done.bottlenecks(levers=True).total
    (lever,) = (lever for lever in total.levers if lever.units == ("rram",))
    assert (lever.old, lever.new) == ({"rram.integration_ns": 100.0}, {"rram.integration_ns": 50.0})
    assert lever.measured_s == close(50e-9), "one token, one pulse"
    assert lever.predicted_s == close(total.by_unit_s["rram"] / 2)
    assert {unit for lever in total.levers for unit in lever.units} <= set(total.by_unit_s)


def test_what_does_not_bind_gains_nothing() -> None:
    machine = small.machine()
    done = simulate(small.one_layer(tokens=5), machine, pipeline="token")
    total, latency = done.bottlenecks().total, done.report.latency_s
    for field in ("dram.bandwidth_GBps", "dram.channels", "pmca.clock_MHz", "sram.clock_MHz"):
        (knob,) = (knob for knob in KNOBS if knob.factors[0][0] == field)
        assert predicted_s(knob, total) == 0.0
        block, name = field.split(".")
        doubled = 2 * getattr(getattr(machine, block), name)
        quicker = machine.with_values({field: doubled})
        changed = simulate(small.one_layer(tokens=5), quicker, pipeline="token")
        assert changed.report.latency_s == latency


@pytest.mark.parametrize("attention", ["sram", "pmca"])
def test_levers_are_in_order_and_measured_by_simulation(attention: str) -> None:
    machine = small.machine(attention_on=attention)
    options: dict[str, Any] = {"pipeline": "layer:2", "adaptation": "lora-sram"}
    done = simulate(small.decoder(), machine, **options)
    found = done.bottlenecks(levers=True)
    for name, bounds in {**found.phases, "total": found.total}.items():
        gains = [lever.predicted_s for lever in bounds.levers]
        assert 1 <= len(gains) <= LEVERS
        assert gains == sorted(gains, reverse=True)
        assert min(gains) > 0.0
        for lever in bounds.levers:
            changed = simulate(small.decoder(), machine.with_values(lever.new), **options).report
            now = changed.latency_s if name == "total" else changed.phases[name].latency_s
            assert lever.measured_s == pytest.approx(bounds.latency_s - now, rel=1e-9, abs=1e-15)
    predicted = done.bottlenecks()
    assert all(lever.measured_s is None for lever in predicted.total.levers)
    pairs = zip(predicted.total.levers, found.total.levers, strict=True)
    assert all(a == b.model_copy(update={"measured_s": None}) for a, b in pairs)


def test_the_strategy_prepares_every_machine_anew() -> None:
    machine = small.machine()
    done = simulate(small.encoder(tokens=16), machine, pipeline="cores-only")
    for lever in done.bottlenecks(levers=True).total.levers:
        changed = simulate(
            small.encoder(tokens=16), machine.with_values(lever.new), pipeline="cores-only"
        )
        gain = done.report.latency_s - changed.report.latency_s
        assert lever.measured_s == pytest.approx(gain, rel=1e-9, abs=1e-15)


def test_a_machine_that_cannot_be_is_told() -> None:
    found = simulate(small.decoder(), small.machine(), pipeline="token").bottlenecks()
    bounds = found.model_copy(update={"total": part(), "phases": {}})
    tried: list[Architecture] = []

    def refuse(machine: Architecture) -> dict[str, float]:
        tried.append(machine)
        raise SimulationError("too long for it")

    most = small.machine(buffer={"banks": 2**31 - 1})
    told = {lever.acts_on: lever for lever in with_levers(bounds, most, refuse).total.levers[::-1]}
    assert (told["work"].measured_s, told["work"].refused) == (None, "too long for it")
    shared = told["shared"]
    assert shared.new == {"buffer.banks": 2**32 - 2}
    assert shared.measured_s is None
    assert shared.refused is not None
    assert "buffer.banks: Input should be less than or equal to 2147483647" in shared.refused
    assert all(machine.buffer.banks == 2**31 - 1 for machine in tried)
    assert {machine.buffer.bandwidth_GBps for machine in tried} == {50.0, 100.0}


def test_the_command_line_measures_where_asked(cimsim: Cli, tmp_path: Path) -> None:
    file = tmp_path / "decoder.json"
    save_workload(small.decoder(layers=1), file)
    job = ("halora_rram_sram", file, "--pipeline", "token")
    code, out, err = cimsim("run", *job, "--levers")
    assert (code, out) == (2, "")
    assert "--levers had no effect without --bounds: add it" in err
    for options, measured in (((), False), (("--levers",), True)):
        code, out, _ = cimsim("run", *job, "--bounds", *options, "--json")
        assert code == 0
        bounds = Bottlenecks.model_validate_json(json.dumps(json.loads(out)["bounds"]))
        levers = [lever for p in (bounds.total, *bounds.phases.values()) for lever in p.levers]
        assert levers
        assert all((lever.measured_s is not None) == measured for lever in levers)
    table = cimsim("run", *job, "--bounds")[1]
    assert "predicted gain" in table
