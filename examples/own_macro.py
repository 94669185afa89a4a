"""Your own macro against bits of its converters and rows of its tiles: what does each cost?

    python examples/own_macro.py

Start here with a macro of your own: put its numbers into MACRO (any field of a machine file;
`cimsim check halora_rram_sram` lists them), name your workload, and widen BITS and ROWS. Results
go into own_macro.sqlite, and a run that was stopped goes on there.
"""

from __future__ import annotations

from pathlib import Path

import cimsim
from cimsim.views.front.picture import save_front
from cimsim.views.front.scene import scene_of

WORKLOAD = "minilm_sentiment_r8_s32"
MACRO = {"rram.columns": 128, "rram.integration_ns": 100.0, "rram.input_bits": 8}
BITS, ROWS = (4, 8), (64, 256)
CELLS = 2**32
"""Of the whole chip: tiles with more rows are fewer, so that all designs hold as much."""


def main() -> None:
    """Simulate every design once, print them, and draw what no other design beats."""
    macro = cimsim.machine("halora_rram_sram").with_values(MACRO, "measured: my own macro")
    designs = [
        {"rram.adc_bits": bits, "rram.rows": rows, "rram.tile_count": CELLS // (rows * 128)}
        for rows in ROWS
        for bits in BITS
    ]
    outputs = ["latency_s", "energy_J", "area_used_mm2"]
    store = Path("own_macro.sqlite")
    done = cimsim.sweep(
        WORKLOAD, macro, points=designs, pipeline="token", outputs=outputs, store=store
    )
    print("rows bits  latency (us)  energy (uJ)  area (mm2)")
    for row in done.rows:
        if row.status != "done":
            print(row.settings, row.shortage)
            continue
        at, found = row.settings, row.values
        print(
            f"{at['rram.rows']:4} {at['rram.adc_bits']:4} {found['latency_s'] * 1e6:13.1f}"
            f" {found['energy_J'] * 1e6:12.1f} {found['area_used_mm2']:11.1f}"
        )
    front = done.front("energy_J,area_used_mm2")
    print(f"{len(front.rows)} of {len(done.rows)} designs are beaten by no other.")
    save_front(scene_of(front, done.store.study), Path("own_macro.png"))


if __name__ == "__main__":
    main()
