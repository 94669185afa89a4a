"""What saves SmolLM2 on PCM tiles: perplexity on Brown and PIQA, method by method, loss by loss.

    python benchmarks/figures/language_models/run.py [NAME ...]

Points of `POINTS` that data.json lacks are measured, one chip each, and written as they come.
Scales and columns are calibrated on other texts of Brown, or on training questions. One thread.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

import cimsim
from cimsim.accuracy import Trials, evaluate, mapping_of, trace_task_model
from cimsim.accuracy.batches import evenly
from cimsim.functional import Hardware, hardware_of, protected
from cimsim.ir import Workload
from cimsim.noise import Ideal
from cimsim.tasks import TaskModel, load_model, load_task
from cimsim.tasks.corpora import read_brown
from cimsim.tasks.encode import encode_windows
from cimsim.training import inputs_of

DATA = Path(__file__).parent / "data.json"
MACHINE, MODEL, TOKENS = "ahwa_pcm_pmca", "smollm2", 32
YEAR_S = 31_536_000.0
LIMITS = {"brown": 4, "piqa": 40}
"""Windows of 256 tokens, and questions."""
BOTH = "protected:0.5,outliers=0.005"


@dataclass(frozen=True)
class Point:
    """A task on one chip: adaptation, part of the hardware that errs, time and remedies."""

    task: str
    adaptation: str = "none"
    hardware: str = "whole"
    t_s: float = 0.0
    compensate: bool = False
    recalibrate: bool = False


def hardware(tiles: Hardware) -> dict[str, Hardware]:
    """The tiles, and those of which only one part errs."""
    quiet = replace(tiles.adc, noise_ratio=0.0, bits=None)
    cells, adc = {"device": Ideal()}, {"adc": quiet}
    # The ADC's range is in units of a full input: the DAC keeps its own, with fine steps.
    dac = {"dac": replace(tiles.dac, bits=16)}
    clip = {"coding": replace(tiles.coding, clip_sigma=None)}
    without: dict[str, dict[str, Any]] = {
        "whole": {},
        "no clipping": clip,
        "clipping alone": cells | adc | dac,
        "cells alone": clip | adc | dac,
        "ADC alone": clip | cells | dac,
        "DAC alone": clip | cells | adc,
    }
    return {name: replace(tiles, **parts) for name, parts in without.items()}


POINTS = {
    "plain": Point("brown"),
    "both": Point("brown", BOTH),
    "both, cells alone": Point("brown", BOTH, "cells alone"),
    "both, ADC alone": Point("brown", BOTH, "ADC alone"),
    "outliers": Point("brown", "protected:outliers=0.005"),
    "rescaled, no clipping": Point("brown", "protected:rescale=0.5", "no clipping"),
    "no clipping": Point("brown", hardware="no clipping"),
    "both, lambda 0.7": Point("brown", "protected:0.7,outliers=0.005"),
    "both, lambda 0.3": Point("brown", "protected:0.3,outliers=0.005"),
    "both, a thousandth apart": Point("brown", "protected:0.5,outliers=0.001"),
    "both, year": Point("brown", BOTH, t_s=YEAR_S, compensate=True),
    "all, year": Point("brown", BOTH, t_s=YEAR_S, compensate=True, recalibrate=True),
    "all": Point("brown", BOTH, recalibrate=True),
    "PIQA, all": Point("piqa", BOTH, recalibrate=True),
    "PIQA, all, year": Point("piqa", BOTH, t_s=YEAR_S, compensate=True, recalibrate=True),
    "PIQA, plain": Point("piqa"),
    "ADC alone": Point("brown", hardware="ADC alone"),
    "cells alone": Point("brown", hardware="cells alone"),
    "clipping alone": Point("brown", hardware="clipping alone"),
    "DAC alone": Point("brown", hardware="DAC alone"),
}


@cache
def _model() -> TaskModel:
    return load_model(MODEL)


@cache
def _workload() -> Workload:
    return trace_task_model(_model(), tokens=TOKENS)


@cache
def _task(name: str) -> tuple[Any, list[Any]]:
    """A task and the examples that are calibrated on."""
    model, task = _model(), load_task(name, _model())
    if name != "brown":
        return task, evenly(task.train)
    texts = read_brown()
    # Neighbours of every eighth of the texts that are tested on.
    others = [texts[i * len(texts) // 40 + 5][: 256 * 16] for i in (0, 8, 16, 24)]
    return task, [encode_windows([text], model, 256)[0] for text in others]


def measure(point: Point) -> dict[str, Any]:
    """The metric on the digital model and on the chip, with the seconds that it took."""
    begun = time.monotonic()
    machine = cimsim.machine(MACHINE)
    own = hardware_of(machine)
    # One range a vector, which the points were measured with; the machine has one a row of tiles.
    tiles = hardware(replace(own, dac=replace(own.dac, range="token")))[point.hardware]
    task, examples = _task(point.task)
    mapping = mapping_of(_workload(), machine, point.adaptation)
    module = _model().module
    if point.adaptation != "none":
        samples = inputs_of(task, module, examples)
        module = protected(module, mapping, _workload(), samples)
    trials = Trials(
        times_s=(point.t_s,), seeds=1, compensate=point.compensate,
        recalibrate=point.recalibrate, limit=LIMITS[point.task], workers=1,
    )  # fmt: skip
    found = evaluate(
        task, module, mapping, machine, trials, hardware=tiles, calibration=examples
    )  # fmt: skip
    (one,) = found.points
    return {
        "digital": found.digital, "value": one.values[0], "saturated": one.saturated_ratio,
        "examples": found.examples, "seconds": round(time.monotonic() - begun),
    }  # fmt: skip


def main(tell: Callable[[str], Any] = print) -> None:
    """Measure what is named, or all that is missing."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in sys.argv[1:] or POINTS:
        if name in _known():
            continue
        found = measure(POINTS[name])
        DATA.write_text(json.dumps(_known() | {name: found}, indent=1) + "\n")
        tell(f"{name}: {found}")


def _known() -> dict[str, Any]:
    """What is measured, read anew: several processes may share the work by name."""
    return json.loads(DATA.read_text()) if DATA.exists() else {}


if __name__ == "__main__":
    main()
