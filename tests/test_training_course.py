"""What is told and measured as a training goes on: callbacks, evaluation, the curve."""

from __future__ import annotations

import pytest
import torch
import transformers as tf
from test_training import PLAIN, machine, mapping, noisy, run, same, toy

from cimsim.accuracy import Trials, evaluate, evaluating
from cimsim.errors import TaskError
from cimsim.noise import Gaussian
from cimsim.tasks import Classification
from cimsim.training import Evaluated, Evaluating, curve_csv

pytestmark = pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning")


class Heard(tf.TrainerCallback):
    """Notes every event with its step."""

    def __init__(self, stop_at: int = 0, evaluate_at: int = 0):
        self.events, self.stop_at, self.evaluate_at = [], stop_at, evaluate_at

    def on_train_begin(self, args, state, control, **kwargs):
        self.events.append(("begin", state.global_step, args.name, state.max_steps))

    def on_step_end(self, args, state, control, model, **kwargs):
        self.events.append(("step", state.global_step, state.epoch, model.training))
        control.should_training_stop = state.global_step == self.stop_at
        control.should_evaluate = state.global_step == self.evaluate_at

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.events.append(("evaluate", state.global_step, metrics))

    def on_train_end(self, args, state, control, **kwargs):
        self.events.append(("end", state.global_step, len(state.log_history)))


def counting(every: int) -> Evaluating:
    """The sum of the weights as the metric."""

    def measure(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        return {"weights": float(sum(p.double().sum() for p in model.parameters()))}

    return Evaluating(every, measure)


def test_callbacks_of_transformers_hear_a_training():
    heard = Heard()
    found = run(noisy(), callbacks=[heard], evaluating=counting(3))
    steps = [event for event in heard.events if event[0] == "step"]
    assert steps == [("step", n, n / 4, True) for n in range(1, 9)]
    assert heard.events[0] == ("begin", 0, "noise-aware", 8)
    assert heard.events[-1] == ("end", 8, 8 + 3)
    evaluated = [event[1:] for event in heard.events if event[0] == "evaluate"]
    assert [step for step, _ in evaluated] == [3, 6, 8]
    assert [each.step for each in found.evaluations] == [3, 6, 8]
    for (_, metrics), each in zip(evaluated, found.evaluations, strict=True):
        assert metrics == {"eval_weights": each.metrics["weights"]}
    last = float(sum(p.detach().double().sum() for p in found.model.parameters()))
    assert found.evaluations[-1].metrics == {"weights": last}


def test_evaluation_on_chips_changes_no_bit_of_the_training():
    trials = Trials((Gaussian(0.2),), seeds=2, limit=6, converters=False)
    part = evaluating(toy(), mapping(), machine(), trials, 3)
    found = run(noisy(), evaluating=part)
    assert same(found.model, run(noisy()).model)
    measured = evaluate(toy(), found.model, mapping(), machine(), trials)
    metrics = found.evaluations[-1].metrics
    assert metrics["accuracy"] == measured.digital
    assert metrics["accuracy_noisy"] == measured.points[0].spread.mean
    assert metrics["accuracy_noisy_std"] == measured.points[0].spread.std
    with pytest.raises(TaskError, match=r"^a training is evaluated under one noise at one time"):
        evaluating(toy(), mapping(), machine(), Trials(times_s=(0.0, 1.0)), 3)


def test_a_callback_stops_and_evaluates():
    heard = Heard(stop_at=5, evaluate_at=2)
    found = run(PLAIN, callbacks=[heard], evaluating=counting(100))
    assert (found.steps, found.record.steps) == (5, 5)
    assert [each.step for each in found.evaluations] == [2, 5]
    assert heard.events[-1][:2] == ("end", 5)
    with pytest.raises(TaskError, match=r"^a callback asked for an evaluation after step 2, and"):
        run(PLAIN, callbacks=[Heard(evaluate_at=2)])
    with pytest.raises(TaskError, match=r"^an evaluation comes every 1 step or more, got 0\."):
        counting(0)


def test_evaluations_come_through_a_checkpoint(tmp_path):
    path = tmp_path / "state.safetensors"
    whole = run(PLAIN, evaluating=counting(2))
    run(PLAIN, evaluating=counting(2), checkpoint=path, every=4, callbacks=[Heard(stop_at=5)])
    heard = Heard()
    resumed = run(PLAIN, evaluating=counting(2), checkpoint=path, resume=True, callbacks=[heard])
    assert heard.events[0][:2] == ("begin", 4)
    assert resumed.evaluations == whole.evaluations
    assert (resumed.course, len(resumed.scored)) == (whole.course, 8)
    assert same(resumed.model, whole.model)


def test_a_curve_is_a_line_a_step():
    found = [Evaluated(2, {"accuracy": 50.0}), Evaluated(3, {"accuracy": 75.0, "more": 1.0})]
    course = {"loss": (0.5, 0.25, 0.125), "accuracy_train": (0.0, 50.0, 100.0)}
    assert curve_csv(course, found) == (
        "step,loss,accuracy_train,accuracy,more\n"
        "1,0.5,0.0,,\n2,0.25,50.0,50.0,\n3,0.125,100.0,75.0,1.0\n"
    )
    assert curve_csv(course, []).splitlines()[0] == "step,loss,accuracy_train"


def test_a_step_is_scored_as_it_ran_before_it_learned(monkeypatch):
    """By hand: in how many of a step's examples the right answer has the largest score."""
    seen, told, original = [], [], Classification.scores

    def scores(task, model, examples, draws=1):
        found = original(task, model, examples, draws)
        answers = found.detach()[0].argmax(-1).tolist()
        right = [answer == e.label for answer, e in zip(answers, examples, strict=True)]
        if torch.is_grad_enabled():
            seen.append(100.0 * sum(right) / len(right))
        return found

    monkeypatch.setattr(Classification, "scores", scores)
    found = run(noisy(), progress=told.append)
    assert len(set(seen)) > 1
    assert found.course == {"loss": found.losses, "accuracy_train": tuple(seen)}
    assert [step.scored for step in told] == seen
