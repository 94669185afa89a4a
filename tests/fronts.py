"""A small study to draw: a grid of three axes with text from outside that no browser may run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from cimsim.exploration.pareto import knee, nondominated
from cimsim.views.front.scene import Scene, scene

EVIL = "<img src=x onerror=alert(1)>"
WORSE = "</script><b>bold</b>&lt;i&gt; ${1+1} %{x}\x1b[31m\u202e"
TWO = {"latency_s": False, "energy_J": False}
THREE = {**TWO, "accuracy": True}


def study(objectives: Mapping[str, bool] = TWO) -> Scene:
    """36 points: time falls with rows, energy rises with bits, a pipeline's name is an attack."""
    settings, values = [], []
    for bits, pipeline, rows in product([4, 6, 8], ["token", EVIL, WORSE], [64, 128, 256, 512]):
        settings.append({"rram.adc_bits": bits, "pipeline": pipeline, "rram.rows": rows})
        slow = 5.1 if pipeline == "token" else 1.03 + 0.02 * len(pipeline)
        values.append({
            "latency_s": 0.7e-3 * slow * bits / rows**0.5, "energy_J": 3.1e-4 * bits * rows**0.25,
            "accuracy": 0.6 + bits / 30, "area_used_mm2": 100.1 + rows / 7, "bound": EVIL,
        })  # fmt: skip
    costs = np.array([[v[k] * (1 - 2 * m) for k, m in objectives.items()] for v in values])  # type: ignore[operator]
    front = np.flatnonzero(nondominated(costs))
    return scene(
        settings, values, objectives, front.tolist(), int(front[knee(costs[front])]),
        why=[EVIL if settings[i]["rram.adc_bits"] == 4 else "" for i in front],
        title=f"{EVIL} {WORSE}", note="36 points",
        inputs={f"workload {EVIL}": "0123456789abcdef" * 4},
    )  # fmt: skip
