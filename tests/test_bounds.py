"""What a file may hold: a mutation is refused with one message, or simulates to finite numbers."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cimsim.baseline import load_gpu
from cimsim.comparison import compare, comparison_rows, with_baseline
from cimsim.errors import CimsimError, MappingError, SimulationError, SpecError, WorkloadError
from cimsim.ir import Linear, load_workload, save_workload
from cimsim.report import Report, load_report
from cimsim.report.inert import COST
from cimsim.schedule.assembler import INTERVALS_MAX, check_intervals, within_64_bits
from cimsim.simulation import simulate
from cimsim.spec import Architecture, load_architecture

Result = TypeVar("Result")
MACHINE = json.loads(
    small.machine(sram={"unit_count": 4096}, attention_on="sram").model_dump_json(exclude_none=True)
)
MACHINE["rram"]["accuracy"] = {
    "device": {"kind": "gaussian", "sigma_ratio": 0.1}, "device_source": "assumed: for tests",
    "sources": {},
}  # fmt: skip
WORK = json.loads(small.decoder(layers=1, prompt=4, steps=2).model_dump_json())
GPU = next((small.ROOT / "arch_configs" / "gpu").glob("*.json"))

VALUES = [
    True, False, None, "", "5", "x", "a\x1b[31m", "\ud800", "y" * 5000, 0, -1, 1, 2, 3, 7, 10**6,
    2**31, 2**40, 2**63, 10**30, 1.5, 3.0, -0.5, 1e-300, 1e12, 1e300, [], {}, [1], {"a": 1},
]  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values within `data`."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def mutated(data: Any, path: tuple[Any, ...], how: str, value: Any) -> Any:
    """`data` with the value at `path` dropped, doubled, renamed, negated, or replaced."""
    changed = copy.deepcopy(data)
    block = changed
    for key in path[:-1]:
        block = block[key]
    key, old = path[-1], block[path[-1]]
    if how == "drop":
        del block[key]
    elif how == "rename" and isinstance(block, dict):
        block[f"{key}x"] = block.pop(key)
    elif how == "twice" and isinstance(block, list):
        block.append(copy.deepcopy(old))
    elif how == "negate" and isinstance(old, int | float):
        block[key] = -old
    elif how == "scale" and isinstance(old, int | float) and not isinstance(old, bool):
        block[key] = old * 3
    else:
        block[key] = value
    return changed


HOW = st.sampled_from(["drop", "rename", "twice", "negate", "scale", "put", "put", "put"])


def written(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def finite(value: Any) -> bool:
    """Whether every number within is finite."""
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, list):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def outcome(run: Callable[[], Result]) -> Result | None:
    """What `run` gives; None where it refuses with one printable message of 2,000 characters."""
    try:
        return run()
    except CimsimError as error:
        said = str(error)
    assert 0 < len(said) <= 2000
    assert said.replace("\n", "").isprintable()
    return None


def holds(run: Callable[[], Report]) -> None:
    """The law: a report of finite numbers whose parts sum up, or one message."""
    report = outcome(run)
    if report is None:
        return
    assert finite(report.model_dump(mode="json"))
    assert math.isclose(math.fsum(report.energy_by_unit_J.values()), report.energy_J)
    for times in report.unit_times.values():
        assert math.isclose(times.busy_s + times.idle_s, report.latency_s)


MUTATIONS = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MUTATIONS
@given(path=st.sampled_from(list(places(WORK))), how=HOW, value=st.sampled_from(VALUES))
def test_a_mutated_workload_is_refused_or_simulates(
    tmp_path: Path, path: tuple[Any, ...], how: str, value: Any
) -> None:
    file = written(tmp_path / "w.json", mutated(WORK, path, how, value))
    machine = Architecture.model_validate(MACHINE)

    def run() -> Report:
        work = load_workload(file)
        save_workload(work, tmp_path / "again.json")
        assert load_workload(tmp_path / "again.json") == work
        return simulate(work, machine, pipeline="token").report

    holds(run)


@MUTATIONS
@given(path=st.sampled_from(list(places(MACHINE))), how=HOW, value=st.sampled_from(VALUES))
def test_a_mutated_machine_is_refused_or_simulates(
    tmp_path: Path, path: tuple[Any, ...], how: str, value: Any
) -> None:
    file = written(tmp_path / "m.json", mutated(MACHINE, path, how, value))
    work = small.decoder(layers=1, prompt=4, steps=2)
    holds(lambda: simulate(work, load_architecture(file), pipeline="token").report)


@MUTATIONS
@given(data=st.data(), how=HOW, value=st.sampled_from(VALUES))
def test_a_mutated_gpu_is_refused_or_estimates(
    tmp_path: Path, data: st.DataObject, how: str, value: Any
) -> None:
    gpu = json.loads(GPU.read_text(encoding="utf-8"))
    path = data.draw(st.sampled_from(list(places(gpu))))
    file = written(tmp_path / "g.json", mutated(gpu, path, how, value))
    work = small.decoder(layers=1, prompt=4, steps=2)
    estimate = outcome(lambda: load_gpu(file).estimate(work))
    if estimate is not None:
        assert math.isfinite(estimate.latency_s)
        assert 0.0 < estimate.energy_J < math.inf


def test_a_mutated_report_is_refused_or_read(tmp_path: Path) -> None:
    report = simulate(
        small.decoder(layers=1, prompt=4, steps=2), small.machine(), pipeline="token"
    ).report
    data = json.loads(report.to_json())
    for path in places(data):
        if path[0] in ("assumed", "inputs"):
            continue
        for value in ("5", True, None, 10**400, -1e308):
            file = written(tmp_path / "r.json", mutated(data, path, "put", value))
            read = outcome(lambda file=file: load_report(file))
            assert read is None or finite(read.model_dump(mode="json"))


@pytest.mark.parametrize("value", [True, "6", 6.0, None, 0, -6, 2**41])
@pytest.mark.parametrize("field", ["rows", "in_features", "out_features", "tokens"])
def test_sizes_are_strict(field: str, value: Any) -> None:
    sizes = {"rows": 6, "in_features": 4, "out_features": 3, "tokens": 6} | {field: value}
    with pytest.raises(ValueError, match=field):
        Linear(name="x", inputs=(), weight="w", **sizes)
    exact = Linear(
        name="x", inputs=(), weight="w",
        **{key: np.int64(6) for key in ("rows", "in_features", "out_features", "tokens")},
    )  # fmt: skip
    assert type(exact.rows) is int


def test_many_problems_are_told_in_a_few_lines(tmp_path: Path) -> None:
    data = copy.deepcopy(WORK)
    for op in data["phases"][0]["ops"]:
        op["tokens"] = 3
    with pytest.raises(WorkloadError) as caught:
        load_workload(written(tmp_path / "w.json", data))
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert "op 'embed' has tokens 3, the phase has 4" in lines[0]
    assert lines[-1].endswith("more")


def test_a_machine_may_need_no_energy() -> None:
    def emptied(block: dict[str, Any]) -> dict[str, Any]:
        return {
            key: emptied(value) if isinstance(value, dict) and key != "sources"
            else 0.0 if COST.search(key)
            else value
            for key, value in block.items()
        }  # fmt: skip

    machine = Architecture.model_validate(emptied(MACHINE))
    work = small.decoder(layers=1, prompt=4, steps=2)
    report = simulate(work, machine, pipeline="token").report
    assert report.energy_J == 0.0
    assert report.latency_s > 0.0
    beside = with_baseline(report, work, load_gpu(GPU))
    for found in beside.baselines.values():
        assert (found.energy_ratio, found.verdict["energy"]) == (None, "not compared")
        assert found.latency_ratio == found.latency_s / report.latency_s
        assert found.decode["batch 1"].energy_ratio is None
    row = comparison_rows([report, report])[1]
    assert (row["energy_ratio"], row["latency_ratio"]) == (None, 1.0)
    assert "energy_ratio=(None, None)" in repr(compare([report, report]))


def test_a_schedule_beyond_memory_is_refused_before_it_is_built() -> None:
    phase = small.chain(tokens=2**24, widths=(16,) * 9)
    with pytest.raises(SimulationError, match=r"has 536870912 intervals .* at most 268435456"):
        simulate(small.workload_of("long", (phase,)), small.machine(), pipeline="token")
    check_intervals(INTERVALS_MAX)


def test_a_time_beyond_the_clock_is_refused() -> None:
    assert within_64_bits([1, 2**63 - 1]).tolist() == [1, 2**63 - 1]
    with pytest.raises(SimulationError, match="beyond 9223372036854775807"):
        within_64_bits([2**63])
    slow = small.machine(rram={"integration_ns": 1e9, "input_pulses": 2**31 - 1})
    with pytest.raises(SimulationError, match="the last instant of the event clock"):
        simulate(small.one_layer(tokens=100000), slow, pipeline="token")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("rram.accuracy.device.kind", "pcm", None),
        ("rram.accuracy.device.sigma_ratio", 0.5, None),
        ("rram.accuracy.device.kind", "magic", "unknown kind 'magic'; known: ideal, gaussian"),
        ("rram.accuracy.device.sigma", 0.5, "gaussian has no field 'sigma'; fields: sigma_ratio"),
        ("rram.accuracy.device.kind.x", 1, "'kind' is 'gaussian', not an object with fields"),
        ("rram.accuracy.clip_sigma", 2.5, None),
        ("rram.accuracy", 5, "`accuracy` of `rram` is no single value. Set one of its fields (dev"),
        ("rram.row", 5, "there is no field 'rram.row' to set: `rram` has rows"),
        ("rram.rows.x", 5, "`rows` of `rram` is a value without fields"),
        ("rram.sources.rows", "x", "`sources` of `rram` is a value without fields"),
        ("rram.sources", "x", "it is a note of the file, not a value"),
        ("ram.rows", 5, "there is no field 'ram.rows' to set: a machine has sram, rram"),
        ("paper_accounting.rram_transistors", 1, "the machine has no `paper_accounting` block"),
        ("", 5, "there is no field '' to set"),
        ("rram..rows", 5, "there is no field 'rram..rows' to set"),
        ("rram.rows", True, "rram.rows: Input should be a valid integer (got True)"),
        ("rram.rows", None, "rram.rows: Field required"),
        ("rram.g_max_uS", math.inf, "rram.g_max_uS: Input should be a finite number"),
    ],
)
def test_values_at_nested_paths(path: str, value: Any, said: str | None) -> None:
    machine = Architecture.model_validate(MACHINE)
    if said is None:
        changed = machine.with_values({path: value}, "on trial").model_dump(mode="json")
        for key in path.split("."):
            changed = changed[key]
        assert changed == value
        assert Architecture.model_validate(MACHINE) == machine
    else:
        with pytest.raises(SpecError) as caught:
            machine.with_values({path: value})
        assert said in str(caught.value)


def test_another_kind_of_device_starts_afresh() -> None:
    machine = Architecture.model_validate(MACHINE)
    device = "rram.accuracy.device"
    changed = machine.with_values({f"{device}.sigma_ratio": 0.3, f"{device}.kind": "pcm"}, "trial")
    assert changed.rram is not None
    assert changed.rram.accuracy is not None
    assert changed.rram.accuracy.device == {"kind": "pcm"}
    assert changed.rram.accuracy.device_source == "assumed: trial"


def test_an_optional_field_is_taken_out_and_put_in() -> None:
    machine = small.machine()
    assert machine.rram is not None
    other = machine.with_values({"rram.write.pulses_per_cell": None, "rram.write.window_uS": 1.0})
    assert other.rram is not None
    assert (other.rram.write.pulses_per_cell, other.rram.write.window_uS) == (None, 1.0)
    assert set(other.assumed()) ^ set(machine.assumed()) == {
        "rram.write.pulses_per_cell", "rram.write.window_uS",
    }  # fmt: skip


def test_copies_by_the_million_are_refused_by_count() -> None:
    from cimsim.mappers import OneBlockPerTile

    with pytest.raises(MappingError, match="lower --replicate"):
        simulate(
            small.one_layer(),
            small.machine(),
            mapper=OneBlockPerTile(replicate=(("*", 10**6),)),
            pipeline="token",
        )
