"""The command line: every verb, and one wrong input for each right one."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HALORA = ROOT / "arch_configs" / "halora_rram_sram.json"
AHWA = ROOT / "arch_configs" / "ahwa_pcm_pmca.json"
BERT = ROOT / "workloads" / "bert_base_r8_s320.json"

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first transformer block of BERT-base as a workload file."""
    data = json.loads(BERT.read_text())
    phase = data["phases"][0]
    kept: set[str] = set()
    ops = []
    for op in phase["ops"]:
        if "encoder.layer" in op["name"] and "encoder.layer.0." not in op["name"]:
            break
        kept.add(op["name"])
        ops.append(op)
    phase["ops"] = ops
    data["name"] = "bert_block"
    path = tmp_path_factory.mktemp("workload") / "bert_block.json"
    path.write_text(json.dumps(data))
    return path


def test_help_names_every_verb(cimsim: Cli) -> None:
    code, out, _ = cimsim("--help")
    assert code == 0
    for verb in ("run", "check", "trace", "map", "compare", "schema"):
        assert verb in out
        code, text, _ = cimsim(verb, "--help")
        assert code == 0
        assert "Usage: cimsim " + verb in text


def test_version(cimsim: Cli) -> None:
    from cimsim.version import VERSION

    assert cimsim("--version") == (0, VERSION + "\n", "")


def test_run_prints_tables(cimsim: Cli, small: Path) -> None:
    code, out, err = cimsim("run", "--pipeline", "token", AHWA, small)
    assert (code, err) == (0, "")
    for word in ("prefill", "rram", "leakage", "adapter switch", "assumed"):
        assert word in out


def test_run_json_is_the_report(cimsim: Cli, small: Path, tmp_path: Path) -> None:
    code, out, _ = cimsim(
        "run", "--pipeline", "token", AHWA, small, "--json", "-o", tmp_path / "out"
    )
    assert code == 0
    assert (tmp_path / "out" / "report.json").read_text() == out
    report = json.loads(out)
    for key in (
        "latency_s", "energy_J", "area_mm2", "phases", "energy_by_unit_J", "utilisation",
        "energy_by_component_J", "tiles_used", "cell_utilisation", "assumed", "inputs",
    ):  # fmt: skip
        assert key in report
    assert set(report["energy_by_unit_J"]) == {
        "rram", "sram", "pmca", "link", "buffer", "dram", "leakage",
    }  # fmt: skip
    for picture in ("breakdown.png", "gantt.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_both_engines_print_the_same_report(cimsim: Cli, small: Path) -> None:
    reference = cimsim("run", "--pipeline", "token", AHWA, small, "--json", "--engine", "simpy")
    assert reference == cimsim(
        "run", "--pipeline", "token", AHWA, small, "--json", "--engine", "compiled"
    )
    assert reference[0] == 0


def test_baseline_stands_beside(cimsim: Cli, small: Path) -> None:
    gpu = ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json"
    code, out, _ = cimsim("run", "--pipeline", "token", AHWA, small, "--json", "--baseline", gpu)
    assert code == 0
    report = json.loads(out)
    assert {b["lora"] for b in report["baselines"].values()} == {"merged", "unmerged"}
    for baseline in report["baselines"].values():
        assert baseline["latency_ratio"] == baseline["latency_s"] / report["latency_s"]
        assert baseline["energy_ratio"] == baseline["energy_J"] / report["energy_J"]


def test_timeline_opens_in_perfetto(cimsim: Cli, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "timeline.json.gz"
    code, _, err = cimsim(
        "run", "--pipeline", "token", AHWA, small, "--timeline", path, "--timeline-intervals", 100
    )
    assert code == 0
    assert err.startswith("timeline: the first 100 of ")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    tasks = [event for event in events if event["ph"] == "X" and event["cat"] != "run"]
    assert len(tasks) == 100
    assert all(task["dur"] > 0 for task in tasks)


def test_map_and_check(cimsim: Cli, small: Path) -> None:
    code, out, _ = cimsim("map", AHWA, small, "--json")
    assert code == 0
    mapping = json.loads(out)
    code, out, _ = cimsim("check", AHWA, small, "--json")
    assert code == 0
    assert json.loads(out)["tiles_used"] == mapping["tiles_used"]
    assert cimsim("map", AHWA, small)[0] == 0
    code, out, _ = cimsim("check", HALORA)
    assert code == 0
    assert "assumed numbers" in out


def test_check_says_what_moves_a_result(cimsim: Cli, small: Path) -> None:
    """As a run says it."""
    code, out, _ = cimsim("check", HALORA, small, "--moves", "--json")
    assert code == 0
    bands = json.loads(out)["bands"]
    (energy,) = bands["bands"]
    assert energy["low"] < energy["value"] < energy["high"]
    assert bands == json.loads(cimsim("run", HALORA, small, "--band", "--json")[1])["bands"]
    code, _, err = cimsim("check", HALORA, "--moves")
    assert (code, "--moves had no effect without a WORKLOAD" in err) == (2, True)


def test_compare_gives_ratios_against_the_first(cimsim: Cli, small: Path, tmp_path: Path) -> None:
    for name, pipeline in (("a", "sequential"), ("b", "layer")):
        assert cimsim("run", AHWA, small, "--pipeline", pipeline, "-o", tmp_path / name)[0] == 0
    code, out, _ = cimsim("compare", tmp_path / "a", tmp_path / "b" / "report.json", "--json")
    assert code == 0
    first, second = json.loads(out)
    assert first["latency_ratio"] == 1.0
    assert second["latency_ratio"] == first["latency_s"] / second["latency_s"]
    assert cimsim("compare", tmp_path / "a", tmp_path / "b")[0] == 0


@pytest.mark.parametrize("what", ["architecture", "workload", "scenario", "report", "gpu"])
def test_schema_is_json(cimsim: Cli, what: str) -> None:
    code, out, _ = cimsim("schema", what)
    assert code == 0
    assert json.loads(out)["type"] == "object"


def test_trace_needs_a_model_directory(cimsim: Cli, tmp_path: Path) -> None:
    code, _, err = cimsim("trace", tmp_path / "none", "-o", tmp_path / "w.json")
    assert code == 2
    assert err.startswith("error: ")
    assert not (tmp_path / "w.json").exists()


def _broken(tmp_path: Path, old: str, new: str) -> Path:
    text = AHWA.read_text()
    assert old in text
    path = tmp_path / "broken.json"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"rows": 512', '"rows": 0', "rram.rows"),
        ('"rows": 512', '"rows": -3', "rram.rows"),
        ('"rows": 512', '"rows": NaN', "NaN"),
        ('"rows": 512', '"rows": "many"', "rram.rows"),
        ('"rows": 512', '"lines": 512', "rram.lines"),
        ('"weights_on": "rram"', '"weights_on": "sram"', "weights_on"),
        ("{", "[", "JSON"),
    ],
)
def test_a_broken_architecture_is_named(
    cimsim: Cli, small: Path, tmp_path: Path, old: str, new: str, field: str
) -> None:
    path = _broken(tmp_path, old, new)
    code, out, err = cimsim("run", "--pipeline", "token", path, small)
    assert (code, out) == (2, "")
    assert str(path) in err
    assert field in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pipeline", "magic"), "unknown pipeline 'magic'"),
        (("--pipeline", "token:speed=3"), "has no option 'speed'"),
        (("--pipeline", "token:block_tokens=0"), "block_tokens"),
        (("--adapt", "glue"), "unknown adaptation 'glue'"),
        (("--adapt", "lora-sram"), "needs a `sram` block"),
        (("--mapper", "tetris"), "unknown mapper 'tetris'"),
        (("--replicate", "x"), "--replicate takes WEIGHT=COPIES"),
        (("--engine", "warp"), "--engine must be compiled or simpy"),
        (("--baseline", "no-such-gpu.json"), "no-such-gpu.json"),
    ],
)
def test_wrong_options_say_so(
    cimsim: Cli, small: Path, arguments: tuple[str, str], message: str
) -> None:
    code, out, err = cimsim("run", "--pipeline", "token", AHWA, small, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize("arguments", [("9" * 5000,), ("check", "x", "--" + "é" * 5000)])
def test_a_wrong_word_is_told_in_few_characters(cimsim: Cli, arguments: tuple[str, ...]) -> None:
    code, _, err = cimsim(*arguments)
    assert code == 2
    assert "Error: No such" in err
    assert len(err) <= 2000


def test_what_does_not_fit_exits_with_1(cimsim: Cli, tmp_path: Path) -> None:
    code, out, err = cimsim(
        "run", "--pipeline", "token", ROOT / "arch_configs" / "isaac_rram.json", BERT
    )
    assert (code, out) == (1, "")
    assert "rram.tile_count is 16128" in err


def test_an_existing_report_is_never_half_overwritten(
    cimsim: Cli, small: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.write_text("mine")
    code, _, err = cimsim("run", "--pipeline", "token", AHWA, small, "-o", target)
    assert code == 1
    assert "it is a file" in err
    assert target.read_text() == "mine"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, cimsim.cli; "
        "print(sorted({'torch','numba','matplotlib','pydantic','numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("run", "--pipeline", "token", AHWA, "SMALL", "--baseline-mode", "roofline"),
            "--baseline-mode had no effect",
        ),
        (
            ("run", "--pipeline", "token", AHWA, "SMALL", "--batch", "8", "--host-ms", "2"),
            "--batch, --host-ms had no",
        ),
        (
            ("run", "--pipeline", "token", AHWA, "SMALL", "--batch", "1"),
            "without --baseline: give a GPU to compare with.",
        ),
        (
            ("run", "--pipeline", "token", AHWA, "SMALL", "--timeline-intervals", "9"),
            "--timeline-intervals had no effect without",
        ),
        (("pipelines", AHWA, "SMALL", "--rank", "4"), "--rank had no effect without --layer"),
        (("pipelines", AHWA, "SMALL", "--tokens", "4"), "--tokens had no effect without --layer"),
        (
            (
                "pipelines",
                AHWA,
                "--layer",
                "64x64",
                "--strategy",
                "sequential",
                "--block-tokens",
                "2",
            ),
            "--block-tokens had no effect: none of the strategies",
        ),
    ],
)
def test_options_that_another_one_makes_work_are_refused_alone(
    cimsim: Cli, small: Path, arguments: tuple[object, ...], message: str
) -> None:
    code, out, err = cimsim(*(small if word == "SMALL" else word for word in arguments))
    assert (code, out) == (2, "")
    assert message in err
