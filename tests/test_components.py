"""Component models: what they give, where the anchor holds, and what is refused."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cimsim
from cimsim.costs.components import COMPONENTS, NODE
from cimsim.costs.components.adc import sar_area_um2, sar_energy_pJ
from cimsim.errors import SpecError
from cimsim.spec import Architecture

MACHINE = cimsim.machine("halora_rram_sram")
GIVEN = json.loads(MACHINE.model_dump_json(exclude_none=True))


def content(**models: Any) -> dict[str, Any]:
    """The content of a machine file whose tiles have `models` and none of the numbers they give."""
    data: dict[str, Any] = copy.deepcopy(GIVEN)
    data["rram"]["models"] = models
    for name in ("adc_energy_pJ", "adc_area_um2"):
        del data["rram"][name], data["rram"]["sources"][name]
    return data


def test_sar_by_hand() -> None:
    """8 bits, 28 nm, 0.9 V: (800 + 65.536) fJ * 0.81 = 0.7011 pJ; 10^0.9108 * 256 = 2084.7 um2."""
    assert sar_energy_pJ(8, 28, 0.9) == pytest.approx(0.70108, rel=1e-4)
    assert sar_area_um2(8, 28) == pytest.approx(2084.7, rel=1e-4)


def test_absolute_and_anchored() -> None:
    absolute = Architecture.model_validate(content(adc={"kind": "sar"}))
    assert absolute.rram is not None
    assert absolute.rram.adc_energy_pJ == pytest.approx(0.70108, rel=1e-4)
    assert MACHINE.rram is not None
    assert MACHINE.rram.adc_energy_pJ == 1.5625
    assert MACHINE.rram.adc_area_um2 == 1200
    less = MACHINE.with_values({"rram.adc_bits": 6})
    assert less.rram is not None
    # by hand: (600 + 4.096) / (800 + 65.536) of the anchor
    assert less.rram.adc_energy_pJ == pytest.approx(1.5625 * 604.096 / 865.536, rel=1e-12)
    assert less.digest() != MACHINE.digest()


@given(st.integers(1, 15), st.floats(14.0, 60.0), st.floats(1.01, 1.5))
def test_more_bits_and_larger_nodes_cost_more(bits: int, node: float, more: float) -> None:
    for law in (lambda b, n: sar_energy_pJ(b, n, 0.9), sar_area_um2):
        assert law(bits, node) < law(bits + 1, node)
        assert law(bits, node) < law(bits, node * more)


def test_round_trips() -> None:
    again = Architecture.model_validate(MACHINE.model_dump())
    assert again == MACHINE
    assert again.digest() == MACHINE.digest()
    assert pickle.loads(pickle.dumps(MACHINE)) == MACHINE
    there = MACHINE.with_values({"rram.adc_bits": 6}).with_values({"rram.adc_bits": 8})
    assert there.rram is not None
    assert there.rram.adc_energy_pJ == 1.5625


def test_what_gives_a_number_is_its_source() -> None:
    assert MACHINE.rram is not None
    source = MACHINE.rram.sources["adc_energy_pJ"]
    assert source.startswith("model adc (sar): ")
    assert "anchored on MNSIM" in source
    assert "rram.adc_energy_pJ" not in MACHINE.assumed()
    other = MACHINE.with_values({"rram.models.adc.anchor.adc_energy_pJ": 3})
    assert other.rram is not None
    assert other.rram.adc_energy_pJ == 3
    assert "rram.adc_energy_pJ" in other.assumed()
    found = {model.path: model for model in MACHINE.modelled()}["rram.models.adc"]
    assert found.outputs == {"adc_energy_pJ": 1.5625, "adc_area_um2": 1200.0}
    assert found.inputs == {"adc_bits": 8.0, NODE: 28.0}
    assert not found.outside
    far = MACHINE.with_values({"technology_nm": 7})
    assert [m.outside for m in far.modelled() if m.path == "rram.models.adc"] == [
        ("technology_nm 7 outside 14 to 65",)
    ]


def test_a_model_goes_out_and_comes_in() -> None:
    out = MACHINE.with_values({"rram.models.adc": None, "rram.adc_energy_pJ": 2.0})
    assert out.rram is not None
    assert out.rram.adc_energy_pJ == 2.0
    assert out.rram.adc_area_um2 == 1200
    assert {"rram.adc_energy_pJ", "rram.adc_area_um2"} <= out.assumed().keys()
    back = out.with_values({"rram.models.adc.kind": "sar", "rram.models.adc.supply_V": 0.8})
    assert back.rram is not None
    assert back.rram.adc_energy_pJ == pytest.approx(sar_energy_pJ(8, 28, 0.8))


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("rram.adc_energy_pJ", 1.0, "rram.models.adc.anchor.adc_energy_pJ"),
        ("rram.models.adcs.kind", "sar", "rram.models.adc"),
        ("rram.models.adc.kind", "magic", "'magic', not 'sar'"),
        ("rram.models.adc.kind", 3, "is 3, not 'sar'"),
        ("rram.models.adc.supply", 1.0, "rram.models.adc.supply"),
        ("rram.models.adc.anchor.rows", 64, "anchor names rows"),
        ("rram.models.adc", 3, "set its kind, or null"),
        ("rram.models", None, "`rram` has rram.models.adc"),
        ("rram.adc_bits", 20, "holds for adc_bits 1 to 16, not 20"),
        ("pmca.core.models.x.kind", "sar", "models"),
        ("nothing.models.adc.kind", "sar", "no models"),
    ],
)
def test_what_is_refused(path: str, value: Any, told: str) -> None:
    with pytest.raises(SpecError, match=told.replace(".", r"\.")):
        MACHINE.with_values({path: value})


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"adc": {"kind": "sar", "supply_V": 0.8}}, "no source for supply_V"),
        ({"adc": {"kind": "sar", "anchor": {"adc_bits": 8}}}, "anchor needs an anchor_source"),
        ({"adc": {}}, "kind is None"),
        ({"gears": {"kind": "sar"}}, "no such component, it has adc"),
    ],
)
def test_what_a_file_may_not_say(models: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Architecture.model_validate(content(**models))


def test_no_two_components_give_the_same_field() -> None:
    for block, known in COMPONENTS.items():
        seen: dict[str, str] = {}
        for component, kinds in known.items():
            for field in {name for kind in kinds.values() for name in kind.gives}:
                assert seen.setdefault(field, component) == component, f"{block}.{field}"
