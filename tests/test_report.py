"""Reports: equal values are equal bytes, sums hold, nothing is lost on the way through a file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from small import close

from cimsim.errors import CimsimError, SpecError
from cimsim.report import Baseline, PhaseResult, Report, load_report
from cimsim.report.fold import Spent, folded
from cimsim.schedule.pipelines import PIPELINES
from cimsim.simulation import simulate


@cache
def report(pipeline: str = "token") -> Report:
    machine = small.machine(attention_on="sram", adaptation="lora-sram")
    return simulate(small.decoder(), machine, pipeline=PIPELINES[pipeline]).report


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=2),
            st.integers(1, 200),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_energies_that_come_many_times_are_summed_as_one_by_one(
    entries: list[tuple[str, list[float], int]],
) -> None:
    spent = [(Spent("", unit, "c", "k", tuple(energy)), n) for unit, energy, n in entries]
    one_by_one = [(entry, 1) for entry, count in spent for _ in range(count)]
    assert folded(spent, ("a",), 2) == folded(one_by_one, ("a",), 2)


def with_baseline() -> Report:
    phase = PhaseResult(latency_s=0.1, energy_J=3.0, tokens=6, tokens_per_s=60.0)
    gpu = Baseline(
        name="a GPU", lora="none", like_for_like=True, mode="eager", precision="fp16", batch=1,
        software="x 1.0", latency_s=0.1,
        energy_J=3.0, latency_band_s=(0.05, 0.2), energy_band_J=(2.0, 4.0), latency_ratio=2.5,
        energy_ratio=1e3, phases={"prefill": phase},
        verdict={"latency": "wins", "energy": "no clear win"},
    )  # fmt: skip
    return report().model_copy(update={"baselines": {"gpu": gpu}})


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_report_survives_the_way_through_a_file(tmp_path: Path, pipeline: str) -> None:
    first = report(pipeline)
    first.save(tmp_path / "r.json")
    again = load_report(tmp_path / "r.json")
    assert again == first
    assert again.to_json() == first.to_json()
    assert (tmp_path / "r.json").read_text() == first.to_json()


def test_baselines_survive_as_well(tmp_path: Path) -> None:
    with_baseline().save(tmp_path / "r.json")
    assert load_report(tmp_path / "r.json") == with_baseline()


@given(st.floats(min_value=0.0, max_value=1e9, allow_subnormal=False))
@settings(max_examples=50)
def test_every_float_survives(value: float) -> None:
    one = report().model_copy(update={"buffer_peak_KiB": value, "area_mm2": value / 3.0})
    assert Report.model_validate(json.loads(one.to_json())) == one


def test_text_is_sorted_finite_json_that_ends_in_a_newline() -> None:
    text = report().to_json()
    assert text.endswith("}\n")

    def ordered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(text, object_pairs_hook=ordered, parse_constant=refuse)


def test_nothing_of_the_machine_it_ran_on_is_in_a_report() -> None:
    text = report().to_json()
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert not re.search(r"20\d\d-\d\d-\d\d", text)
    assert set(report().inputs) == {
        "pipeline", "adaptation", "mapper", "mapping_sha256", "seed", "version",
        "architecture_content_sha256", "workload_content_sha256",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["energy_by_unit_J", "energy_by_component_J", "energy_by_kind_J"])
def test_sums_that_do_not_hold_are_refused(name: str) -> None:
    data = report().model_dump()
    assert math.fsum(data[name].values()) == close(data["energy_J"])
    key = max(data[name], key=data[name].get)
    data[name][key] *= 1.0 + 1e-9
    with pytest.raises(ValueError, match=rf"{name} sums to .* J, energy_J is .* J"):
        Report.model_validate(data)


def test_a_file_that_is_no_report(tmp_path: Path) -> None:
    data = report().model_dump(mode="json")
    data["tiles_used"] = "many"
    data["surplus"] = 1
    path = tmp_path / "r.json"
    path.write_text(json.dumps(data))
    with pytest.raises(SpecError) as caught:
        load_report(path)
    assert str(caught.value).splitlines() == [
        f"{path}: tiles_used: Input should be a valid integer (got 'many')",
        f"{path}: surplus: Extra inputs are not permitted (got 1)",
    ]
    path.write_text("[]")
    with pytest.raises(SpecError, match=r"\(top level\): Input should be a valid dictionary"):
        load_report(path)


def test_numbers_that_are_none_are_refused() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite number"):
            Report.model_validate(report().model_dump() | {"latency_s": value})


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CimsimError, match="cannot write"):
        report().save(tmp_path / "file" / "r.json")


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        report().latency_s = 0.0  # type: ignore[misc]


def test_kinds_of_work_are_named() -> None:
    assert set(report().energy_by_kind_J) == {
        "attention", "base", "embedding", "leakage", "lora", "norm", "softmax", "vector",
    }  # fmt: skip
    assert set(report().energy_by_unit_J) == {
        "rram", "sram", "pmca", "link", "buffer", "dram", "leakage",
    }  # fmt: skip
    written = report().reprogramming
    assert written.cells_written > 0
    assert written.adapter_switch.cells_written == 0


def values_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The types of values that a type holds, itself first."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from values_in(field.annotation)
    for part in get_args(kind):
        yield from values_in(part)


def test_everything_in_a_report_says_what_it_is() -> None:
    kinds = set(values_in(Report))
    assert {"Baseline", "AccuracyPoint", "Lever", "Effect", "Change"} <= {k.__name__ for k in kinds}
    silent = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in kind.model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_everything_in_a_report_is_on_the_page_of_the_api() -> None:
    page = (small.ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: [a-z.]+\.(\w+)$", page, re.MULTILINE))
    assert {kind.__name__ for kind in values_in(Report)} <= shown
