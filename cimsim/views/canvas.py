"""Pictures as files: matplotlib without a display, without the user's style, and with plain text.

Nothing here depends on MPLBACKEND, on a matplotlibrc or on what a notebook has set, and nothing of
that is changed. A `$` in a name is a `$`.
"""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cimsim.errors import CimsimError, OutputError
from cimsim.files import write_bytes
from cimsim.values.display import shown
from cimsim.values.plaintext import literal, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
LARGEST_INCH = 300.0
"""Largest side of a picture; matplotlib ends at 65,536 pixels."""
FORMATS: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}
"""Endings of pictures, each with what of its metadata would differ from time to time."""
_STYLE = {
    "text.parse_math": False,
    "pdf.fonttype": 42,  # counted: TrueType, which stays text and which publishers take
    "svg.hashsalt": "cimsim",
}
_BACKEND = "MPLBACKEND"


class NoMatplotlibError(OutputError):
    """An installation without pictures."""

    def __init__(self) -> None:
        super().__init__("matplotlib is not installed: pip install '.[plots]'")


@contextmanager
def picture(
    path: Path, width: float, height: float, panels: int | tuple[int, int] = 1
) -> Iterator[tuple[Figure, Any]]:
    """A figure (inches) and its axes to draw on, then written: the same bytes each time.

    The ending of `path` is the format, one of FORMATS. `panels` are the columns of one row, or
    rows and columns; 0 of them leave the figure to whoever draws.

    Raises CimsimError for another ending, NoMatplotlibError without matplotlib and OutputError
    where `path` cannot be written.
    """
    ending = ending_of(path)
    require_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    shape = panels if isinstance(panels, tuple) else (1, panels)
    size = min(width, LARGEST_INCH), min(height, LARGEST_INCH)
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        for unsightly in (r"Glyph \d+ .* missing from", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", message=unsightly)
        figure = NewFigure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(*shape) if panels else None
        stream = io.BytesIO()
        figure.savefig(stream, format=ending[1:], dpi=DPI, metadata=FORMATS[ending])
    write_bytes(path, stream.getvalue())


def ending_of(path: Path) -> str:
    """The ending of a picture in small letters; raises CimsimError for one that is not drawn."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise CimsimError(
            f"{path}: a picture ends in {', '.join(FORMATS)}, not in {shown(path.suffix)}."
        )
    return ending


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


_NUMBER = re.compile(r"(?<=\.)[0-9]+(?=[./])")


def starred(name: str) -> str:
    """A name without its numbers: that of all layers which are the same in a model's blocks."""
    return _NUMBER.sub("*", name)


def end_of(name: str, most: int) -> str:
    """A name as it is drawn, or the end of a long one, which says more than its beginning."""
    whole = label(name, len(name) + 4)
    return whole if len(whole) <= most else f"...{whole[3 - most :]}"


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
