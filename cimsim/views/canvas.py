"""Pictures as files: matplotlib without a display, without the user's style, and with plain text.

Nothing here depends on MPLBACKEND, on a matplotlibrc or on what a notebook has set, and nothing of
that is changed. A `$` in a name is a `$`.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cimsim.errors import OutputError
from cimsim.files import write_bytes
from cimsim.values.plaintext import literal, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
LARGEST_INCH = 300.0
"""Largest side of a picture; matplotlib ends at 65,536 pixels."""
_BACKEND = "MPLBACKEND"


class NoMatplotlibError(OutputError):
    """An installation without pictures."""

    def __init__(self) -> None:
        super().__init__("matplotlib is not installed: pip install '.[plots]'")


@contextmanager
def picture(
    path: Path, width: float, height: float, panels: int | tuple[int, int] = 1
) -> Iterator[tuple[Figure, Any]]:
    """A figure (inches) and its axes to draw on, then written as PNG: the same bytes each time.

    `panels` are the columns of one row, or rows and columns.

    Raises NoMatplotlibError without it and OutputError where `path` cannot be written.
    """
    require_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    shape = panels if isinstance(panels, tuple) else (1, panels)
    size = min(width, LARGEST_INCH), min(height, LARGEST_INCH)
    with style.context(["default", {"text.parse_math": False}]), warnings.catch_warnings():
        for unsightly in (r"Glyph \d+ .* missing from", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", message=unsightly)
        figure = NewFigure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(*shape)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    write_bytes(path, stream.getvalue())


def area_key(text: str, **look: Any) -> Any:
    """What stands in a legend for areas of this look."""
    from matplotlib.patches import Patch

    return Patch(label=text, **look)


def line_key(text: str, **look: Any) -> Any:
    """What stands in a legend for lines of this look."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=text, **look)


def label(text: str, most: int = 80) -> str:
    """A name as it is drawn: no control characters, and no longer than there is room for."""
    shown = shortened(literal(text), most)
    return f" {shown}" if shown.startswith("_") else shown  # legends leave out what starts with _


def require_matplotlib() -> None:
    """Import it whatever MPLBACKEND says: a value that it does not know stops its import.

    Raises NoMatplotlibError where it is not installed.
    """
    if sys.modules.get("matplotlib") is not None:
        return
    backend = os.environ.pop(_BACKEND, None)
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise NoMatplotlibError from None
    finally:
        if backend is not None:
            os.environ[_BACKEND] = backend
    if backend:
        with suppress(ValueError):  # as matplotlib does itself with a value that it knows
            matplotlib.rcParams["backend"] = backend
