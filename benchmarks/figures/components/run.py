"""Costs of BERT-base and accuracy of MiniLM over ADC bits, rows of a tile and node.

    python benchmarks/figures/components/run.py costs [--smoke]
    python benchmarks/figures/components/run.py accuracy [--smoke]

Writes costs.json and accuracy.json beside this file; points that are there are left alone, so that
a run can be stopped and gone on with. plot.py draws them, README.md says what they show.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import cimsim
from cimsim.costs.tile import convert_ps, integrate_ps
from cimsim.files import write_text

Take = Callable[..., dict[str, Any]]
HERE = Path(__file__).parent
MACHINE, WORKLOAD = "halora_rram_sram", "bert_base_r8_s320"
BITS, ROWS, NODES_nm = (4, 5, 6, 7, 8, 9, 10), (64, 128, 256, 512), (14, 28, 65)
MEASURED_BITS, MEASURED_ROWS = (4, 5, 6, 8, 10), (64, 512)
"""Of the accuracy, which takes minutes a point and does not depend on the node."""
CELLS = 64 * 64 * 1_048_576
"""Of the shipped machine; tiles with more rows are fewer, so that it holds as much."""
DECISION_ns = 0.78125 / 8
"""A SAR converter takes a clock a bit: at 8 bits the machine's 1.28 GS/s."""
SENTENCES = 128
"""The first of the test; one chip, the same for every point."""


def machine(bits: int, rows: int, node_nm: int = 28) -> cimsim.Architecture:
    """The shipped machine with so many bits a conversion, rows a tile, and another node."""
    shipped = cimsim.machine(MACHINE)
    assert shipped.rram is not None
    values = {
        "rram.adc_bits": bits,
        "rram.adc_time_ns": bits * DECISION_ns,
        "rram.rows": rows,
        "rram.tile_count": CELLS // (rows * shipped.rram.columns),
        "technology_nm": node_nm,
    }
    return shipped.with_values(values, "assumed: varied by benchmarks/figures/components")


def costs(bits: int, rows: int, node_nm: int) -> dict[str, Any]:
    """One run of BERT-base, layers taking turns, and one product of a tile."""
    at = machine(bits, rows, node_nm)
    tiles = at.rram
    assert tiles is not None
    report = cimsim.simulate(cimsim.workload(WORKLOAD), at, pipeline="token").report
    mvm_ps = integrate_ps(tiles, tiles.columns) + convert_ps(tiles, tiles.columns)
    return {
        "bits": bits,
        "rows": rows,
        "node_nm": node_nm,
        "adc_energy_J": tiles.adc_energy_pJ * 1e-12,
        "adc_area_um2": tiles.adc_area_um2,
        "mvm_s": mvm_ps * 1e-12,
        "latency_s": report.latency_s,
        "energy_J": report.energy_J,
        "energy_by_component_J": report.energy_by_component_J,
        "tiles_area_used_mm2": report.area_used_by_unit_mm2["rram"],
        "area_used_mm2": report.area_used_mm2,
        "tiles_used": report.tiles_used,
    }


def accuracy(bits: int, rows: int, sentences: int = SENTENCES) -> dict[str, Any]:
    """MiniLM with a HaLoRA adapter on tiles of this machine: device noise and converters."""
    import torch  # costs are made without it

    from cimsim.accuracy import Subject, Trials, measure, place
    from cimsim.tasks import load_model, load_task

    torch.set_num_threads(1)
    model = load_model("minilm")
    folder = HERE.parent / "accuracy" / "adapters" / "halora-s0"
    subject = Subject.of(model, folder, folder.name)
    at = machine(bits, rows)
    workload, mapping = place(model, at, tokens=32, adapted=subject.module)
    trials = Trials((None,), seeds=1, limit=sentences, workers=1)
    found = measure(subject, load_task("sentiment", model), workload, mapping, at, trials)
    return {
        "bits": bits,
        "rows": rows,
        "sentences": found.examples,
        "digital_percent": found.digital,
        "percent": found.by_noise[0].by_time[0].mean,
    }


def keep(path: Path, keys: Sequence[str], take: Take, wanted: Iterable[tuple[int, ...]]) -> None:
    """Take the points that are not in the file yet, and add each to it."""
    points = json.loads(path.read_text()) if path.exists() else []
    there = {tuple(point[key] for key in keys) for point in points}
    for at in wanted:
        if at not in there:
            points.append(take(*at))
            points.sort(key=lambda point: [point[key] for key in keys])
            write_text(path, json.dumps(points, indent=1) + "\n")
            print(*at, flush=True)


def main() -> None:
    """Take the points of one kind that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("costs", "accuracy"))
    parser.add_argument("--smoke", action="store_true", help="one point, no file")
    given = parser.parse_args()
    if given.smoke:
        print(json.dumps(costs(8, 64, 28) if given.verb == "costs" else accuracy(8, 64, 8)))
    elif given.verb == "costs":
        points = product(BITS, ROWS, NODES_nm)
        keep(HERE / "costs.json", ("bits", "rows", "node_nm"), costs, points)
    else:
        keep(
            HERE / "accuracy.json",
            ("bits", "rows"),
            accuracy,
            product(MEASURED_BITS, MEASURED_ROWS),
        )


if __name__ == "__main__":
    main()
