"""The tutorials keep their promises: each runs in an empty directory and prints what it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import small
from notebooks import NOTEBOOKS, executed, told

VARIES = "varies"
"""Tag of cells whose last digits hang on the processor: trained models."""
LARGEST_KIB = 160
"""Choice: what a repository bears of each."""


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tutorial as it is kept and as it runs, cell by cell."""
    nbformat = pytest.importorskip("nbformat", reason="a development tool")
    path: Path = request.param
    kept = nbformat.read(path, 4)
    found = executed(path, tmp_path_factory.mktemp(path.stem))
    return path.stem, list(zip(kept.cells, found.cells, strict=True))


def test_a_tutorial_prints_what_it_shows(run: Any) -> None:
    name, cells = run
    for kept, found in cells:
        if VARIES not in kept.metadata.get("tags", ()):
            assert told(found) == told(kept)
        pictures = [
            [sorted(o.get("data", ())) for o in c.get("outputs", ())] for c in (kept, found)
        ]
        assert pictures[0] == pictures[1]
    if name == "own_model":
        (table,) = (told(found) for _, found in cells if "robust" in told(found))
        plain, robust = map(float, re.findall(r"([\d.]+) %", table.splitlines()[-1]))
        assert robust > plain + 5.0


def test_tutorials_are_small_and_clean() -> None:
    nbformat = pytest.importorskip("nbformat", reason="a development tool")
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        assert path.stat().st_size < LARGEST_KIB * 1024, path
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), path
        assert "\x1b" not in path.read_text(encoding="utf-8")
    page = (small.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f"docs/tutorials/{path.name}" in page for path in NOTEBOOKS)
