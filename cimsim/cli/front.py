"""cimsim front: which points of a store no other beats, as tables, a picture and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cimsim.cli.options import HtmlOption, JsonOption
from cimsim.cli.outputs import finish, reserve, write
from cimsim.cli.sheet import Sheet, show
from cimsim.cli.streams import emit, say

if TYPE_CHECKING:
    from cimsim.exploration.effects import AxisEffect
    from cimsim.exploration.front import Front
    from cimsim.views.front.scene import Scene


def front(
    context: typer.Context,
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="What a sweep stored.", show_default=False)
    ],
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="KEY,...",
            help="What is sought, small; -KEY large. Left out: what the store was made for.",
            show_default=False,
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY<=NUMBER", help="A limit, <= or >=, once for each.", show_default=False
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(help="Points in the table: both ends, the knee, some between.", min=1)
    ] = 20,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR|FILE",
            help="Write front.json, front.png and front.html into DIR, or draw a picture as FILE "
            "(.png, .pdf, .svg).",
        ),
    ] = None,
    html: HtmlOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Show the front of STORE: points that no other beats in everything, and what makes them.

    With the knee, what binds each point (if the sweep stored `bound`), and how much of each
    objective every axis explains.
    """
    from cimsim.exploration.front import front_of, objectives_of
    from cimsim.exploration.store import read_store
    from cimsim.exploration.tables import Again
    from cimsim.views.front.scene import scene_of

    picture = _picture(output)
    if picture is None:
        reserve(context, output)
    with read_store(store) as opened:
        study, rows = opened.study, Again(opened.rows)
        found = front_of(
            rows, objectives or objectives_of(study, rows), require or [],
            complete="objectives" not in study,
        )  # fmt: skip
    scene = scene_of(found, study)
    outcome = None
    if picture is not None:
        from cimsim.views.front.picture import save_front

        save_front(scene, picture)
    elif output is not None:
        outcome = _write(output, found, scene)
    if html is not None:
        from cimsim.views.front.page import save_page

        save_page(scene, html)
    if json:
        emit(_json(found, scene))
    else:
        print_front(found, scene, top)
        written = [str(path) for path in (picture, html) if path is not None]
        if written:
            say(f"wrote {' and '.join(written)}")
    finish(outcome, quiet=json)


def _picture(output: Path | None) -> Path | None:
    """`output` if it is a picture and no directory; raises CimsimError for another ending."""
    from cimsim.views.canvas import ending_of

    if output is None or output.is_dir() or not output.suffix:
        return None
    ending_of(output)
    return output


def _write(output: Path, found: Front, scene: Scene) -> Any:
    from functools import partial

    from cimsim.files import write_text
    from cimsim.views.front.page import save_page
    from cimsim.views.front.picture import save_front

    views = {
        "front.png": partial(save_front, scene),
        "front.html": partial(save_page, scene),
    }
    return write(output, "front.json", lambda p: write_text(p, _json(found, scene)), views)


def print_front(found: Front, scene: Scene, top: int) -> None:
    """Tables of the front and of what explains it."""
    show(scene.title, found.note)
    varied = [c for c in scene.axes if len({c.texts[i] for i in scene.front}) > 1]
    same = [f"{c.key}={c.texts[scene.front[0]]}" for c in scene.axes if c not in varied]
    reasons = len(scene.reasons) > 1
    same += [f"bound by {scene.why[0]}"] * (not reasons and bool(scene.why[0]))
    columns = ["point", *(_head(c.label, c.maximise) for c in scene.objectives)]
    columns += [*["bound by"] * reasons, *(c.key for c in varied)]
    texts = (0, *range(1 + len(scene.objectives), len(columns)))
    chosen = _chosen(len(scene.front), found.knee, top)
    more = len(scene.front) - len(chosen)
    sheet = Sheet(
        "front", tuple(columns), texts=texts,
        caption=f"{more} more points of the front: --top, --json" if more else "",
    )  # fmt: skip
    for place in chosen:
        point, knee = scene.front[place], place == found.knee
        cells = [f"{place + 1}{' knee' * knee}"]
        cells += [f"{c.numbers[point]:.4g}" for c in scene.objectives]
        cells += [*[scene.why[place]] * reasons, *(c.texts[point] for c in varied)]
        sheet.add(*cells, total=knee)
    show(sheet)
    if same:
        show(f"the same on the whole front: {'; '.join(same)}")
    if scene.axes:
        show(_explained(scene))


def _explained(scene: Scene) -> Sheet:
    from cimsim.views.front.explained import about, taken

    found = scene.effects
    heads = ["axis", *(c.key for c in scene.objectives), *["by chance"] * (not found.exact)]
    sheet = Sheet(
        "what explains the objectives", (*heads, "on the front"), texts=(0, len(heads)),
        caption=about(found, "last number"),
    )  # fmt: skip
    for effect in found.axes:
        cells = [_share(effect, c.key) for c in scene.objectives]
        cells += [f"{effect.chance:.0%}"] * (not found.exact)
        sheet.add(effect.axis, *cells, taken(effect))
    return sheet


def _share(effect: AxisEffect, key: str) -> str:
    share = effect.shares[key]
    return effect.note or "no change" if share is None else f"{share:.0%}"


def _head(label: str, maximise: bool) -> str:
    return f"{label}, more" if maximise else label


def _chosen(points: int, knee: int, top: int) -> list[int]:
    """At most `top` places of a front: the knee, the ends, and evenly between."""
    if points <= top:
        return list(range(points))
    spread = max(1, top - 1)
    even = {round(i * (points - 1) / max(1, spread - 1)) for i in range(spread)}
    return sorted({knee, *(even if top > 1 else ())})


def _json(found: Front, scene: Scene) -> str:
    import json

    effects = [
        {
            "axis": one.axis, "share": dict(one.shares), "by_chance": one.chance, "note": one.note,
            "values": [{"value": v, "front": n, "points": of} for v, n, of in one.taken],
        }
        for one in scene.effects.axes
    ]  # fmt: skip
    whole = {
        "study": dict(scene.inputs),
        "objectives": [{"key": o.key, "maximise": o.maximise} for o in found.objectives],
        "constraints": [str(limit) for limit in found.constraints],
        "points": found.points, "dominated": found.beaten, "beyond": found.beyond,
        "infeasible": found.infeasible, "unknown": found.unknown, "pruned": found.pruned,
        "knee": found.knee,
        "front": [row.flat() for row in found.rows],
        "effects": {"exact": scene.effects.exact, "logs": scene.effects.logs, "axes": effects},
    }  # fmt: skip
    return json.dumps(whole, indent=2) + "\n"
