"""Architecture files: everything has a unit and a source, and what is wrong is said."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small
from small import close

from cimsim.costs.components.wire import MESH
from cimsim.errors import SpecError
from cimsim.spec import Architecture, load_architecture

SHIPPED = {path.stem: json.loads(path.read_text()) for path in small.ARCHITECTURES}
HALORA = "halora_rram_sram"


def whole(text: str) -> str:
    return "^" + re.escape(text) + "$"


def blocks(data: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of every block that has sources, the machine itself included."""
    yield path
    for key, value in data.items():
        if isinstance(value, dict) and "sources" in value:
            yield from blocks(value, (*path, key))
        elif key in ("op_units", "ops"):  # blocks by the user's own keys
            keyed = {f: v for f, v in value.items() if isinstance(v, dict)}
            for name, inner in keyed.items():
                below = {name: inner} if "sources" in inner else inner
                here = (*path, key) if "sources" in inner else (*path, key, name)
                for found, block in below.items():
                    yield from blocks(block, (*here, found))


def at(data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        data = data[key]
    return data


def load(tmp_path: Path, data: Any) -> Architecture:
    (tmp_path / "m.json").write_text(json.dumps(data))
    return load_architecture(tmp_path / "m.json")


def refusal(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """What is said about the HaLoRA file after `change`, without the file's name."""
    data = copy.deepcopy(SHIPPED[HALORA])
    change(data)
    with pytest.raises(SpecError) as caught:
        load(tmp_path, data)
    return str(caught.value).replace(f"{tmp_path / 'm.json'}: ", "")


def test_three_published_machines_are_shipped() -> None:
    assert set(SHIPPED) >= {"ahwa_pcm_pmca", HALORA, "isaac_rram"}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_machines_load_and_are_named_after_their_file(name: str) -> None:
    machine = load_architecture(small.ROOT / "arch_configs" / f"{name}.json")
    assert machine.name == name


@pytest.mark.parametrize("name", SHIPPED)
def test_a_machine_survives_the_way_through_json(name: str) -> None:
    machine = Architecture.model_validate(SHIPPED[name])
    text = json.dumps(machine.model_dump(mode="json"))
    assert Architecture.model_validate(json.loads(text)) == machine
    assert Architecture.model_validate_json(machine.model_dump_json()) == machine


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_of_every_block_needs_its_source(tmp_path: Path, name: str) -> None:
    checked = 0
    for path in blocks(SHIPPED[name]):
        fields = list(at(SHIPPED[name], path)["sources"])
        numbers = [
            k for k, v in at(SHIPPED[name], path).items()
            if isinstance(v, int | float) and k != "format"
        ]  # fmt: skip
        assert sorted(fields) == sorted(numbers)
        for field in fields[:: max(1, len(fields) // 3)]:
            data = copy.deepcopy(SHIPPED[name])
            del at(data, path)["sources"][field]
            text = (
                f"{tmp_path / 'm.json'}: {'.'.join(path) or '(top level)'}: no source for {field}: "
                "add each to `sources` with a citation, or `assumed: why`"
            )
            with pytest.raises(SpecError, match=whole(text)):
                load(tmp_path, data)
            checked += 1
    assert checked > 20


def test_sources_of_nothing_and_empty_sources(tmp_path: Path) -> None:
    assert refusal(tmp_path, lambda d: d["sram"]["sources"].update(row="x")) == (
        "sram: sources names row, which is no number given here"
    )
    for empty in ("", "  ", "assumed:", "assumed:  "):
        said = refusal(tmp_path, lambda d, e=empty: d["dram"]["sources"].update(channels=e))
        assert said == "dram: the source of channels is empty"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("rram.rows", 0, "rram.rows: Input should be greater than 0 (got 0)"),
        ("rram.rows", -64, "rram.rows: Input should be greater than 0 (got -64)"),
        ("sram.clock_MHz", 0,
         "sram.clock_MHz: Input should be greater than or equal to 0.001 (got 0)"),
        ("dram.access_ns", -1.5,
         "dram.access_ns: Input should be greater than or equal to 0 (got -1.5)"),
        ("rram.write.pulse_ns", 0,
         "rram.write.pulse_ns: Input should be greater than or equal to 0.001 (got 0)"),
        ("rram.rows", 1.5, "rram.rows: Input should be a valid integer (got 1.5)"),
        ("rram.rows", "64", "rram.rows: Input should be a valid integer (got '64')"),
        ("rram.rows", True, "rram.rows: Input should be a valid integer (got True)"),
        ("dram.access_ns", "big", "dram.access_ns: Input should be a valid number (got 'big')"),
        ("rram.device", "flash", "rram.device: Input should be 'rram' or 'pcm' (got 'flash')"),
        ("technology_nm", None, "technology_nm: Input should be a valid number"),
        ("rram.tiles", 3, "rram.tiles: Extra inputs are not permitted (got 3), nearest: tiers"),
        ("cores", 3, "cores: Extra inputs are not permitted (got 3), nearest: sources"),
        ("pmca.coers", 3, "pmca.coers: Extra inputs are not permitted (got 3), nearest: cores"),
        ("format", 2, "format: Input should be 1 (got 2)"),
        ("rram", [1], "rram: Input should be a valid dictionary or instance of CrossbarTiles"),
        ("rram.g_min_uS", 40.0, "rram: g_max_uS 40.0 must exceed g_min_uS 40.0"),
        ("rram.columns", 64, None),
        ("rram.cells_per_weight", 65, "rram: a weight of 65 cells does not fit 64 columns"),
        ("rram.bits_per_cell", 7,
         "rram: 1 cells of 7 bits hold 7 bits, weight_bits is 8: "
         "raise cells_per_weight or bits_per_cell"),
        ("rram.dac_bits", 7,
         "rram: 1 pulses of 7 bits carry fewer than input_bits 8: raise input_pulses or dac_bits"),
        ("pmca.matrix_engine.rows", 17,
         "pmca.matrix_engine: rows 17 exceed columns * (pipeline + 1) = 16, "
         "what the array can be fed"),
        ("weights_on", "pmca", "weights_on: Input should be 'rram' or 'sram' (got 'pmca')"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, path: str, value: Any, said: str | None) -> None:
    *inner, last = path.split(".")

    def change(data: dict[str, Any]) -> None:
        at(data, tuple(inner))[last] = value

    if said is None:
        data = copy.deepcopy(SHIPPED[HALORA])
        change(data)
        assert load(tmp_path, data)
    else:
        assert refusal(tmp_path, change) == said


def test_numbers_past_the_largest_are_refused(tmp_path: Path) -> None:
    text = json.dumps(SHIPPED[HALORA]).replace('"integration_ns": 100', '"integration_ns": 1e999')
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(SpecError, match=r"'1e999' is too large for a floating-point number"):
        load_architecture(tmp_path / "m.json")


def test_several_problems_are_all_named(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["rram"]["rows"] = 0
        del data["pmca"]["cores"]

    assert refusal(tmp_path, change).splitlines() == [
        "rram.rows: Input should be greater than 0 (got 0)",
        "pmca.cores: Field required",
    ]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("rram", "(top level): weights_on is 'rram', but the machine has no `rram` block"),
        ("sram", "(top level): attention_on is 'sram', but the machine has no `sram` block"),
    ],
)
def test_a_block_that_is_asked_for_must_be_there(tmp_path: Path, block: str, said: str) -> None:
    assert refusal(tmp_path, lambda d: d.pop(block)) == said


@pytest.mark.parametrize("name", SHIPPED)
def test_assumed_lists_every_number_that_nobody_published(name: str) -> None:
    expected = {}
    for path in blocks(SHIPPED[name]):
        for field, text in at(SHIPPED[name], path)["sources"].items():
            if text.startswith("assumed:"):
                expected[".".join((*path, field))] = text[len("assumed:") :].strip()
    found = Architecture.model_validate(SHIPPED[name]).assumed()
    modelled = {path: text for path, text in found.items() if text.startswith("model ")}
    assert found == expected | modelled
    assert expected
    links = ("tile_link", "cluster_link")
    wired = [link for link in links if "wire" in SHIPPED[name][link].get("models", {})]
    anchored = {
        f"{block}.{field}"
        for block in ("rram", "sram", "pmca", "buffer", *links)
        for entry in SHIPPED[name].get(block, {}).get("models", {}).values()
        for field, text in entry.get("anchor_sources", {}).items()
        if "assumed:" in text + " ".join(entry.get("sources", {}).values())
    }
    by_wire = {f"{link}.{field}" for link in wired for field in MESH.gives}
    by_device = {"dram.background_mW"} if "models" in SHIPPED[name]["dram"] else set()
    assert modelled.keys() == anchored | by_wire | by_device


def test_derived_numbers() -> None:
    rram = small.machine(rram={"columns": 18, "cells_per_weight": 4, "columns_per_adc": 4}).rram
    assert rram is not None
    assert (rram.weight_columns, rram.devices_per_weight, rram.adc_count) == (4, 4, 5)
    assert rram.tile_area_um2 == close(16 * 18 * 0.05 + 16 * 0.2 + 5 * 1200 + 100)
    pairs = small.machine(rram={"coding": "differential"}).rram
    assert pairs is not None
    assert (pairs.weight_columns, pairs.devices_per_weight, pairs.adc_count) == (16, 2, 1)
    sram = small.machine().sram
    assert sram is not None
    assert sram.capacity_bits == 16 * 16 * 8 * 512


def test_a_machine_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        small.machine().activation_bits = 4  # type: ignore[misc]


def test_a_list_where_a_number_belongs_is_refused_by_name():
    with pytest.raises(SpecError, match=r"rram\.adc_bits"):
        small.machine().with_values({"rram.adc_bits": [1, 2]})  # type: ignore[dict-item]


def test_an_older_count_of_tiles_names_what_takes_its_place(tmp_path: Path) -> None:
    def older(data: dict[str, Any]) -> None:
        pmca = data["pmca"]
        pmca["tiles_per_cluster"] = pmca.pop("weights_per_cluster") // 64**2
        sources = pmca["sources"]
        sources["tiles_per_cluster"] = sources.pop("weights_per_cluster")

    assert refusal(tmp_path, older).endswith(
        "pmca.tiles_per_cluster is gone: give pmca.weights_per_cluster, the weights whose tiles "
        "one cluster serves, here 8388608 (2048 tiles of 64 x 64)"
    )


def test_an_older_fold_of_a_row_names_what_takes_its_place(tmp_path: Path) -> None:
    said = (
        "pmca.core.reduce_row_cycles is gone: a fold of n partial results takes ceil(log2 n) "
        "levels and a store; give pmca.core.reduce_cycles_per_level (shipped machines: 3) and "
        "pmca.core.reduce_store_cycles (1)"
    )

    def older(data: dict[str, Any]) -> None:
        data["pmca"]["core"]["reduce_row_cycles"] = 10

    assert refusal(tmp_path, older).endswith(said)
    differs = tmp_path / "differs.json"
    content = {"extends": "isaac_rram", "name": "mine", "pmca": {"core": {"reduce_row_cycles": 9}}}
    differs.write_text(json.dumps(content))
    with pytest.raises(SpecError) as caught:
        load_architecture(differs)
    assert str(caught.value).endswith(said)


def test_null_takes_an_optional_block_out() -> None:
    """With the ranges that lead into it; one that must be there is still no single value."""
    machine = Architecture.model_validate(SHIPPED["halora_rram_sram"])
    without = machine.with_values({"pmca.matrix_engine": None, "rram.power_states": None})
    assert without.pmca.matrix_engine is None
    assert without.rram is not None
    assert without.rram.power_states is None
    assert not any("matrix_engine" in path or "power_states" in path for path in without.ranges)
    assert without.pmca.cluster_area_mm2 < machine.pmca.cluster_area_mm2
    with pytest.raises(SpecError, match="no single value"):
        machine.with_values({"pmca": None})
    with pytest.raises(SpecError, match="`rram` block"):
        machine.with_values({"rram": None})
