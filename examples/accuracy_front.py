"""Accuracy, energy and area at once: which converters and tiles are worth their price?

    python examples/accuracy_front.py

Start here for a study with accuracy: the directory that `cimsim train` left goes into TASK, more
sentences (`limit`) and chips (`seeds`) make it sure, and other fields of the machine, or `noise`,
go into VARIED. It needs torch. Results go into accuracy_front.sqlite, and a run that was stopped
goes on there.
"""

from __future__ import annotations

from pathlib import Path

import cimsim
from cimsim.views.front.picture import save_front
from cimsim.views.front.scene import scene_of

ADAPTER = Path(__file__).parents[1] / "benchmarks/figures/accuracy/adapters/halora-s0"
TASK = {"task": "sentiment", "adapter": str(ADAPTER), "seeds": 1, "limit": 4}
VARIED = {"rram.adc_bits": [3, 8]}


def main() -> None:
    """Measure and simulate every design, print the front, and draw it."""
    done = cimsim.sweep(
        "minilm_sentiment_r8_s32", "halora_rram_sram", VARIED, pipeline="token", accuracy=TASK,
        outputs=["accuracy", "energy_J", "area_used_mm2"], store="accuracy_front.sqlite",
    )  # fmt: skip
    front = done.front("accuracy,energy_J,area_used_mm2")
    print(front.note)
    for place, row in enumerate(front.rows):
        told = ", ".join(f"{axis} {value}" for axis, value in row.settings.items())
        score, energy_J = row.values["accuracy"], float(row.values["energy_J"] or 0)
        print(f"{told}: {score:.1f} %, {energy_J * 1e6:.1f} uJ", "(knee)" * (place == front.knee))
    save_front(scene_of(front, done.store.study), Path("accuracy_front.png"))


if __name__ == "__main__":
    main()
