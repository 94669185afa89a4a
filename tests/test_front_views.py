"""The picture of a front: units, ends of columns, stairs, what is drawn, and in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fronts import EVIL, THREE, TWO, study
from matplotlib.figure import Figure

from cimsim.errors import CimsimError
from cimsim.views.canvas import picture
from cimsim.views.front import scene as scenes
from cimsim.views.front.columns import axis, exact, objective
from cimsim.views.front.parallel import LINE, folded
from cimsim.views.front.picture import save_front
from cimsim.views.front.scatter import draw_pair, keys_of, looks_of
from cimsim.views.front.scene import scene


@pytest.mark.parametrize(
    ("key", "values", "label", "drawn", "text"),
    [
        ("latency_s", [2.5e-3, 4e-3], "latency (ms)", [2.5, 4.0], "2.5 ms"),
        ("phases.decode.energy_J", [3e-6, 5e-6], "phases.decode.energy (µJ)", [3, 5], "3 µJ"),
        ("area_used_mm2", [90.0, 400.0], "area_used (mm²)", [90.0, 400.0], "90 mm²"),
        ("latency_s", [1.5, 2.0], "latency (s)", [1.5, 2.0], "1.5 s"),
        ("accuracy", [0.25, 0.5], "accuracy", [0.25, 0.5], "0.25"),
        ("energy_ratio", [3.0, 4.0], "energy_ratio", [3.0, 4.0], "3"),
    ],
)
def test_objectives_stand_in_si_units(
    key: str, values: list[float], label: str, drawn: list[float], text: str
) -> None:
    column = objective(key, values, maximise=False)
    assert column.label == label
    assert column.numbers.tolist() == pytest.approx(drawn)
    assert exact(column, 0) == text
    assert column.texts == tuple(map(repr, values))


def test_a_column_goes_from_its_lowest_value_to_its_highest() -> None:
    assert objective("x_s", [1e-3, 1e-1, 1e-2], maximise=False).heights.tolist() == pytest.approx(
        [0.0, 1.0, 0.5]
    )  # decades: by the logarithm
    assert axis("n", [4, 8, 5]).heights.tolist() == [0.0, 1.0, 0.25]
    assert axis("n", [4, 4]).heights.tolist() == [0.5, 0.5]
    mixed = axis("pipeline", ["token", "auto", 3, "token"])
    assert mixed.categories == ("3", "auto", "token")
    assert mixed.heights.tolist() == [1.0, 0.5, 0.0, 1.0]
    assert mixed.ticks() == [(0.0, "3"), (0.5, "auto"), (1.0, "token")]


@pytest.mark.parametrize("values", [range(1, 40), np.geomspace(0.03, 700, 30), [0.5, 0.5], [7]])
def test_ticks_are_few_and_lie_between_the_ends(values: Any) -> None:
    ticks = axis("x", [float(value) for value in values]).ticks()
    assert 1 <= len(ticks) <= 14
    assert all(0.0 <= height <= 1.0 for height, _ in ticks)
    assert len({name for _, name in ticks}) == len(ticks)


def test_long_names_are_folded_not_lost() -> None:
    name = "rram.power_states.gated_leakage_uW"
    assert folded(name).replace("\n", "") == name
    assert all(len(line) <= LINE for line in folded(name).split("\n"))
    assert folded("x" * 500).count("\n") <= 3


@pytest.mark.parametrize(("sense", "style"), [(False, "steps-post"), (True, "steps-pre")])
def test_stairs_bound_what_the_front_dominates(sense: bool, style: str) -> None:
    """Every dominated point lies on the worse side of the line, at its own place across."""
    values = [{"a": a, "b": b} for a, b in [(1, 5), (2, 3), (4, 1), (2, 5), (4, 4), (5, 2), (3, 3)]]
    if sense:  # large `a` is sought: the mirror image
        values = [{"a": 6 - one["a"], "b": one["b"]} for one in values]
    seen = scene(
        [{"n": i} for i in range(7)], values, {"a": sense, "b": False}, [0, 1, 2], 1,
        why=["", "", ""], title="t", note="", inputs={},
    )  # fmt: skip
    panel = Figure().subplots()
    draw_pair(seen, panel, *seen.objectives)
    (line,) = [one for one in panel.lines if one.get_drawstyle().startswith("steps")]
    assert line.get_drawstyle() == style
    across, up = line.get_data()
    for point in seen.dominated:
        x, y = values[point]["a"], values[point]["b"]
        reached = [b for a, b in zip(across, up, strict=True) if (a >= x if sense else a <= x)]
        assert y >= min(reached)


def test_the_scene_goes_along_the_front_with_its_knee() -> None:
    seen = study(THREE)
    first = [seen.objectives[0].numbers[i] for i in seen.front]
    assert first == sorted(first)
    assert seen.knee in seen.front
    assert len(seen.pairs) == 3
    assert [column.maximise for column in seen.objectives] == [False, False, True]
    assert set(seen.others) == {"area_used_mm2", "bound"}
    assert sorted([*seen.front, *seen.dominated]) == list(range(36))
    assert looks_of(seen)[""] != looks_of(seen)[EVIL]
    texts = [key.get_label() for key in keys_of(seen)]
    assert texts[0] == "dominated"
    assert texts[-1].startswith("knee: ")


def test_of_many_dominated_points_a_choice_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "MOST_POINTS", 5)
    monkeypatch.setattr(scenes, "MOST_LINES", 3)
    seen = study()
    assert len(seen.dominated) == 5
    assert seen.ground == [seen.dominated[i] for i in (0, 2, 4)]
    assert not set(seen.dominated) & set(seen.front)


BEGINS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize(("ending", "begins"), BEGINS.items())
def test_pictures_have_the_format_of_their_ending(
    tmp_path: Path, ending: str, begins: bytes
) -> None:
    path = tmp_path / f"a.{ending}"
    save_front(study(), path)
    assert path.read_bytes().startswith(begins)


@pytest.mark.parametrize("ending", BEGINS)
def test_pictures_have_the_same_bytes_each_time(tmp_path: Path, ending: str) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        with picture(path, 1.0, 1.0) as (_, axes):
            axes.bar([1], [2], hatch="//")
    assert len({path.read_bytes() for path in paths}) == 1


def test_one_objective_or_none_varied_is_drawn_too(tmp_path: Path) -> None:
    save_front(study({"latency_s": False}), tmp_path / "one.png")
    alone = scene([{}, {}], [{"a": 1.0}, {"a": 2.0}], {"a": False}, [0], 0,
                  why=[""], title="t", note="", inputs={})  # fmt: skip
    save_front(alone, tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 0


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CimsimError, match=r"ends in \.png, \.pdf, \.svg, not in '\.jpg'"):
        save_front(study(TWO), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
