"""The tutorials and how they are run; `python tests/notebooks.py` keeps what they print."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
COLUMNS = 100
"""Choice: width of the tables in tutorials."""


def executed(path: Path, folder: Path) -> Any:
    """The notebook after it was run from top to bottom in `folder`."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    with _surroundings(folder / ".jupyter"):
        NotebookClient(
            notebook, timeout=300, kernel_name="python3", coalesce_streams=True,
            store_widget_state=False, record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        ).execute()  # fmt: skip
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_kept(out) for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def _kept(output: Any) -> Any:
    """An output without what differs from run to run, or between terminals."""
    from nbconvert.filters import strip_ansi

    if output.output_type == "stream":
        output.text = strip_ansi(output.text)
    elif "text/plain" in output.get("data", {}):
        del output.data["text/plain"]
    return output


def told(cell: Any) -> str:
    """What a cell printed."""
    texts = [output.text for output in cell.get("outputs", ()) if output.output_type == "stream"]
    return "".join(texts)


@contextmanager
def _surroundings(folder: Path) -> Iterator[None]:
    """`cimsim` on the path, tables of one width, and nothing of Jupyter's in the home directory."""
    before = dict(os.environ)
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        os.environ[name] = str(folder)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before.get("PATH", "")])
    os.environ["COLUMNS"] = str(COLUMNS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    """Run all tutorials, or those that are named, and keep what they print."""
    import nbformat

    for path in [Path(name) for name in sys.argv[1:]] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(path)


if __name__ == "__main__":
    main()
