"""Training methods: what is trained, under which noise, with which loss.

Sources: HaLoRA is Wu et al., arXiv 2502.19747 and ACM TODAES 2026, DOI 10.1145/3801559; AHWA-LoRA
is Li et al., arXiv 2411.17367. HaLoRA does not publish alpha, dropout or the course of the learning
rate: those marked MoSLoRA are of the same first author's scripts for the same data and target
modules (repository wutaiqiang/MoSLoRA) and assumed to hold here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cimsim.errors import TaskError
from cimsim.noise import Gaussian
from cimsim.training.parts import (
    Distillation,
    Fusion,
    Injection,
    LoraShape,
    Masking,
    Penalty,
    Pruning,
    Rewriting,
    Schedule,
    SparseUpdate,
    TernaryDelta,
)
from cimsim.unit_kinds import RRAM, are_arrays
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from cimsim.spec import Architecture


@brief
@dataclass(frozen=True)
class Method:
    """How a model is trained: an adapter (`lora`), masks over its weights (`masking`), coefficients
    over a pool of adapters (`fusion`), differences beside weights (`difference`), or, with none of
    them, all its weights.
    """

    name: str
    recipe: Schedule = field(default_factory=Schedule)
    lora: LoraShape | None = field(default_factory=LoraShape)
    injection: Injection | None = None
    penalty: Penalty | None = None
    distillation: Distillation | None = None
    masking: Masking | None = None
    sparse: SparseUpdate | None = None
    pruning: Pruning | None = None
    rewriting: Rewriting | None = None
    fusion: Fusion | None = None
    difference: TernaryDelta | None = None

    def __post_init__(self) -> None:
        self._check_alone()
        if self.rewriting is not None:
            self._check_rewriting()
        if self.sparse is not None:
            self._check_sparse()
        if self.pruning is not None:
            self._check_pruning()
        if self.lora is not None and self.lora.dora and self.injection is not None:
            raise TaskError(
                f"method {self.name!r} trains DoRA, whose magnitudes are known on exact weights "
                "alone: leave the noise out, or set dora=false."
            )
        if self.penalty is not None and self.lora is None:
            raise TaskError(
                f"method {self.name!r} trains all weights: there is no adapter for mu to act on."
            )

    @property
    def trains(self) -> LoraShape | Masking | Fusion | TernaryDelta | None:
        """The part that says which modules learn; None where all weights do."""
        return self.lora or self.masking or self.fusion or self.difference

    def _check_alone(self) -> None:
        """One thing is trained, and noise is known of LoRA and whole models alone."""
        parts = {
            "LoRA": self.lora,
            "masks": self.masking,
            "a pool": self.fusion,
            "differences": self.difference,
        }
        given = [name for name, part in parts.items() if part is not None]
        if len(given) > 1:
            raise TaskError(
                f"method {self.name!r} has both {' and '.join(given[:2])}: leave one of them out."
            )
        if self.injection is not None and given and self.lora is None:
            raise TaskError(
                f"method {self.name!r} trains {given[0]}, which is known on exact weights alone: "
                "leave the noise out."
            )

    def _check_rewriting(self) -> None:
        if self.masking is None or self.masking.kind != "scale":
            raise TaskError(
                f"method {self.name!r} rewrites arrays beside scales on columns: give it "
                "kind=scale."
            )
        if self.recipe.weight_decay > 0.0:
            raise TaskError(
                f"method {self.name!r} holds most arrays fixed, which weight decay would move: set "
                "weight_decay=0."
            )

    def _check_pruning(self) -> None:
        if self.lora is None:
            raise TaskError(f"method {self.name!r} prunes beside LoRA, and has none.")
        if self.injection is not None:
            raise TaskError(
                f"method {self.name!r} trains gates, which are known on exact weights alone: leave "
                "the noise out."
            )

    def _check_sparse(self) -> None:
        if self.lora is None:
            raise TaskError(f"method {self.name!r} has no LoRA whose neurons could be chosen.")
        if self.recipe.weight_decay > 0.0:
            raise TaskError(
                f"method {self.name!r} holds most neurons fixed, which weight decay would move: "
                "set weight_decay=0."
            )


PARTS: dict[str, type[Any]] = {
    "recipe": Schedule,
    "lora": LoraShape,
    "injection": Injection,
    "penalty": Penalty,
    "distillation": Distillation,
    "masking": Masking,
    "sparse": SparseUpdate,
    "pruning": Pruning,
    "rewriting": Rewriting,
    "fusion": Fusion,
    "difference": TernaryDelta,
}
"""Fields of a method that hold its parts."""


def plain() -> Method:
    """LoRA on the exact digital model, with HaLoRA's recipe so that only the noise differs."""
    return Method("plain", _halora_recipe(), _halora_shape())


def noise_aware() -> Method:
    """HaLoRA's injected noise, redrawn every 400 steps, without its regulariser."""
    return Method("noise-aware", _halora_recipe(), _halora_shape(), _halora_noise())


def halora() -> Method:
    """HaLoRA as published: noise and mu (||A A^T|| + ||B^T B||), both every 400 steps.

    Algorithm 1 draws the noise anew and adds the gradient of the regulariser at steps 0, 400, ...;
    mu is 0.1. The norm is the "Euclidean norm", of the entries as taken here (`frobenius`), though
    the index 2 that is printed could mean the spectral one. That layers are summed is assumed.
    """
    penalty = Penalty(0.1, "frobenius", "sum", every=400)
    return Method("halora", _halora_recipe(), _halora_shape(), _halora_noise(), penalty)


def halora_every_step() -> Method:
    """HaLoRA's two ingredients with the regulariser in every step, at a larger rate.

    Not as published: the spectral norm, averaged over layers, at MoSLoRA's rate. On the 36 layers
    of MiniLM a sum with mu 0.1 in every step outweighs the task. With clean_share 1 the
    regulariser acts alone.
    """
    recipe = replace(_halora_recipe(), learning_rate=3e-4)  # MoSLoRA
    return Method("halora-every-step", recipe, _halora_shape(), _halora_noise(), Penalty(0.1))


def ahwa() -> Method:
    """AHWA-LoRA: fresh noise every step, DAC and ADC in the loop, clipped weights, LoRA trained."""
    shape = LoraShape(
        rank=8,  # AHWA-LoRA, Methods
        alpha=32.0,  # AHWA-LoRA, released training scripts
        dropout=0.1,  # AHWA-LoRA, released training scripts
    )
    return Method("ahwa", _ahwa_recipe(2e-4), shape, _ahwa_noise())  # AHWA-LoRA, Methods


def ahwa_full() -> Method:
    """The conventional baseline of AHWA-LoRA: as `ahwa`, but every weight of the model learns.

    There it starts from a model fine-tuned for the task: give one to start from.
    """
    # AHWA-LoRA, released training scripts: a quarter of the adapter's rate.
    return Method("ahwa-full", _ahwa_recipe(5e-5), None, _ahwa_noise())


def piggyback() -> Method:
    """Piggyback: binary masks over frozen weights, and the head."""
    # Mallya et al., ECCV 2018 (arXiv 1801.06519), and their code; there the rate falls to a tenth
    # at half of the epochs, here linearly.
    recipe = Schedule(epochs=30.0, batch=32, learning_rate=1e-4, clip_norm=None)
    return Method("piggyback", recipe, None, masking=Masking())


def xbm() -> Method:
    """XBM: binary masks on the columns of each array, and the head.

    Its recipe is not public: Piggyback's, whose scores and threshold masks have, stands in.
    """
    return replace(piggyback(), name="xbm", masking=Masking(kind="gate"))


def xma() -> Method:
    """XMA: a shift on each column of each array, and the head.

    Its bits, levels and recipe are not public: two bits, and a rate at which scores cross the half
    that a level is away (benchmarks/tasks) are assumed.
    """
    recipe = Schedule(epochs=3.0, batch=16, learning_rate=3e-2, warmup_ratio=0.06)
    return Method("xma", recipe, None, masking=Masking(kind="shift", bits=2))


def xma2() -> Method:
    """XMA2: the most critical arrays are rewritten, columns of the others scaled; and the head.

    Its recipe is not public: rates are those of benchmarks/tasks, the bits of a scale those of
    8-bit weights.
    """
    recipe = Schedule(epochs=3.0, batch=16, learning_rate=5e-4, warmup_ratio=0.06)
    masking = Masking(kind="scale", bits=8)
    return Method("xma2", recipe, None, masking=masking, rewriting=Rewriting())


def full() -> Method:
    """Every weight of the model, on the exact digital model."""
    # HaLoRA's recipe at the rate of benchmarks/tasks.
    return Method("full", replace(_halora_recipe(), learning_rate=2e-4), None)


def delta() -> Method:
    """A ternary difference beside each frozen weight, and the head.

    Kang et al., ICCAD 2021, print no recipe: that of `full` stands in.
    """
    return Method("delta", full().recipe, None, difference=TernaryDelta())


def lora_fusion() -> Method:
    """LoRAFusion: coefficients over a pool of frozen adapters, magnitudes, and the head.

    Epochs and batch are those of its public code, which keeps its rates; the head, which its model
    has none of, learns at that of coefficients.
    """
    recipe = Schedule(epochs=20.0, batch=10, learning_rate=0.02, clip_norm=None, decay="constant")
    return Method("lora-fusion", recipe, None, fusion=Fusion())


def dora() -> Method:
    """DoRA: LoRA and a magnitude for each output, on the exact digital model.

    HaLoRA's recipe, so that magnitudes alone tell it from `plain`.
    """
    return Method("dora", _halora_recipe(), replace(_halora_shape(), dora=True))


def pruned_lora() -> Method:
    """LoRA beside weights whose channels are gated off by Gumbel-sigmoid masks.

    Neither rank nor rate are public: HaLoRA's recipe stands in.
    """
    return Method("pruned-lora", _halora_recipe(), _halora_shape(), pruning=Pruning())


def fisher_sparse() -> Method:
    """FibecFed: LoRA whose neurons of large Fisher information learn, easy examples first.

    The paper's rank, rate and share are not public: HaLoRA's recipe stands in. Give the adapter
    that all tasks start from: of a new one, A has no Fisher information yet.
    """
    return Method("fisher-sparse", _halora_recipe(), _halora_shape(), sparse=SparseUpdate())


METHODS: dict[str, Callable[[], Method]] = {
    "plain": plain,
    "noise-aware": noise_aware,
    "halora": halora,
    "halora-every-step": halora_every_step,
    "ahwa": ahwa,
    "ahwa-full": ahwa_full,
    "piggyback": piggyback,
    "xbm": xbm,
    "xma": xma,
    "xma2": xma2,
    "full": full,
    "delta": delta,
    "lora-fusion": lora_fusion,
    "dora": dora,
    "pruned-lora": pruned_lora,
    "fisher-sparse": fisher_sparse,
}


@checked(TaskError)
def for_arrays(method: Method, architecture: Architecture | None) -> Method:
    """`method` with rows and columns of the machine's arrays where its masks need and lack them.

    Raises TaskError for such masks on a machine without analog arrays.
    """
    parts = {"masking": method.masking, "pruning": method.pruning}
    lacking = {n: part for n, part in parts.items() if part is not None and part.lacks_rows}
    rewriting = method.rewriting
    wide = rewriting is not None and rewriting.columns is None
    if architecture is None or not (lacking or wide):
        return method
    if architecture.rram is None:
        raise TaskError(
            f"method {method.name!r} masks columns of analog arrays, and {architecture.name!r} has "
            "none: say rows, or choose another method."
        )
    rows = architecture.rram.rows
    made: dict[str, Any] = {name: replace(part, rows=rows) for name, part in lacking.items()}
    if rewriting is not None and wide:
        arrays = architecture.units[RRAM.name]
        if are_arrays(arrays):
            made["rewriting"] = replace(rewriting, columns=arrays.shape[1])
    return replace(method, **made)


def _halora_recipe() -> Schedule:
    return Schedule(
        epochs=3.0,  # HaLoRA, section 4.1
        batch=16,  # HaLoRA, section 4.1
        learning_rate=1e-4,  # HaLoRA, section 4.1
        warmup_ratio=0.0031,  # MoSLoRA: 100 of 31,875 steps
        weight_decay=0.0,  # assumed: default of the trainer that those scripts use
        clip_norm=1.0,  # assumed: likewise
        decay="linear",  # assumed: likewise
    )


def _halora_shape() -> LoraShape:
    return LoraShape(
        rank=4,  # HaLoRA, and the parameter counts that it prints
        alpha=8.0,  # MoSLoRA: twice the rank
        dropout=0.05,  # MoSLoRA
    )


def _halora_noise() -> Injection:
    # HaLoRA, Eq. 3-4 and section 4.1: sigma 0.01 of the largest weight of a block, of 64 x 64 in
    # its machine; drawn anew every 400 steps.
    return Injection(Gaussian(0.01, "tile"), redraw_every=400)


def _ahwa_recipe(learning_rate: float) -> Schedule:
    return Schedule(
        epochs=15.0,  # AHWA-LoRA, Methods
        batch=32,  # AHWA-LoRA, Methods
        learning_rate=learning_rate,
        warmup_ratio=0.0,  # AHWA-LoRA, released training scripts
        weight_decay=0.0,  # AHWA-LoRA, Methods: Adam
        clip_norm=1.0,  # assumed: default of the trainer that those scripts use
        decay="linear",  # AHWA-LoRA, Methods
    )


def _ahwa_noise() -> Injection:
    return Injection(
        # AHWA-LoRA, Methods: 6.7 %; its simulator refers that to the largest weight after every
        # output channel was scaled to its own maximum.
        Gaussian(0.067, "channel"),
        redraw_every=1,  # AHWA-LoRA, Methods: a fresh sample for each mini-batch
        converters=True,  # AHWA-LoRA, Methods: 8-bit DAC and ADC, those of the architecture here
        adc_noise=0.04,  # AHWA-LoRA, Methods: 4 %
        clip_sigma=3.0,  # AHWA-LoRA, Methods
    )
