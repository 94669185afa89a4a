"""A directory of results: kept for one run, whole or not there, and its pictures accounted for."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small

from cimsim.errors import OutputError
from cimsim.files import LOCK, reserved
from cimsim.views import canvas as drawing

ROOT = Path(__file__).parent.parent
AHWA = ROOT / "arch_configs" / "ahwa_pcm_pmca.json"
MINILM = ROOT / "workloads" / "minilm_sentiment_r8_s32.json"
LAYER = ("pipelines", AHWA, "--layer", "64x64", "--tokens", "16", "--strategy", "token")
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cimsim.ir import load_workload, save_workload

    path = tmp_path_factory.mktemp("work") / "minilm_block.json"
    traced = load_workload(MINILM)
    save_workload(small.cut_down(traced), path)
    return path


def test_a_directory_is_kept_for_one_run(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er"
    with reserved(target):
        assert (target / LOCK).read_text() == f"{os.getpid()}\n"
        with pytest.raises(OutputError, match=rf"process {os.getpid()}\).*its lock is .*{LOCK}"):
            reserved(target).__enter__()
        (target / "report.json").write_text("x")
    assert os.listdir(target) == ["report.json"]
    with reserved(target):
        pass
    assert os.listdir(target) == ["report.json"]


def test_a_lock_left_behind_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("1\n")
    with reserved(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path) == []


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from cimsim.files import reserved\n"
        "held = reserved(Path(sys.argv[1])); held.__enter__(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
    assert os.listdir(tmp_path) == [LOCK]
    with reserved(tmp_path):
        pass


def test_what_stays_empty_is_removed(tmp_path: Path, cimsim: Cli) -> None:
    target = tmp_path / "a" / "b"
    code, _, _ = cimsim("run", "--pipeline", "token", AHWA, "none.json", "-o", target)
    assert code == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("verb", [LAYER, ("run", "--pipeline", "token", AHWA, MINILM),
                                  ("train", AHWA, "minilm", "--task", "sentiment"),
                                  ("accuracy", AHWA, "minilm", "--task", "sentiment")])  # fmt: skip
def test_every_verb_refuses_a_directory_in_use(
    cimsim: Cli, tmp_path: Path, verb: tuple[object, ...]
) -> None:
    with reserved(tmp_path / "out"):
        code, out, err = cimsim(*verb, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path / 'out'}: another run (process ")
    assert str(tmp_path / "out" / LOCK) in err


@pytest.mark.parametrize("verb", [LAYER, ("run", "--pipeline", "token", AHWA, MINILM)])
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    cimsim: Cli, tmp_path: Path, verb: tuple[object, ...]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    places = {
        file: "it is a file", file / "below": "Not a directory",
        Path("/proc/none"): "cannot write", tmp_path / ("a" * 300): "File name too long",
    }  # fmt: skip
    for place, reason in places.items():
        code, out, err = cimsim(*verb, "-o", place)
        assert (code, out) == (1, "")
        assert reason in err
        assert err.count("\n") == 1
    assert file.read_text() == "mine"


def test_without_locks_on_the_file_system_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*given: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with reserved(tmp_path):
        pass
    assert "has no locks" in caplog.text


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "nonsense", "TkAgg", "gtk3agg"]
)
def test_pictures_are_drawn_whatever_the_backend(tmp_path: Path, backend: str) -> None:
    code = (
        "import os, sys; from pathlib import Path; from cimsim.views.canvas import picture\n"
        "with picture(Path(sys.argv[1]) / 'a.png', 2.0, 2.0) as (_, axes): axes.plot([1, 2])\n"
        "import matplotlib; print(os.environ['MPLBACKEND'], 'pyplot' in str(sys.modules))\n"
        "print(dict.__getitem__(matplotlib.rcParams, 'backend'))"
    )
    environment = {name: v for name, v in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True,
        env={**environment, "MPLBACKEND": backend},
    )  # fmt: skip
    first, own = done.stdout.splitlines()
    assert first.split()[0] == backend
    assert own.lower() == backend.lower() or backend in ("nonsense", first.split()[0])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_users_style_and_backend_are_neither_used_nor_changed(tmp_path: Path) -> None:
    import matplotlib

    def draw(path: Path) -> bytes:
        with drawing.picture(path, 2.0, 2.0) as (_, axes):
            axes.plot([1, 2])
            axes.set_title("a$b^$")
        return path.read_bytes()

    plain = draw(tmp_path / "a.png")
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        assert draw(tmp_path / "b.png") == plain
        assert dict(matplotlib.rcParams) == before


NAMES = ("a$b^$", "$\\frac$", "\x00\x1b[31m", "机器 🙂", "x" * 5000, "\ud800", "a\nb", "_{^")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_text(tmp_path: Path, name: str) -> None:
    seen: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with drawing.picture(tmp_path / "a.png", 4.0, 2.0, 2) as (figure, axes):
            figure.suptitle(drawing.label(name))
            axes[0].barh([drawing.label(name)], [1.0], label=drawing.label(name))
            axes[0].legend()
            seen += [axes[0].get_legend().get_texts()[0].get_text()]
            assert not figure._suptitle.get_parse_math()
    assert len(seen[0]) <= 81
    assert "$" in seen[0] or "$" not in name
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_never_larger_than_matplotlib_can_draw(tmp_path: Path) -> None:
    with drawing.picture(tmp_path / "a.png", 5000.0, 0.5):
        pass
    assert (tmp_path / "a.png").stat().st_size > 0


def test_a_picture_that_fails_is_named_and_the_report_stays(
    cimsim: Cli, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cimsim.views import gantt as figures

    target = tmp_path / "out"
    assert cimsim("run", "--pipeline", "token", AHWA, work, "-o", target)[0] == 0

    def fail(*given: object, **named: object) -> None:
        raise ValueError("no\nink")

    monkeypatch.setattr(figures, "save_gantt", fail)
    code, out, err = cimsim("run", "--pipeline", "token", AHWA, work, "-o", target)
    assert code == 1
    assert out.endswith(f"wrote report.json and breakdown.png to {target}\n")
    assert err == "not drawn: gantt.png (ValueError: no ink)\n"
    assert sorted(os.listdir(target)) == ["breakdown.png", "report.json"]
    notes = json.loads((target / "report.json").read_text())["notes"]
    assert notes[-1] == "not drawn: gantt.png (ValueError: no ink)"
    code, out, err = cimsim("run", "--pipeline", "token", AHWA, work, "-o", target, "--json")
    assert (code, err) == (1, "not drawn: gantt.png (ValueError: no ink)\n")
    assert (target / "report.json").read_text() == out


def test_without_matplotlib_the_report_is_written_and_says_so(
    cimsim: Cli, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it raises ImportError
    for verb, report in (
        (("run", "--pipeline", "token", AHWA, work), "report.json"),
        (LAYER, "pipelines.json"),
    ):
        target = tmp_path / report
        code, out, err = cimsim(*verb, "-o", target)
        assert code == 0
        assert out.endswith(f"wrote {report} to {target}\n")
        assert "(matplotlib is not installed: pip install '.[plots]')" in err
        assert err.count("\n") == 1
        assert os.listdir(target) == [report]
    code, out, err = cimsim("mvm", AHWA, "-o", tmp_path / "a.png")
    assert (code, out) == (1, "")
    assert err == "error: matplotlib is not installed: pip install '.[plots]'\n"


def test_a_full_disk_leaves_the_old_report(
    cimsim: Cli, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    assert cimsim("run", "--pipeline", "token", AHWA, work, "-o", target)[0] == 0
    before = (target / "report.json").read_bytes()

    def full(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    code, out, err = cimsim("run", "--pipeline", "token", AHWA, work, "-o", target)
    assert (code, out) == (1, "")
    assert err == f"error: {target / 'report.json'}: cannot write: No space left on device.\n"
    assert (target / "report.json").read_bytes() == before
    assert sorted(os.listdir(target)) == ["breakdown.png", "gantt.png", "report.json"]


def test_names_in_a_trace_are_json(tmp_path: Path, work: Path) -> None:
    from cimsim import load_architecture, load_workload, simulate
    from cimsim.views.perfetto import save_timeline

    simulation: Any = simulate(load_workload(work), load_architecture(AHWA), pipeline="token")
    for info in simulation.plan.actors:
        object.__setattr__(info, "part", '"\x1b\\\ud800机')
    save_timeline(simulation, tmp_path / "t.json.gz", 10)
    events = json.loads(gzip.decompress((tmp_path / "t.json.gz").read_bytes()))["traceEvents"]
    work = [event for event in events if event["ph"] == "X" and event["cat"] != "run"]
    assert {event["args"]["part"] for event in work} == {'"\x1b\\\ud800机'}
