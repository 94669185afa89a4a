"""What the same strategies cost: `cimsim switch` of the same model with the same adapted layers."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from base import SHARED, TARGETS, TASKS, TOKENS, WORK, pretrained
from recipe import ALPHA, RANK, SPARSE

import cimsim
from cimsim.accuracy.placing import trace_task_model
from cimsim.adaptation import adaptation_named
from cimsim.errors import CimsimError
from cimsim.serving.scenario import Scenario
from cimsim.serving.study import switch
from cimsim.training import LoraShape, adapted

sys.path.insert(0, str(Path(__file__).parent.parent))
import switching

MACHINE = "halora_rram_sram"
SCENARIO = {
    "name": "benchmark_tasks",
    "tasks": list(TASKS),
    "requests": {"pattern": "round_robin", "count": 64},
    "pipeline": "layer:block_tokens=1",
}
"""Every request is for another task than the last."""


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
        "xma2": "xma2",
        "piggyback": f"piggyback:zeroed={1.0 - kept['piggyback']:.3f}",
        "pruned-lora": f"pruned-lora:sparsity={1.0 - kept['pruned-lora']:.3f}",
        "fisher-sparse": f"fisher-sparse:share={SPARSE.share:g}",
        "delta": "delta",
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
    """A row for each strategy; one with `missing` where cimsim has no such adaptation."""
    machine, rows = cimsim.machine(MACHINE), {}
    for strategy, asked in adaptations(kept).items():
        try:
            workload = traced(strategy == "dora")
            scenario = Scenario.model_validate({**SCENARIO, "workload": workload})
            named = adaptation_named(asked)
            found = switch(machine, scenario, strategies=[named])
        except CimsimError as problem:
            rows[strategy] = {"missing": str(problem)}
            continue
        result = found.strategies[0]
        rows[strategy] = {
            **switching.row(result),
            "written_energy_J": result.switch_energy_J / result.switches,
            "base_energy_J": found.base.energy_J,
            "base_latency_s": found.base.latency_s,
        }
    return rows
