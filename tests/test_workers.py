"""Processes that work for another one: they end with it, leave nothing, and say why they died."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cimsim.errors import TaskError
from cimsim.runtime.workers import require_guard

PIECES = """
import os
import time

from cimsim.runtime import workers


def act(piece):
    if piece == "die":
        os.kill(os.getpid(), 9)
    if piece == "fail":
        raise ValueError("of a piece")
    if piece == "sleep":
        print(os.getpid(), flush=True)
        time.sleep(60)
    (file,) = workers.inherited
    with open(file.path, "rb") as opened:
        return opened.read() + piece.encode()
"""
MAIN = """
import sys
import tempfile

import pieces
from cimsim.errors import CimsimError
from cimsim.runtime.workers import in_processes, require_guard


def main(asked):
    try:
        require_guard()
        with tempfile.TemporaryFile() as file:
            file.write(b"shared ")
            file.flush()
            print(in_processes(pieces.act, asked, 2, file, lambda done, total: None))
    except CimsimError as error:
        print(type(error).__name__, error)
        sys.exit(error.exit_code)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs lie; TMPDIR is an empty folder in it."""
    (tmp_path / "pieces.py").write_text(PIECES)
    (tmp_path / "tool.py").write_text(MAIN)
    guarded = 'import sys\nimport tool\nif __name__ == "__main__":\n    tool.main(sys.argv[1:])\n'
    # what nohup starts ignores SIGHUP
    guarded = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n{guarded}"
    (tmp_path / "guarded.py").write_text(guarded)
    (tmp_path / "open.py").write_text("import tool\ntool.main(['a', 'b'])\n")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path


def run(folder: Path, *arguments: str, text: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, input=text, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert list((folder / "temporary").iterdir()) == []
    return done.returncode, done.stdout, done.stderr


def test_pieces_share_a_file_without_a_name(folder):
    assert run(folder, "guarded.py", "a", "b", "c") == (
        0, "[b'shared a', b'shared b', b'shared c']\n", "",
    )  # fmt: skip


def test_a_killed_process_is_told_as_such(folder):
    code, out, err = run(folder, "guarded.py", "a", "die", "b")
    assert (code, err) == (1, "")
    assert out.startswith("WorkerError one of 2 processes died or was killed, as the system does")


def test_an_error_of_a_piece_does_not_wait_for_the_others(folder):
    code, _, err = run(folder, "guarded.py", "sleep", "fail")
    assert code == 1
    assert err.endswith("ValueError: of a piece\n")


@pytest.mark.parametrize(
    ("arguments", "text"), [(("open.py",), ""), (("-",), "import tool\ntool.main(['a', 'b'])\n")]
)
def test_a_main_program_without_a_guard_is_told(folder, arguments, text):
    code, out, err = run(folder, *arguments, text=text)
    assert (code, err) == (2, "")
    assert 'put it below `if __name__ == "__main__":` in a file, or set workers to 1' in out


def test_a_daemon_is_told_that_it_may_start_none(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    with pytest.raises(TaskError, match="may start none of its own: set workers to 1"):
        require_guard()


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{number}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_workers_end_with_their_parent_and_leave_nothing(folder, number, code):
    with subprocess.Popen(
        [sys.executable, "guarded.py", "sleep", "sleep"], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        workers = [int(program.stdout.readline()) for _ in range(2)]
        assert all(map(alive, workers))
        program.send_signal(number)
        assert program.wait(30) == code
    for _ in range(300):
        if not any(map(alive, workers)):
            break
        time.sleep(0.1)
    assert not any(map(alive, workers))
    assert list((folder / "temporary").iterdir()) == []


def test_signals_are_the_programs_own_again(folder):
    text = textwrap.dedent("""
        import signal
        from cimsim.runtime.workers import _ending_on_signals
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with _ending_on_signals():
            print(callable(signal.getsignal(signal.SIGTERM)), signal.getsignal(signal.SIGHUP) == 1)
        print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """)
    assert run(folder, "-", text=text) == (0, "True True\nTrue\n", "")
