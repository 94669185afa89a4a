"""Options that hold numbers, and the net under everything that nobody foresaw."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import pytest
import small

import cimsim.cli
from cimsim.cli import main
from cimsim.cli.options import mapper_of, values_of
from cimsim.errors import CimsimError, MappingError, SpecError

MACHINE = str(small.ROOT / "arch_configs" / "halora_rram_sram.json")
WORK = str(small.ROOT / "workloads" / "minilm_sentiment_r8_s32.json")
BAD = ["1_000", "²", "１２", "nan", "inf", "0x10", "1e999", "9" * 4301, ""]


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["cimsim", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize(
    "verb",
    [
        ("run", "--pipeline", "token", MACHINE, WORK, "--host-ms"),
        ("run", "--pipeline", "token", MACHINE, WORK, "--batch"),
        ("pipelines", MACHINE, "--layer", "64x64", "--tokens"),
        ("pipelines", MACHINE, "--layer", "64x64", "--integration-ns"),
        ("pipelines", MACHINE, "--layer"),
        ("mvm", MACHINE, "--rows"),
        ("trace", ".", "--prefill"),
    ],
    ids=lambda verb: f"{verb[0]}{verb[-1]}",
)
def test_numbers_that_no_file_may_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    verb: tuple[str, ...], text: str,
) -> None:  # fmt: skip
    if not text and verb[-1] in ("--rows", "--integration-ns"):
        pytest.skip("an empty list sweeps nothing")
    code, said = refused(monkeypatch, capsys, *verb, text)
    assert code == 2
    assert 0 < len(said) < 2000
    assert "Traceback" not in said


@pytest.mark.parametrize("text", [*BAD, "[" * 3000, "[1", '{"a":NaN}', "--1", "1 2"])
def test_settings_and_copies_that_are_no_numbers(text: str) -> None:
    with pytest.raises(SpecError, match=r"^--set 'rram\.rows': "):
        values_of([f"rram.rows={text}"])
    with pytest.raises(MappingError, match="WEIGHT=COPIES"):
        mapper_of("dense", [f"*={text}"])


def test_values_keep_their_types() -> None:
    given = ["a=5", "b=5.0", "c=pcm", "d=null", "e=true", "f=1e3", "g= 7 "]
    assert values_of(given) == {
        "a": 5, "b": 5.0, "c": "pcm", "d": None, "e": True, "f": 1000.0, "g": 7,
    }  # fmt: skip
    assert type(values_of(given)["b"]) is float


def raising(error: Exception) -> Callable[..., NoReturn]:
    def app(**given: object) -> NoReturn:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "there is not enough memory, take a smaller input: MemoryError."),
        (OverflowError("int too large"), 1, "beyond what can be counted, lower it: int too large."),
        (RecursionError("maximum depth"), 1, "nests too deep, take a flatter one: maximum depth."),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (CimsimError("x" * 5000), 2, "..."),
        (CimsimError("a\x1b[31m\ud800"), 2, r"a\x1b[31m\ud800"),
    ],
)
def test_the_end_of_the_machine_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: Exception, code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(cimsim.cli, "app", raising(error))
    found = refused(monkeypatch, capsys)
    assert found[0] == code
    assert said in found[1]
    assert len(found[1]) <= 2000
    assert "Traceback" not in found[1]
    assert ("CIMSIM_TRACEBACK=1 shows where" in found[1]) == (not isinstance(error, CimsimError))
    monkeypatch.setenv("CIMSIM_TRACEBACK", "1")
    with pytest.raises(type(error)):
        main()


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cimsim.cli, "app", raising(ZeroDivisionError("division by zero")))
    monkeypatch.setattr(sys, "argv", ["cimsim"])
    with pytest.raises(ZeroDivisionError):
        main()
