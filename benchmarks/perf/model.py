"""A whole BERT-base forward on crossbars against the plain torch forward, in one run.

    python benchmarks/perf/model.py [--smoke] [--json FILE]

Weights are random, tiles those of the AHWA-LoRA machine (512x512). One thread; CPU time; both
sides take turns and the ratio is the median over rounds. Memory is what conversion adds to the
process: kept, and at its highest, in multiples of the weights that were put on tiles. Exit code 1
if a target is missed, except with --smoke, which only shows that everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import torch  # noqa: E402
from transformers import BertConfig, BertForQuestionAnswering  # noqa: E402

from cimsim.adaptation import adaptation_named  # noqa: E402
from cimsim.analog.converters import Adc  # noqa: E402
from cimsim.frontend import trace_model  # noqa: E402
from cimsim.functional import AnalogModel, Chip, hardware_of, program_chip  # noqa: E402
from cimsim.mappers import build_mapping  # noqa: E402
from cimsim.noise import PCM  # noqa: E402
from cimsim.spec import load_architecture  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MACHINE = ROOT / "arch_configs" / "ahwa_pcm_pmca.json"
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 97,
}


@dataclass(frozen=True)
class Row:
    """One measured case: `value` of `unit`, and the most that is wanted of it."""

    case: str
    value: float
    unit: str
    target: float | None


def bert(smoke: bool) -> BertForQuestionAnswering:
    torch.manual_seed(0)
    return BertForQuestionAnswering(BertConfig(**(SMALL if smoke else {}))).eval()


def chip_of(model: BertForQuestionAnswering, adc: Adc) -> Chip:
    machine, nothing = load_architecture(MACHINE), adaptation_named("none")
    workload = trace_model(model, prefill=16)
    mapping = build_mapping(nothing.apply(workload), machine, nothing)
    hardware = replace(hardware_of(machine, PCM()), adc=adc)
    return program_chip(model, mapping, machine, hardware, seed=1)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory(model: BertForQuestionAnswering, machine: Chip, ids: torch.Tensor) -> list[Row]:
    """Resident memory before, during (looked at every 5 ms) and after a conversion."""
    on_tiles = sum(
        4 * p.grid.rows * p.grid.columns
        for p in machine.mapping.placements.values()
        if p.unit == "rram"
    )
    before = resident_bytes()
    highest, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            highest[0] = max(highest[0], resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    analog = machine.at()
    with torch.no_grad():
        analog(ids)
    taken = time.process_time() - start
    done.set()
    watcher.join()
    kept = (resident_bytes() - before) / on_tiles
    peak = (max(highest[0], resident_bytes()) - before) / on_tiles
    return [
        Row("converted model keeps", kept, "times its weights", None),
        Row("conversion at its highest", peak, "times its weights", 1.5),
        Row("conversion", taken, "s", None),
    ]


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def forward(model: torch.nn.Module, ids: torch.Tensor) -> Callable[[], object]:
    def work() -> object:
        with torch.no_grad():
            return model(ids)

    return work


def against_plain(
    case: str, plain: torch.nn.Module, analog: AnalogModel, ids: torch.Tensor, rounds: int,
    target: float | None,
) -> Row:  # fmt: skip
    works = [forward(plain, ids), forward(analog, ids)]
    works[1]()  # programs the chip
    times = [[cpu_s(work) for work in works] for _ in range(rounds)]
    return Row(case, median(ours / theirs for theirs, ours in times), "times plain", target)


def measure(smoke: bool) -> list[Row]:
    torch.set_num_threads(1)
    model = bert(smoke)
    batch, rounds = ((2, 16), 1) if smoke else ((32, 128), 3)
    ids = torch.randint(5, 90, batch)
    # The first use compiles the kernels, which takes memory of its own.
    small = bert(smoke=True)
    with torch.no_grad():
        chip_of(small, Adc(8, "fixed", 12.0)).at()(ids[:1, :8])
    converters = {"8-bit converters": 0.0, "8-bit converters, output noise": 0.04}
    rows: list[Row] = []
    for case, noise in converters.items():
        machine = chip_of(model, Adc(8, "fixed", 12.0, noise_ratio=noise))
        rows += [] if rows else memory(model, machine, ids[:1, :8])
        analog = machine.at(path="kernel")
        rows.append(against_plain(f"{case}, kernels", model, analog, ids, rounds, 3.0))
        if noise == 0.0:
            analog = machine.at(path="torch")
            rows.append(against_plain(f"{case}, torch path", model, analog, ids, rounds, None))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny model, no verdict")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = measure(options.smoke)
    for row in rows:
        goal = "" if row.target is None else f"  at most {row.target:g}"
        print(f"{row.case:44s} {row.value:10.2f} {row.unit}{goal}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    missed = [row for row in rows if row.target is not None and row.value > row.target]
    return 1 if missed and not options.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
