"""Options of the accuracy path, which `run` and `accuracy` share, and how they become values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from cimsim.cli.axes import completing, helped
from cimsim.cli.numbers import numbers_of, strict_numbers
from cimsim.errors import TaskError
from cimsim.values.parsing import parse_real, parse_whole

if TYPE_CHECKING:
    from cimsim.accuracy import Trials
    from cimsim.spec import Architecture
    from cimsim.tasks import Task, TaskModel

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
    _option(
        "--task",
        help="sentiment, news, ..., a JSON Lines file, or a data set, FOLDER?text=COLUMN&... "
        "(docs/training.md).",
    ),
]
ScoringOption = Annotated[
    str | None,
    _option(
        "--scoring",
        metavar="NAME",
        help="Of questions to a causal model: likelihood, or generate (the answer is written and "
        "matched, a broken format counted) [default: likelihood].",
    ),
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
        metavar="MODEL,...",
        help="Device models, such as gaussian:0.1,relative_to=channel, or JSON files; repeatable; "
        "the architecture's own if left out.",
        autocompletion=completing("noises"),
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
RecalibrateOption = Annotated[
    bool,
    _option(
        "--recalibrate",
        help="At every time, fit scale and offset of each tile column to training examples.",
    ),
]
AdcOption = Annotated[
    str | None,
    _option("--adc-bits", metavar="B,B...", help="Other bits of the ADCs, for the same chips."),
]
DacOption = Annotated[int | None, _option("--dac-bits", help="Other bits of the DACs.")]
WeightsOnlyOption = Annotated[
    bool, _option("--weights-only", help="Noise on weights alone, none clipped (as HaLoRA).")
]
LimitOption = Annotated[
    int | None, _option("--limit", metavar="N", help="The first N test examples only.")
]
WorkersOption = Annotated[
    int | None,
    _option(
        "--workers",
        help="Processes of one thread each [default: one a core, for little work only this one].",
    ),
]
DeviceOption = Annotated[
    str | None,
    _option("--device", help="Where the model computes: cpu, cuda (cuda:1, ...), mps."),
]
PrecisionOption = Annotated[
    str | None,
    _option(
        "--precision",
        metavar="P",
        help="Products of the model: highest, high, medium (BF16 where that is faster); tiles with "
        "converters as ever.",
    ),
]


class Grouped(TyperCommand):
    """A verb: its numbers are strict, its accuracy options have a heading of their own."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        strict_numbers(self.params)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options, then those of the accuracy path."""
        sections: dict[str, list[Any]] = {"Arguments": [], "Options": [], f"{PANEL} options": []}
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            grouped = getattr(parameter, "rich_help_panel", None) == PANEL
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            if getattr(parameter, "help", None):
                parameter.help = helped(parameter.name, parameter.help)
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[f"{PANEL} options" if grouped else kind].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


@dataclass(frozen=True)
class Asked:
    """The accuracy options as they were given."""

    task: TaskOption = None
    model: ModelOption = None
    scoring: ScoringOption = None
    adapter: AdapterOption = None
    noise: NoiseOption = None
    sigmas: SigmasOption = None
    times: TimesOption = None
    seeds: SeedsOption = None
    compensate: CompensateOption = None
    both: BothOption = False
    recalibrate: RecalibrateOption = False
    adc_bits: AdcOption = None
    dac_bits: DacOption = None
    weights_only: WeightsOnlyOption = False
    limit: LimitOption = None
    workers: WorkersOption = None
    device: DeviceOption = None
    precision: PrecisionOption = None

    def given(self) -> list[str]:
        """The options that say something, as they are spelt."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [f"--{name.replace('_', '-')}" for name, value in values.items()
                if value not in (None, False, [])]  # fmt: skip

    def trials(self, machine: Architecture) -> Trials:
        """What they say, for `machine`; raises TaskError or SpecError for what they cannot."""
        from cimsim.accuracy import Trials
        from cimsim.accuracy.trials import with_sigmas_of
        from cimsim.noise import DEVICE_CODEC, Device

        if self.both and self.compensate is not None:
            raise TaskError("--both stands for --compensate and --no-compensate: give one of them.")
        named = [device for text in self.noise or () for _, device in DEVICE_CODEC.parse_all(text)]
        noises: tuple[Device | None, ...] = tuple(named) or (None,)
        if self.sigmas is not None:
            noises = with_sigmas_of(machine, noises, _reals(self.sigmas, "--sigmas"))
        return Trials(
            noises=noises,
            times_s=(0.0,) if self.times is None else _reals(self.times, "--times"),
            seeds=5 if self.seeds is None else self.seeds,
            compensate="both" if self.both else bool(self.compensate),
            recalibrate=self.recalibrate,
            converters=not self.weights_only,
            dac_bits=self.dac_bits,
            adc_bits=None if self.adc_bits is None else _wholes(self.adc_bits, "--adc-bits"),
            limit=self.limit,
            workers=self.workers,
            device=self.device,
            precision=self.precision,
        )

    def load(self, model: str) -> tuple[TaskModel, Task]:
        """`model` and the task that is measured on it; raises TaskError."""
        from cimsim.accuracy.study import load

        if self.task is None:
            raise TaskError(
                "which task? Give --task sentiment, boolq, piqa, brown or a JSONL file."
            )
        return load(model, self.task, self.scoring or "likelihood")


def _reals(text: str, option: str) -> tuple[float, ...]:
    return tuple(numbers_of(text, parse_real, option, TaskError))


def _wholes(text: str, option: str) -> tuple[int, ...]:
    return tuple(numbers_of(text, parse_whole, option, TaskError))


def asking(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb` with the accuracy options in place of its parameter `asked`, which gets them."""
    hints, options = (get_type_hints(each, include_extras=True) for each in (verb, Asked))
    own = inspect.signature(verb).parameters.values()
    parameters = []
    for one in own:
        if one.name == "asked":
            parameters += [
                inspect.Parameter(
                    field.name, one.KEYWORD_ONLY, default=field.default,
                    annotation=options[field.name],
                )
                for field in fields(Asked)
            ]  # fmt: skip
        else:
            parameters.append(one.replace(kind=one.KEYWORD_ONLY, annotation=hints[one.name]))

    def taking(**given: Any) -> None:
        asked = Asked(**{name: given.pop(name) for name in options})
        verb(**given, asked=asked)

    taking.__name__, taking.__doc__ = verb.__name__, verb.__doc__
    taking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    taking.__annotations__ = {one.name: one.annotation for one in parameters}
    return taking
