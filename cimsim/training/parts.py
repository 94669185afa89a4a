"""The parts that a training method is put together from; all are frozen values.

Shares and ratios lie in 0 .. 1. Wrong values raise TaskError with the field's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Annotated, Literal

from cimsim.analog.coding import CLIP_SIGMAS
from cimsim.analog.converters import NOISE_MAX
from cimsim.errors import TaskError
from cimsim.noise import Device, Gaussian
from cimsim.noise.protocol import LONGEST_s
from cimsim.values.codec import Called
from cimsim.values.display import brief, shown

Decay = Literal["linear", "constant"]
EPOCHS_MAX = 10_000.0
COUNT_MAX = 1_000_000_000
RATE_MAX = 1e30
"""Of learning, weight decay and the norm of a gradient; where it diverges the training says so."""
RANK_MAX = 65_536
"""Beyond the width of every published layer."""
DROPOUT_MAX = 0.99
"""With 1 nothing of the adapter is left to train."""
FACTOR_MAX = 1e6
MOMENTUM_MAX = 0.9999
"""With 1 no example after the first would count."""
ROWS_MAX = 1_000_000
"""Beyond every array."""
MaskKind = Literal["weight", "gate", "shift", "scale"]
MASK_BITS: dict[str, tuple[int, int]] = {
    "weight": (1, 1),
    "gate": (1, 1),
    "shift": (1, 4),
    "scale": (2, 24),
}
"""Least and most bits of a number, as the adaptations take them."""
Norm = Literal["spectral", "frobenius"]
Reduction = Literal["sum", "mean"]


def check_number(
    name: str, value: object, low: float, high: float, *, whole: bool = False, open_: bool = False
) -> None:
    """Raise TaskError unless `value` is a number in [low, high], (low, high] if `open_`."""
    real = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if real and low <= value <= high and not (open_ and value == low):  # type: ignore[operator]
        return
    kind = "a whole number" if whole else "a number"
    lowest = f"above {low:g}" if open_ else f"of at least {low:g}"
    most = "" if high == float("inf") else f" and at most {high:g}"
    raise TaskError(f"{name} is {kind} {lowest}{most}, got {shown(value)}.")


def check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise TaskError unless `value` is one of `known`."""
    if value not in known:
        raise TaskError(f"{name} is one of {', '.join(known)}, got {value!r}.")


@brief
@dataclass(frozen=True)
class Schedule:
    """How often the data is seen and how far each step goes; the optimiser is AdamW.

    Without weight decay that is Adam. The learning rate rises over `warmup_ratio` of the steps,
    then falls linearly to 0 or stays. Gradients are scaled down to a norm of `clip_norm`. Modules
    saved beside an adapter or masks, such as a head, learn at `head_rate`; as the rest if None.
    """

    epochs: float = 3.0
    batch: int = 16
    learning_rate: float = 3e-4
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    decay: Decay = "linear"
    head_rate: float | None = None

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, 0.0, EPOCHS_MAX, open_=True)
        check_number("batch", self.batch, 1, COUNT_MAX, whole=True)
        check_number("learning_rate", self.learning_rate, 0.0, RATE_MAX, open_=True)
        check_number("warmup_ratio", self.warmup_ratio, 0.0, 1.0)
        check_number("weight_decay", self.weight_decay, 0.0, RATE_MAX)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0.0, RATE_MAX, open_=True)
        if self.head_rate is not None:
            check_number("head_rate", self.head_rate, 0.0, RATE_MAX, open_=True)
        check_choice("decay", self.decay, ("linear", "constant"))

    def rate(self, step: int, steps: int, peak: float | None = None) -> float:
        """Learning rate of step `step` (from 0) of `steps`, of what has a `peak` of its own."""
        highest = self.learning_rate if peak is None else peak
        warmup = round(self.warmup_ratio * steps)
        if step < warmup:
            return highest * (step + 1) / (warmup + 1)
        if self.decay == "constant":
            return highest
        return highest * (steps - step) / (steps - warmup)


@brief
@dataclass(frozen=True)
class LoraShape:
    """Rank and place of the adapter.

    `targets` and `saved` (modules trained whole and kept with the adapter, such as a head) are
    those of the model if None. `dora` trains a magnitude for each output beside it (Liu et al.,
    arXiv 2402.09353, PEFT's form).
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None
    saved: tuple[str, ...] | None = None
    dora: bool = False

    def __post_init__(self) -> None:
        check_number("rank", self.rank, 1, RANK_MAX, whole=True)
        check_number("alpha", self.alpha, 0.0, FACTOR_MAX, open_=True)
        check_number("dropout", self.dropout, 0.0, DROPOUT_MAX)
        if self.targets == ():
            raise TaskError("targets names no module to adapt; leave it out for the model's own.")


@brief
@dataclass(frozen=True)
class Injection:
    """Training on noisy tiles.

    `noise` is drawn once for step 0 and anew after the forward pass of steps 0, `redraw_every`,
    2 `redraw_every`, ..., as in Algorithm 1 of HaLoRA. Without `converters` the weights are noisy
    and nothing else; with them DAC and ADC of the architecture are in the loop, the ADC with
    noise of `adc_noise` (in units of the largest weight times the largest input; None: the
    architecture's). `clip_sigma` limits the weights that cells hold (None: the architecture's).
    `clean_share` of the steps run the exact weights. Over the first `ramp` of the training sigma
    grows from 0 (Gaussian noise only). Cells are read `age_s` after they were programmed, with a
    factor a tile for their drift if `compensate`: what is trained is an adapter for chips of that
    age.
    """

    noise: Annotated[Device, Called("device")] = field(default_factory=lambda: Gaussian(0.01))
    redraw_every: int = 1
    converters: bool = False
    clean_share: float = 0.0
    ramp: float = 0.0
    adc_noise: float | None = None
    clip_sigma: float | None = None
    age_s: float = 0.0
    compensate: bool = False

    def __post_init__(self) -> None:
        check_number("age_s", self.age_s, 0.0, LONGEST_s)
        if self.age_s > 0.0 and isinstance(self.noise, Gaussian):
            raise TaskError(
                f"age_s is {self.age_s:g}, and gaussian noise does not age: name a device that "
                "drifts, such as device=pcm, or leave age_s out."
            )
        check_number("redraw_every", self.redraw_every, 1, COUNT_MAX, whole=True)
        check_number("clean_share", self.clean_share, 0.0, 1.0)
        check_number("ramp", self.ramp, 0.0, 1.0)
        if self.adc_noise is not None:
            check_number("adc_noise", self.adc_noise, 0.0, NOISE_MAX)
            if not self.converters:
                raise TaskError(
                    "adc_noise needs converters in the loop: set converters=true or adc_noise=none."
                )
        if self.clip_sigma is not None:
            check_number("clip_sigma", self.clip_sigma, *CLIP_SIGMAS)
        if self.ramp > 0.0 and not isinstance(self.noise, Gaussian):
            raise TaskError(
                f"ramp lets sigma grow, which {self.noise.name!r} noise has none of: set ramp=0 or "
                "use gaussian noise."
            )


@brief
@dataclass(frozen=True)
class Masking:
    """Numbers that a task trains over frozen weights: one each weight, or each column of an array.

    `weight` is a bit a weight (Piggyback). The others are on the columns of blocks of `rows` rows,
    those of the machine's arrays if None: `gate` a bit (XBM), `shift` a power of two of `bits`
    (XMA), whose least one may stand for `zero`, `scale` a fixed-point number of `bits` (XMA2).
    `targets` (linear layers) and `saved` (modules trained whole, such as a head) are those of the
    model if None.
    """

    targets: tuple[str, ...] | None = None
    saved: tuple[str, ...] | None = None
    kind: MaskKind = "weight"
    bits: int = 1
    rows: int | None = None
    zero: bool = False

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, tuple(MASK_BITS))
        check_number(f"bits of a {self.kind}", self.bits, *MASK_BITS[self.kind], whole=True)
        if self.rows is not None:
            check_number("rows", self.rows, 1, ROWS_MAX, whole=True)
            if not self.on_columns:
                raise TaskError("rows are those of masks on columns, kind=weight has none.")
        if self.zero and self.kind != "shift":
            raise TaskError(f"zero is a level of kind=shift, not of kind={self.kind}.")
        if self.targets == ():
            raise TaskError("targets names no layer to mask; leave it out for the model's own.")

    @property
    def on_columns(self) -> bool:
        """Whether there is a number for each column, not for each weight."""
        return self.kind != "weight"

    @property
    def lacks_rows(self) -> bool:
        """Whether rows are those of the machine."""
        return self.on_columns and self.rows is None


@dataclass(frozen=True)
class SparseUpdate:
    """Only LoRA neurons of large Fisher information learn, easy examples first (FibecFed).

    A neuron is a rank channel of A or an output channel of B; of each matrix the `share` with the
    largest score learns. Its score is the Fisher diagonal summed over it, a mean over examples
    with `momentum`. With `curriculum` training begins on the `begin` share of examples that have
    the least Fisher information, and has all of them after half of its steps.

    Source: Liu et al., EMNLP 2024 (arXiv 2410.00131), whose numbers are not public.
    """

    share: float = 0.1
    momentum: float = 0.9
    curriculum: bool = True
    begin: float = 0.5

    def __post_init__(self) -> None:
        check_number("share", self.share, 0.0, 1.0, open_=True)
        check_number("momentum", self.momentum, 0.0, MOMENTUM_MAX)
        check_number("begin", self.begin, 0.0, 1.0, open_=True)


@brief
@dataclass(frozen=True)
class Pruning:
    """Gates on the output channels of adapted weights, drawn by Gumbel-sigmoid while they learn.

    Source: Ali et al., ASP-DAC 2025 (abstract), which prints the sparsity; how it is reached,
    temperature and rates are not public. Here the loss has `gate_penalty` times the distance of
    the share of open channels from 1 - `sparsity`, so that the task decides which ones close.
    Theta begins at `gate_start` and learns at `gate_rate`, the peak of the same course as all
    rates. `rows` are those of the machine's arrays if None; gates are equal in all blocks.
    """

    sparsity: float = 0.245
    gate_penalty: float = 1.0
    gate_rate: float = 0.1
    gate_temperature: float = 1.0
    gate_start: float = 2.0
    rows: Annotated[int | None, Called("gate_rows")] = None

    def __post_init__(self) -> None:
        check_number("sparsity", self.sparsity, 0.0, 1.0)
        check_number("gate_penalty", self.gate_penalty, 0.0, FACTOR_MAX)
        check_number("gate_rate", self.gate_rate, 0.0, RATE_MAX, open_=True)
        check_number("gate_temperature", self.gate_temperature, 1e-3, 1e3)
        check_number("gate_start", self.gate_start, 0.0, FACTOR_MAX, open_=True)
        if self.rows is not None:
            check_number("gate_rows", self.rows, 1, ROWS_MAX, whole=True)

    @property
    def lacks_rows(self) -> bool:
        """Whether rows are those of the machine."""
        return self.rows is None


@brief
@dataclass(frozen=True)
class Rewriting:
    """A `share` of the arrays is rewritten, the columns of the others are scaled (XMA2).

    Source: Zhang et al., Front. Electron. 2022 (abstract): a mask over arrays picks the most
    critical ones. How, and how many, is not public. Here they are those, of all targets together,
    whose mask has the largest gradient: |sum of dL/dW W| over the array, summed over `probe`
    batches, before which the head alone learns on `settling` ones at `settling_rate` (and is then
    as it was). The weights of chosen arrays learn at the rate of the recipe, scales at
    `scale_rate`. `columns` are the weights that a row of an array holds, the machine's if None.
    """

    share: float = 0.1
    scale_rate: float = 5e-3
    probe: int = 4
    settling: int = 4
    settling_rate: float = 1e-2
    columns: int | None = None

    def __post_init__(self) -> None:
        check_number("share", self.share, 0.0, 1.0)
        check_number("scale_rate", self.scale_rate, 0.0, RATE_MAX, open_=True)
        check_number("probe", self.probe, 1, COUNT_MAX, whole=True)
        check_number("settling", self.settling, 0, COUNT_MAX, whole=True)
        check_number("settling_rate", self.settling_rate, 0.0, RATE_MAX, open_=True)
        if self.columns is not None:
            check_number("columns", self.columns, 1, ROWS_MAX, whole=True)


@brief
@dataclass(frozen=True)
class Fusion:
    """A pool of frozen LoRA adapters; coefficients of each block and magnitudes learn.

    They have peak rates of their own; the loss has `coefficient_penalty` times the mean magnitude
    of the coefficients and `coefficient_decay` / 2 times their sum of squares. `cross` and
    `magnitudes` are those of the adaptation `lora-fusion`. `saved` (modules trained whole, such as
    a head) are those of the model if None.

    Source: Guo et al., GLSVLSI 2025, and its public code (rates, penalty, decay).
    """

    cross: bool = True
    magnitudes: bool = True
    coefficient_rate: float = 0.02
    magnitude_rate: float = 0.005
    coefficient_penalty: float = 0.0005
    coefficient_decay: float = 1e-5
    saved: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_number("coefficient_rate", self.coefficient_rate, 0.0, RATE_MAX, open_=True)
        check_number("magnitude_rate", self.magnitude_rate, 0.0, RATE_MAX, open_=True)
        check_number("coefficient_penalty", self.coefficient_penalty, 0.0, FACTOR_MAX)
        check_number("coefficient_decay", self.coefficient_decay, 0.0, FACTOR_MAX)


@brief
@dataclass(frozen=True)
class TernaryDelta:
    """A ternary difference beside each frozen weight of `targets`, with one scale an output.

    `targets` (linear layers) and `saved` (modules trained whole, such as a head) are those of the
    model if None.
    """

    targets: tuple[str, ...] | None = None
    saved: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.targets == ():
            raise TaskError("targets names no layer with a difference; leave it out.")


@dataclass(frozen=True)
class Penalty:
    """mu (||A A^T|| + ||B^T B||) added to the loss, summed or averaged over adapted layers.

    It is added at steps 0, `every`, 2 `every`, ... and at no other. `frobenius` is the Euclidean
    norm of a matrix's entries, `spectral` its largest singular value.
    """

    mu: float = 0.1
    norm: Norm = "spectral"
    reduction: Reduction = "mean"
    every: Annotated[int, Called("regulariser_every")] = 1

    def __post_init__(self) -> None:
        check_number("mu", self.mu, 0.0, FACTOR_MAX)
        check_choice("norm", self.norm, ("spectral", "frobenius"))
        check_choice("reduction", self.reduction, ("sum", "mean"))
        check_number("regulariser_every", self.every, 1, COUNT_MAX, whole=True)

    def acts(self, step: int) -> bool:
        """Whether step `step` (from 0) has the penalty in its loss."""
        return step % self.every == 0


@brief
@dataclass(frozen=True)
class Distillation:
    """Learn from the scores of the exact digital model as the training begins.

    loss = (1 - weight) loss + weight T^2 KL(teacher / T || student / T), Hinton, Vinyals and
    Dean, arXiv 1503.02531, eq. 4 and its gradient scale; the defaults are assumed.
    """

    weight: Annotated[float, Called("distillation")] = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_number("weight", self.weight, 0.0, 1.0)
        check_number("temperature", self.temperature, 1e-3, 1e3)
