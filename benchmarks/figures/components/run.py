"""Costs of BERT-base and accuracy of MiniLM over ADC bits, rows of a tile and node.

    python benchmarks/figures/components/run.py costs [--smoke] [--store FILE]
    python benchmarks/figures/components/run.py accuracy [--smoke] [--store FILE]

Both are sweeps, written to costs.json and accuracy.json beside this file; with --store FILE a run
can be stopped and gone on with. plot.py draws them, README.md says what they show.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import cimsim
from cimsim.costs.tile import convert_ps, integrate_ps
from cimsim.files import write_text

Point = dict[str, Any]
HERE = Path(__file__).parent
MACHINE, WORKLOAD, MEASURED = "halora_rram_sram", "bert_base_r8_s320", "minilm_sentiment_r8_s32"
ADAPTER = str(HERE.parent / "accuracy" / "adapters" / "halora-s0")
KEYS = {"costs": ("bits", "rows", "node_nm"), "accuracy": ("bits", "rows")}
OUTPUTS = ("latency_s", "energy_J", "area_used_mm2", "area_used_by_unit_mm2.rram", "tiles_used")
PARTS = "energy_by_component_J"
COMPONENTS = (
    "buffer.access", "dram.access", *(f"leakage.{unit}" for unit in (
        "buffer", "dram", "link", "pmca", "rram", "rram_gated", "rram_wake_up", "sram")),
    "link.cluster_link", "link.tile_link", *(f"pmca.{part}" for part in (
        "cores", "dma", "shared", "tcdm")),
    *(f"rram.{part}" for part in (
        "accumulate", "adc", "affine", "cells", "dac", "registers", "shift_add")),
    *(f"sram.{part}" for part in (
        "accumulate", "attention", "kv_write", "products", "registers")),
)  # fmt: skip
BITS, ROWS, NODES_nm = (4, 5, 6, 7, 8, 9, 10), (64, 128, 256, 512), (14, 28, 65)
MEASURED_BITS, MEASURED_ROWS = (4, 5, 6, 8, 10), (64, 512)
"""Of the accuracy, which takes minutes a point and does not depend on the node."""
CELLS = 64 * 64 * 1_048_576
"""Of the shipped machine; tiles with more rows are fewer, so that it holds as much."""
DECISION_ns = 0.78125 / 8
"""A SAR converter takes a clock a bit: at 8 bits the machine's 1.28 GS/s."""
SENTENCES = 128
"""The first of the test."""


def settings(bits: int, rows: int, node_nm: int = 28) -> dict[str, float]:
    """What a point changes of the shipped machine."""
    shipped = cimsim.machine(MACHINE)
    assert shipped.rram is not None
    return {
        "rram.adc_bits": bits,
        "rram.adc_time_ns": bits * DECISION_ns,
        "rram.rows": rows,
        "rram.tile_count": CELLS // (rows * shipped.rram.columns),
        "technology_nm": node_nm,
    }


def machine(bits: int, rows: int, node_nm: int = 28) -> cimsim.Architecture:
    """The shipped machine with so many bits a conversion, rows a tile, and another node."""
    why = "assumed: varied by benchmarks/figures/components"
    return cimsim.machine(MACHINE).with_values(settings(bits, rows, node_nm), why)


def costs(points: Sequence[tuple[int, int, int]], store: Path | None) -> Iterator[Point]:
    """BERT-base on every point, layers taking turns, and one product of a tile."""
    done = cimsim.sweep(
        WORKLOAD, MACHINE, points=[settings(*point) for point in points], pipeline="token",
        outputs=(*OUTPUTS, *(f"{PARTS}.{part}" for part in COMPONENTS)), store=store,
    )  # fmt: skip
    for point, row in zip(points, done.each(), strict=True):
        tiles = machine(*point).rram
        assert tiles is not None
        mvm_ps = integrate_ps(tiles, tiles.columns) + convert_ps(tiles, tiles.columns)
        parts = {part: row.values[f"{PARTS}.{part}"] for part in COMPONENTS}
        yield {
            **dict(zip(KEYS["costs"], point, strict=True)),
            "adc_energy_J": tiles.adc_energy_pJ * 1e-12,
            "adc_area_um2": tiles.adc_area_um2,
            "mvm_s": mvm_ps * 1e-12,
            "latency_s": row.values["latency_s"],
            "energy_J": row.values["energy_J"],
            "energy_by_component_J": parts,
            "tiles_area_used_mm2": row.values["area_used_by_unit_mm2.rram"],
            "area_used_mm2": row.values["area_used_mm2"],
            "tiles_used": row.values["tiles_used"],
        }


def accuracy(
    points: Sequence[tuple[int, int]], store: Path | None, sentences: int = SENTENCES
) -> Iterator[Point]:
    """MiniLM with a HaLoRA adapter on tiles of every point: noise and converters, one chip."""
    measured = {"task": "sentiment", "adapter": ADAPTER, "seeds": 1, "limit": sentences}
    done = cimsim.sweep(
        MEASURED, MACHINE, points=[settings(*point) for point in points], pipeline="token",
        accuracy=measured, outputs=("accuracy", "accuracy.digital", "accuracy.examples"),
        store=store,
    )  # fmt: skip
    for point, row in zip(points, done.each(), strict=True):
        yield {
            **dict(zip(KEYS["accuracy"], point, strict=True)),
            "sentences": row.values["accuracy.examples"],
            "digital_percent": row.values["accuracy.digital"],
            "percent": row.values["accuracy"],
        }


def main() -> None:
    """Sweep the points of one kind, and write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=tuple(KEYS))
    parser.add_argument("--smoke", action="store_true", help="one point, no file")
    parser.add_argument("--store", type=Path, help="rows that a stopped run goes on from")
    given = parser.parse_args()
    if given.verb == "costs":
        at = [(8, 64, 28)] if given.smoke else list(product(BITS, ROWS, NODES_nm))
        found = costs(at, given.store)
    elif given.smoke:
        found = accuracy([(8, 64)], given.store, sentences=8)
    else:
        found = accuracy(list(product(MEASURED_BITS, MEASURED_ROWS)), given.store)
    points = list(found)
    if given.smoke:
        print(json.dumps(points[0]))
    else:
        write_text(HERE / f"{given.verb}.json", json.dumps(points, indent=1) + "\n")


if __name__ == "__main__":
    main()
