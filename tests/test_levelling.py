"""Wear levelling: what switches write goes to other units in turn, and what that costs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.adaptation import AdaptedTask, adaptation_named
from cimsim.costs.programming import summed
from cimsim.errors import CapacityError
from cimsim.ir import save_workload
from cimsim.mappers import MAPPERS, build_mapping
from cimsim.serving import Scenario, StrategyResult, switch
from cimsim.serving.levelling import STILL, Rotation, most_writes, rotation
from cimsim.serving.requests import Levelling
from cimsim.serving.switches import Switches

Cli = Callable[..., tuple[int, str, str]]
MODEL = small.decoder(layers=1)
MACHINE = small.machine(rram={"tile_count": 4096})
STRATEGIES = ("lora-rram", "merged", "piggyback", "xma2", "fisher-sparse")
COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("levelling")
    save_workload(MODEL, path / "w.json")
    return path


def asked(count: int = COUNT, **levelling: int) -> Scenario:
    given: dict[str, Any] = {
        "name": "s", "workload": "w.json", "tasks": 3, "pipeline": "token",
        "requests": {"pattern": "round_robin", "count": count},
        **({"levelling": levelling} if levelling else {}),
    }  # fmt: skip
    return Scenario.model_validate(given)


@pytest.fixture(scope="module")
def served(folder: Path) -> Callable[..., StrategyResult]:
    @cache
    def run(strategy: str, every: int = 0, places: int = 2) -> StrategyResult:
        scenario = asked(every=every, places=places) if every else asked()
        return switch(MACHINE, scenario, strategies=[strategy], folder=folder).strategies[0]

    return run


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_the_place_that_is_written_most_is_that_of_a_count(
    every: int, places: int, switches: int
) -> None:
    levelling = Levelling(every=every, places=places)
    turns = Rotation(levelling, frozenset({"w"}), {"rram": 1})
    place, since, counted, moves = 0, 0, Counter[int](), 0
    for number in range(switches):  # by hand, one switch after the other
        moved = number > 0 and since == every and places > 1
        if since == every:
            place, since = (place + 1) % places, 0
        since += 1
        counted[place] += 1
        moves += moved
        assert turns.place(number) == place
        assert turns.moves(number) == moved
    assert most_writes(levelling, switches) == max(counted.values(), default=0)
    assert moves == (max(0, (switches - 1) // every) if places > 1 else 0)


def test_equal_switches_wear_as_many_as_the_closed_form_says(
    served: Callable[..., StrategyResult],
) -> None:
    """lora-rram writes the same cells at every switch, moved or not."""
    mapping = build_mapping(MODEL, MACHINE, adaptation_named("lora-rram"))
    a, b = (AdaptedTask(name, MODEL) for name in "ab")
    one = Switches(MACHINE, mapping, []).between(a, b)
    cells = sum(float(write.cells.sum()) for write in one.pulsed)
    for every, places in ((1, 2), (5, 2), (5, 3), (2, 4)):
        often = most_writes(Levelling(every=every, places=places), COUNT)
        wanted = summed([(one.pulsed[0].counts, often)]).hottest(cells)
        assert served("lora-rram", every, places).hottest_pulses == pytest.approx(wanted)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_levelling_writes_no_less_and_wears_the_hottest_cell_less(
    served: Callable[..., StrategyResult], strategy: str
) -> None:
    still = served(strategy)
    for every, places in ((1, 2), (4, 2), (4, 3)):
        turned = served(strategy, every, places)
        assert turned.written["pulses"] >= still.written["pulses"] * (1.0 - 1e-12)
        assert turned.written["cells_written"] >= still.written["cells_written"]
        assert turned.switch_energy_J >= still.switch_energy_J * (1.0 - 1e-12)
        assert turned.makespan_s >= still.makespan_s
        assert (turned.moves, turned.places) == ((COUNT - 1) // every, places)
        assert turned.area_used_mm2 > still.area_used_mm2
        if every > 1:
            assert turned.hottest_pulses < still.hottest_pulses
    if strategy != "lora-rram":  # which writes its weights whole and foreign anyway
        assert served(strategy, 1, 2).written["pulses"] > still.written["pulses"] * 1.01
    assert served(strategy, 4, 3).area_used_mm2 - still.area_used_mm2 == small.close(
        2.0 * (served(strategy, 4, 2).area_used_mm2 - still.area_used_mm2)
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("levelling", [(COUNT, 2), (10**6, 5), (3, 1)])
def test_without_a_move_nothing_changes(
    served: Callable[..., StrategyResult], strategy: str, levelling: tuple[int, int]
) -> None:
    assert served(strategy, *levelling) == served(strategy)


def test_registers_and_memories_have_nothing_to_level(
    served: Callable[..., StrategyResult],
) -> None:
    for strategy in ("lora-sram", "xbm", "lora-pmca"):
        assert served(strategy, 1, 2) == served(strategy)


def test_what_shares_a_tile_with_a_written_weight_moves_as_well() -> None:
    machine = small.machine(rram={"rows": 64, "columns": 64})
    adaptation = adaptation_named("lora-rram")
    a, b = (AdaptedTask(name, MODEL) for name in "ab")
    found = {}
    for mapper in ("one-per-tile", "dense"):
        mapping = build_mapping(MODEL, machine, adaptation, MAPPERS[mapper]())
        pair = [Switches(machine, mapping, []).between(a, b)]
        turns = rotation(Levelling(every=3), machine, mapping, pair)
        assert rotation(None, machine, mapping, pair) is STILL
        found[mapper] = turns
        lora = {name for name, p in mapping.placements.items() if p.role != "base"}
        assert turns.weights >= lora
    assert not found["one-per-tile"].weights & {"layers.0.o.weight"}
    assert found["dense"].weights > found["one-per-tile"].weights
    assert found["dense"].units["rram"] < found["one-per-tile"].units["rram"]


def test_more_places_than_there_are_units_are_refused(folder: Path) -> None:
    with pytest.raises(CapacityError) as told:
        switch(MACHINE, asked(every=2, places=1024), strategies=["merged"], folder=folder)
    assert "levelling.places 1024 takes 1023 further places of" in str(told.value)
    assert "the machine has 4096" in str(told.value)
    assert "Lower levelling.places" in str(told.value)


def test_the_command_levels(cimsim: Cli, tmp_path: Path) -> None:
    save_workload(MODEL, tmp_path / "w.json")
    path, machine = tmp_path / "s.json", tmp_path / "m.json"
    path.write_text(asked().model_dump_json(exclude_none=True))
    machine.write_text(MACHINE.model_dump_json(exclude_none=True))
    command = ("switch", machine, path, "--strategy", "lora-rram")
    code, out, _ = cimsim(*command, "--level-every", "4", "--level-places", "3", "--json")
    assert code == 0
    told = json.loads(out)["strategies"][0]
    assert (told["moves"], told["places"]) == (5, 3)
    code, out, _ = cimsim(*command, "--level-every", "4")
    assert "levelling: lora-rram: 5 of 24 switches wrote into other units, 2 places" in out
    for wrong, words in (
        (("--level-places", "3"), "add --level-every"),
        (("--level-every", "2", "--level-places", "9999"), "at most 1024"),
        (("--level-every", "0"), "greater than or equal to 1"),
    ):
        code, _, err = cimsim(*command, *wrong)
        assert code == 2
        assert words in err
