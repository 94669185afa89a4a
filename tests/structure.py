"""The structure of the package in figures: `python tests/structure.py`.

Modules and their lengths, loose modules, circles of imports (those for type checkers alone do not
count), class names used twice, public names (functions and classes) used twice within a room.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

PACKAGE = Path(__file__).resolve().parents[1] / "cimsim"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of the module at `path`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


@dataclass(frozen=True)
class Import:
    """One imported module; `lazy` if within a function, `typing` if for type checkers only."""

    name: str
    line: int
    lazy: bool
    typing: bool


def top(path: Path) -> str:
    """The room of `path`: the module or folder of the package that it belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax of the module at `path`, read once."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> list[Import]:
    """Everything that the module at `path` imports, with the names taken from cimsim as modules."""
    return list(_imports(tree(path), lazy=False, typing=False))


def _imports(part: ast.AST, *, lazy: bool, typing: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(part):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy, typing)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                name = full if full in NAMES or node.module == "cimsim" else str(node.module)
                yield Import(name, node.lineno, lazy, typing)
        else:
            inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from _imports(node, lazy=lazy or inner, typing=typing or guard)


def of_package(path: Path) -> list[tuple[Import, str]]:
    """Imports of other modules of the package, with the room of each."""
    return [
        (found, found.name.split(".")[1])
        for found in imports(path)
        if found.name.startswith("cimsim.")
    ]


def circles() -> list[list[str]]:
    """Groups of modules that import each other while they run, late imports included."""
    edges = {
        name_of(path): {
            found.name
            for found in imports(path)
            if found.name in NAMES and not found.typing and found.name != name_of(path)
        }
        for path in MODULES
    }
    reached = {name: _reached(name, edges) for name in edges}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in edges
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _reached(name: str, edges: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(edges[name])
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += edges[current]
    return found


def classes_named_twice() -> dict[str, list[str]]:
    """Class names that several modules define, with the modules."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name_of(path))
    return {name: found for name, found in sorted(homes.items()) if len(found) > 1}


def main() -> None:
    """Print the figures."""
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES]
    loose = [p.stem for p in MODULES if p.parent == PACKAGE]
    rooms = {top(path) for path in MODULES} - set(loose)
    print(f"modules          {len(MODULES)}, {sum(lines)} lines")
    print(f"lines a module   median {median(lines):.0f}, longest {max(lines)}")
    print(f"rooms            {len(rooms)} folders")
    print(f"loose modules    {len(loose)}: {', '.join(loose)}")
    print(f"circles          {circles() or 'none'}")
    print(f"classes twice    {classes_named_twice() or 'none'}")


if __name__ == "__main__":
    main()
