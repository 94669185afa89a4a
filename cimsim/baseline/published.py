"""Published latencies, powers and energies of whole models, and the baseline beside them.

The figures are facts copied from the sources named in published.json, each with its licence.
`fitted` marks those that the power constants were fitted on; all others were not used.

Of prompts, every published row of TensorRT-LLM and vLLM is here whose model has known sizes. Left
out are stacks that their host or scheduler holds up: DeepSpeed-MII (1.6 to 2.3 times the time of
both for the same prompts), lmdeploy (one prompt of 128 tokens, 22 ms at a resolution of 1) and
eager PyTorch. Of encoders and generation this is a selection; benchmarks/a100/models.py runs all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat, PositiveInt, ValidationError

from cimsim.baseline.reference_models import build
from cimsim.baseline.result import GpuEstimate
from cimsim.baseline.spec import Gpu
from cimsim.errors import SpecError
from cimsim.files import describe_validation, load_json
from cimsim.values.arguments import checked
from cimsim.values.display import brief
from cimsim.values.frozen import Frozen

Quantity = Literal["latency_s", "mean_power_W", "decode_power_W", "energy_per_token_J"]


class Source(Frozen):
    """Where a figure was read and under which licence it stands."""

    citation: str
    licence: str


class Figure(Frozen):
    """One published number: `batch` sequences of prompt and generated tokens on `cards` cards.

    Power is the mean of one card; energy is that power times latency over generated tokens.
    """

    model: str
    batch: PositiveInt
    prompt_tokens: PositiveInt
    generated_tokens: int
    cards: PositiveInt
    gpu: str
    software: str
    quantity: Quantity
    published: PositiveFloat
    tolerance: PositiveFloat
    fitted: bool
    source: str


class Figures(Frozen):
    """The file published.json."""

    sources: dict[str, Source]
    figures: tuple[Figure, ...]


@brief
@dataclass(frozen=True)
class ValidationRow:
    """A published number beside the simulated one; `error` is relative, with its sign."""

    case: str
    quantity: Quantity
    published: float
    simulated: float
    error: float
    tolerance: float
    within: bool
    fitted: bool
    source: str
    licence: str


@cache
def load_figures() -> Figures:
    """All published figures; raises SpecError if the file is not valid."""
    path = Path(str(files("cimsim.baseline").joinpath("published.json")))
    try:
        return Figures.model_validate(load_json(path, SpecError, "figures"))
    except ValidationError as error:
        raise SpecError(describe_validation(path, error, Figures)) from None


@checked(SpecError)
def validate(gpu: Gpu) -> tuple[ValidationRow, ...]:
    """Published figures of the card `gpu` beside calibrated estimates in fp16, kernels only.

    Raises SpecError where no figure is known for the card's name.
    """
    data = load_figures()
    mine = [figure for figure in data.figures if figure.gpu == gpu.name]
    if not mine:
        known = ", ".join(sorted({figure.gpu for figure in data.figures}))
        raise SpecError(
            f"{gpu.name}: no published figures to compare with. There are some for {known}; "
            "name the card so, or choose one of them."
        )
    return tuple(_row(gpu, figure, data.sources[figure.source]) for figure in mine)


def _row(gpu: Gpu, figure: Figure, source: Source) -> ValidationRow:
    workload = build(figure.model, figure.prompt_tokens, figure.generated_tokens)
    found = gpu.estimate(workload, batch=figure.batch, tensor_parallel=figure.cards)
    simulated = _quantity(found, figure)
    error = simulated / figure.published - 1.0
    case = (
        f"{figure.model} {figure.prompt_tokens}+{figure.generated_tokens} batch {figure.batch}, "
        f"{figure.cards} card(s), {figure.software}"
    )
    return ValidationRow(
        case=case,
        quantity=figure.quantity,
        published=figure.published,
        simulated=simulated,
        error=error,
        tolerance=figure.tolerance,
        within=abs(error) <= figure.tolerance,
        fitted=figure.fitted,
        source=source.citation,
        licence=source.licence,
    )


def _quantity(found: GpuEstimate, figure: Figure) -> float:
    match figure.quantity:
        case "latency_s":
            return found.latency_s
        case "mean_power_W":
            return found.mean_power_W / figure.cards
        case "decode_power_W":
            decode = found.phases["decode"]
            return decode.energy_J / decode.latency_s / figure.cards
        case "energy_per_token_J":
            return found.energy_J / (figure.batch * figure.generated_tokens)
