"""Digests, what was changed, and rows: a report says what was simulated, however it was called."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from cimsim.comparison import with_baseline
from cimsim.ir import load_workload, save_workload
from cimsim.report import Report, load_report
from cimsim.schedule.pipelines import PIPELINES
from cimsim.simulation import simulate
from cimsim.spec import Architecture, load_architecture
from cimsim.values.history import Change, merged

GPU = small.ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json"
ARCHITECTURES = sorted((small.ROOT / "arch_configs").glob("*.json"))


def canonical(data: dict[str, Any]) -> str:
    """sha256 of canonical JSON, by hand."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_digest_is_that_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    machine = small.machine()
    data = machine.model_dump(mode="json", exclude_none=True)
    assert machine.digest() == canonical(data)
    turned = dict(reversed(list(data.items())))
    (tmp_path / "m.json").write_text(json.dumps(turned, indent=7))
    read = load_architecture(tmp_path / "m.json")
    assert (read, read.digest()) == (machine, machine.digest())
    work = small.decoder()
    save_workload(work, tmp_path / "w.json")
    assert load_workload(tmp_path / "w.json").digest() == work.digest()


@given(st.floats(1.0, 1e3), st.floats(1.0, 1e3))
def test_digests_differ_where_values_do(one: float, other: float) -> None:
    machines = [small.machine().with_values({"rram.integration_ns": ns}) for ns in (one, other)]
    assert (machines[0].digest() == machines[1].digest()) == (one == other)
    assert (machines[0] == machines[1]) == (one == other)


def test_changes_remember_the_first_value_and_the_last() -> None:
    machine = small.machine()
    assert machine.changes == ()
    twice = machine.with_values({"rram.rows": 8}, "once").with_values(
        {"adaptation": "none", "rram.rows": 32}, "twice"
    )
    assert twice.changes == (
        Change(of="architecture", field="adaptation", old="lora-pmca", new="none", why="twice"),
        Change(of="architecture", field="rram.rows", old=16, new=32, why="twice"),
    )
    assert machine.changes == ()
    assert merged(twice.changes) == twice.changes


def test_a_change_is_no_part_of_the_content() -> None:
    changed = small.machine().with_values({"adaptation": "none"})
    made = small.machine(adaptation="none")
    assert changed == made
    assert changed.digest() == made.digest()
    assert changed.model_dump() == made.model_dump()
    assert pickle.loads(pickle.dumps(changed)).changes == changed.changes
    assert changed != small.machine()
    assert changed != 1


@pytest.mark.parametrize("number", [np.int64(8), np.int32(8), np.float32(8.0), np.array(8), 8.0])
def test_numbers_of_numpy_are_numbers(number: Any) -> None:
    plain = small.machine().with_values({"rram.integration_ns": 8})
    made = small.machine().with_values({"rram.integration_ns": number})
    assert made == plain
    assert made.changes == plain.changes
    assert type(made.rram.integration_ns) is float


def run(machine: Architecture, *, pipeline: Any = "token", **options: Any) -> Report:
    return simulate(small.decoder(), machine, pipeline=pipeline, **options).report


def test_a_report_says_what_was_changed_and_what_was_simulated(tmp_path: Path) -> None:
    machine = small.machine().with_values({"rram.integration_ns": np.int64(128)}, "a sweep")
    report = run(machine, seed=np.int64(3))
    (change,) = report.changes
    assert (change.field, change.old, change.new) == ("rram.integration_ns", 100.0, 128.0)
    assert change.why == "a sweep"
    assert report.inputs["architecture_content_sha256"] == machine.digest()
    assert report.inputs["workload_content_sha256"] == small.decoder().digest()
    assert report.inputs["set rram.integration_ns"] == "128.0"
    assert report.inputs["seed"] == 3
    report.save(tmp_path / "r.json")
    assert load_report(tmp_path / "r.json") == report


def test_a_report_says_what_a_pipeline_takes_away() -> None:
    report = run(small.machine(), pipeline=PIPELINES["cores-only"])
    (change,) = report.changes
    assert (change.field, change.new, change.why) == (
        "pmca.products_on", "cores", "pipeline cores-only",
    )  # fmt: skip
    assert report.inputs["architecture_content_sha256"] != small.machine().digest()


def test_a_row_is_flat_and_scalar_and_holds_the_reports_numbers() -> None:
    machine = small.machine().with_values({"rram.integration_ns": 128})
    report = run(machine, pipeline="auto")
    row = report.row()
    assert all(isinstance(v, str | int | float | bool | None) for v in row.values())
    assert json.loads(json.dumps(row)) == row
    assert row["prefill.latency_s"] == report.phases["prefill"].latency_s
    assert row["decode.tokens_per_s"] == report.phases["decode"].tokens_per_s
    units = ("rram", "sram", "pmca", "link", "buffer", "dram", "leakage")
    assert sum(row[f"energy.{u}_J"] for u in units) == small.close(row["energy_J"])
    assert row["switch.time_s"] == report.reprogramming.adapter_switch.time_s
    assert row["input.seed"] == 0
    assert row["set.architecture.rram.integration_ns"] == 128.0
    assert row["was.architecture.rram.integration_ns"] == 100.0


def test_rows_of_a_sweep_have_the_same_keys() -> None:
    rows = [run(small.machine().with_values({"rram.integration_ns": ns})).row() for ns in (64, 128)]
    assert list(rows[0]) == list(rows[1])
    differing = {key for key in rows[0] if rows[0][key] != rows[1][key]}
    assert "latency_s" in differing
    assert "workload" not in differing


def test_a_row_has_the_gpu_beside_it() -> None:
    report = with_baseline(run(small.machine()), small.decoder(), GPU)
    row = report.row()
    assert len(report.baselines) == 2
    for name, baseline in report.baselines.items():
        assert row[f"gpu.{name}.lora"] == baseline.lora
        assert row[f"gpu.{name}.latency_ratio"] == baseline.latency_ratio
        assert row[f"gpu.{name}.energy_band_high_J"] == baseline.energy_band_J[1]
        assert row[f"gpu.{name}.decode.latency_s"] == baseline.phases["decode"].latency_s
