"""Whatever standard output is: every encoding, closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cimsim.cli import streams
from cimsim.values.plaintext import in_ascii, literal, shortened

ROOT = Path(__file__).parent.parent
AHWA = ROOT / "arch_configs" / "ahwa_pcm_pmca.json"
ENCODINGS = ("ascii", "latin-1", "cp437", "cp850", "cp1252", "utf-8")
Cli = Callable[..., tuple[int, str, str]]
MAIN = "import sys; from cimsim.cli import main; sys.argv[0] = 'cimsim'; main()"
LAYER = ("pipelines", AHWA, "--layer", "64x64", "--tokens", "16", "--strategy", "token")


def named(tmp_path: Path, name: str, description: str = "") -> Path:
    """The machine of AHWA-LoRA under another name."""
    data = json.loads(AHWA.read_text(encoding="utf-8"))
    data |= {"name": name, "description": description}
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def shell(script: str, *arguments: object, **environment: str) -> tuple[int, str, str]:
    """Run `cimsim` as a program within a shell script that calls it as "$@"."""
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-c", MAIN, *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_verb_prints_in_every_encoding(
    cimsim: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    machine = named(tmp_path, "µ-machine ± … 机")
    for verb in (("check", machine), ("list",), ("run", "--help"), (*LAYER,), ("check", "nö.json"),
                 ("pipelines", machine, *LAYER[2:]), ("check", machine, "--json")):  # fmt: skip
        pipes = [io.BytesIO(), io.BytesIO()]
        out, err = (io.TextIOWrapper(pipe, encoding, errors="strict") for pipe in pipes)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        code = cimsim(*verb)[0]
        assert code == (2 if verb[1:] == ("nö.json",) else 0)
        printed = pipes[0].getvalue() + pipes[1].getvalue()
        assert printed.decode(encoding)
        if encoding == "ascii" and verb == ("check", machine):
            assert b"(u-machine +- ... \\u673a, " in printed
        if verb[-1] == "--json":
            assert printed.isascii()
            json.loads(printed)


def test_what_a_user_asked_for_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, becomes in (("replace", "replace"), ("strict", streams.REPLACE),
                           ("surrogateescape", streams.REPLACE)):  # fmt: skip
        stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors=asked)
        monkeypatch.setattr(sys, "stdout", stream)
        streams.prepare()
        assert stream.errors == becomes


def test_text_is_literal() -> None:
    assert literal("plain ü 机 [red] $x$ :smile:") == "plain ü 机 [red] $x$ :smile:"
    assert literal("\x1b[31m\n\u202e\ud800\0") == "\\x1b[31m\\n\\u202e\\ud800\\x00"
    assert literal("a\nb\r", keep="\n") == "a\nb\\r"
    assert in_ascii("5 µs ± 1 …ü\ud800") == "5 us +- 1 ...\\xfc\\ud800"
    assert shortened("0123456789", 10) == "0123456789"
    assert shortened("0123456789a", 10) == "012...789a"


CLOSED = "standard output: cannot write: Bad file descriptor."
FULL = "standard output: cannot write: No space left on device."


@pytest.mark.parametrize(
    ("script", "verb", "code", "message"),
    [
        ('"$@" >&-', LAYER, 1, CLOSED),
        ('"$@" >&- <&- 2>&-', LAYER, 1, ""),
        ('"$@" >/dev/full', LAYER, 1, FULL),
        ('"$@" >/dev/full 2>/dev/full', LAYER, 1, ""),
        ('"$@" 2>&- >/dev/null', LAYER, 0, ""),
        ('"$@" >/dev/full', ("--help",), 1, "No space left on device"),
        ('"$@" >&-', ("run", "--help"), 1, "Bad file descriptor"),
        ('"$@" 2>/dev/full', ("check", "none.json"), 2, ""),
        ('"$@" 2>/dev/full', ("check", "--none"), 2, ""),
        ('"$@" 2>&-', ("check", "none.json"), 2, ""),
    ],
)
def test_closed_and_full_streams(
    tmp_path: Path, script: str, verb: tuple[object, ...], code: int, message: str
) -> None:
    done, _, err = shell(script, *verb)
    assert done == code
    assert message in err
    assert err.count("\n") == bool(message)


@pytest.mark.parametrize("redirect", [">&- 2>&-", ">/dev/full"])
def test_files_are_whole_where_the_output_is_lost(tmp_path: Path, redirect: str) -> None:
    code, _, _ = shell(f'"$@" {redirect}', *LAYER, "-o", tmp_path / "out")
    assert code == 1
    assert len(json.loads((tmp_path / "out" / "pipelines.json").read_text())) == 1
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["bars.png", "gantt.png", "pipelines.json"]
    for picture in names[:2]:
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    code, out, err = shell('"$@" | head -1', "schema", "architecture")
    assert (out, err) == ("{\n", "")
    code, out, err = shell('"$@" | true; exit ${PIPESTATUS[0]}', "schema", "report")
    assert (out, err) == ("", "")
    assert code in (0, 1)


HOSTILE = ("x[/]y", "[red]r[/red]", "[link=http://x]l[/link]", ":smile:", "[", "\\[bold]")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_no_markup(cimsim: Cli, tmp_path: Path, name: str) -> None:
    machine = named(tmp_path, name)
    data = json.loads(machine.read_text())
    data["sources"] = dict.fromkeys(data["sources"], f"assumed: {name}")
    machine.write_text(json.dumps(data))
    code, out, err = cimsim("check", machine)
    assert (code, err) == (0, "")
    assert f"valid ({name}, " in out
    assert f"assumed: {name} " in out or f"│ {name} " in out
    code, out, _ = cimsim("mvm", machine, "--draws", 1, "--rows", 16, "--columns", 8)
    assert code == 0
    assert out.startswith(f"{name}: 512x8 crossbar")


def test_control_characters_do_not_reach_the_terminal(cimsim: Cli, tmp_path: Path) -> None:
    for argument in ("\x1b[31mred.json", "a\nb\r.json", "\u202e.json"):
        for verb in (("check", argument), ("check", f"--{argument}"), (argument,)):
            code, out, err = cimsim(*verb)
            assert code == 2
            assert not re.search("[\x1b\r\u202e]", out + err)


class _Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("dumb", ["dumb", "xterm"])
def test_names_in_what_moves_on_a_terminal(monkeypatch: pytest.MonkeyPatch, dumb: str) -> None:
    from cimsim.cli.progress import counting, progress

    stream: Any = _Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", dumb)
    with progress() as tell:
        tell("loading x[/]y\x1b[31m")
    with counting("x[/]y\x1b[31m") as count:
        count(1, 2)
    assert "\x1b[31m" not in stream.getvalue()


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os, sys; from cimsim.cli import streams; streams.prepare()\n"
        "file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); os.write(file, str(file).encode())"
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code, tmp_path / "a"],
        check=False,
    )
    assert done.returncode == 0
    assert int((tmp_path / "a").read_text()) > 2


def test_what_is_held_back_until_the_end_is_not_lost_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    assert [streams.finish(code) for code in (0, 1, 2)] == [0, 1, 2]
    monkeypatch.setattr(sys, "stdout", Full())
    assert [streams.finish(code) for code in (0, 1, 2)] == [1, 1, 2]
