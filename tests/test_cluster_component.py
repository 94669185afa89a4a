"""Costs of a cluster by what it is made of: the published point, knobs, monotonicity."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cimsim
from cimsim import shelves
from cimsim.blocks import PmcaClusters
from cimsim.costs.components import COMPONENTS, NODE
from cimsim.costs.components.cluster import (
    core_pJ,
    logic_mm2,
    shared_pJ,
    tcdm_mm2,
    tcdm_pJ_per_byte,
)
from cimsim.errors import SpecError
from cimsim.spec import Architecture

PARTS = COMPONENTS["pmca"]["cluster"]["parts"]
MACHINE = cimsim.machine("halora_rram_sram")
PUBLISHED = {
    "cores": 8.0, "simd_width": 4.0, "value_bits": 16.0, "matrix_engine.rows": 8.0,
    "matrix_engine.columns": 4.0, "matrix_engine.pipeline": 3.0, "tcdm_KiB": 128.0,
    "dma_bytes_per_cycle": 64.0, NODE: 22.0,
}  # fmt: skip
GIVEN = {
    "cluster_area_mm2": 0.5, "leakage_mW": 1.0, "core_energy_pJ_per_cycle": 10.84,
    "engine_energy_pJ_per_cycle": 81.92, "shared_energy_pJ_per_cycle": 4.0,
    "tcdm_energy_pJ_per_byte": 0.32, "dma_energy_pJ_per_byte": 0.12,
}  # fmt: skip


def law(**changes: float) -> dict[str, float]:
    at = PUBLISHED | {name.replace("__", "."): value for name, value in changes.items()}
    return PARTS.law(PARTS.entry(kind="parts", sources={}), at)


def pmca(**changes: Any) -> PmcaClusters:
    names = {f"pmca.{name.replace('__', '.')}": value for name, value in changes.items()}
    return MACHINE.with_values(names).pmca


def test_the_published_cluster() -> None:
    """RedMulE, arXiv 2204.11192, abstract: 0.5 mm2, of which 32 FMAs are 0.07."""
    assert law() == pytest.approx(GIVEN, rel=1e-4)
    assert law()["cluster_area_mm2"] - law(matrix_engine__rows=0)["cluster_area_mm2"] == (
        pytest.approx(0.07)
    )


def test_parts_by_hand() -> None:
    """128 KiB of 0.2 um2 a bit are 0.2097 mm2. A core: 2000 + 13190 + 4 * 2187.5 = 23940 um2;
    64 bytes of DMA 28800 um2. 0.6 + 2 * 2.56 pJ. 1 + 16 * 0.375 pJ. Four times the TCDM, twice the
    energy a byte. Area with the square of the node, energy with the node."""
    assert tcdm_mm2(128, 22) == pytest.approx(0.2097, rel=1e-3)
    assert logic_mm2(1, 64, 0, 64, 22) == pytest.approx(0.02394 + 0.0288)
    assert logic_mm2(1, 64, 0, 64, 44) == pytest.approx(4 * 0.05274)
    assert core_pJ(32, 22) == pytest.approx(5.72)
    assert core_pJ(32, 11) == pytest.approx(2.86)
    assert shared_pJ(16, 22) == pytest.approx(7.0)
    assert tcdm_pJ_per_byte(512, 22) == pytest.approx(0.64)


@pytest.mark.parametrize("name", [n for n in shelves.MACHINES.names() if n != "leap"])
def test_shipped_machines_keep_their_numbers(name: str) -> None:
    clusters = cimsim.machine(name).pmca
    lanes = clusters.simd_width
    expected = GIVEN | {
        "core_energy_pJ_per_cycle": 0.6 + 2.56 * lanes, "engine_energy_pJ_per_cycle": 81.8,
    }  # fmt: skip
    assert {field: getattr(clusters, field) for field in GIVEN} == pytest.approx(expected)


def test_64_cores_are_not_free() -> None:
    """56 cores more: 56 * 23940 um2 at 22 nm beside 0.5; the machine's node is the anchor's."""
    clusters = pmca(cores=64)
    assert clusters.cluster_area_mm2 == pytest.approx(0.5 + 56 * 0.02394, rel=1e-4)
    assert clusters.leakage_mW == pytest.approx(2 * clusters.cluster_area_mm2, rel=1e-4)
    assert clusters.shared_energy_pJ_per_cycle == pytest.approx(25.0)
    assert clusters.core_energy_pJ_per_cycle == 10.84


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"simd_width": 8}, "core_energy_pJ_per_cycle", 21.08),
        ({"matrix_engine__columns": 8}, "engine_energy_pJ_per_cycle", 163.6),
        ({"matrix_engine__columns": 8}, "cluster_area_mm2", 0.57),
        ({"tcdm_KiB": 512}, "tcdm_energy_pJ_per_byte", 0.64),
        ({"dma_bytes_per_cycle": 128}, "cluster_area_mm2", 0.5288),
    ],
)
def test_costs_follow_the_knob(change: dict[str, Any], field: str, value: float) -> None:
    assert getattr(pmca(**change), field) == pytest.approx(value, rel=1e-3)


KNOBS = {
    "cores": st.integers(1, 64), "simd_width": st.integers(1, 8), "tcdm_KiB": st.integers(8, 2048),
    "matrix_engine.rows": st.integers(0, 16), "dma_bytes_per_cycle": st.integers(1, 512),
    NODE: st.floats(7.0, 130.0),
}  # fmt: skip


@given(data=st.data(), knob=st.sampled_from(sorted(KNOBS)))
@settings(max_examples=40)
def test_more_of_a_part_never_costs_less(data: st.DataObject, knob: str) -> None:
    low, high = sorted(data.draw(KNOBS[knob]) for _ in range(2))
    less, more = (law(**{knob.replace(".", "__"): float(value)}) for value in (low, high))
    for field, value in less.items():
        assert value <= more[field] * (1 + 1e-12)
    if low < high:
        assert less["cluster_area_mm2"] < more["cluster_area_mm2"]


def content() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(MACHINE.model_dump_json(exclude_none=True))
    return copy.deepcopy(data) | {"ranges": {}}


def test_a_cluster_without_an_engine_has_no_engine_to_pay() -> None:
    data = content()
    for name in GIVEN:
        del data["pmca"][name], data["pmca"]["sources"][name]
    del data["pmca"]["matrix_engine"]
    clusters = Architecture.model_validate(data).pmca
    assert clusters.engine_energy_pJ_per_cycle == 0.0
    assert clusters.cluster_area_mm2 == pytest.approx(0.43, rel=1e-4)


def test_a_missing_input_is_named_where_its_group_is_there() -> None:
    data = content()
    for name in GIVEN:
        del data["pmca"][name], data["pmca"]["sources"][name]
    del data["pmca"]["matrix_engine"]["rows"]
    with pytest.raises(ValueError, match=r"matrix_engine.rows"):
        Architecture.model_validate(data)


def test_a_given_energy_is_refused_with_the_lever() -> None:
    with pytest.raises(SpecError, match=r"pmca.models.cluster"):
        MACHINE.with_values({"pmca.core_energy_pJ_per_cycle": 5.0})
    out = MACHINE.with_values({"pmca.models.cluster": None, "pmca.core_energy_pJ_per_cycle": 5.0})
    assert out.pmca.core_energy_pJ_per_cycle == 5.0
