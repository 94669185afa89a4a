"""One HTML file that needs no network: charts with hover beside text and tables.

Everything from outside is escaped, in HTML, in the JSON within it, and in what plotly is given. A
page also forbids itself (Content-Security-Policy) any request and any script but its own two.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

from cimsim.errors import OutputError
from cimsim.values.plaintext import literal

HERE = Path(__file__).parent


class NoPlotlyError(OutputError):
    """An installation without pages."""

    def __init__(self) -> None:
        super().__init__("plotly is not installed: pip install '.[plots]'")


def document(title: str, parts: list[str], scene: Mapping[str, object]) -> str:
    """The whole page as text; `parts` are HTML, `title` is a text.

    `scene` has `charts` for plotly, each drawn into the element `chart-NUMBER`, and what hovering
    tells: the marks of a chart carry the name of one of `points` (`customdata`), which has a `name`
    and a value for each of the chart's `keys`. `brush`, if it is there, names the `chart` of
    parallel coordinates, its `columns`, and the `heights` of every point on them: intervals that
    are dragged there keep points in all charts. Raises NoPlotlyError without plotly.
    """
    own = [(HERE / name).read_text(encoding="utf-8") for name in ("brush.js", "page.js")]
    scripts = (_plotly(), "\n".join(own[0 if "brush" in scene else 1 :]))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n'
        f"<style>\n{(HERE / 'page.css').read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        + "\n".join((f"<h1>{text(title)}</h1>", *parts))
        + '\n<div id="told" role="tooltip" hidden></div>\n'
        + f'<script type="application/json" id="scene">{_json(scene)}</script>\n'
        + "\n".join(f"<script>{script}</script>" for script in scripts)
        + "\n</body>\n</html>\n"
    )


def text(given: str) -> str:
    """A text as HTML, and for plotly: no tags, no entities, no control characters, no TeX."""
    return escape(literal(given), quote=True).replace("$", "&#36;")


def table(heads: list[str], rows: list[str]) -> str:
    """A table that scrolls by itself where it is too wide; `heads` and `rows` are HTML.

    Heads stand as the cells of the first row do.
    """
    numbers = ['class="number"' in cell for cell in rows[0].split("<td")[1:]] if rows else []
    looks = [' class="number"' * one for one in numbers] + [""] * len(heads)
    head = "".join(f"<th{look}>{cell}</th>" for cell, look in zip(heads, looks, strict=False))
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )


def listed(pairs: Mapping[str, object]) -> str:
    """Names with long values."""
    rows = [
        f'<tr><td>{text(name)}</td><td class="long"><code>{text(str(value))}</code></td></tr>'
        for name, value in pairs.items()
    ]
    return table(["", ""], rows)


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise NoPlotlyError from None
    found: str = get_plotlyjs()
    return found.replace("\r\n", "\n")


def _policy(scripts: tuple[str, ...]) -> str:
    """No request, and no script whose digest is not one of these."""
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _json(value: object) -> str:
    """JSON that ends no script element, in ASCII."""
    found = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return found.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
