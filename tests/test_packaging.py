"""What is installed: the lock covers what pyproject.toml asks for, the wheel works anywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import small
from packaging.requirements import Requirement

from cimsim import shelves
from cimsim.errors import CimsimError, SpecError, WorkloadError

PROJECT = tomllib.loads((small.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = [
    Requirement(line)
    for line in (small.ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if not line.lstrip().startswith("#")
]
SHELVES = (shelves.MACHINES, shelves.WORKLOADS, shelves.SCENARIOS, shelves.GPUS)


def asked() -> list[Requirement]:
    """What is asked for directly: the package, its extras, the groups that are locked."""
    texts = list(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        texts += extra
    for group in ("test", "docs", "dev", "cpu"):
        texts += [text for text in PROJECT["dependency-groups"][group] if isinstance(text, str)]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_pins_what_is_asked_for(python: str) -> None:
    marks = {"python_version": python, "python_full_version": f"{python}.1"}
    pinned: dict[str, str] = {}
    for line in LOCK:
        (pin,) = line.specifier
        assert pin.operator == "==", f"{line} is no exact version"
        if line.marker is None or line.marker.evaluate(marks):
            assert line.name not in pinned, f"{line.name} stands twice"
            pinned[line.name] = pin.version
    for wanted in asked():
        assert wanted.specifier.contains(pinned[wanted.name]), f"run make lock: {wanted}"


def test_the_torch_extra_leaves_an_installed_build_alone() -> None:
    (torch,) = (
        text
        for text in PROJECT["project"]["optional-dependencies"]["torch"]
        if text.startswith("torch")
    )
    assert [pin.operator for pin in Requirement(torch).specifier] == [">="]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the wheel holds."""
    hatchling = pytest.importorskip("hatchling.build", reason="a development tool")
    del hatchling
    folder = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=small.ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as wheel:
        names = wheel.namelist()
        assert len(names) == len(set(names))
        wheel.extractall(folder / "site")
    return folder / "site"


def run_in(site: Path, folder: Path, code: str) -> str:
    """What `code` prints in `folder`, with the package of `site`."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_every_shipped_file_once(installed: Path) -> None:
    for shelf in SHELVES:
        held = sorted(path.stem for path in installed.rglob(f"{shelf.folder}/*.json"))
        assert held == list(shelf.names()) != []
    assert not any((installed / name).exists() for name in ("arch_configs", "workloads", "tests"))


def test_the_wheel_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    code = (
        "import cimsim, json, sys\n"
        f"assert cimsim.__file__.startswith({str(installed)!r}), cimsim.__file__\n"
        "machine = cimsim.machine('halora_rram_sram')\n"
        "gpu = cimsim.gpu('a100_sxm4_80gb')\n"
        "workload = cimsim.workload('minilm_sentiment_r8_s32')\n"
        "report = cimsim.simulate(workload, machine, pipeline='token').report\n"
        "assert callable(cimsim.workload), 'a module of that name hides the function'\n"
        "from cimsim.cli import main\n"
        "sys.argv = ['cimsim', 'run', 'halora_rram_sram', 'minilm_sentiment_r8_s32',\n"
        "            '--pipeline', 'token', '--baseline', 'a100_sxm4_80gb', '--json']\n"
        "main()\n"
    )
    report = json.loads(run_in(installed, tmp_path, code))
    assert report["architecture"] == "halora_rram_sram"
    assert report["workload"] == "minilm_sentiment_r8_s32"
    names = [f"NVIDIA A100 SXM4 80GB, LoRA {lora}" for lora in ("merged", "unmerged")]
    assert list(report["baselines"]) == names
    verb = "import sys; from cimsim.cli import main; sys.argv = ['cimsim', *{}]; main()"
    listed = json.loads(run_in(installed, tmp_path, verb.format(["list", "--json"])))
    shelves = list(listed.values())[: len(SHELVES)]
    assert [tuple(names) for names in shelves] == [shelf.names() for shelf in SHELVES]
    assert "layer" in listed["pipelines"]
    checked = run_in(installed, tmp_path, verb.format(["validate", "matrix-engine"]))
    assert re.search(r"(\d+) of \1 within tolerance", checked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shelf", "given", "error", "near"),
    [
        (shelves.MACHINES, "halora_rram_sam", SpecError, "halora_rram_sram or halora_rram_only"),
        (shelves.MACHINES, "somewhere/pumas.json", SpecError, "did you mean puma"),
        (shelves.WORKLOADS, "bert_base", WorkloadError, "bert_base_r8_s320"),
        (shelves.GPUS, "a100_sxm4", SpecError, "a100_sxm4_80gb"),
        (shelves.MACHINES, "x" * 5000, SpecError, "`cimsim list` names them"),
        (shelves.MACHINES, "", SpecError, "`cimsim list` names them"),
        (shelves.WORKLOADS, "halora_rram_sram", WorkloadError, "no workload of that name"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(
    shelf: shelves.Shelf, given: str, error: type[CimsimError], near: str
) -> None:
    with pytest.raises(error, match=re.escape(near)):
        shelf.find(given)


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shelves.MACHINES.find("puma") == shelves.MACHINES.path / "puma.json"
    (tmp_path / "puma").mkdir()
    assert shelves.MACHINES.find("puma") == shelves.MACHINES.path / "puma.json"
    (tmp_path / "puma").rmdir()
    (tmp_path / "puma").write_text("{}")
    assert shelves.MACHINES.find("puma") == Path("puma")


def test_the_begin_of_a_name_is_enough_for_a_hint() -> None:
    with pytest.raises(SpecError, match=r"did you mean a100_sxm4_40gb or a100_sxm4_80gb\?"):
        shelves.GPUS.find("a100")
    with pytest.raises(SpecError, match=r"comes with cimsim: `cimsim list` names them\.$"):
        shelves.GPUS.find("")
