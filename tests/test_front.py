"""cimsim front: the front of stored rows, its tables, its files, and what it refuses."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from fronts import EVIL

from cimsim.errors import CimsimError
from cimsim.exploration.front import DRAWN, front_of
from cimsim.exploration.objectives import Constraint, Objective
from cimsim.exploration.rows import Row
from cimsim.exploration.store import open_store
from cimsim.exploration.tables import Again

STUDY = {"workload": f"{EVIL}, sha256 ab12", "architecture": "tiny, sha256 cd34"}


def row(number: int, values: Mapping[str, Any] | None, **settings: Any) -> Row:
    """A stored row; one without values does not fit."""
    status = "infeasible" if values is None else "done"
    shortage = "12 tiles are 3 too few" if values is None else ""
    return Row(f"{number:04d}", settings, status, values or {}, shortage, 0.1)  # type: ignore[arg-type]


def rows() -> list[Row]:
    """Eight points: three on the front of time and energy, one does not fit, one lacks energy."""
    found = [(4, 3e-3, 1e-3), (5, 2e-3, 2e-3), (6, 1e-3, 5e-3), (7, 3e-3, 3e-3), (8, 2e-3, 6e-3)]
    made = [
        row(i, {"latency_s": s, "energy_J": j, "bound": f"{'sram' if bits < 6 else EVIL}"},
            **{"rram.adc_bits": bits, "pipeline": EVIL if i % 2 else "token"})
        for i, (bits, s, j) in enumerate(found)
    ]  # fmt: skip
    late = {"latency_s": 9e-3, "energy_J": 9e-3, "bound": "sram"}
    made.append(row(5, late, **{"rram.adc_bits": 4, "pipeline": EVIL}))
    made.append(row(6, None, **{"rram.adc_bits": 9, "pipeline": "token"}))
    lacking = {"latency_s": 1e-9, "energy_J": None, "bound": None}
    return [*made, row(7, lacking, **{"rram.adc_bits": 3, "pipeline": "token"})]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return stored(tmp_path / "a.db", rows())


def stored(path: Path, made: list[Row], **study: str) -> Path:
    with open_store(path, {**STUDY, **study}) as opened:
        for one in made:
            opened.add(one)
    return path


@pytest.mark.parametrize("order", [1, -1])
def test_the_front_by_hand(order: int) -> None:
    found = front_of(rows()[::order], "latency_s,energy_J")
    assert [one.digest for one in found.rows] == ["0002", "0001", "0000"]
    assert found.rows[found.knee].digest == "0001"
    assert found.why == (EVIL, "sram", "sram")
    assert {one.digest for one in found.dominated} == {"0003", "0004", "0005"}
    assert found.note == (
        "8 points: 3 on the front, 3 dominated, 1 infeasible, 1 without a value of an objective"
    )


def test_rows_are_not_held() -> None:
    def made(count: int) -> Again:
        def rows() -> Iterator[Row]:
            for n in range(count):
                at = {"x": n / 7, "n": n % 9, "pipeline": "token" if n % 2 else "layer"}
                yield row(n, {"a": float(n % 1000), "b": float(999 - n % 997)}, **at)

        return Again(rows)

    few, many = 4000, 12_000
    peaks = []
    for count in (few, few, many):
        tracemalloc.start()
        found = front_of(made(count), "a,b")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.points == count
        assert len(found.dominated) == min(found.beaten, DRAWN)
    assert peaks[2] - peaks[1] < 500 * (many - few)
    held = front_of(list(made(many)), "a,b")
    assert (held.rows, held.dominated, held.effects) == (
        found.rows, found.dominated, found.effects,
    )  # fmt: skip


def test_limits_leave_points_out_and_senses_turn() -> None:
    found = front_of(rows(), "latency_s,energy_J", ["latency_s>=2e-3"])
    assert [one.digest for one in found.rows] == ["0001", "0000"]
    assert found.beyond == 1
    worst = front_of(rows(), [Objective("latency_s", maximise=True)])
    assert [one.digest for one in worst.rows] == ["0005"]
    equal = front_of([row(i, {"a": 1.0}) for i in range(3)], "a", [Constraint("a", "<=", 1.0)])
    assert len(equal.rows) == 3


@pytest.mark.parametrize(
    ("made", "asked", "limits", "message"),
    [
        ([], "a", [], "the store is empty"),
        ([row(0, None)], "a", [], "none of 1 stored points is feasible.*12 tiles are 3 too few"),
        (rows(), "latencys", [], "no row has a value 'latencys'; near it: latency_s"),
        (rows(), "bound", [], "'bound' is no number in any row, but such as 'sram'"),
        (rows(), "latency_s", ["energy<=1"], "no row has a value 'energy'; near it: energy_J"),
        (rows(), "latency_s", ["energy_J<=1e-9"], "none of 7 feasible points keeps to energy_J"),
        (rows(), "latency_s", ["energy_J=1"], "is no constraint"),
    ],
)
def test_what_has_no_front_says_why(
    made: list[Row], asked: str, limits: list[str], message: str
) -> None:
    with pytest.raises(CimsimError, match=message):
        front_of(made, asked, limits)


def test_tables_name_the_knee_and_count_the_rest(
    cimsim: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, err = cimsim("front", store)
    assert (code, err) == (0, "")
    assert "8 points: 3 on the front, 3 dominated, 1 infeasible" in out
    lines = out.splitlines()
    (knee,) = [line for line in lines if "knee" in line]
    assert [cell.strip() for cell in knee.split("│")[1:5]] == ["2 knee", "2", "2", "sram"]
    (bits,) = [line for line in lines if line.startswith("│ rram.adc_bits")]
    assert bits.rstrip(" │").endswith("4 (1 of 2), 5 (1 of 1), 6 (1 of 1); never 7, 8")


def test_a_terminal_of_80_columns_is_never_overrun(
    cimsim: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = cimsim("front", store)
    assert max(map(len, out.splitlines())) <= 80


def test_top_keeps_the_ends_and_the_knee(
    cimsim: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    made = [row(i, {"a": float(i), "b": 1.0 / (1 + i)}, n=i) for i in range(40)]
    _, out, _ = cimsim("front", stored(tmp_path / "b.db", made), "--top", 5)
    shown = [line.split()[1] for line in out.splitlines() if line.startswith("│")][:5]
    knee = front_of(made, "a,b").knee + 1
    assert set(shown) >= {"1", "40", str(knee)}
    assert len(shown) <= 5
    assert f"{40 - len(shown)} more points of the front" in out


def test_json_has_everything(cimsim: Cli, store: Path) -> None:
    code, out, _ = cimsim("front", store, "--json", "--require", "latency_s<=0.002")
    found = json.loads(out)
    assert code == 0
    assert found["study"]["workload"] == STUDY["workload"]
    assert [one["digest"] for one in found["front"]] == ["0002", "0001"]
    assert found["front"][0]["latency_s"] == 1e-3
    assert (found["points"], found["dominated"], found["beyond"]) == (8, 1, 3)
    assert [one["axis"] for one in found["effects"]["axes"]] == ["rram.adc_bits", "pipeline"]


def test_a_directory_gets_all_and_a_file_a_picture(
    cimsim: Cli, store: Path, tmp_path: Path
) -> None:
    code, out, err = cimsim("front", store, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert sorted(os.listdir(tmp_path / "out")) == ["front.html", "front.json", "front.png"]
    assert "wrote front.json, front.png and front.html to" in out
    code, out, _ = cimsim("front", store, "-o", tmp_path / "a.svg", "--html", tmp_path / "b.html")
    assert code == 0
    assert out.endswith(f"wrote {tmp_path / 'a.svg'} and {tmp_path / 'b.html'}\n")
    assert EVIL not in (tmp_path / "a.svg").read_text()
    assert EVIL not in (tmp_path / "b.html").read_text()


def test_bad_input_is_told(cimsim: Cli, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (a)").connection.close()
    text = tmp_path / "text.db"
    text.write_text("not a store")
    many = [row(0, dict.fromkeys("abcde", 1.0))]
    for given, message in (
        ([tmp_path / "none.db"], "there is no such store"),
        ([text], "this is no store of cimsim"),
        ([other], "this SQLite file is no store of cimsim"),
        ([stored(tmp_path / "empty.db", [])], "the store is empty"),
        ([store, "--objectives", "latencys"], "near it: latency_s"),
        ([store, "-o", tmp_path / "a.jpg"], "ends in .png, .pdf, .svg, not in '.jpg'"),
        ([stored(tmp_path / "many.db", many)], "the store has 5 outputs: say which"),
        ([store, "--require", "area"], "is no constraint"),
    ):
        code, out, err = cimsim("front", *given)
        assert (code, out) == (2, ""), given
        assert message in err
        assert err.count("\n") == 1


def test_what_a_store_was_made_for_is_the_default(cimsim: Cli, tmp_path: Path) -> None:
    path = stored(tmp_path / "c.db", rows(), objectives="energy_J")
    _, out, _ = cimsim("front", path, "--json")
    assert json.loads(out)["objectives"] == [{"key": "energy_J", "maximise": False}]


@pytest.mark.parametrize("missing", ["matplotlib", "plotly.offline"])
def test_without_the_extra_it_is_named(
    cimsim: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == missing.split(".")[0]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    option = "-o" if missing == "matplotlib" else "--html"
    code, _, err = cimsim("front", store, option, tmp_path / ("a.pdf" if option == "-o" else "a.h"))
    assert code == 1
    assert "is not installed: pip install '.[plots]'" in err
    code, out, err = cimsim("front", store, "-o", tmp_path / "out")
    assert "wrote front.json" in out
    assert "is not installed: pip install '.[plots]'" in err
    assert code == (0 if missing == "matplotlib" else 1)
