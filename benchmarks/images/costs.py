"""What the strategies cost: `cimsim switch` of the same network, every request for another task."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from data import TASKS

import cimsim
from cimsim.adaptation import adaptation_named
from cimsim.ir import Workload
from cimsim.serving.scenario import Scenario
from cimsim.serving.study import switch

sys.path.insert(0, str(Path(__file__).parent.parent))
import switching

MACHINE = "halora_rram_sram"
REQUESTS = 50


def kept(accuracy: dict[str, Any], strategy: str) -> float:
    """The mean share of weights or columns that the trained masks of `strategy` let through."""
    return mean(found["kept"] for label, found in accuracy.items() if label.startswith(strategy))


def costs(workload: Workload, accuracy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A row for each strategy, with the shares that training left.

    `workload` has LoRA on what tasks adapt, which no strategy here has, and a head for each task.
    """
    asked: dict[str, Any] = {
        "frozen": switching.HeadAlone(),
        "full": "full",
        "piggyback": f"piggyback:zeroed={1.0 - kept(accuracy, 'piggyback'):.3f}",
        "xbm": f"xbm:kept={kept(accuracy, 'xbm'):.3f}",
        "xma": "xma",
        "scales": "xma2:share=0",
    }
    rows = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "workload.json"
        path.write_text(workload.model_dump_json())
        scenario = Scenario.model_validate({
            "name": "benchmark_images", "workload": str(path), "tasks": list(TASKS),
            "requests": {"pattern": "round_robin", "count": REQUESTS}, "pipeline": "token",
        })  # fmt: skip
        for strategy, text in asked.items():
            found = switch(cimsim.machine(MACHINE), scenario, strategies=[adaptation_named(text)])
            rows[strategy] = switching.row(found.strategies[0])
    return rows
