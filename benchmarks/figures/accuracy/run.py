"""Train the adapters and take the measurements of study.py.

    python benchmarks/figures/accuracy/run.py train [NAME ...]
    python benchmarks/figures/accuracy/run.py measure [NAME ...] [--smoke]

What is there already is left alone, so that a run can be stopped and gone on with, and several
can share the work by name. Adapters go to adapters/, measurements to data/; plot.py draws them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import study
import torch
from safetensors.torch import load_file, save_file

import cimsim
from cimsim.accuracy import Subject, measure, place
from cimsim.tasks import load_model, load_task
from cimsim.training import Execution, Step, parse_method, student, train
from cimsim.training.adapters import ADAPTER_FILE

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TOKENS = 32
"""Length that the models are traced at; neither mapping nor accuracy depends on it."""


def machine_of(name: str, values: Mapping[str, int]) -> cimsim.Architecture:
    """A shipped machine with other `values`."""
    machine = cimsim.load_architecture(ROOT / f"arch_configs/{name}.json")
    return machine.with_values(dict(values), "assumed: varied by study.py") if values else machine


def adapter_path(name: str) -> Path:
    """Where the adapter called `name` is kept."""
    return HERE / "adapters" / name


def train_one(name: str) -> None:
    """Train the adapter called `name` unless it is there."""
    if adapter_path(name).exists():
        return
    wanted = study.ADAPTERS[name]
    model = load_model(wanted.model)
    task, method = load_task(wanted.task, model), parse_method(wanted.method)
    start = None if wanted.start is None else adapter_path(wanted.start)
    machine = machine_of(wanted.machine, wanted.values)
    begun = student(model, method, wanted.seed, start)
    workload, mapping = place(
        model, machine, tokens=TOKENS, adapted=begun, adaptation=wanted.adaptation
    )
    trained = train(
        model, task, method, mapping=mapping, architecture=machine, workload=workload,
        seed=wanted.seed, start=start,
        execution=Execution(
            HERE / "checkpoints" / f"{name}.safetensors", every=20, resume=True,
            precision=wanted.precision,
        ),
        progress=teller(name),
    )  # fmt: skip
    trained.save(adapter_path(name))
    if wanted.half:
        file = adapter_path(name) / ADAPTER_FILE
        save_file({key: each.half() for key, each in load_file(file).items()}, file)


def teller(name: str) -> Any:
    """A line every 50 steps."""
    begun = time.monotonic()

    def tell(step: Step) -> None:
        if step.done % 10 == 0:
            seconds = time.monotonic() - begun
            print(f"{name} {step.done}/{step.steps} {step.loss:.3f} {seconds:.0f} s", flush=True)

    return tell


def measure_one(name: str, smoke: bool) -> None:
    """Take the measurement called `name` unless it is there."""
    path = HERE / "data" / f"{name}.json"
    if path.exists() and not smoke:
        return
    wanted = study.MEASUREMENTS[name]
    model = load_model(wanted.model)
    task, machine = load_task(wanted.task, model), machine_of(wanted.machine, wanted.values)
    folder = None if wanted.adapter is None else adapter_path(wanted.adapter)
    subject = Subject.of(model, folder, wanted.adapter)
    workload, mapping = place(
        model, machine, tokens=TOKENS, adapted=subject.module, adaptation=wanted.adaptation
    )
    settings = replace(wanted.settings, limit=8, seeds=1) if smoke else wanted.settings
    found = measure(subject, task, workload, mapping, machine, settings)
    text = found.model_dump_json(indent=1) + "\n"
    if smoke:
        print(name, text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    means = [round(point.mean, 2) for noise in found.by_noise for point in noise.by_time]
    print(name, round(found.digital, 2), means, flush=True)


def main() -> None:
    """Do what the command line names, or all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("train", "measure"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--smoke", action="store_true", help="eight examples, one draw, no file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = study.ADAPTERS if given.verb == "train" else study.MEASUREMENTS
    if odd := [name for name in given.names if name not in known]:
        sys.exit(f"not known: {', '.join(odd)}; known: {', '.join(known)}")
    for name in given.names or known:
        train_one(name) if given.verb == "train" else measure_one(name, given.smoke)


if __name__ == "__main__":
    main()
