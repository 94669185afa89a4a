"""Mutated inputs end in success or in one message; the fuzzer itself sees what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from cimsim import cli, shipped
from cimsim.ir import load_workload

FUZZ = small.ROOT / "benchmarks" / "fuzz"
sys.path.insert(0, str(FUZZ))
import bases  # noqa: E402
import cases  # noqa: E402
import edits  # noqa: E402
import judge  # noqa: E402
from edits import Edit  # noqa: E402

SUITE = {
    "architecture,workload": 1120,
    "options,gpu,noise,report,adapter,model,task,chip,study": 880,
}
"""Kinds that share a process, and how many of their cases are tried: 2,000."""


@pytest.mark.parametrize(("kinds", "count"), SUITE.items())
def test_no_case_of_the_suite_is_a_fault(kinds: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, FUZZ / "run.py", "--kind", kinds, "--cases", str(count), "--jobs", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "0 faults, 0 signatures" in done.stdout


def test_every_kind_is_in_the_suite() -> None:
    assert sorted(",".join(SUITE).split(",")) == sorted(cases.KINDS) == sorted(cases.SHARES)
    assert sum(SUITE.values()) == 2000


# --- the judge --------------------------------------------------------------------------------


def echo(code: int, *, out: str = "", err: str = "") -> Callable[[], None]:
    """A command line that prints and exits."""

    def act() -> None:
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)

    return act


def raising(problem: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise problem

    return act


def crash_inside() -> None:
    cli.app(["check", 5], standalone_mode=False)


def spin() -> None:
    while True:
        pass


def take_memory() -> None:
    bytearray(1 << 40)


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (echo(0, out='{"a": 1.5e300}'), ""),
        (echo(1, err="error: too small.\n"), ""),
        (echo(2, err="Usage: cimsim\n\nError: no such option\n"), ""),
        (echo(2, err="error: a\nfile: b\n"), ""),
        (echo(3, err="error: a\n"), "exit code 3"),
        (echo(2), "0 messages"),
        (echo(2, err="error: a\nerror: b\n"), "2 messages"),
        (echo(1, err="error: " + "x" * 3000), "message too long"),
        (echo(1, err="error: \x1b[31m"), "control characters on stderr"),
        (echo(0, out='{"a": NaN}'), "JSON: NaN in a report"),
        (echo(0, out='{"a": 1e400}'), "JSON: 1e400 in a report"),
        (echo(0, out='{"a": '), "JSON: Expecting value"),
        (echo(1, err="Traceback (most recent call last):\n"), "traceback printed"),
        (
            echo(0, out="1", err="x.py:3: UserWarning: of a library\n"),
            "warning on stderr: UserWarning",
        ),
        (raising(ValueError("of ours")), "ValueError in outside"),
        (take_memory, "MemoryError in outside"),
        (spin, "hang in outside"),
        (crash_inside, "TypeError in"),
    ],
)
def test_what_the_judge_says(
    act: Callable[[], None], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "main", act)
    limits = judge.Limits(cpu_s=1)
    found = judge.judge(["run", "--json"], judge.cleared(tmp_path / "x"), "", limits)
    assert found.fault.startswith(fault) if fault else found.fault == ""


def test_printed_numbers_are_judged_but_not_names(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(cli, "main", echo(0, out="latency  nan s"))
    folder = judge.cleared(tmp_path / "x")
    assert judge.judge([], folder, "", judge.Limits()).fault == "nan or inf printed"
    assert judge.judge([], folder, '"nan"', judge.Limits()).fault == ""


def test_written_reports_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act() -> None:
        Path("out").mkdir()
        Path("out/report.json").write_text("[Infinity]")

    monkeypatch.setattr(cli, "main", act)
    found = judge.judge([], judge.cleared(tmp_path / "x"), "", judge.Limits())
    assert found.fault == "JSON: Infinity in a report"


def test_a_process_that_sleeps_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "main", lambda: time.sleep(60))
    limits = judge.Limits(wall_s=1)
    assert judge.judge([], judge.cleared(tmp_path / "x"), "", limits).fault == "hang in outside"


# --- edits ------------------------------------------------------------------------------------

DOCUMENT = {"a": 1, "b": {"c": [1.5, "x", None]}, "d": [{"e": True}, {"e": False}]}


def test_edits_of_structure() -> None:
    def applied(action: str, path: tuple[str | int, ...], text: str = "") -> Any:
        return json.loads(edits.apply(DOCUMENT, [Edit("f", action, path, text)]))

    assert applied("set", ("b", "c", 0), "[7]")["b"]["c"] == [[7], "x", None]
    assert applied("drop", ("b",)) == {"a": 1, "d": DOCUMENT["d"]}
    assert applied("copy", ("d", 0))["d"] == [{"e": True}, {"e": True}, {"e": False}]
    assert applied("copy", ("a",), '"z"') == {**DOCUMENT, "z": 1}
    assert applied("rename", ("a",), '"z"') == {"b": DOCUMENT["b"], "d": DOCUMENT["d"], "z": 1}
    assert applied("set", ("gone", 3), "1") == DOCUMENT
    assert applied("set", (), "5") == 5


def test_a_value_may_be_what_no_encoder_writes() -> None:
    for text in ("NaN", "1e400", "9" * 5000, edits.DEEP, '"\\ud800"'):
        assert edits.apply({"a": 0}, [Edit("f", "set", ("a",), text)]) == f'{{"a": {text}}}'


@given(st.integers(0, 10**9))
def test_proposals_can_be_applied_in_any_number(seed: int) -> None:
    random = Random(seed)
    made = [edits.propose(random, "f", DOCUMENT) for _ in range(4)]
    again = Random(seed)
    assert made == [edits.propose(again, "f", DOCUMENT) for _ in range(4)]
    for kept in range(5):
        assert edits.apply(DOCUMENT, made[:kept])
    assert json.loads(edits.apply(DOCUMENT, [])) == DOCUMENT


@pytest.mark.parametrize("action", edits.BYTES)
def test_edits_of_bytes_change_a_file(action: str) -> None:
    data = json.dumps(DOCUMENT).encode()
    assert edits.apply_bytes(data, Edit("f", action, text="0.5")) != data


# --- cases ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    bases.write(folder)
    for name in ("a", "b"):
        (folder / f"{name}.report.json").write_text("{}")
    return folder


def test_the_unmutated_inputs_are_valid(base: Path, cimsim: Any) -> None:
    for name in bases.WORKLOADS[:3]:
        code, _, err = cimsim(
            "check", base / "halora_rram_sram.arch.json", base / f"{name}.work.json"
        )
        assert (code, err) == (0, "")


def test_a_shortened_base_is_the_workload_cut_down(base: Path) -> None:
    name = "qwen2.5_0.5b_r4_p512_d128"
    wanted = small.cut_down(shipped.workload(name), tokens=bases.TOKENS, steps=bases.STEPS)
    found = load_workload(base / f"{name}.work.json")
    for expected, phase in zip(wanted.phases, found.phases, strict=True):
        assert phase.steps == expected.steps
        pairs = zip(expected.ops, phase.ops, strict=True)
        assert {op.kind for one, op in pairs if one != op} == {"reduce"}
    assert phase.ops[-1].inputs_per_output == bases.WORDS_KEPT


@pytest.mark.parametrize("kind", cases.LIGHT)
def test_a_case_is_the_same_for_the_same_seed(kind: str, base: Path, tmp_path: Path) -> None:
    for number in range(20):
        made = cases.make(kind, number, 0, base)
        assert made == cases.make(kind, number, 0, base)
        assert made.edits
        arguments = cases.laid_out(made, base, judge.cleared(tmp_path / "case"))
        assert not any("\0" in text for text in arguments)


def test_an_edited_file_takes_the_place_of_the_valid_one(base: Path, tmp_path: Path) -> None:
    name = "halora_rram_sram.arch.json"
    edit = Edit(name, "set", ("name",), '"x"')
    case = cases.Case("x-0", ("run", f"@{name}", cases.WORK), (edit,))
    arguments = cases.laid_out(case, base, tmp_path)
    assert arguments == ["run", name, str(base / cases.WORK[1:])]
    assert json.loads((tmp_path / name).read_text())["name"] == "x"
    assert cases.laid_out(case.without(0), base, tmp_path)[1] == str(base / name)


def test_options_are_added_and_arguments_changed(base: Path, tmp_path: Path) -> None:
    chosen = (Edit("argv", "option", ("--set",), "a=1"), Edit("argv", "set", (0,), "map"))
    case = cases.Case("x-0", ("run", "x"), chosen)
    assert cases.laid_out(case, base, tmp_path) == ["map", "x", "--set", "a=1"]
