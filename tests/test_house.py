"""The house: who may import whom, what is loaded when, and what has no place in the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import small

PACKAGE = small.ROOT / "cimsim"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS: dict[int, set[str]] = {
    0: {
        "units", "errors", "plaintext", "version", "display", "arguments", "workers", "parsing",
        "ranges",
    },
    1: {
        "files", "jit", "bounds", "field_paths", "spec", "ir", "ir_rules", "history",
        "lengths", "ranks",
    },
    2: {"adaptation", "drawing", "mapping", "costs", "report", "rows"},
    3: {"accounting", "program", "schedule", "reprogramming", "layer_bench"},
    4: {"engines", "occupancy", "simulation"},
    5: {
        "accuracy_figure", "baseline", "comparison", "figures", "perfetto", "pipeline_figures",
        "pipeline_study", "shipped", "sweep", "validation",
    },
    6: {"cli", "__init__", "__main__"},
}  # fmt: skip
WINGS = {
    "frontend", "noise", "kernels", "coding", "periphery", "crossbar", "mvm", "operands",
    "functional", "training", "tasks", "accuracy", "hardware", "diagnosis", "crossbar_sweep",
    "quiet",
}  # fmt: skip
MEET = {("reprogramming", "noise"), ("spec", "noise")}
"""One write-verify model for the cost and for the noise of programming, and one check of the device
that a machine names; loaded if it is needed."""

THIRD_PARTY: dict[int, set[str]] = {
    0: set(),
    1: {"pydantic", "pydantic_core"},
    2: {"numpy"},
    3: set(),
    4: {"simpy", "numba"},
    5: {"matplotlib", "optuna"},
    6: {"typer", "rich", "click"},
}
ALONE = {"jit": {"numba"}, "drawing": {"matplotlib"}}
"""Below their floor: the one place that decides how a package is used."""
IN_WINGS = {
    "numpy", "numba", "llvmlite", "scipy", "torch", "transformers", "tokenizers", "peft",
    "safetensors", "matplotlib",
}  # fmt: skip
HEAVY = ("torch", "numba", "matplotlib")
CAP_LINES = 600


@dataclass(frozen=True)
class Import:
    """One imported module; `lazy` if within a function, `typing` if for type checkers only."""

    name: str
    line: int
    lazy: bool
    typing: bool


def top(path: Path) -> str:
    """The module or folder of the package that `path` belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def place(name: str) -> int | None:
    """The floor of a module, None for a wing; fails for one that has no place."""
    if name in WINGS:
        return None
    for floor, names in FLOORS.items():
        if name in names:
            return floor
    pytest.fail(f"cimsim.{name} has no place: add it to the table of floors in {__file__}")


def imports(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), lazy=False, typing=False))


def _imports(tree: ast.AST, *, lazy: bool, typing: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy, typing)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "cimsim":
                for alias in node.names:
                    yield Import(f"cimsim.{alias.name}", node.lineno, lazy, typing)
            else:
                yield Import(str(node.module), node.lineno, lazy, typing)
        else:
            inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from _imports(node, lazy=lazy or inner, typing=typing or guard)


def of_package(path: Path) -> list[tuple[Import, str]]:
    """Imports of other modules of the package, with the module's name."""
    return [
        (found, found.name.split(".")[1])
        for found in imports(path)
        if found.name.startswith("cimsim.")
    ]


IDS = [str(path.relative_to(PACKAGE)) for path in MODULES]
each_module = pytest.mark.parametrize("path", MODULES, ids=IDS)


def test_modules_are_found() -> None:
    assert len(MODULES) > 50
    assert {"simulation", "cli", "frontend"} <= {top(path) for path in MODULES}


@each_module
def test_imports_go_down(path: Path) -> None:
    home = top(path)
    floor = place(home)
    for found, name in of_package(path):
        where = f"{path}:{found.line} imports cimsim.{name}"
        target = place(name)
        if target is None:
            late = found.lazy or found.typing
            allowed = floor is None or (late and (home == "cli" or (home, name) in MEET))
            assert allowed, f"{where}: wings are imported by the cli alone, verb by verb"
        elif floor is None:
            assert target <= 2, f"{where}: a wing stands on floors 0 to 2"
        else:
            assert target <= floor, f"{where}: from floor {floor} up to floor {target}"


@each_module
def test_third_parties_stay_on_their_floor(path: Path) -> None:
    floor = place(top(path))
    if floor is None:
        known = IN_WINGS | {"pydantic"}
    else:
        known = set().union(*(names for at, names in THIRD_PARTY.items() if at <= floor))
    known = known | ALONE.get(top(path), set())
    for found in imports(path):
        name = found.name.split(".")[0]
        if name not in sys.stdlib_module_names and name != "cimsim":
            assert name in known, f"{path}:{found.line} imports {name}"


@each_module
def test_one_place_decides_where_compiled_code_is_kept(path: Path) -> None:
    if top(path) == "jit":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "numba":
            names = {alias.name for alias in node.names}
            assert not names & {"jit", "njit", "vectorize", "guvectorize"}, (
                f"{path}:{node.lineno}: use cimsim.jit.njit"
            )


@each_module
def test_one_place_draws(path: Path) -> None:
    for found in imports(path):
        if found.name.split(".")[0] == "matplotlib" and top(path) != "drawing":
            assert found.typing, f"{path}:{found.line}: use cimsim.drawing.picture"


@each_module
def test_all_that_is_printed_goes_through_one_place(path: Path) -> None:
    if top(path) != "cli":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        allowed = path.stem == "sheet" and called in ("Table", "Console")
        assert allowed or called not in ("print", "typer.echo", "Console", "Table"), path


@each_module
def test_modules_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= CAP_LINES, f"{path} has {lines} lines: make it a folder"


@each_module
def test_only_the_cli_prints(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if top(path) == "cli":
        return
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Name) and node.id == "print"), f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            stream = (node.value.id, node.attr) in (("sys", "stdout"), ("sys", "stderr"))
            assert not stream, f"{path}:{node.lineno}"


@each_module
def test_modules_are_named_after_what_they_hold(path: Path) -> None:
    parts = {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}
    assert not parts & {"utils", "util", "common", "core", "base", "managers", "helpers", "misc"}


@each_module
def test_randomness_is_passed_in(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
