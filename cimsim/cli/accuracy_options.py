"""Options of the accuracy path, which `run` and `accuracy` share, and how they become values."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cimsim.cli.numbers import numbers_of, strict_numbers
from cimsim.errors import TaskError
from cimsim.values.parsing import parse_real

if TYPE_CHECKING:
    from cimsim.accuracy.study import Trials
    from cimsim.spec import Architecture

PANEL = "Accuracy"


def _option(*names: str, **given: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, show_default=False, **given)


ModelOption = Annotated[
    str | None,
    _option(
        "--model", help="minilm, smollm2 or a model directory; what the workload names if left out."
    ),
]
TaskOption = Annotated[
    str | None,
    _option("--task", help="sentiment, boolq, piqa, brown or a JSON Lines file."),
]
AdapterOption = Annotated[
    list[Path] | None,
    _option(
        "--adapter", metavar="DIR", help="What training left: a PEFT adapter, or a whole model."
    ),
]
NoiseOption = Annotated[
    list[str] | None,
    _option(
        "--noise",
        metavar="KIND[:FIELD=VALUE,...]",
        help="Device model, such as gaussian:sigma_ratio=0.1,relative_to=channel, or a JSON file; "
        "repeatable; the architecture's own if left out.",
    ),
]
SigmasOption = Annotated[
    str | None,
    _option("--sigmas", metavar="S,S...", help="Gaussian noise of each sigma_ratio."),
]
TimesOption = Annotated[
    str | None,
    _option("--times", metavar="T,T...", help="Seconds after programming [default: 0]."),
]
SeedsOption = Annotated[
    int | None, _option("--seeds", help="Noise draws: chips programmed anew [default: 5].")
]
CompensateOption = Annotated[
    bool | None,
    _option(
        "--compensate/--no-compensate", help="Compensate drift, a factor a tile [default: no]."
    ),
]
BothOption = Annotated[bool, _option("--both", help="With and without drift compensation.")]
AdcOption = Annotated[int | None, _option("--adc-bits", help="Other bits of the ADCs.")]
DacOption = Annotated[int | None, _option("--dac-bits", help="Other bits of the DACs.")]
WeightsOnlyOption = Annotated[
    bool, _option("--weights-only", help="Noise on weights and exact converters (as HaLoRA).")
]
LimitOption = Annotated[
    int | None, _option("--limit", metavar="N", help="The first N test examples only.")
]
WorkersOption = Annotated[
    int | None, _option("--workers", help="Processes of one thread each [default: one a core].")
]


class Grouped(TyperCommand):
    """A verb: its numbers are strict, its accuracy options have a heading of their own."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        strict_numbers(self.params)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options, then those of the accuracy path."""
        sections: dict[str, list[Any]] = {"Arguments": [], "Options": [], f"{PANEL} options": []}
        for parameter in self.get_params(ctx):
            grouped = getattr(parameter, "rich_help_panel", None) == PANEL
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[f"{PANEL} options" if grouped else kind].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def settings_of(
    machine: Architecture,
    *,
    noise: list[str] | None,
    sigmas: str | None,
    times: str | None,
    seeds: int | None,
    compensate: bool | None,
    both: bool,
    adc_bits: int | None,
    dac_bits: int | None,
    weights_only: bool,
    limit: int | None,
    workers: int | None,
) -> Trials:
    """What the options say, for `machine`; raises TaskError or SpecError for what they cannot."""
    from cimsim.accuracy.noises import noise_named
    from cimsim.accuracy.study import Trials, with_sigmas_of
    from cimsim.noise import Device

    if both and compensate is not None:
        raise TaskError("--both stands for --compensate and --no-compensate: give one of them.")
    noises: tuple[Device | None, ...] = tuple(noise_named(text) for text in noise or ()) or (None,)
    if sigmas is not None:
        noises = with_sigmas_of(
            machine, noises, numbers_of(sigmas, parse_real, "--sigmas", TaskError)
        )
    return Trials(
        noises=noises,
        times_s=(0.0,)
        if times is None
        else tuple(numbers_of(times, parse_real, "--times", TaskError)),
        seeds=5 if seeds is None else seeds,
        compensate="both" if both else bool(compensate),
        converters=not weights_only,
        dac_bits=dac_bits,
        adc_bits=adc_bits,
        limit=limit,
        workers=workers,
    )


def require_torch() -> None:
    """Raise TaskError, with the lever, where the packages of the accuracy path are missing."""
    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise TaskError(
            "accuracy of whole models needs torch, transformers and peft "
            f"({', '.join(missing)} missing): pip install torch==2.13.0, then pip install "
            "'.[torch]'."
        )
