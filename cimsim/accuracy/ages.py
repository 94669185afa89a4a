"""Adapters by the age of a chip: each is for cells from an age on, and the clock swaps them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from cimsim.errors import TaskError
from cimsim.report import Accuracy, NoiseResult
from cimsim.report.accuracy import above, summed_up
from cimsim.training.record import RECORD_FILE, load_record
from cimsim.units import quantity
from cimsim.values.arguments import checked

SWAPPED = "by age"
"""What reports call adapters that take turns."""
ADAPTER_DIGEST = "adapter_sha256"
"""Its place in the inputs of a result."""
Aged = Sequence[tuple[float, Accuracy]]


@checked(TaskError)
def trained_age_s(directory: Path) -> float:
    """Age (s after programming) of the cells that an adapter was trained on, by its record.

    0 for one that learned on exact weights or on noise that does not age. Raises TaskError where
    nothing says how it was trained.
    """
    record = load_record(directory)
    if record is None:
        raise TaskError(
            f"{directory} has no {RECORD_FILE}, which says for which age its adapter was trained: "
            "train it with cimsim, or leave --by-age out."
        )
    injection = record.method.injection
    return 0.0 if injection is None else injection.age_s


@checked(TaskError)
def by_age(results: Sequence[Accuracy], ages_s: Sequence[float]) -> Accuracy:
    """What chips reach whose adapter is swapped by the clock.

    `results` are of one adapter each, with the same noises, times and chips; `ages_s` says from
    which age (s) on each is used: a time has the points of the adapter with the largest age that
    is not beyond it. `digital` is that of the youngest adapter, and the note has that of each.

    Raises TaskError for fewer than two adapters, equal ages, times before the least age, and
    results that were not measured alike.
    """
    if len(results) != len(ages_s):
        raise TaskError(f"{len(results)} results and {len(ages_s)} ages: each has one.")
    check_turns([one.adapter or one.model for one in results], ages_s, _times_s(results[0]))
    aged = sorted(zip(map(float, ages_s), results, strict=True), key=lambda each: each[0])
    for _, other in aged[1:]:
        if _asked(other) != _asked(aged[0][1]):
            raise TaskError(
                f"{aged[0][1].adapter} and {other.adapter} were measured on other examples, "
                "noises, times or chips: measure them alike."
            )
    first = aged[0][1]
    noises = tuple(_picked(aged, place) for place in range(len(first.by_noise)))
    return first.model_copy(
        update={
            "adapter": SWAPPED,
            "note": _note(first.note, aged),
            "by_noise": noises,
            **above(noises),
            "inputs": _inputs(aged),
            "lora_reload": max((one.lora_reload for _, one in aged), key=lambda one: one.energy_J),
        }
    )


@checked(TaskError)
def check_turns(names: Sequence[str], ages_s: Sequence[float], times_s: Sequence[float]) -> None:
    """Raise TaskError for fewer than two adapters, equal ages, and times before the least age."""
    if len(names) < 2:
        raise TaskError(
            "adapters that take turns are two or more, each trained for an age of its own (option "
            f"age_s of a training method), and {len(names)} was given: give more, or no --by-age."
        )
    aged = sorted(zip(map(float, ages_s), names, strict=True))
    for (age_s, one), (next_s, other) in pairwise(aged):
        if age_s == next_s:
            raise TaskError(f"{one} and {other} are both for an age of {age_s:g} s: give one.")
    if min(times_s) < aged[0][0]:
        raise TaskError(
            f"the youngest adapter is for an age of {aged[0][0]:g} s, and {min(times_s):g} s was "
            "asked for: give one for that age, or later times."
        )


def _times_s(result: Accuracy) -> list[float]:
    return [point.t_s for point in result.by_time]


def _asked(result: Accuracy) -> tuple[object, ...]:
    """What must be equal between adapters that are compared point by point."""
    points = [(n.label, p.t_s, p.compensated) for n in result.by_noise for p in n.by_time]
    return result.task, result.metric, result.model, result.examples, result.seeds, points


def _picked(aged: Aged, place: int) -> NoiseResult:
    """Noise number `place`, each point of the adapter that is used then."""
    noise = aged[0][1].by_noise[place]
    points = [
        _used(aged, point.t_s).by_noise[place].by_time[number]
        for number, point in enumerate(noise.by_time)
    ]
    return noise.model_copy(update=summed_up(points))


def _used(aged: Aged, t_s: float) -> Accuracy:
    return [one for age_s, one in aged if age_s <= t_s][-1]


def _inputs(aged: Aged) -> dict[str, str | int]:
    """Those of the youngest adapter, with the digest of each of the others beside its own."""
    found = dict(aged[0][1].inputs)
    for age_s, one in aged[1:]:
        if (digest := one.inputs.get(ADAPTER_DIGEST)) is not None:
            found[f"{ADAPTER_DIGEST}_from_{age_s:g}_s"] = digest
    return found


def _note(note: str, aged: Aged) -> str:
    turns = ", ".join(
        f"{one.adapter} from {quantity(age_s, 's')} (digital {one.digital:.2f})"
        for age_s, one in aged
    )
    return f"{note}; adapters take turns: {turns}; a swap costs what loading an adapter does"
