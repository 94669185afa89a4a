"""What hears of a training as it goes, and what measures it meanwhile.

Callbacks are those of transformers (`transformers.TrainerCallback`), called with the method as
`args`: `on_train_begin`, `on_step_end`, `on_evaluate` and `on_train_end`, no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState

from cimsim.errors import TaskError
from cimsim.functional import in_evaluation
from cimsim.training.methods import Method
from cimsim.values.arguments import checked
from cimsim.values.display import brief

EVALUATIONS_PREFIX = "eval_"
"""What transformers begins the names of metrics with."""


@checked(TaskError)
@brief
@dataclass(frozen=True)
class Evaluating:
    """Measure the model after every `every` steps and after the last.

    `measure` gets the model as it is trained, digital and in evaluation mode, and returns numbers
    by name. It must draw nothing from torch's global generator; then the training ends with the
    same bits as without it.
    """

    every: int
    measure: Callable[[nn.Module], Mapping[str, float]]

    def __post_init__(self) -> None:
        if self.every < 1:
            raise TaskError(f"an evaluation comes every 1 step or more, got {self.every}.")


@brief
@dataclass(frozen=True)
class Evaluated:
    """Metrics by name after `step` steps."""

    step: int
    metrics: Mapping[str, float]


@brief
@dataclass(eq=False)
class Watch:
    """The callbacks and the evaluation of one training; `found` are its evaluations so far.

    A callback stops the training with `control.should_training_stop` and has it evaluated with
    `control.should_evaluate`, as in transformers.
    """

    model: nn.Module
    method: Method
    steps: int
    steps_an_epoch: int
    callbacks: Sequence[TrainerCallback] = ()
    evaluating: Evaluating | None = None
    found: list[Evaluated] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = TrainerState(max_steps=self.steps, train_batch_size=self.method.recipe.batch)
        self.control = TrainerControl()

    @property
    def stopped(self) -> bool:
        """Whether a callback wants no further step."""
        return bool(self.control.should_training_stop)

    def begin(self, step: int) -> None:
        """The training goes on after `step` steps."""
        self._at(step)
        self._call("on_train_begin")

    def end(self) -> None:
        """No step follows."""
        self._call("on_train_end")

    def step(self, done: int, loss: float) -> None:
        """Step number `done` (from 1) is taken: tell, and measure where it is time."""
        self._at(done)
        self.state.log_history.append({"step": done, "loss": loss})
        self.control.should_evaluate = False
        self._call("on_step_end")
        part = self.evaluating
        last = done == self.steps or self.stopped
        if part is not None and (last or done % part.every == 0 or self.control.should_evaluate):
            self._evaluate(part, done)
        elif self.control.should_evaluate:
            raise TaskError(
                f"a callback asked for an evaluation after step {done}, and the training has none: "
                "give it one (evaluating=Evaluating(...))."
            )

    def _evaluate(self, part: Evaluating, done: int) -> None:
        with in_evaluation(self.model):
            metrics = {name: float(value) for name, value in part.measure(self.model).items()}
        self.found.append(Evaluated(done, metrics))
        named = {f"{EVALUATIONS_PREFIX}{name}": value for name, value in metrics.items()}
        self.state.log_history.append({"step": done, **named})
        self._call("on_evaluate", metrics=named)

    def _at(self, step: int) -> None:
        self.state.global_step = step
        self.state.epoch = step / self.steps_an_epoch

    def _call(self, event: str, **more: Any) -> None:
        for callback in self.callbacks:
            heard = getattr(callback, event)(
                self.method, self.state, self.control, model=self.model, **more
            )
            if heard is not None:
                self.control = heard
