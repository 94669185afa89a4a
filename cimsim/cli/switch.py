"""cimsim switch: many tasks on one machine, and what strategies of switching between them cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.axes import completing
from cimsim.cli.options import (
    ArchitectureArg,
    HtmlOption,
    JsonOption,
    ScenarioArg,
    SetOption,
    machine_of,
)
from cimsim.cli.outputs import Draw, finish, reserve, write
from cimsim.cli.progress import progress
from cimsim.cli.sheet import Sheet, show
from cimsim.cli.streams import emit, say
from cimsim.units import quantity

if TYPE_CHECKING:
    from cimsim.cli.outputs import Outcome
    from cimsim.serving import Scenario, Switching
    from cimsim.serving.result import Lifetime

DAYS = 365.25  # counted: of a Julian year
CROSSINGS = 12
"""Choice: break-even points printed; --json has all."""


def switch(
    context: typer.Context,
    architecture: ArchitectureArg,
    scenario: ScenarioArg,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            metavar="NAME[:OPTION=VALUE,...]",
            help="Adaptation to compare, once for each; those of the scenario if left out, or all "
            "that the machine can run.",
            show_default=False,
            autocompletion=completing("adaptations"),
        ),
    ] = None,
    level_every: Annotated[
        int | None,
        typer.Option(
            min=1, show_default=False,
            help="Wear levelling: after so many switches they write into other units, in turn; in "
            "place of the scenario's `levelling`.",
        ),
    ] = None,
    level_places: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="Sets of units that take turns; 2 if left "
                     "out. Takes --level-every or the scenario's `levelling`."),
    ] = None,
    settings: SetOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR",
            help="Write switch.json, rows.csv and switch.png here.",
        ),
    ] = None,
    html: HtmlOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Run a stream of requests for many tasks on ARCH under each strategy, side by side.

    SCENARIO names the tasks, the requests and where adapters are kept. Inference, writing and
    loading run on one event engine and wait for each other where they share something.
    """
    from cimsim.serving.scenario import load_scenario
    from cimsim.serving.study import switch as study

    reserve(context, output)
    with progress() as tell:
        tell("reading")
        machine = machine_of(architecture, settings)
        asked, folder = load_scenario(scenario), scenario.parent
        asked = _levelled(asked, level_every, level_places)
        found = study(machine, asked, folder=folder, strategies=strategy, progress=tell)
    outcome = None
    if output is not None:
        outcome = _write(output, found)
    if html is not None:
        from cimsim.views.pages.switches import save_switching_page

        save_switching_page(found, machine, html)
    if json:
        emit(found.to_json())
    else:
        print_switching(found)
    finish(outcome, quiet=json)


def _levelled(asked: Scenario, every: int | None, places: int | None) -> Scenario:
    """The scenario with the levelling that was asked for; SpecError for places without it."""
    from cimsim.errors import SpecError
    from cimsim.serving.requests import PLACES_MAX, Levelling

    given = {"every": every, "places": places}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return asked
    if places is not None and places > PLACES_MAX:
        raise SpecError(f"--level-places {places}: at most {PLACES_MAX} sets of units take turns")
    own = asked.levelling.model_dump() if asked.levelling is not None else {}
    if "every" not in own | given:
        raise SpecError(
            f"--level-places {places} says how many sets of units take turns, but nothing after "
            "how many switches: add --level-every"
        )
    return asked.model_copy(update={"levelling": Levelling.model_validate(own | given)})


def _write(output: Path, found: Switching) -> Outcome:
    from functools import partial

    from cimsim.files import write_text
    from cimsim.views.switching import save_switching

    pictures: dict[str, Draw] = {
        "rows.csv": lambda path: write_text(path, found.to_csv()),
        "switch.png": partial(save_switching, found),
    }
    return write(output, "switch.json", found.save, pictures)


def print_switching(found: Switching) -> None:
    """Tables of energy and time, of writes, of lifetimes and of what strategies add."""
    requests = found.strategies[0].requests
    say(f"{found.scenario} on {found.architecture}: {found.tasks} tasks, {requests} requests, "
        f"{', '.join(dict.fromkeys(found.workloads))}")  # fmt: skip
    show(*(sheet(found) for sheet in (_energy, _time, _writes, _added, _lifetimes)))
    for crossing in found.break_even[:CROSSINGS]:
        beyond = ", beyond the stream" if crossing.extrapolated else ""
        say(f"break-even: {crossing.second} costs less energy than {crossing.first} after "
            f"{crossing.switches:.4g} switches ({crossing.requests:.4g} requests{beyond}), "
            f"at {quantity(crossing.energy_J, 'J')}")  # fmt: skip
    if (more := len(found.break_even) - CROSSINGS) > 0:
        say(f"{more} further break-even points: --json")
    for r in found.strategies:
        if r.moves:
            say(f"levelling: {r.strategy}: {r.moves} of {r.switches} switches wrote into other "
                f"units, {r.places} places in turn")  # fmt: skip
    for name, reason in found.left_out.items():
        say(f"left out: {name}: {reason}")
    for note in found.notes:
        say(f"note: {note}")


def _energy(found: Switching) -> Sheet:
    columns = ("strategy", "energy", "a request", "inference", "switches", "leakage")
    sheet = Sheet("energy of the stream", columns)
    for r in found.strategies:
        leaked = r.switching_leakage_J + r.idle_leakage_J
        energies = (r.energy_J, r.energy_J / r.requests, r.inference_energy_J, r.switch_energy_J,
                    leaked)  # fmt: skip
        sheet.add(r.strategy, *(quantity(energy, "J") for energy in energies))
    return sheet


def _time(found: Switching) -> Sheet:
    columns = ("strategy", "alone", "p50", "p95", "p99", "all lost")
    sheet = Sheet("time of a request, and lost to all switches", columns)
    for r in found.strategies:
        late = r.latency
        times = (r.inference_s, late.p50_s, late.p95_s, late.p99_s, r.switching_s)
        sheet.add(r.strategy, *(quantity(time, "s") for time in times))
    return sheet


def _writes(found: Switching) -> Sheet:
    amounts = list(dict.fromkeys(
        name for r in found.strategies for name, amount in r.written.items() if amount
    ))  # fmt: skip
    spoken = (name.removesuffix("_written").replace("_", " ") for name in amounts)
    sheet = Sheet(
        "switches", ("strategy", "switches", "DRAM loaded", *spoken, "pulses of the hottest cell")
    )
    for r in found.strategies:
        sheet.add(
            r.strategy, f"{r.switches}", _bytes(r.dram_bytes_loaded),
            *(f"{r.written.get(name, 0):.4g}" for name in amounts),
            f"{r.hottest_pulses:.4g}",
        )  # fmt: skip
    return sheet


def _added(found: Switching) -> Sheet:
    sheet = Sheet(
        "beside the base model", ("strategy", "bits of a task", "area", "setup", "time", "energy"),
        caption=f"base model: {quantity(found.base.latency_s, 's')}, "
        f"{quantity(found.base.energy_J, 'J')} a request, {found.base.area_used_mm2:.4g} mm2",
    )  # fmt: skip
    for r in found.strategies:
        sheet.add(
            r.strategy, f"{r.task_bits:,}", f"{r.extra_area_mm2:+.3g} mm2",
            quantity(r.setup_energy_J, "J"), f"{r.latency_overhead_ratio:.3f} x",
            f"{r.energy_overhead_ratio:.3f} x",
        )  # fmt: skip
    return sheet


def _lifetimes(found: Switching) -> Sheet:
    cycles = [f"{life.endurance_cycles:.3g}" for life in found.strategies[0].lifetimes]
    sheet = Sheet(
        "lifetime by endurance (pulses of a cell), at this rate of requests",
        ("strategy", *cycles),
    )
    for r in found.strategies:
        sheet.add(r.strategy, *map(_span, r.lifetimes))
    return sheet


def _span(life: Lifetime) -> str:
    """A lifetime in the largest unit of which it has one."""
    if life.years is None:
        return "no wear"
    days = life.years * DAYS
    seconds = 86_400 * days  # counted: of a day
    spans = ((life.years, "y"), (days, "d"), (seconds / 3600, "h"), (seconds, "s"))
    value, unit = next((span for span in spans if span[0] >= 1.0), spans[-1])
    return f"{value:.3g} {unit}"


def _bytes(count: int) -> str:
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):  # counted: prefixes
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} B"
