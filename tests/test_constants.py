"""Numbers in code: none that says something about hardware without a source.

Literals in the rooms below are 0, 1 and 2, factors between units, or stand in a statement whose
comment (on its lines or directly above) or docstring (directly below) names a source: a citation,
a measurement, `counted: what`, `assumed: why`, or `choice: why` for a setting of the program that
is no property of hardware. A module whose text has a paragraph `Constants: ...` with a source says
it for all constants of the module; `Source: ...` in the docstring of a function, an equation, says
it for the numbers in it. Bounds of what is accepted (`..._MAX`) need none.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from structure import MODULES, PACKAGE, top

ROOMS = {
    "costs", "unit_kinds", "adaptation", "mapping", "mappers", "schedule", "report", "simulation",
    "baseline", "comparison", "noise", "analog",
}  # fmt: skip
"""Rooms that compute times, energies, areas, currents and what is said of them. Not: engines, which
only add times up; blocks and spec, which bound what a file may say; frontend to cli, which show."""
LAYOUT = PACKAGE / "analog" / "kernels"
"""Positions in memory, counters and bits of random numbers: nothing measured."""

PLAIN = {0, 1, 2}
BITS_A_BYTE, KIB, GIB = 8, 1024, "2 ** 30"
UNITS = {KIB, *(10.0**power for power in (-15, -12, -9, -6, -3, 3, 6, 9, 12))}
FACTORS = {BITS_A_BYTE, *UNITS}
SOURCE = re.compile(
    r"arXiv \d{4}\.\d{4,5}|https?://|et al\.|\baihwkit\b|\b(RTL|port|CODATA|IEEE)\b"
    r"|\b[Ff]itted (on|to|\()|\bSource: \w|\b([Aa]ssumed|[Cc]ounted|[Cc]hoice): "
)
LIMIT = re.compile(r"(\w*_)?(MAX|LIMIT)(_\w+)?")
CHECKS = {"require_number", "self._rising", "math.log"}
"""Calls whose numbers are bounds of what is accepted, or a base."""
OPTIONS = {"rel_tol", "abs_tol"}


@dataclass(frozen=True)
class Literal:
    """A number in code that is neither plain nor a factor, and what is said about it."""

    line: int
    value: float
    said: str


class _Walk(ast.NodeVisitor):
    def __init__(self, tree: ast.Module, text: str) -> None:
        self.lines = text.splitlines()
        self.constants = (ast.get_docstring(tree) or "").partition("Constants: ")[2]
        self.depth = 0
        self.equation = ""
        self.found: list[Literal] = []
        self.statement: ast.stmt | None = None
        self.below = ""

    def body(self, statements: list[ast.stmt]) -> None:
        for index, statement in enumerate(statements):
            after = statements[index + 1] if index + 1 < len(statements) else None
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = str(after.value.value)
            outer = (self.statement, self.below)
            self.statement, self.below = statement, text
            self.visit(statement)
            self.statement, self.below = outer

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("decorator_list", "annotation", "returns", "format_spec"):
                continue
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self.body(value)
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        self.visit(item)
            elif isinstance(value, ast.AST):
                self.visit(value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func) not in CHECKS:
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in OPTIONS:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.equation
        self.depth += 1
        self.equation = "".join((ast.get_docstring(node) or "").partition("Source: ")[1:])
        self.generic_visit(node)
        self.depth -= 1
        self.equation = outer

    def visit_BinOp(self, node: ast.BinOp) -> None:
        scales = isinstance(node.op, ast.Mult | ast.Div | ast.FloorDiv)
        for side in (node.left, node.right):
            factor = scales and isinstance(side, ast.Constant) and side.value in FACTORS
            if not factor and ast.unparse(node) != GIB:
                self.visit(side)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value in PLAIN:
            return
        if not self._is_limit():
            self.found.append(Literal(node.lineno, value, self._said(node)))

    def _is_limit(self) -> bool:
        """Whether a constant is a bound by its name, or a factor between units that gets one."""
        if not isinstance(self.statement, ast.Assign):
            return False
        (target,) = self.statement.targets
        value = self.statement.value
        factor = isinstance(value, ast.Constant) and value.value in UNITS
        return factor or all(LIMIT.fullmatch(name) for name in ast.unparse(target).split(", "))

    def _said(self, node: ast.Constant) -> str:
        """Comments on the lines of the statement and directly above it, and the text below."""
        statement = self.statement
        assert statement is not None
        inner = getattr(statement, "body", None)
        last = statement.end_lineno if inner is None else node.lineno
        first = statement.lineno if inner is None else node.lineno
        above = first - 1
        while above and self.lines[above - 1].lstrip().startswith("#"):
            above -= 1
        shown = range(above + 1, (last or first) + 1)
        comments = [self.lines[line - 1].partition("#")[2] for line in shown]
        of_module = self.constants if not self.depth else ""
        return " ".join([*comments, self.below, of_module, self.equation])


def unsourced(text: str) -> list[tuple[int, float]]:
    """Lines and values of literals that have no source."""
    tree = ast.parse(text)
    walk = _Walk(tree, text)
    walk.body(tree.body)
    return [(found.line, found.value) for found in walk.found if not SOURCE.search(found.said)]


WALKED = [path for path in MODULES if top(path) in ROOMS and LAYOUT not in path.parents]


def test_modules_are_walked() -> None:
    assert {top(path) for path in WALKED} == ROOMS
    assert len(WALKED) > 70


@pytest.mark.parametrize("path", WALKED, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_numbers_in_code_have_sources(path: Path) -> None:
    found = unsourced(path.read_text(encoding="utf-8"))
    assert found == [], f"{path}: (line, value) without a source; see {Path(__file__).name}"


@pytest.mark.parametrize("path", WALKED, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_planted_number_is_found_in_every_module(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    planted = f"{text}\n\ndef planted(x: float) -> float:\n    return 1.4 * x\n"
    assert [value for _, value in unsourced(planted)] == [1.4]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f(x):\n    return 1.4 * x", [1.4]),
        ("def f(x):\n    return max(x, 3)", [3]),
        ("def f(x):\n    x += 90\n    return x", [90]),
        ("def f(x, setup=20):\n    return x", [20]),
        ("def f(x):\n    return {'a': 0.25}[x]", [0.25]),
        ("def f(x):\n    if x > 5:\n        return x", [5]),
        ("def f(x):\n    return x + 8", [8]),
        ("def f(x):\n    return [x * 0.9 for _ in x]", [0.9]),
        ("ROW_CYCLES = 90", [90]),
        ("ROW_CYCLES = 90  # what a row takes", [90]),
        ("ROW_CYCLES = 90\n\"\"\"What a row takes.\"\"\"", [90]),
        ("class A:\n    row_cycles: float = 90.0", [90.0]),
        ("# assumed: why\nx = 1\nROW_CYCLES = 90", [90]),
        ("def f(x):\n    \"\"\"By arXiv 2411.17367.\"\"\"\n    return 1.4 * x", [1.4]),
    ],
)  # fmt: skip
def test_numbers_that_are_found(code: str, found: list[float]) -> None:
    assert [value for _, value in unsourced(code)] == found


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    return (2 * x + 1) / 8.0 * 1e-12 * 1024",
        "def f(x):\n    return x[3]",
        "ROW_CYCLES = 90  # assumed: why",
        "# RTL: 8 rows\nROW_CYCLES = 90",
        'ROW_CYCLES = 90\n"""What a row takes (arXiv 2411.17367, Fig. 4)."""',
        '"""Text.\n\nConstants: the fit of Nandakumar et al., 2019.\n"""\nA = (3, 0.2)',
        "PJ = 1e-12",
        "TASKS_MAX = 2**26",
        "@lru_cache(maxsize=1024)\ndef f(x):\n    return x",
    ],
)
def test_numbers_that_are_sourced_plain_or_factors(code: str) -> None:
    assert unsourced(code) == []
