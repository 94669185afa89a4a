"""Tables of what bounds a run."""

from __future__ import annotations

from cimsim.cli.sheet import Sheet, show
from cimsim.report import Bottlenecks, Bound, Lever, PhaseBounds
from cimsim.units import quantity

LAYERS_SHOWN = 5
CHANGES_SHOWN = 2


def print_bounds(found: Bottlenecks) -> None:
    """Lower bounds of the latency, then the critical path by what works on it."""
    show(_bounds(found), _path(found), _levers(found))


def _parts(found: Bottlenecks) -> dict[str, PhaseBounds]:
    """The phases, and the whole run where it has several."""
    return {**found.phases, "total": found.total} if len(found.phases) > 1 else found.phases


def _bounds(found: Bottlenecks) -> Sheet:
    table = Sheet(
        "Lower bounds of the latency",
        ("", "latency", "busiest", "works", "latency x", "chain", "latency x"),
        texts=(0, 2),
        caption="busiest: the unit or stage that works longest, one block after the other; chain: "
        "the dependencies alone, shared units without limit; x: latency over the bound; -: the "
        "phase overlaps the one before, so that neither bounds it",
    )
    for name, part in _parts(found).items():
        busiest, chain = part.busiest, part.chain
        table.add(
            name, quantity(part.latency_s, "s"), "-" if busiest is None else busiest.name,
            *_cells(busiest), *_cells(chain), total=name == "total",
        )  # fmt: skip
    return table


def _levers(found: Bottlenecks) -> Sheet:
    table = Sheet(
        "Levers", ("", "lever", "acts on", "predicted gain", "measured gain"),
        texts=(0, 1, 2), keys=2,
        caption="work: those units at work on the critical path; shared: its waiting for them; "
        "order: its waiting until they have done the block before; blocks: its time in them; "
        "predicted: half of that time, as far as the bounds allow; measured: the changed run "
        "simulated (--levers); -: not simulated",
    )  # fmt: skip
    for name, part in _parts(found).items():
        for row, lever in enumerate(part.levers):
            table.add(
                "" if row else name, _changes(lever),
                f"{lever.acts_on}: {', '.join(lever.units)}",
                _gain(lever.predicted_s, part), _measured(lever, part),
            )  # fmt: skip
    return table


def _changes(lever: Lever) -> str:
    """What it changes; of many sizes of blocks the first ones."""
    names = [name for name in lever.new if lever.new[name] != lever.old[name]]
    told = [f"{name} {lever.old[name]:g} -> {lever.new[name]:g}" for name in names[:CHANGES_SHOWN]]
    rest = [f"{len(names) - CHANGES_SHOWN} more"] if len(names) > CHANGES_SHOWN else []
    return ", ".join(told + rest)


def _measured(lever: Lever, part: PhaseBounds) -> str:
    if lever.refused is not None:
        return f"refused: {lever.refused}"
    return "-" if lever.measured_s is None else _gain(lever.measured_s, part)


def _gain(time_s: float, part: PhaseBounds) -> str:
    sign = "-" if time_s < 0 else ""
    share = f" ({time_s / part.latency_s:.1%})" if part.latency_s else ""
    return f"{sign}{quantity(abs(time_s), 's')}{share}"


def _cells(bound: Bound | None) -> tuple[str, str]:
    if bound is None:
        return "-", "-"
    ratio = bound.latency_ratio
    return quantity(bound.time_s, "s"), "-" if ratio is None else f"{ratio:.3f}"


def _path(found: Bottlenecks) -> Sheet:
    parts = _parts(found)
    columns = [cell for name in parts for cell in (name, "share")]
    table = Sheet(
        "Critical path", ("by", "", *columns), texts=(0, 1), keys=2,
        caption="waits: what the next work on the path waited for. data: this result; order: the "
        "unit, busy with the block before; shared: a shared unit, busy with another stage; full: "
        "room in a full buffer",
    )  # fmt: skip
    for by in ("unit", "kind", "layer", "wait", "shared unit"):
        folds = {name: _fold(part, by) for name, part in parts.items()}
        names = list(dict.fromkeys(n for fold in reversed(folds.values()) for n in fold))
        shown = names[:LAYERS_SHOWN] if by == "layer" else names
        for row, name in enumerate(shown):
            cells = [_time(fold.get(name, 0.0), parts[p]) for p, fold in folds.items()]
            table.add("" if row else by, name, *(c for pair in cells for c in pair))
        if others := names[len(shown) :]:
            cells = [_time(sum(f.get(n, 0.0) for n in others), parts[p]) for p, f in folds.items()]
            table.add("", f"{len(others)} others", *(c for pair in cells for c in pair))
    return table


def _fold(part: PhaseBounds, by: str) -> dict[str, float]:
    return {
        "unit": part.by_unit_s,
        "kind": part.by_kind_s,
        "layer": part.by_layer_s,
        "wait": part.by_wait_s,
        "shared unit": part.shared_by_unit_s(),
    }[by]


def _time(time_s: float, part: PhaseBounds) -> tuple[str, str]:
    share = f"{time_s / part.latency_s:.1%}" if part.latency_s else "-"
    return quantity(time_s, "s"), share
