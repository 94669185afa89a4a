"""Train the strategies on five image tasks, measure them on chips, price them, write the table.

    python benchmarks/images/run.py [--data FOLDER] [--strategies a,b] [--seeds 0,1,2] [--quick]

What is there already is left alone, so that a run can be stopped and gone on with. results.json,
table.md and table.png are written beside this file. `--quick` trains and measures one strategy on
one task and writes nothing here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from data import FOLDER, TASKS, task
from network import METHODS, base, learnt, start, traced
from table import write_table

import cimsim
from cimsim.accuracy import Trials, evaluate
from cimsim.accuracy.placing import as_mapped, mapping_of
from cimsim.adaptation.layers.columns import column_layers
from cimsim.adaptation.layers.masked import MaskedLayer
from cimsim.tasks import cache_directory

HERE = Path(__file__).parent
MACHINE = "halora_rram_sram"
ADAPTATIONS = {
    "frozen": "none",
    "full": "none",
    "piggyback": "piggyback",
    "xbm": "xbm",
    "xma": "xma",
    "scales": "xma2:share=0",
}
CHIPS = 3


def measured(folder: Path, work: Path, strategy: str, name: str, seed: int) -> dict[str, Any]:
    """Percent right, digital and on each chip with its converters, and the share that is kept."""
    machine, data = cimsim.machine(MACHINE), task(folder, name)
    model = learnt(strategy, data, start(folder, work, seed), machine, seed).model
    mapping = mapping_of(traced(base(folder, work)), machine, ADAPTATIONS[strategy])
    found = evaluate(data, as_mapped(model, mapping), mapping, machine, Trials(seeds=CHIPS))
    return {"digital": found.digital, "chips": list(found.points[0].values), **_kept(model)}


def _kept(model: torch.nn.Module) -> dict[str, float]:
    """The share of weights, or of columns, that masks let through."""
    masks = [layer.mask for layer in model.modules() if isinstance(layer, MaskedLayer)]
    masks += [layer.columns.numbers() != 0 for layer in column_layers(model).values()]
    if not masks:
        return {}
    return {"kept": float(torch.cat([mask.flatten().float() for mask in masks]).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--strategies", default=",".join(METHODS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = cache_directory() / "benchmark-images"
    if given.quick:
        print(measured(given.data, work, "xbm", "turned", 0))
        return
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"accuracy": {}, "costs": {}}
    for seed in map(int, given.seeds.split(",")):
        for strategy in given.strategies.split(","):
            for name in TASKS:
                label = f"{strategy}/{name}/{seed}"
                if label not in results["accuracy"]:
                    found = measured(given.data, work, strategy, name, seed)
                    results["accuracy"][label] = found
                    print(label, found, flush=True)
                    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    write_table(HERE)


if __name__ == "__main__":
    main()
