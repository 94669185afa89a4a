"""cimsim mvm: how exact one crossbar of a machine is, and what its error comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.axes import completing
from cimsim.cli.numbers import Number, numbers_of
from cimsim.cli.options import ArchitectureArg, JsonOption, SetOption, machine_of
from cimsim.cli.streams import emit
from cimsim.errors import SpecError
from cimsim.units import SIDE_MAX
from cimsim.values.parsing import parse_real, parse_whole

if TYPE_CHECKING:
    from cimsim.studies.crossbar import CrossbarPoint

DRAWS_MAX = 1_000
WARN_RATIO = 0.001
"""Share of saturated conversions above which a note is printed."""


def mvm(
    architecture: ArchitectureArg,
    bits: Annotated[
        str | None,
        typer.Option(
            "--bits", metavar="N,N...", help="Sweep DAC and ADC bits.", show_default=False
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise",
            metavar="MODEL,...",
            help="Sweep device models, such as gaussian:0.1,relative_to=channel, or JSON files; "
            "repeatable; the first one is also the device of the other sweeps.",
            show_default=False,
            autocompletion=completing("noises"),
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--rows", metavar="N,N...", help="Sweep crossbar rows.", show_default=False),
    ] = None,
    ir_drop: Annotated[
        str | None,
        typer.Option(
            "--ir-drop",
            metavar="OHM,OHM...",
            help="Sweep the resistance of wire segments (ohm).",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option(
            "--columns", help="Weights a row; those of a tile if left out.", min=1, max=SIDE_MAX
        ),
    ] = None,
    time_s: Annotated[
        float, typer.Option("--time", help="Seconds since programming.", min=0.0)
    ] = 0.0,
    draws: Annotated[
        int, typer.Option("--draws", help="Programmings averaged.", min=1, max=DRAWS_MAX)
    ] = 3,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, inputs and noise.", min=0)] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Also draw it (.png, .pdf, .svg).",
            show_default=False,
        ),
    ] = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Measure the error of one crossbar of ARCH on normal weights, effect by effect and swept."""
    from cimsim.analog.hardware import hardware_of
    from cimsim.noise import DEVICE_CODEC
    from cimsim.studies import crossbar as sweep
    from cimsim.views.crossbar import save_sweep

    if output is not None:
        from cimsim.views.canvas import require_matplotlib

        require_matplotlib()
    machine = machine_of(architecture, settings)
    named = [pair for text in noise or () for pair in DEVICE_CODEC.parse_all(text)]
    hardware = hardware_of(machine, named[0][1] if named else None)
    assert machine.rram is not None
    width = columns or machine.rram.weight_columns
    bench = sweep.Bench(machine.rram.rows, width, draws=draws, seed=seed, t_s=time_s)
    points = sweep.effects(hardware, bench)
    points += sweep.sweep_bits(hardware, bench, _numbers(bits, parse_whole, "--bits"))
    points += sweep.sweep_noise(hardware, bench, named)
    points += sweep.sweep_rows(hardware, bench, _sides(rows, "--rows"))
    points += sweep.sweep_ir_drop(hardware, bench, _numbers(ir_drop, parse_real, "--ir-drop"))
    size = f"{bench.rows}x{bench.columns}"
    if output is not None:
        save_sweep(points, f"{machine.name}: {size} crossbar", output)
    if json:
        import json as encoder

        rows_out = [point.as_json() for point in points]
        head = {"architecture": machine.name, "rows": bench.rows, "columns": bench.columns}
        found = {**head, "device": hardware.device.name, "points": rows_out}
        emit(encoder.dumps(found) + "\n")
        return
    _print(points, f"{machine.name}: {size} crossbar, device {hardware.device.name}")


def _numbers(text: str | None, parse: Callable[[str], Number], option: str) -> list[Number]:
    return numbers_of(text, parse, option, SpecError) if text else []


def _sides(text: str | None, option: str) -> list[int]:
    found = _numbers(text, parse_whole, option)
    if any(not 1 <= value <= SIDE_MAX for value in found):
        raise SpecError(f"{option} takes numbers from 1 to {SIDE_MAX}, got {text!r}.")
    return found


def _print(points: list[CrossbarPoint], title: str) -> None:
    from cimsim.cli.sheet import Sheet, show
    from cimsim.cli.tables import note

    columns = ("sweep", "value", "SNR", "saturated", "clipped")
    table = Sheet(title, columns, texts=(0, 1), keys=2)
    last = ""
    for point in points:
        table.add(
            point.axis.replace("_", " ") if point.axis != last else "",
            point.value,
            "exact" if point.snr_dB is None else f"{point.snr_dB:.1f} dB",
            f"{point.saturated_ratio:.2%}",
            f"{point.clipped_ratio:.2%}",
        )
        last = point.axis
    show(table)
    worst = max(points, key=lambda point: point.saturated_ratio)
    if worst.saturated_ratio > WARN_RATIO:
        show(
            note(
                f"{worst.saturated_ratio:.2%} of the conversions saturate at {worst.axis} "
                f"{worst.value}: widen the ADC range or give it more bits."
            )
        )
