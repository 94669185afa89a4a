"""Speed of the crossbar kernels, as ratios against a plain fp32 matrix product in the same run.

    python benchmarks/perf/mvm.py [--smoke] [--json FILE]

One thread; CPU time; every ratio is the median over rounds in which both sides alternate. The
product is that of torch, or of numpy where torch is not installed. aihwkit-lightning and
analoglib join where they are installed (extra `bench`). Exit code 1 if a target is missed,
except with --smoke, which only shows that everything runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

from cimsim.analog.coding import Coding  # noqa: E402
from cimsim.analog.converters import Adc, Dac  # noqa: E402
from cimsim.analog.crossbar import Cuts, program  # noqa: E402
from cimsim.analog.mvm import Mvm  # noqa: E402
from cimsim.noise import Device, Gaussian, Ideal, ReadNoise  # noqa: E402

SLICED = Coding(cells_per_weight=4, bits_per_cell=2)
NOISY_ADC = Adc(8, "fixed", 12.0, noise_ratio=0.04)
Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One measured case: `value` of `unit`, and what is asked of it."""

    case: str
    value: float
    unit: str
    target: float | None
    vectors_per_s: float


def plain_product(x: np.ndarray, w: np.ndarray) -> Work:
    if importlib.util.find_spec("torch") is None:
        out = np.empty((len(x), w.shape[1]), np.float32)
        return lambda: np.matmul(x, w, out=out)
    import torch

    torch.set_num_threads(1)
    a, b = torch.from_numpy(x), torch.from_numpy(w)
    return lambda: torch.mm(a, b)


def cpu_s(work: Work, repeat: int) -> float:
    start = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - start) / repeat


def alternate(works: list[Work], rounds: int, round_s: float) -> list[list[float]]:
    """CPU seconds of each work in each round; all take turns."""
    for work in works:
        work()
    repeats = [max(1, round(round_s / max(cpu_s(work, 1), 1e-5))) for work in works]
    return [[cpu_s(w, n) for w, n in zip(works, repeats, strict=True)] for _ in range(rounds)]


def crossbar(
    size: int, vectors: int, coding: Coding, device: Device, dac: Dac, adc: Adc
) -> tuple[Mvm, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((size, size), np.float32)
    x = rng.standard_normal((vectors, size), np.float32)
    bar = program(w, Cuts.of(w.shape, (512, 512)), coding, device, seed=1, keep_cells=False)
    return Mvm.build(bar.read(read_noise="each_mvm"), dac, adc, x[:64]), x, w


def against_product(case: str, size: int, device: Device, target: float, run: Run) -> list[Row]:
    mvm, x, w = crossbar(size, run.vectors, Coding(), device, Dac(8), NOISY_ADC)
    works: list[Work] = [plain_product(x, w), lambda: mvm(x, seed=2)]
    times = alternate(works, run.rounds, run.round_s)
    ratio = median(plain / ours for plain, ours in times)
    speed = len(x) / median(ours for _, ours in times)
    return [Row(case, ratio, "of plain product rate", target, speed)]


def against_peers(run: Run) -> list[Row]:
    mvm, x, w = crossbar(512, run.vectors, Coding(), Gaussian(0.02), Dac(8), NOISY_ADC)
    rows = []
    for name, make, target in (
        ("aihwkit-lightning", lightning, 1.5),
        ("analoglib", analoglib, None),
    ):
        peer = make(x, w)
        if peer is None:
            print(f"skipped: {name} is not installed (pip install '.[bench]')")
            continue
        times = alternate([peer, lambda: mvm(x, seed=2)], run.rounds, run.round_s)
        ratio = median(theirs / ours for theirs, ours in times)
        speed = len(x) / median(theirs for theirs, _ in times)
        rows.append(Row(f"512x512 against {name}", ratio, "times its rate", target, speed))
    return rows


def lightning(x: np.ndarray, w: np.ndarray) -> Work | None:
    """The same case: 8-bit input scaled by token, output noise, 8-bit output.

    It draws output noise only in training mode; gradients are off.
    """
    if importlib.util.find_spec("aihwkit_lightning") is None:
        return None
    import torch
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig

    torch.set_num_threads(1)
    config = TorchInferenceRPUConfig()
    config.forward.inp_res = 2**8 - 2
    config.forward.out_res = 2**8 - 2
    config.forward.out_bound = 12.0
    config.forward.out_noise = 0.04
    config.pre_post.input_range.enable = True
    config.pre_post.input_range.dynamic = True
    config.pre_post.input_range.learn_input_range = False
    layer = AnalogLinear(w.shape[0], w.shape[1], bias=False, rpu_config=config)
    layer.set_weights(torch.from_numpy(np.ascontiguousarray(w.T)))
    layer.train()
    inputs = torch.from_numpy(x)

    def work() -> object:
        with torch.no_grad():
            return layer(inputs)

    return work


def analoglib(x: np.ndarray, w: np.ndarray) -> Work | None:
    """A batch through its crossbar with read noise; it has its converters elsewhere."""
    if importlib.util.find_spec("analoglib") is None:
        return None
    import analoglib as peer

    bar = peer.Crossbar(*w.shape)
    bar.load_weights(w)
    return lambda: bar.vmm(x, noise=True)


def bit_sliced(case: str, device: Device, adc: Adc, target: float, run: Run) -> list[Row]:
    dac = Dac(8, pulse_bits=1)
    mvm, x, _ = crossbar(512, run.vectors, SLICED, device, dac, adc)
    times = alternate([lambda: mvm(x, seed=2)], run.rounds, run.round_s)
    speed = len(x) / median(ours for (ours,) in times)
    return [Row(case, speed, "vectors/s", target, speed)]


def two_threads(run: Run) -> list[Row]:
    """Wall-clock gain of a second thread, best round of each: other work can only lessen it."""
    mvm, x, _ = crossbar(run.large, run.vectors, Coding(), Gaussian(0.02), Dac(8), NOISY_ADC)
    mvm(x, seed=2, threads=2)
    best = {1: math.inf, 2: math.inf}
    for _ in range(2 * run.rounds):
        for threads in best:
            start = time.perf_counter()
            mvm(x, seed=2, threads=threads)
            best[threads] = min(best[threads], time.perf_counter() - start)
    case = f"two threads, {run.large}x{run.large}"
    return [Row(case, best[1] / best[2], "times one", 1.7, len(x) / best[2])]


@dataclass(frozen=True)
class Run:
    """How much is measured."""

    vectors: int
    rounds: int
    round_s: float
    large: int


def measure(run: Run) -> list[Row]:
    read = ReadNoise(0.01, inner=Gaussian(0.02))
    size = f"{run.large}x{run.large}"
    return [
        *against_product("512x512, programming and output noise", 512, Gaussian(0.02), 0.45, run),
        *against_product(f"{size}, one ADC range a tile", run.large, Gaussian(0.02), 0.6, run),
        *against_product("512x512, noise of every read", 512, read, 0.25, run),
        *against_product(f"{size}, noise of every read", run.large, read, 0.25, run),
        *bit_sliced("8 pulses x 4 slices, programmed cells", Gaussian(0.02), Adc(8), 5e3, run),
        *bit_sliced("8 pulses x 4 slices, output noise", Gaussian(0.02), NOISY_ADC, 5e3, run),
        *bit_sliced("8 pulses x 4 slices, ideal cells", Ideal(), Adc(8), 15e3, run),
        *two_threads(run),
        *against_peers(run),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no verdict")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    run = Run(64, 1, 0.001, 512) if options.smoke else Run(256, 9, 0.1, 4096)
    rows = measure(run)
    for row in rows:
        goal = "" if row.target is None else f"  target {row.target:g}"
        print(f"{row.case:44s} {row.value:10.2f} {row.unit}{goal}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    missed = [row for row in rows if row.target is not None and row.value < row.target]
    return 1 if missed and not options.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
