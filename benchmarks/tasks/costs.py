"""What the same strategies cost: `cimsim switch` of the same model with the same adapted layers."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from base import SHARED, TARGETS, TASKS, TOKENS, WORK, pretrained
from chips import MACHINE
from recipe import ALPHA, ARRAYS_REWRITTEN, PRUNING, RANK, SCALE_BITS, SPARSE

from cimsim.accuracy.placing import trace_task_model
from cimsim.adaptation import adaptation_named
from cimsim.serving.scenario import Scenario
from cimsim.serving.study import switch
from cimsim.spec import Architecture
from cimsim.training import LoraShape, adapted

sys.path.insert(0, str(Path(__file__).parent.parent))
import switching

KEEPING = ("xbm", "piggyback", *PRUNING)
"""Strategies whose price depends on the share that training left."""
SCENARIO = {
    "name": "benchmark_tasks",
    "tasks": list(TASKS),
    "requests": {"pattern": "round_robin", "count": 64},
    "pipeline": "layer:block_tokens=1",
}
"""Every request is for another task than the last."""
CELLS_OF_2_BITS = {"rram.cells_per_weight": 4, "rram.bits_per_cell": 2}
"""Choice: on a machine with one cell a weight the cell of a difference saves nothing."""


def adaptations(kept: dict[str, float]) -> dict[str, Any]:
    """The adaptation of each strategy, with the shares that training left."""
    return {
        "frozen": switching.HeadAlone(),
        "full": "full",
        "merged": "merged",
        "lora-sram": "lora-sram",
        "lora-rram": "lora-rram",
        "dora": "lora-sram",  # of a workload with magnitudes
        "lora-fusion": "lora-fusion:adapters=5",
        "xbm": f"xbm:kept={kept['xbm']:.3f}",
        "xma": "xma:bits=2",
        "xma2": f"xma2:bits={SCALE_BITS},share={ARRAYS_REWRITTEN:g}",
        "piggyback": f"piggyback:zeroed={1.0 - kept['piggyback']:.3f}",
        **{name: f"pruned-lora:sparsity={1.0 - kept[name]:.3f}" for name in PRUNING},
        "fisher-sparse": f"fisher-sparse:share={SPARSE.share:g}",
        "delta": f"delta:tasks={len(TASKS)}",
    }


@cache
def traced(dora: bool) -> str:
    """Path of the workload: MiniLM with an adapter on the blocks that tasks adapt."""
    blocks = range(SHARED, len(pretrained().module.encoder.encoder.layer))
    targets = tuple(f"encoder.layer.{block}.{part}" for block in blocks for part in TARGETS)
    model = adapted(pretrained(), LoraShape(RANK, ALPHA, targets=targets, dora=dora)).eval()
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"workload{'-dora' if dora else ''}.json"
    workload = trace_task_model(pretrained(), model, tokens=TOKENS, name="minilm_upper")
    path.write_text(workload.model_dump_json())
    return str(path)


def costs(kept: dict[str, float]) -> dict[str, dict[str, Any]]:
    """A row for each strategy; `delta`, and two beside it, on a machine with cells of 2 bits."""
    asked = adaptations(kept)
    small = MACHINE.with_values(CELLS_OF_2_BITS)
    rows = {
        strategy: _priced(small if strategy == "delta" else MACHINE, strategy, adaptation)
        for strategy, adaptation in asked.items()
    }
    for strategy in ("frozen", "lora-sram", "merged"):
        rows[f"{strategy}, 2-bit cells"] = _priced(small, strategy, asked[strategy])
    return rows


def _priced(machine: Architecture, strategy: str, adaptation: Any) -> dict[str, Any]:
    scenario = Scenario.model_validate({**SCENARIO, "workload": traced(strategy == "dora")})
    found = switch(machine, scenario, strategies=[adaptation_named(adaptation)])
    result = found.strategies[0]
    return {
        **switching.row(result),
        "written_energy_J": result.switch_energy_J / result.switches,
        "base_energy_J": found.base.energy_J,
        "base_latency_s": found.base.latency_s,
    }
