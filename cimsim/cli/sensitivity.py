"""cimsim sensitivity: which numbers a result hangs on, and how sure it is."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.axes import completing
from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    BaselineOption,
    JsonOption,
    MapperOption,
    ReplicateOption,
    SetOption,
    WorkloadArg,
    cards_of,
    machine_of,
    mapper_of,
)
from cimsim.cli.outputs import finish, reserve, write
from cimsim.cli.progress import progress
from cimsim.cli.sheet import Sheet, show
from cimsim.cli.streams import complain, emit, say
from cimsim.units import quantity

if TYPE_CHECKING:
    from cimsim.report import Report
    from cimsim.report.bands import Band, Screen, Sensitivity
    from cimsim.simulation import Simulation

SHOWN = 10
"""Choice: numbers in a table; --json has all."""


def sensitivity(
    context: typer.Context,
    architecture: ArchitectureArg,
    workload: WorkloadArg,
    metric: Annotated[
        str,
        typer.Option(help="Results, with commas between: energy_J, latency_s, energy_ratio, "
                     "latency_ratio (ratios need --baseline)."),
    ] = "energy_J,latency_s,energy_ratio,latency_ratio",
    pipeline: Annotated[
        str,
        typer.Option(
            metavar="NAME[:OPTION=VALUE,...]",
            help="Strategy; the one that `auto` finds is kept for all numbers.",
            autocompletion=completing("pipelines"),
        ),
    ] = "auto",
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    replicate: ReplicateOption = None,
    settings: SetOption = None,
    baseline: BaselineOption = None,
    runs: Annotated[
        int,
        typer.Option(help="Numbers that move latency most, to simulate in full.", min=0),
    ] = 4,
    samples: Annotated[
        int, typer.Option(help="Points of the Sobol sequence, a power of two.", min=2)
    ] = 1024,
    hold_times: Annotated[
        bool, typer.Option("--hold-times", help="Vary no number that moves time: seconds.")
    ] = False,
    screen: Annotated[
        bool,
        typer.Option(
            "--screen", help="Halve and double every assumed number without a range, one by one."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the points.", min=0)] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Write sensitivity.json and tornado.png here."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Vary every number of ARCH that has a range: what moves the results, and their bands.

    Ranges stand in the machine's file (`ranges`). One strategy is kept throughout.
    """
    from cimsim.comparison import with_baseline
    from cimsim.ir import load_workload
    from cimsim.simulation import simulate
    from cimsim.studies.sensitivity import sensitivity as study

    reserve(context, output)
    with progress() as tell:
        tell("reading")
        machine, work = machine_of(architecture, settings), load_workload(workload)
        cards = cards_of(baseline)
        simulation = simulate(
            work, machine, pipeline=pipeline, adaptation=adapt,
            mapper=mapper_of(mapper, replicate), progress=tell,
        )  # fmt: skip
        report = simulation.report
        for card in cards:
            report = with_baseline(report, work, card)
        found = study(
            simulation, report, metrics=[name.strip() for name in metric.split(",")], runs=runs,
            hold_times=hold_times, screen=screen, samples=samples, seed=seed, progress=tell,
        )  # fmt: skip
    outcome = None
    if output is not None:
        from functools import partial

        from cimsim.views.sensitivity import save_tornado

        pictures = {"tornado.png": partial(save_tornado, found)}
        outcome = write(output, "sensitivity.json", found.save, pictures)
    if json:
        emit(found.to_json())
    else:
        print_bands(found)
    finish(outcome, quiet=json)


def wants_band(asked: bool | None, simulation: Simulation, json: bool) -> bool:
    """Whether bands are asked for, or by default: printed runs of machines that have ranges."""
    if asked is not None:
        return asked
    if json or not simulation.architecture.ranges or simulation.job.counted is not None:
        return False
    if find_spec("scipy") is None:
        complain("no bands, which need scipy: pip install '.[sensitivity]', or say --no-band")
        return False
    return True


def energy_bands(simulation: Simulation, report: Report) -> Sensitivity:
    """Energies, and ratios of energy to every GPU, over the ranges of the machine."""
    from cimsim.studies.sensitivity import sensitivity

    metrics = ["energy_J", "energy_ratio"] if report.baselines else ["energy_J"]
    return sensitivity(simulation, report, metrics=metrics, hold_times=True, shares=False)


def print_bands(found: Sensitivity) -> None:
    """A table of bands, one of numbers for each, and what was held."""
    say(f"{found.architecture}, {found.workload}, {found.pipeline} throughout")
    sheet = Sheet("bands", ("result", "value", "5 %", "95 %"))
    for band in found.bands:
        sheet.add(band.name, *(_result(band, x) for x in (band.value, band.low, band.high)))
    show(
        sheet,
        *(_numbers(band) for band in found.bands),
        *(_screened(screen) for screen in found.screens),
    )
    say(f"varied {found.varied} numbers; {found.held}")
    say("--json names what has no range, --screen halves and doubles it")
    if found.times_held:
        say("latency has no band here")


def print_headline(found: Sensitivity) -> None:
    """A table of bands, each with the numbers that make it."""
    sheet = Sheet(
        f"how sure: over the ranges of {found.varied} numbers{', times held' * found.times_held}",
        ("result", "value", "5 %", "95 %", "most by"),
        texts=(0, 4),
        caption=found.held,
    )
    for band in found.bands:
        told = [band.name, *(_result(band, x) for x in (band.value, band.low, band.high))]
        for maker in band.makers or ("",):
            sheet.add(*told, maker)
            told = [""] * len(told)
    show(sheet)


def _numbers(band: Band) -> Sheet:
    columns = ("number", "value", "low", "high", "at low", "at high", "share", "by")
    sheet = Sheet(f"what moves {band.name}", columns, texts=(0, 7))
    for effect in band.effects[:SHOWN]:
        values = (effect.value, effect.low, effect.high, effect.at_low, effect.at_high)
        cells = [_told(value) for value in values]
        sheet.add(effect.path, *cells, f"{effect.share:.1%}", effect.by)
    return sheet


def _screened(screen: Screen) -> Sheet:
    stuck = sum(n.at_half is None or n.at_double is None for n in screen.numbers)
    sheet = Sheet(
        f"no range: what halving and doubling does to {screen.name}",
        ("number", "value", "at half", "at double"),
        caption=f"{len(screen.moving)} of {len(screen.numbers)} move it; {stuck} do not run at "
        "one of the two",
    )
    for number in screen.moving[:SHOWN]:
        cells = ["-" if x is None else _told(x) for x in (number.at_half, number.at_double)]
        sheet.add(number.path, _told(number.value), *cells)
    return sheet


def _result(band: Band, value: float) -> str:
    for unit in ("J", "s"):
        if band.metric.endswith(f"_{unit}"):
            return quantity(value, unit)
    return _told(value)


def _told(value: float) -> str:
    return f"{value:.4g}"
