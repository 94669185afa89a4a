"""cimsim sweep: axes as text, sweep files, processes, stores that survive kills, and its tables."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small

import cimsim as package
from cimsim.cli.progress import _rate
from cimsim.errors import CimsimError, SpecError
from cimsim.exploration.plan import load_sweep
from cimsim.exploration.rows import Row
from cimsim.exploration.scoring import Scoring, scoring_text
from cimsim.exploration.space import Choice, Range
from cimsim.exploration.store import read_store
from cimsim.exploration.sweep import Reached
from cimsim.exploration.tables import Again, csv_lines, json_lines, write_rows
from cimsim.exploration.text import parse_axes
from cimsim.ir import save_workload

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A tiny machine and workload."""
    machine, layer = tmp_path / "tiny.json", tmp_path / "layer.json"
    content = small.machine().model_dump(mode="json", exclude_none=True)
    machine.write_text(json.dumps(content), encoding="utf-8")
    save_workload(small.one_layer(), layer)
    return machine, layer


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("rram.adc_bits=4:8", Range(4, 8, whole=True)),
        ("rows=64:1024:x2", Choice((64, 128, 256, 512, 1024))),
        ("a=0:10:0.5", Range(0, 10, step=0.5)),
        ("a=2:10:2", Range(2, 10, whole=True, step=2)),
        ("a=0.5..400", Range(0.5, 400.0)),
        ("a=0.5..400:log", Range(0.5, 400.0, log=True)),
        ("a=1:1000:log", Range(1, 1000, whole=True, log=True)),
        ("a=4, 6,8.5", Choice((4, 6, 8.5))),
        ("a=true,null,word", Choice((True, None, "word"))),
        ("pipeline=auto,layer:block_tokens=4,token",
         Choice(("auto", "layer:block_tokens=4", "token"))),
        ("noise=gaussian:0.1,relative_to=channel,pcm",
         Choice(("gaussian:0.1,relative_to=channel", "pcm"))),
        ("rank=4,8", Choice((4, 8))),
    ],
)  # fmt: skip
def test_axes_as_text(text: str, axis: object) -> None:
    assert list(parse_axes([text]).axes.values()) == [axis]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["rram.adc_bits"], "AXIS=VALUES"),
        (["a="], "no values"),
        (["a=8:4"], "from low to high"),
        (["a=0.5:4"], "not whole"),
        (["a=1:8:x1"], "factor above 1"),
        (["a=0:8:x2"], "0 < LOW"),
        (["a=1:2:3:4"], "too many parts"),
        (["a=1..x"], "no number"),
        (["a=1..2:lin"], ":log or nothing"),
        (["a=4,4"], "stands twice"),
        (["a=1", "a=2"], "varied twice"),
        ([], "nothing is varied"),
    ],
)
def test_axes_that_cannot_be_read(texts: list[str], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        parse_axes(texts)


def test_a_sweep_prints_writes_and_goes_on(
    cimsim: Cli, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    store, table = tmp_path / "s.sqlite", tmp_path / "rows.csv"
    verb = ("sweep", *files, "--vary", "rram.adc_bits=6:8", "--vary", "pipeline=token,sequential",
            "--store", store, "--workers", 1)  # fmt: skip
    code, out, err = cimsim(*verb)
    assert (code, err) == (0, "")
    assert "6 points, 6 simulated" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = cimsim(*verb, "-o", table)
    assert (code, out) == (0, f"wrote 6 rows to {table}\n")
    head, *lines = table.read_text().splitlines()
    assert head == (
        "rram.adc_bits,pipeline,latency_s,energy_J,area_used_mm2,status,shortage,seconds,digest"
    )
    assert [line.split(",")[:2] for line in lines[:2]] == [["6", "token"], ["6", "sequential"]]
    code, out, _ = cimsim(*verb, "--json")
    found = json.loads(out)
    assert found["points"] == {
        "total": 6, "found": 6, "done": 0, "infeasible": 0, "pruned": 0, "same": 0,
    }  # fmt: skip
    report = package.simulate(files[1], files[0], pipeline="token").report
    assert found["rows"][4]["energy_J"] == report.energy_J
    code, out, _ = cimsim(*verb, "--to", "json")
    assert json.loads(out) == found["rows"]


def test_tables_hold_the_same_rows(files: tuple[Path, Path], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    vary = {"rram.adc_bits": [6, 7], "rram.tile_count": [4096]}
    done = package.sweep(files[1], files[0], vary, pipeline="token")
    frame = done.to_pandas()
    assert list(frame["energy_J"]) == [row.values["energy_J"] for row in done.rows]
    for ending, read in (("parquet", pandas.read_parquet), ("csv", pandas.read_csv)):
        done.save(tmp_path / f"t.{ending}")
        again = read(tmp_path / f"t.{ending}")
        assert list(again["energy_J"]) == list(frame["energy_J"])
        assert list(again.columns) == list(frame.columns)
    with pytest.raises(SpecError, match=r"ends in \.csv"):
        done.save(tmp_path / "t.xlsx")


def _made(count: int) -> Again:
    def rows() -> Iterator[Row]:
        for n in range(count):
            values = {"a": None if n % 5 else n / 7, "b": f"x\n{n}", "c": n if n % 2 else "odd"}
            settings = {"m": n % 3, "n": n, "t": n % 2 == 0}
            yield Row(str(n), settings, "done", values, "", 0.5)

    return Again(rows)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_tables_in_pieces_are_those_of_all_rows(tmp_path: Path, count: int) -> None:
    pandas = pytest.importorskip("pandas")
    flat = [row.flat() for row in _made(count)]
    assert json.dumps(flat, indent=2) == "".join(json_lines(_made(count)))
    listed = [Row("d", {"m": [1, {"a": []}]}, "done", {}, "", 0.0)]
    assert json.dumps([listed[0].flat()], indent=2) == "".join(json_lines(listed))
    write_rows(_made(count), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "".join(csv_lines(_made(count)))
    if not count:
        return
    assert len(pandas.read_csv(tmp_path / "t.csv")) == count
    pytest.importorskip("pyarrow")
    write_rows(_made(count), tmp_path / "t.parquet")
    found = pandas.read_parquet(tmp_path / "t.parquet")
    assert list(found["n"]) == list(range(count))
    assert list(found["m"]) == [n % 3 for n in range(count)]
    assert list(found["b"]) == [f"x\n{n}" for n in range(count)]
    assert list(found["c"]) == [str(n) if n % 2 else "odd" for n in range(count)]
    assert list(found["a"].isna()) == [n % 5 != 0 for n in range(count)]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_a_table_is_never_held_whole(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr("cimsim.exploration.tables.GROUP", 50)
    peaks = []
    for count in (100, 100, 2000):
        tracemalloc.start()
        write_rows(_made(count), tmp_path / f"t.{ending}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 100_000


def test_a_sweep_file_says_it_all(cimsim: Cli, files: tuple[Path, Path], tmp_path: Path) -> None:
    plan = {
        "workload": "layer.json", "architecture": "tiny.json", "pipeline": "token",
        "set": {"rram.adc_bits": 6},
        "vary": {"rram.integration_ns": {"low": 50, "high": 400, "log": True},
                 "mapper": ["dense", "one-per-tile"]},
        "sample": {"method": "sobol", "points": 4, "seed": 3}, "outputs": ["latency_s"],
    }  # fmt: skip
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    code, out, _ = cimsim("sweep", path, "--json", "--workers", 1)
    assert code == 0
    asked = load_sweep(path)
    assert asked.plan.set == {"rram.adc_bits": 6}
    assert json.loads(out)["rows"] == [
        {**row.flat(), "seconds": found["seconds"]}
        for row, found in zip(asked.run().rows, json.loads(out)["rows"], strict=True)
    ]
    code, _, err = cimsim("sweep", path, "--pipeline", "token")
    assert code == 2
    assert "--pipeline had no effect beside a sweep file" in err
    code, out, _ = cimsim("schema", "sweep")
    assert set(json.loads(out)["properties"]) >= set(plan)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--vary", "rram.adc_bitz=4"), "adc_bits"),
        (("--vary", "rram.adc_bits=4:99"), "adc_bits.*at most|less than or equal"),
        (("--vary", "rram.adc_bits=4:8", "--sample", "lhs"), "how many points"),
        (("--vary", "rram.adc_bits=4:8", "--sample", "grid:7"), "no options|no effect"),
        (("--vary", "rram.adc_bits=4..8"), "without end"),
        (("--vary", "rram.adc_bits=4:8", "--set", "rram.adc_bits=5"), "set and varied"),
        (("--vary", "rram.adc_bits=4:8", "--output", "latencies"), "latency_s"),
        (("--vary", "noise=pcm"), "accuracy alone"),
        (("--vary", "rram.adc_bits=4", "--output", "accuracy"), "--accuracy"),
        (("--vary", "architecture=puma"), "not among its values"),
        (("--vary", "rram.adc_bits=4", "--to", "xls"), "csv, parquet or json"),
        (("--vary", "rram.adc_bits=4", "-o", "t.xls"), ".csv"),
        (("--vary", "rram.adc_bits=4", "--output", "phases.decode.latency_s"), "it has prefill"),
        (("--vary", "rram.adc_bits=4", "--optimize", "pipeline", "--trials", "9"), "is no number"),
        ((), "nothing is varied"),
    ],
)
def test_bad_input_is_told_before_anything_runs(
    cimsim: Cli, files: tuple[Path, Path], tmp_path: Path, given: tuple[str, ...], told: str
) -> None:
    store = tmp_path / "s.sqlite"
    code, out, err = cimsim("sweep", *files, *given, "--pipeline", "token", "--store", store)
    assert (code, out) == (2, "")
    assert re.search(told, err), err
    assert not store.exists()


def test_a_design_that_fits_nowhere_ends_in_1(
    cimsim: Cli, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    verb = ("sweep", *files, "--vary", "rram.tile_count=1", "--set", "rram.rows=4", "--set",
            "rram.columns_per_adc=16", "--pipeline", "token", "--workers", 1)  # fmt: skip
    code, out, err = cimsim(*verb)
    assert code == 1
    assert "1 do not fit" in out
    assert "rram.tile_count is 1" in out
    assert "no point fits" in err


def test_an_output_that_no_design_has_is_told(cimsim: Cli, files: tuple[Path, Path]) -> None:
    verb = ("sweep", *files, "--vary", "rram.adc_bits=6", "--pipeline", "token", "--workers", 1,
            "--output", "energy_by_unit_J.rram,area_by_unit_mm2.ram")  # fmt: skip
    code, _, err = cimsim(*verb)
    assert code == 0
    assert err == "note: no design has area_by_unit_mm2.ram; `cimsim run` shows what there is.\n"


def test_the_rate_is_of_points_that_ran_and_the_time_of_those_left() -> None:
    reached = Reached(10, found=3, done=4, infeasible=0, same=1)
    assert _rate(reached, 2.0) == "2 points/s, 0:00:01 left"
    assert _rate(Reached(10, found=3), 2.0) == ""


def test_what_is_measured_as_text() -> None:
    asked = scoring_text("sentiment:adapter=some/dir,noise=(gaussian:0.1,relative_to=channel),"
                         "seeds=3,limit=20,converters=no")  # fmt: skip
    assert asked == Scoring(
        task="sentiment", adapter="some/dir", noise="gaussian:0.1,relative_to=channel", seeds=3,
        limit=20, converters=False,
    )  # fmt: skip
    for bad in ("sentiment:chips=3", "sentiment:seeds=0", "sentiment:seeds=2,seeds=3"):
        with pytest.raises(SpecError):
            scoring_text(bad)


def test_a_full_disk_ends_the_sweep_and_keeps_what_was_stored(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "s.sqlite"
    run = f"""
import resource, sys, cimsim
from cimsim.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    vary = {{"rram.adc_energy_pJ": [i / 8 for i in range(400)]}}
    cimsim.sweep({str(files[1])!r}, {str(files[0])!r}, vary, pipeline="token", store={str(store)!r})
except OutputError as problem:
    print(problem)
    sys.exit(problem.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stdout
    with read_store(store) as kept:
        rows = list(kept.rows())
    assert 5 < len(rows) < 400
    assert all(row.status == "done" for row in rows)
    vary = {"rram.adc_energy_pJ": [i / 8 for i in range(len(rows))]}
    again = package.sweep(files[1], files[0], vary, pipeline="token", store=store)
    assert (again.reached.found, again.reached.done) == (len(rows), 0)


VARY = [f"{i / 16:g}" for i in range(48)]


def _command(files: tuple[Path, Path], store: Path, workers: int) -> list[str]:
    return [
        sys.executable, "-m", "cimsim", "sweep", *map(str, files), "--vary",
        f"rram.adc_energy_pJ={','.join(VARY)}", "--pipeline", "token", "--store", str(store),
        "--workers", str(workers), "--json",
    ]  # fmt: skip


def _stored(store: Path) -> list[str]:
    if not store.exists():
        return []
    try:
        with read_store(store) as kept:
            return [row.digest for row in kept.rows()]
    except CimsimError:
        return []  # killed before its tables were made


def test_a_sweep_that_is_killed_three_times_loses_and_doubles_nothing(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    store, drawn = tmp_path / "s.sqlite", random.Random(5)
    before: list[str] = []
    for kill in range(3):
        child = subprocess.Popen(_command(files, store, 1), stdout=subprocess.DEVNULL)
        goal = min(len(before) + drawn.randint(1, 12), len(VARY) - 1)
        until = time.monotonic() + 60
        while child.poll() is None and len(_stored(store)) < goal and time.monotonic() < until:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        after = _stored(store)
        assert after[: len(before)] == before, f"kill {kill} lost a row"
        before = after
    assert len(before) > 0
    values = [float(value) for value in VARY]
    done = package.sweep(
        files[1], files[0], {"rram.adc_energy_pJ": values}, pipeline="token", store=store
    )
    assert done.reached.found == len(before)
    assert done.reached.done == len(VARY) - len(before)
    assert [row.settings["rram.adc_energy_pJ"] for row in done.rows] == values
    assert len(_stored(store)) == len({row.digest for row in done.rows}) == len(VARY)
    fresh = package.sweep(files[1], files[0], {"rram.adc_energy_pJ": values[6:8]}, pipeline="token")
    assert [row.values for row in done.rows[6:8]] == [row.values for row in fresh.rows]


def test_a_ctrl_c_says_what_is_kept_and_how_to_go_on(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "s.sqlite"
    child = subprocess.Popen(
        _command(files, store, 2), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not _stored(store) and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    if child.returncode == 0:
        pytest.skip("it was done before the signal came")
    assert child.returncode == 130
    assert f"of {len(VARY)} points are in {store}. The same command goes on there." in err
    assert "Traceback" not in err
    assert _stored(store)
