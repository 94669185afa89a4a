"""cimsim sweep: many designs, a row each, kept whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.axes import completing
from cimsim.cli.options import AdaptOption, BaselineOption, HtmlOption, JsonOption, SetOption
from cimsim.cli.options import refuse_without_effect as refuse
from cimsim.cli.progress import points_told
from cimsim.cli.streams import complain, emit, say
from cimsim.cli.sweep_options import OF_A_PLAN, Wanted
from cimsim.errors import CimsimError

if TYPE_CHECKING:
    from cimsim.exploration.plan import LoadedPlan
    from cimsim.exploration.sweep import Reached

INTERRUPTED = 130  # counted: 128 and the number of SIGINT, as shells say it


def sweep(
    context: typer.Context,
    first: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP|ARCH", show_default=False,
            help="Sweep file (JSON, `cimsim schema sweep`); or an architecture, a file or a name "
            "of `cimsim list`.",
        ),
    ],
    workload: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKLOAD]", show_default=False,
            help="Traced workload beside an architecture: a file, or a name of `cimsim list`.",
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary", metavar="AXIS=VALUES", show_default=False,
            help="What is varied, once for each axis: a field of the architecture, or architecture,"
            " workload, rank, tokens, decode_tokens, adaptation, pipeline, mapper, noise, seed. "
            "VALUES are a list (4,6,8), whole numbers (4:8), steps (0:10:0.5), factors (64:1024:x2)"
            " or any number (0.5..400, 0.5..400:log).",
        ),
    ] = None,
    sample: Annotated[
        str,
        typer.Option(
            "--sample", metavar="METHOD[:POINTS]",
            help="grid (all points), list (values side by side), random:N, lhs:N (Latin "
            "hypercube), sobol:N.",
        ),
    ] = "grid",
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is drawn.", min=0)] = 0,
    outputs: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="KEY,...", show_default=False,
            help="What is kept of a report: keys of its JSON with dots, and `bound` (what binds) "
            "[default: latency_s,energy_J,area_used_mm2].",
        ),
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            "--accuracy", metavar="TASK[:OPTION=VALUE,...]", show_default=False,
            help="Measure a task on every design; options adapter, model, noise, seeds, limit, ... "
            "(docs/exploration.md).",
        ),
    ] = None,
    adapt: AdaptOption = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline", metavar="NAME[:OPTION=VALUE,...]", show_default=False,
            help="Strategy where it is not varied; auto if left out.",
            autocompletion=completing("pipelines"),
        ),
    ] = None,
    mapper: Annotated[
        str | None,
        typer.Option(
            "--mapper", metavar="NAME", show_default=False,
            help="How weights are laid onto units.", autocompletion=completing("mappers"),
        ),
    ] = None,
    settings: SetOption = None,
    baseline: BaselineOption = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="FILE", show_default=False,
            help="SQLite file of rows: written as they come, and gone on from.",
        ),
    ] = None,
    optimize: Annotated[
        str | None,
        typer.Option(
            "--optimize", metavar="KEY,...", show_default=False,
            help="Search for the designs that no other beats in these outputs, small ones; -KEY, "
            "and accuracy, large ones.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", min=1, show_default=False,
                     help="Designs that a search evaluates at most, stored ones counted."),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            "--sampler", metavar="NAME",
            help="What proposes designs: model (cimsim's own), random; nsga2, nsga3, tpe and gp of "
            "Optuna.",
        ),
    ] = "model",
    require: Annotated[
        list[str] | None,
        typer.Option("--require", metavar="KEY<=NUMBER", show_default=False,
                     help="A limit of a search, <= or >=, once for each."),
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option(
            "--prune", metavar="KEY,...", show_default=False,
            help="Run no point that is beaten in all of these outputs whatever its run would give:"
            " bounds tell. The front in them stays the same.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Processes [default: one a core].",
                     show_default=False),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask", metavar="PLACE", show_default=False,
            help="Workers of a Dask cluster instead: local[:N], tcp://HOST:PORT, slurm[:JOBS], or "
            "the file of a scheduler (docs/distributed.md).",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="KIND", show_default=False,
                     help="Table to write: csv, parquet or json."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", metavar="FILE", show_default=False, help="Where the table goes."),
    ] = None,
    html: HtmlOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Simulate every point of a space of designs once, and keep a row of each.

    A point that does not fit is a row with its shortage. With --store nothing that is done is done
    again, however the program ended. With --optimize not every point is taken, but --trials of
    them, chosen by what the others came to.
    """
    from cimsim.cli.sweep_search import OF_A_SEARCH, Sought, show_search
    from cimsim.cli.sweep_tables import (
        check_page,
        check_table,
        print_sweep,
        write_page,
        write_table,
    )
    from cimsim.exploration.front import objectives_of

    check_table(to, output, json=json)
    executor = None
    if dask is not None:
        from cimsim.exploration.cluster import on_dask

        refuse(context, ("workers",), "beside --dask, whose workers it has (local:N)")
        executor = on_dask(dask)
    if workload is None:
        refuse(context, OF_A_PLAN, "beside a sweep file, which says it all: write it there")
        plan = _read(first)
    else:
        wanted = Wanted(
            vary or (), sample, seed, outputs, accuracy, adapt, pipeline, mapper, settings,
            baseline or (), prune,
        )  # fmt: skip
        plan = wanted.plan(first, workload)
    if optimize is not None:
        refuse(context, ("sample",), "beside --optimize, whose sampler takes the points")
        refuse(context, ("prune",), "beside --optimize, which runs none that is beaten anyway")
        sought = Sought(optimize, trials, sampler, tuple(require or ()))
        with interruptible(store) as tell:
            searched = sought.run(plan, store, workers, executor, tell)
        if html is not None:
            write_page(searched.front, searched.store.study, html)
        show_search(searched, to, output, json=json)
        return
    refuse(context, OF_A_SEARCH, "without --optimize, which searches")
    if html is not None:
        check_page(plan.arguments())
    with interruptible(store) as tell:
        done = plan.run(store=store, workers=workers, executor=executor, progress=tell)
    if output is not None or to is not None:
        write_table(done.again, to, output)
        if output is not None and not json:
            say(f"wrote {done.reached.stored} rows to {output}")
    elif json:
        for piece in done.json_lines():
            emit(piece)
    else:
        print_sweep(done)
    feasible = done.feasible
    if html is not None and feasible:
        prune = ",".join(plan.arguments()["prune"])
        write_page(
            done.front(prune or objectives_of(done.store.study, done.again)), done.store.study, html
        )
    if feasible and (absent := done.absent):
        complain(f"note: no design has {', '.join(absent)}; `cimsim run` shows what there is.")
    if done.reached.stored and not feasible:
        complain("no point fits: the column shortage says what is missing.")
        raise typer.Exit(1)


def _read(path: str) -> LoadedPlan:
    from cimsim.exploration.plan import load_sweep

    if not path.endswith(".json") and not Path(path).is_file():
        raise CimsimError(
            f"{path}: no sweep file. Give one (.json), or an architecture and a workload: cimsim "
            "sweep ARCH WORKLOAD --vary AXIS=VALUES."
        )
    return load_sweep(path)


@contextmanager
def interruptible(store: Path | None) -> Iterator[Callable[[Reached], None]]:
    """A bar of points; a Ctrl-C ends in exit code 130, and says what is kept."""
    reached: list[Reached] = []
    try:
        with points_told() as tell:

            def told(now: Reached) -> None:
                reached[:] = [now]
                tell(now)

            yield told
    except KeyboardInterrupt:
        complain(_stopped(reached, store))
        raise SystemExit(INTERRUPTED) from None


def _stopped(reached: list[Reached], store: Path | None) -> str:
    if not reached:
        return "stopped before the first point."
    now = reached[0]
    of = f"{now.stored} of {now.total} points"
    if store is None:
        return f"stopped after {of}, which are lost: --store keeps them."
    return f"stopped: {of} are in {store}. The same command goes on there."
