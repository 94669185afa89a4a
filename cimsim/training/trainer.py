"""train(): a method applied to a task's model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as SourceMapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import peft
import torch
from torch import nn
from transformers import TrainerCallback

from cimsim.adaptation.layers.delta import delta_layers
from cimsim.adaptation.layers.pooled import pooled_layers
from cimsim.errors import SpecError, TaskError
from cimsim.functional.devices import on_device, torch_device
from cimsim.functional.mode import NORMS
from cimsim.functional.precision import check_precision, multiplying
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.spec import Architecture
from cimsim.tasks.task import Example, Metric, Task
from cimsim.training.adapters import save_adapter, save_whole
from cimsim.training.arrays import choose_arrays
from cimsim.training.callbacks import Evaluated, Evaluating, Watch
from cimsim.training.checkpoint import State, read_checkpoint, write_checkpoint
from cimsim.training.deltas import save_deltas
from cimsim.training.gates import sparsity_loss
from cimsim.training.losses import check_labels, distilled, task_loss, teacher_scores
from cimsim.training.masks import column_factors, is_masked, kept_share, save_masks
from cimsim.training.method_json import method_to_json
from cimsim.training.methods import Method, for_arrays
from cimsim.training.noisy import NoisyModel, inputs_of
from cimsim.training.penalty import factors, regulariser
from cimsim.training.pools import fusion_loss, pool_digest, save_fusion
from cimsim.training.record import (
    Record,
    digest_of_examples,
    digest_of_weights,
    dtype_of,
    smoothed,
)
from cimsim.training.sparse import chosen, easy_first, fisher
from cimsim.training.start import start_digest, student
from cimsim.training.streams import is_clean, key, own_randomness, step_count, walk
from cimsim.training.tensors import saved_modules
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel


OF_TRAINING = "_train"
"""What the name of a metric of training examples ends in."""


@dataclass(frozen=True)
class Step:
    """What the progress callback hears: `done` of `steps`, the loss that the task saw.

    `scored` is the task's metric (accuracy in percent, or perplexity) of the step's examples.

    While the teacher of a distillation scores the examples `stage` is "teacher", while their
    Fisher information is computed "fisher", and both count examples.
    """

    done: int
    steps: int
    loss: float
    stage: str = "training"
    scored: float = math.nan


Progress = Callable[[Step], None]


@brief
@dataclass(frozen=True, eq=False)
class Trained:
    """The model as trained, digital and in evaluation mode; loss and score of every step.

    `scored` is the task's `metric` (accuracy in percent, or perplexity) of each step's examples as
    the step ran them, under its noise and before it learned of them. `evaluations` are what was
    measured meanwhile, in the order of the steps. `model` is a PEFT model, one with masked, pooled
    or delta layers, or for other methods the model itself.
    """

    model: nn.Module
    record: Record
    losses: tuple[float, ...]
    scored: tuple[float, ...]
    metric: Metric
    evaluations: tuple[Evaluated, ...] = ()

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def course(self) -> dict[str, tuple[float, ...]]:
        """Loss and score of every step by name: `loss`, and `accuracy_train` for an accuracy."""
        return {"loss": self.losses, f"{self.metric}{OF_TRAINING}": self.scored}

    @property
    def kept_share(self) -> float | None:
        """The share of weights, columns or channels that masks let through; None without masks."""
        return kept_share(self.model)

    @property
    def column_factors(self) -> torch.Tensor | None:
        """The shifts and scales that were trained on columns, flat; None without some."""
        return column_factors(self.model)

    def save(self, directory: str | Path, sources: SourceMapping[str, str] | None = None) -> None:
        """Write the adapter, the masks, coefficients, differences or the model, and training.json.

        `sources` are names and hashes of what model and data came from, for the record.
        """
        record = replace(self.record, sources=dict(sources or {}))
        if isinstance(self.model, peft.PeftModel):
            save_adapter(self.model, directory, record)
        elif is_masked(self.model):
            save_masks(self.model, directory, record)
        elif pooled_layers(self.model):
            save_fusion(self.model, directory, record)
        elif delta_layers(self.model):
            save_deltas(self.model, directory, record)
        else:
            save_whole(self.model, directory, record)


@checked(TaskError)
@brief
@dataclass(frozen=True)
class Execution:
    """How a training is run, which changes nothing of what it is.

    `checkpoint` is a file written every `every` steps; with `resume` it is gone on from if it
    exists, and the result is the same bit for bit. `threads` are torch's meanwhile (None: as many
    as it has; sums are rounded differently with another number). `device` is where it is computed
    (cpu, cuda, mps; where the model is if left out), with the noise and batches of the CPU but for
    dropout, which torch draws there, and sums rounded as they are there; the result is back on the
    CPU. `precision` is that of torch's float32 products (`highest`, `high`, `medium`: BF16 where
    that is faster; as torch is set if left out), which the record keeps. Raises TaskError,
    SpecError for a device that is not there.
    """

    checkpoint: str | Path | None = None
    every: int = 500
    resume: bool = False
    threads: int | None = None
    device: str | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        if self.device is not None:
            torch_device(self.device)
        check_precision(self.precision, self.device)
        if self.every < 1:
            raise TaskError(f"a checkpoint is written every 1 step or more, got {self.every}.")


@checked(TaskError)
def train(
    model: TaskModel,
    task: Task,
    method: Method,
    *,
    mapping: Mapping | None = None,
    architecture: Architecture | None = None,
    workload: Workload | None = None,
    seed: int = 0,
    start: str | Path | None = None,
    pool: Sequence[str | Path] = (),
    execution: Execution | None = None,
    progress: Progress | None = None,
    evaluating: Evaluating | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Trained:
    """Train what `method` says of `model`, an adapter, masks or all weights, for `task`.

    `model` is left as it is. `mapping` and `architecture` say on which tiles the noise falls and
    are needed by methods with noise only, `workload`, which was mapped, where it was with
    `protected`; masks on columns take the rows of an array from `architecture`. `start` is a
    directory with what an earlier training left; a method that trains all weights starts from an
    adapter merged into them. `pool` are the directories of the adapters that `lora-fusion` is over,
    which are not changed. `execution` says how it is run: checkpoints, threads. `evaluating`
    measures the model meanwhile, `callbacks` hear of it and may stop it early (see `callbacks`).
    Same arguments, same result; no global generator is touched.

    Raises TaskError for data, adapters and checkpoints that do not fit and for a loss that is
    not finite, MappingError where model and mapping do not belong together.
    """
    if not task.train:
        raise TaskError(f"task {task.name!r} has no examples to train on: give it training data.")
    execution, method = execution or Execution(), for_arrays(method, architecture)
    trained = on_device(student(model, method, seed, start, pool), execution.device)
    record = Record(
        method=method,
        seed=seed,
        model=model.name,
        task=task.name,
        train_examples=len(task.train),
        data_sha256=digest_of_examples(task.train),
        base_sha256=digest_of_weights(model.module, _saved(model, method)),
        base_dtype=dtype_of(model.module),
        steps=step_count(len(task.train), method.recipe),
        start_sha256=None if start is None else start_digest(start),
        mapping_sha256=None if mapping is None else mapping.digest(),
        architecture=None if architecture is None else architecture.name,
        pool_sha256=pool_digest(trained),
        precision=execution.precision,
    )
    reduced = multiplying(execution.precision)
    with own_randomness(trained), _threads(execution.threads), reduced:
        run = _Run(
            trained,
            task,
            record,
            _saved(model, method) or model.saved,
            progress or (lambda step: None),
        )
        run.watch.callbacks, run.watch.evaluating = tuple(callbacks), evaluating
        run.prepare(mapping, architecture, workload)
        losses, scored = run.all(execution)
    record = replace(record, steps=len(losses), losses=smoothed(losses))
    if execution.device is not None:
        trained = trained.to("cpu")
    return Trained(
        trained.eval(), record, tuple(losses), tuple(scored), task.metric, tuple(run.watch.found)
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_due(step: int, steps: int, every: int) -> bool:
    return (step + 1) % every == 0 or step + 1 == steps


def _saved(model: TaskModel, method: Method) -> tuple[str, ...]:
    part = method.trains
    return () if part is None else saved_modules(model, part)


def _identity(record: Record) -> dict[str, str]:
    """What a checkpoint and the training that goes on from it must share."""
    given = {"pool": record.pool_sha256, "precision": record.precision}
    return {name: value for name, value in given.items() if value is not None} | {
        "method": json.dumps(method_to_json(record.method), sort_keys=True),
        "seed": str(record.seed),
        "model": record.base_sha256,
        "data": record.data_sha256,
        "start": str(record.start_sha256),
        "mapping": str(record.mapping_sha256),
    }


def make_optimiser(
    parameters: SourceMapping[str, nn.Parameter], method: Method, saved: Sequence[str] = ()
) -> torch.optim.AdamW:
    """AdamW, in the form that marks every weight it changes; `saved` modules at their own rate.

    The fused form does not, and cells would go on holding what a weight was before.
    """
    groups: dict[float | None, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(_peak(name, method, saved), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": group, "peak": peak} for peak, group in groups.items()],
        lr=method.recipe.learning_rate,
        weight_decay=method.recipe.weight_decay,
        foreach=False,
        fused=False,
    )


def _peak(name: str, method: Method, saved: Sequence[str]) -> float | None:
    """The largest rate of a parameter, None for that of the recipe."""
    if method.pruning is not None and name.endswith(".theta"):
        return method.pruning.gate_rate
    if method.rewriting is not None and name.endswith(".scores"):
        return method.rewriting.scale_rate
    if method.fusion is not None and name.endswith(".coefficients"):
        return method.fusion.coefficient_rate
    if method.fusion is not None and name.endswith(".magnitude"):
        return method.fusion.magnitude_rate
    return method.recipe.head_rate if any(f".{part}." in f".{name}" for part in saved) else None


def _statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    """What batch normalisation in training mode counts along, by name."""
    return {
        name: buffer
        for path, module in model.named_modules()
        if isinstance(module, NORMS) and module.training
        for name, buffer in module.named_buffers(path, recurse=False)
    }


class _Run:
    """One training from its first to its last step."""

    def __init__(
        self, model: nn.Module, task: Task, record: Record, saved: tuple[str, ...], tell: Progress
    ) -> None:  # fmt: skip
        self.model, self.task, self.record, self.tell = model, task, record, tell
        self.method, self.seed = record.method, record.seed
        self.examples: tuple[Example, ...] = tuple(task.train)
        self.saved = saved
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimiser = make_optimiser(self.parameters, self.method, saved)
        self.statistics = _statistics(model)
        self.factors = factors(model) if self.method.penalty is not None else ()
        steps_an_epoch = math.ceil(len(self.examples) / self.method.recipe.batch)
        self.watch = Watch(model, self.method, record.steps, steps_an_epoch)
        self.noisy: NoisyModel | None = None
        self.teacher: torch.Tensor | None = None
        self.learning: dict[str, torch.Tensor] = {}
        self.order: list[int] | None = None
        self.scored = math.nan

    def prepare(
        self, mapping: Mapping | None, architecture: Architecture | None, workload: Workload | None
    ) -> None:  # fmt: skip
        """Choose what learns and lay out the noisy model, from the weights at the start."""
        self._choose()
        part = self.method.injection
        if part is None or part.clean_share == 1.0:
            return
        if mapping is None or architecture is None:
            raise TaskError(
                f"method {self.method.name!r} trains on noisy tiles: give the mapping of the "
                "model and the architecture that it was made for."
            )
        _, first = next(self._walk(0))
        with torch.no_grad():
            inputs = inputs_of(self.task, self.model, [self.examples[i] for i in first])
        self.noisy = NoisyModel(
            self.model,
            part,
            mapping,
            architecture,
            key(self.seed, "noise"),
            self.record.steps,
            inputs,
            workload,
        )

    def _choose(self) -> None:
        """What learns: arrays that are rewritten; neurons, and the order of the examples."""
        if (rewriting := self.method.rewriting) is not None:
            count, size = rewriting.settling + rewriting.probe, self.method.recipe.batch
            walked = walk(self.examples, size, self.seed, 0, count)
            batches = ([self.examples[i] for i in batch] for _, batch in walked)
            choose_arrays(self.model, self.task, batches, rewriting, self.saved)
        part = self.method.sparse
        if part is None:
            return

        def tell(done: int, count: int) -> None:
            self.tell(Step(done, count, math.nan, "fisher"))

        found = fisher(self.model, self.task, self.examples, part.momentum, tell)
        self.learning = {n: chosen(scores, part.share) for n, scores in found.neurons.items()}
        if part.curriculum:
            self.order = found.difficulty.argsort(stable=True).tolist()

    def _walk(self, first: int) -> Iterator[tuple[int, list[int]]]:
        batch, steps = self.method.recipe.batch, self.record.steps
        if self.order is None or self.method.sparse is None:
            return walk(self.examples, batch, self.seed, first, steps)
        part = self.method.sparse
        return easy_first(self.order, self.examples, part, batch, self.seed, first, steps)

    def all(self, execution: Execution) -> tuple[list[float], list[float]]:
        """Take every step that is left; returns loss and score of each from the first on."""
        checkpoint = None if execution.checkpoint is None else Path(execution.checkpoint)
        identity = _identity(self.record)
        state = State(0, [], [], None, self.watch.found)
        if execution.resume and checkpoint is not None and checkpoint.exists():
            state = read_checkpoint(
                checkpoint, identity, self.parameters, self.optimiser, self.statistics
            )
        self._set_teacher(state.teacher)
        losses, scored, steps = state.losses, state.scored, self.record.steps
        self.watch.found = state.evaluations
        self.watch.begin(state.step)
        for step, batch in self._walk(state.step):
            losses.append(self.step(step, batch))
            scored.append(self.scored)
            self.tell(Step(step + 1, steps, losses[-1], scored=scored[-1]))
            self.watch.step(step + 1, losses[-1])
            if checkpoint is not None and _is_due(step, steps, execution.every):
                now = State(step + 1, losses, scored, self.teacher, self.watch.found)
                write_checkpoint(
                    checkpoint, identity, now, self.parameters, self.optimiser, self.statistics
                )
            if self.watch.stopped:
                break
        self.watch.end()
        return losses, scored

    def _set_teacher(self, known: torch.Tensor | None) -> None:
        part = self.method.distillation
        if part is None or part.weight == 0.0:
            return

        def tell(done: int, count: int) -> None:
            self.tell(Step(done, count, math.nan, "teacher"))

        if known is None:
            known = teacher_scores(self.model, self.task, self.examples, tell)
        self.teacher = known

    def step(self, step: int, batch: list[int]) -> float:
        """One step on the examples numbered in `batch`; returns the loss without the penalty.

        What the task's metric makes of the same scores is left in `scored`.
        """
        recipe = self.method.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(step, self.record.steps, group["peak"])
        self.optimiser.zero_grad(set_to_none=True)
        # Dropout draws from torch's global generator: the same masks whatever the noise.
        torch.manual_seed(key(self.seed, "dropout", step))
        loss = self._loss(step, batch)
        whole, penalty = loss, self.method.penalty
        if penalty is not None and penalty.acts(step):
            whole = loss + regulariser(self.factors, penalty)
        if self.method.pruning is not None:
            whole = whole + sparsity_loss(self.model, self.method.pruning)
        if self.method.fusion is not None:
            whole = whole + fusion_loss(self.model, self.method.fusion)
        whole.backward()  # type: ignore[no-untyped-call]
        self._hold_still()
        limit = math.inf if recipe.clip_norm is None else recipe.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            raise self._diverged(step, f"the loss is {value:g}, its gradient {float(norm):g}")
        self.optimiser.step()
        return value

    def _hold_still(self) -> None:
        """Without a gradient, and without weight decay, AdamW leaves a neuron as it is."""
        for name, learns in self.learning.items():
            slope = self.parameters[name].grad
            if slope is not None:
                slope[~learns.to(slope.device)] = 0.0

    def _loss(self, step: int, batch: list[int]) -> torch.Tensor:
        examples = [self.examples[i] for i in batch]
        scores = self._scores(step, examples)
        check_labels(scores, examples, self.task)
        values = self.task.values(scores.detach()[None], examples)
        (self.scored,) = self.task.summary(values, examples)
        loss = task_loss(scores, examples, self.task.metric)
        if self.teacher is not None and self.method.distillation is not None:
            teacher = self.teacher[batch].to(scores.device)
            loss = distilled(loss, scores, teacher, self.method.distillation)
        return loss

    def _scores(self, step: int, examples: list[Example]) -> torch.Tensor:
        try:
            return self.task.scores(self._at(step), examples)[0]
        except SpecError:
            # Converters refuse activations that are not finite: is it the model or the machine?
            if bool(torch.isfinite(self.task.scores(self.model, examples)).all()):
                raise
            raise self._diverged(step, "activations are not finite") from None

    def _at(self, step: int) -> nn.Module:
        part = self.method.injection
        if self.noisy is None or part is None or is_clean(self.seed, step, part.clean_share):
            return self.model
        return self.noisy.at(step)

    def _diverged(self, step: int, what: str) -> TaskError:
        lever = "learning_rate" if self.noisy is None else "learning_rate or sigma"
        return TaskError(
            f"step {step + 1} of {self.record.steps}: {what}, the training diverged. Lower {lever}."
        )
