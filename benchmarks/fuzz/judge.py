"""One run of the command line in a forked process with limits, and the verdict on how it ended."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

LONGEST = 2000
"""Characters of a message."""
CRASH = 70
GRACE_S = 5
"""What a process gets beyond its limit before it is killed from outside."""
_PACKAGE = f"{os.sep}cimsim{os.sep}"
_NUMBERS = re.compile(r"(?<![\w.\"'/])[-+]?(nan|inf)(?![\w.\"'/])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Limits:
    """Seconds on the processor, seconds by the clock, bytes of address space."""

    cpu_s: int = 10
    wall_s: int = 60
    bytes: int = 4 << 30


@dataclass(frozen=True)
class Verdict:
    """Exit code (negative: the signal), the fault's signature or "", and what was printed."""

    code: int
    fault: str
    out: str
    err: str
    cpu_s: float


class TimeOutError(BaseException):
    """The processor's or the clock's limit."""


def judge(arguments: list[str], folder: Path, names: str, limits: Limits) -> Verdict:
    """Run `cimsim ARGUMENTS` in `folder`; `names` is text that its output may repeat."""
    started = os.times()
    code = _forked(arguments, folder, limits)
    ended = os.times()
    cpu_s = sum(ended[2:4]) - sum(started[2:4])
    out, err = (
        (folder / f".{name}").read_bytes().decode(errors="replace") for name in ("out", "err")
    )
    crash = folder / ".crash"
    if crash.exists():
        fault = crash.read_text()
    elif code < 0:
        fault = f"killed by {signal.Signals(-code).name}"
    else:
        fault = _message(code, out, err) or (
            _numbers(arguments, folder, out, names) if code == 0 else ""
        )
    return Verdict(code, fault, out, err, cpu_s)


def _forked(arguments: list[str], folder: Path, limits: Limits) -> int:
    child = os.fork()
    if child == 0:
        code = CRASH
        try:
            _limit(limits)
            code = _call(arguments, folder)
        finally:
            os._exit(code)
    deadline = time.monotonic() + limits.wall_s + GRACE_S
    pause = 0.002
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline = math.inf
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


def _limit(limits: Limits) -> None:
    used = int(time.process_time())
    soft, hard = used + limits.cpu_s, used + limits.cpu_s + GRACE_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    resource.setrlimit(resource.RLIMIT_AS, (limits.bytes, limits.bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGXCPU, signal.SIGALRM):
        signal.signal(number, _time_out)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)


def _time_out(number: int, frame: FrameType | None) -> None:
    raise TimeOutError


def _call(arguments: list[str], folder: Path) -> int:
    """The exit code of the command line; a crash is described in a file."""
    from cimsim import cli

    os.chdir(folder)
    for name, descriptor in (("out", 1), ("err", 2)):
        opened = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.argv = ["cimsim", *arguments]
    code = 0
    try:
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        sys.stdout.flush()
    except BaseException as problem:
        code = CRASH
        Path(".crash").write_text(signature(problem, problem.__traceback__))
        traceback.print_exc()
    sys.stderr.flush()
    return code


def signature(problem: BaseException, trace: TracebackType | None) -> str:
    """The exception's type and the innermost place in cimsim that it passed."""
    place = "outside"
    for frame in traceback.extract_tb(trace):
        if _PACKAGE in frame.filename and "site-packages" not in frame.filename:
            place = f"{frame.filename.rpartition(_PACKAGE)[2]}:{frame.name}"
    kind = "hang" if isinstance(problem, TimeOutError) else type(problem).__name__
    return f"{kind} in {place}"


def _message(code: int, out: str, err: str) -> str:
    """What is wrong with the exit code and the message, or ""."""
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "Traceback (most recent call last)" in out + err:
        return "traceback printed"
    if "Warning:" in err:
        return f"warning on stderr: {err[: err.index('Warning:')].rpartition(' ')[2]}Warning"
    if _CONTROL.search(out + err):
        return f"control characters on {'stderr' if _CONTROL.search(err) else 'stdout'}"
    if code == 0:
        return ""
    if len(err) > LONGEST + 200:  # a usage error has lines of click's own before it
        return "message too long"
    count = len(re.findall(r"^(?:error|Error):", err, re.MULTILINE))
    only_help = code == 2 and err.lstrip().startswith("Usage: ") and count == 0
    return "" if count == 1 or only_help else f"{count} messages"


def _numbers(arguments: list[str], folder: Path, out: str, names: str) -> str:
    """Where a number is not finite in what a success printed or wrote, or ""."""
    try:
        if "--json" in arguments:
            _strict(out)
        elif _NUMBERS.search(out) and not re.search("nan|inf", names, re.IGNORECASE):
            return "nan or inf printed"
        for path in (folder / "out").rglob("*.json"):
            _strict(path.read_text())
    except ValueError as problem:
        return f"JSON: {str(problem)[:40]}"
    return ""


def _strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} in a report")

    def finite(number: str) -> float:
        value = float(number)
        return value if math.isfinite(value) else refuse(number) or value

    return json.loads(text, parse_constant=refuse, parse_float=finite)


def cleared(folder: Path) -> Path:
    """`folder`, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
