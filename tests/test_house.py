"""The house: who may import whom, what is loaded when, and what has no place in the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small
from structure import MODULES, PACKAGE, circles, classes_named_twice, imports, of_package, top, tree

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "units": set(),
    "version": set(),
    "values": {"pydantic", "pydantic_core"},
    "files": {"pydantic"},
    "shelves": set(),
    "runtime": {"numba"},
    "ir": {"pydantic"},
    "noise": {"numpy"},
    "blocks": {"pydantic"},
    "mapping": {"numpy"},
    "costs": {"numpy", "pydantic"},
    "unit_kinds": set(),
    "machine_files": {"pydantic"},
    "spec": {"pydantic", "pydantic_core"},
    "adaptation": {"numpy", "torch", "peft"},
    "mappers": {"numpy"},
    "engines": {"numpy", "numba", "simpy"},
    "schedule": {"numpy"},
    "report": {"numpy", "pydantic"},
    "search": {"numpy"},
    "simulation": set(),
    "baseline": {"numpy", "pydantic"},
    "comparison": set(),
    "shipped": set(),
    "serving": {"numpy", "pydantic"},
    "analog": {"numpy", "numba", "llvmlite"},
    "frontend": {"pydantic", "torch", "transformers", "peft", "safetensors"},
    "functional": {"numpy", "torch", "transformers", "peft"},
    "tasks": {"numpy", "torch", "transformers", "tokenizers", "safetensors", "gguf", "datasets"},
    "training": {"numpy", "torch", "transformers", "peft", "safetensors"},
    "accuracy": {"numpy", "torch", "transformers"},
    "studies": {"numpy", "scipy"},
    "exploration": {
        "numpy",
        "scipy",
        "pydantic",
        "optuna",
        "torch",
        "distributed",
        "dask_jobqueue",
    },
    "views": {"matplotlib", "numpy", "plotly"},
    "validation": set(),
    "cli": {"pydantic", "typer", "rich", "click"},
    "__main__": set(),
    "__init__": set(),
}
"""Every module and folder of the package, in order, with the packages that it may use.

A room imports itself and the rooms above it in this list."""
HEAVY = ("torch", "numba", "matplotlib", "plotly")
CAP_LINES = 600


ORDER = list(ROOMS)


def place(name: str) -> int:
    """The position of a room; fails for a module that has none."""
    if name not in ROOMS:
        pytest.fail(f"cimsim.{name} has no place: add it to the list of rooms in {__file__}")
    return ORDER.index(name)


def each_module(check: Callable[[Path], None]) -> Callable[[], None]:
    """A test that `check` holds for every module; one test, as thousands take their time."""

    def checked() -> None:
        for path in MODULES:
            check(path)

    return checked


def test_modules_are_found() -> None:
    assert len(MODULES) > 50
    assert {"simulation", "cli", "frontend"} <= {top(path) for path in MODULES}


def test_the_page_for_contributors_prints_the_rooms() -> None:
    page = (small.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("## Rooms")[2].partition("## ")[0]
    printed = re.findall(r"^\| ([a-z_, ]+) \| [^-|]", table, re.MULTILINE)[1:]
    assert [room for row in printed for room in row.split(", ")] == ORDER[:-2]


def test_every_room_exists() -> None:
    assert {top(path) for path in MODULES} == set(ROOMS)


@each_module
def test_imports_go_down(path: Path) -> None:
    home = top(path)
    for found, name in of_package(path):
        assert place(name) <= place(home), f"{path}:{found.line} imports cimsim.{name}: upwards"


def test_no_circles() -> None:
    assert circles() == []


def test_a_class_name_means_one_thing() -> None:
    assert classes_named_twice() == {}


@each_module
def test_rooms_use_their_own_packages(path: Path) -> None:
    for found in imports(path):
        name = found.name.split(".")[0]
        if name not in sys.stdlib_module_names and name != "cimsim":
            known = found.typing or name in ROOMS[top(path)]
            assert known, f"{path}:{found.line} imports {name}"


@each_module
def test_one_place_decides_where_compiled_code_is_kept(path: Path) -> None:
    if path.stem == "jit":
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "numba":
            names = {alias.name for alias in node.names}
            assert not names & {"jit", "njit", "vectorize", "guvectorize"}, (
                f"{path}:{node.lineno}: use cimsim.runtime.jit.njit"
            )


@each_module
def test_one_place_draws(path: Path) -> None:
    for found in imports(path):
        if found.name.split(".")[0] == "matplotlib" and path.stem != "canvas":
            assert found.typing, f"{path}:{found.line}: use cimsim.views.canvas.picture"


@each_module
def test_all_that_is_printed_goes_through_one_place(path: Path) -> None:
    if top(path) != "cli":
        return
    for node in ast.walk(tree(path)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        allowed = path.stem == "sheet" and called in ("Table", "Console")
        assert allowed or called not in ("print", "typer.echo", "Console", "Table"), path


@each_module
def test_modules_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= CAP_LINES, f"{path} has {lines} lines: make it a folder"


@each_module
def test_only_the_cli_prints(path: Path) -> None:
    if top(path) == "cli":
        return
    for node in ast.walk(tree(path)):
        assert not (isinstance(node, ast.Name) and node.id == "print"), f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            stream = (node.value.id, node.attr) in (("sys", "stdout"), ("sys", "stderr"))
            assert not stream, f"{path}:{node.lineno}"


@each_module
def test_modules_are_named_after_what_they_hold(path: Path) -> None:
    parts = {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}
    assert not parts & {"utils", "util", "common", "core", "base", "managers", "helpers", "misc"}, (
        path
    )


OTHER_MARKS = {
    "cli/options.py": "--set FIELD=VALUE and --replicate WEIGHT=COPIES",
    "cli/parts.py": "--window START:END",
    "values/imported.py": "MODULE:NAME",
    "exploration/text.py": "--vary AXIS=VALUES, and ranges of numbers LOW:HIGH",
}
"""Modules that cut text at : or = by another grammar than that of `cimsim.values.codec`."""


@each_module
def test_one_place_cuts_the_text_of_values(path: Path) -> None:
    home = path.relative_to(PACKAGE).as_posix()
    if home.startswith("values/codec/") or home in OTHER_MARKS:
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            cuts = node.func.attr in {"partition", "rpartition", "split", "rsplit"}
            marks = {getattr(argument, "value", None) for argument in node.args}
            assert not (cuts and marks & {":", "="}), f"{path}:{node.lineno}: use a Codec"


@each_module
def test_randomness_is_passed_in(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            called = ast.unparse(node)
            if called.startswith(("np.random.", "numpy.random.")):
                assert node.attr[0].isupper() or node.attr == "default_rng", f"{path}: {called}"


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import cimsim",
        "import cimsim.cli",
        "import cimsim; cimsim.load_architecture, cimsim.load_workload, cimsim.simulate",
    ],
)
def test_heavy_packages_are_not_loaded(statement: str) -> None:
    loaded = loaded_by(statement)
    assert "cimsim" in loaded
    assert not loaded & set(HEAVY)


def test_heavy_packages_would_be_seen() -> None:
    assert "numba" in loaded_by("import cimsim.engines.compiled")


TEXTS = (".py", ".json", ".md", ".toml", ".yaml", ".yml", ".cfg", ".txt", ".ipynb")
SKIPPED = {"build", "dist", "out", "node_modules", "__pycache__"}


def texts() -> Iterator[Path]:
    """Text files of the project, generated and hidden folders left out."""
    pending = [small.ROOT]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            if path.name.startswith(".") or path.name in SKIPPED or path.suffix == ".egg-info":
                continue
            if path.is_dir():
                pending.append(path)
            elif path.suffix in TEXTS:
                yield path


def test_no_path_of_a_machine_is_in_the_project() -> None:
    paths = re.compile("/" + r"(?:work|tmp|home|Users)/")
    seen = 0
    for path in texts():
        seen += 1
        found = paths.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path} names {found and found[0]}"
    assert seen > 60
