"""LoRA beside analog tiles: block latency, TCDM need and layer totals as in AHWA-LoRA's Fig. 4.

    python benchmarks/figures/ahwa_fig4/run.py [--smoke] [-o FILE]

Beyond the figure: MobileBERT, BERT-base and BERT-large end to end (attention, softmax,
normalisation, links), and ranks 1 to 64. plot.py draws what this writes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cimsim.exploration.strategies import compared
from cimsim.ir import Workload, load_workload
from cimsim.schedule.pipelines import PIPELINES
from cimsim.spec import Architecture, load_architecture
from cimsim.studies.pipelines import PipelineRow, Shape, adapted_shapes

ROOT = Path(__file__).parents[3]
LAYERS = ((128, 128), (512, 128))
TIMES_NS = (128.0, 256.0, 512.0)
BLOCKS = (8, 16, 32, 64, 128)
RANKS = (1, 2, 4, 8, 16, 32, 64)
MODELS = ("mobilebert_squad_r8_s320", "bert_base_r8_s320", "bert_large_r8_s320")
TOKENS, RANK = 320, 8


def points(pipelines: Iterable[str], times: Iterable[float] = TIMES_NS) -> list[dict[str, Any]]:
    """Every strategy at every integration time."""
    return [{"rram.integration_ns": ns, "pipeline": name} for ns in times for name in pipelines]


def blocks(machine: Architecture) -> list[dict[str, Any]]:
    """Panels a and b: tile and cluster time of a block, and its TCDM need."""
    swept = points([f"token:{block}" for block in BLOCKS])
    return [
        row.as_dict()
        for shape in (Shape(*layer, RANK, TOKENS) for layer in LAYERS)
        for row in compared(shape, machine, swept)
    ]


def totals(machine: Architecture, shapes: list[tuple[Shape, int]]) -> list[dict[str, Any]]:
    """Panel c: every layer shape of `shapes` at every integration time, every strategy."""
    found = [compared(shape, machine, points(PIPELINES)) for shape, _ in shapes]
    each = len(PIPELINES)
    return [
        row.as_dict() | {"layers": layers}
        for start in range(0, each * len(TIMES_NS), each)
        for rows, (_, layers) in zip(found, shapes, strict=True)
        for row in rows[start : start + each]
    ]


def first_block(workload: Workload) -> Workload:
    """`workload` up to its second transformer block, for a quick look."""
    (phase,) = workload.phases
    end = next(i for i, op in enumerate(phase.ops) if ".layer.1." in op.name)
    return workload.model_copy(
        update={"phases": (phase.model_copy(update={"ops": phase.ops[:end]}),)}
    )


def end_to_end(machine: Architecture, workload: Workload) -> list[PipelineRow]:
    """The model under every strategy at the machine's own integration time."""
    return compared(workload, machine, [{"pipeline": name} for name in PIPELINES])


def ranks(machine: Architecture, mobilebert: Workload, chosen: tuple[int, ...]) -> dict[str, Any]:
    """Balanced, over the rank: both layers at every integration time, and MobileBERT."""
    of_rank = [
        [compared(Shape(*layer, rank, TOKENS), machine, points(["balanced"])) for rank in chosen]
        for layer in LAYERS
    ]
    models = compared(
        mobilebert, machine, [{"rank": rank, "pipeline": "balanced"} for rank in chosen]
    )
    return {
        "layers": [
            row.as_dict() | {"rank": rank}
            for rows in of_rank
            for at in zip(*rows, strict=True)
            for rank, row in zip(chosen, at, strict=True)
        ],
        "model": [row.as_dict() | {"rank": rank} for row, rank in zip(models, chosen, strict=True)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--smoke", action="store_true", help="one block of MobileBERT, a shape, two ranks"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("data.json"))
    options = parser.parse_args()
    machine = load_architecture(ROOT / "arch_configs/ahwa_pcm_pmca.json").with_values(
        {"pmca.products_on": "engine"}, why="as published"
    )
    names = MODELS[:1] if options.smoke else MODELS
    models = [load_workload(ROOT / f"workloads/{name}.json") for name in names]
    if options.smoke:
        models = [first_block(models[0])]
    shapes = adapted_shapes(models[0])
    result = {
        "smoke": options.smoke,
        "blocks": blocks(machine),
        "totals": totals(machine, shapes[:1] if options.smoke else shapes),
        "models": [row.as_dict() for m in models for row in end_to_end(machine, m)],
        "ranks": ranks(machine, models[0], (1, 8) if options.smoke else RANKS),
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
