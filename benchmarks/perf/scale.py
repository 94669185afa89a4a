"""Cost of very large models, and of laying out a small one, against targets.

    python benchmarks/perf/scale.py [--smoke] [--json]

Every large case is `cimsim run` in a process of its own, user plus system time and peak memory, on
models that are traced beforehand without weights (torch is needed). BERT-base is laid out and run
on both engines in this process. Prints what is wanted beside what was measured; exit code 1 if a
target is missed, except with --smoke, which only shows that everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["NUMBA_NUM_THREADS"] = "1"

from main_job import ROOT, engine_ratio, process

import cimsim
from cimsim.adaptation import adaptation_for
from cimsim.mappers import build_mapping
from cimsim.schedule import build_plan

MACHINE = ROOT / "arch_configs/halora_rram_sram.json"
BERT = ("ahwa_pcm_pmca", "bert_base_r8_s320", "token")
MINILM = ("ahwa_pcm_pmca", "minilm_sentiment_r8_s32", "token")
ROOM = {
    "rram.tile_count": 60_000_000,
    "sram.unit_count": 60_000_000,
    "pmca.tcdm_KiB": 4096,
    "dram.capacity_GiB": 64,
}
"""The machine's numbers raised until the models fit."""


@dataclass(frozen=True)
class Size:
    """A decoder like LLaMA-3, with LoRA of rank 4 on five of its projections."""

    hidden: int
    layers: int
    heads: int
    intermediate: int

    def config(self) -> dict[str, object]:
        """Its config.json."""
        base = json.loads((ROOT / "workloads/configs/llama3.2_1b/config.json").read_text())
        return base | {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": 8,
            "intermediate_size": self.intermediate,
            "head_dim": 128,
            "tie_word_embeddings": False,
        }


TINY = Size(1024, 2, 8, 2048)
B8 = Size(4096, 32, 32, 14336)
B70 = Size(8192, 80, 64, 28672)
B405 = Size(16384, 126, 128, 53248)


@dataclass(frozen=True)
class Case:
    """A model with prompt and generated tokens on tiles of `tile` rows and columns, and targets."""

    name: str
    size: Size
    prompt: int
    decode: int
    tile: int
    cpu_s: float | None
    memory_MB: float | None


CASES = (
    Case("405B 512+128, 512x512 tiles", B405, 512, 128, 512, 60.0, 4096.0),
    Case("70B 512+128, 64x64 tiles", B70, 512, 128, 64, None, None),
    Case("8B 512+4096, 64x64 tiles", B8, 512, 4096, 64, 10.0, 1024.0),
    Case("8B, prompt of 32,768, 64x64 tiles", B8, 32_768, 0, 64, 15.0, None),
)
SMOKE = (Case("tiny 16+4, 64x64 tiles", TINY, 16, 4, 64, None, None),)


@dataclass(frozen=True)
class Row:
    """One measured number; `least` where more is better."""

    case: str
    value: float
    unit: str
    target: float | None
    least: bool = False

    @property
    def missed(self) -> bool:
        """Whether the target is not met."""
        if self.target is None:
            return False
        return self.value < self.target if self.least else self.value > self.target


def large(case: Case, folder: Path) -> list[Row]:
    """CPU time and peak memory of one run, from the file to the report."""
    model, workload = folder / "model", folder / "workload.json"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps(case.size.config()))
    process([
        "trace", str(model), "-o", str(workload), "--prefill", str(case.prompt),
        "--decode", str(case.decode), "--lora-rank", "4",
        "--lora-targets", "q_proj,k_proj,v_proj,up_proj,down_proj",
    ])  # fmt: skip
    changed = ROOM | {"rram.rows": case.tile, "rram.columns": case.tile}
    settings = [part for field, n in changed.items() for part in ("--set", f"{field}={n}")]
    cpu, _, memory = process(
        ["run", str(MACHINE), str(workload), *settings, "--pipeline", "token", "--json"]
    )
    return [
        Row(case.name, cpu, "s CPU", case.cpu_s),
        Row(case.name, memory, "MB", case.memory_MB),
    ]


def layout(machine: str, name: str, pipeline: str, rounds: int) -> Row:
    """CPU time of mapping and plan of a workload that has been laid out before."""
    workload = cimsim.load_workload(ROOT / f"workloads/{name}.json")
    architecture = cimsim.load_architecture(ROOT / f"arch_configs/{machine}.json")
    adaptation, chosen = adaptation_for(architecture), cimsim.parse_pipeline(pipeline)
    adapted = adaptation.apply(workload)

    def lay_out() -> None:
        mapping = build_mapping(adapted, architecture, adaptation)
        build_plan(adapted, architecture, mapping, chosen)

    lay_out()
    value = 1e3 * statistics.median(cpu_s(lay_out) for _ in range(2 * rounds + 1))
    return Row(f"{name}, mapping and plan", value, "ms CPU", 20.0)


def cpu_s(work: Callable[[], None]) -> float:
    """CPU time of `work`."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(cases: tuple[Case, ...], model: tuple[str, str, str], rounds: int) -> list[Row]:
    """All rows; the first process of all fills the cache of the compiled engine."""
    ratio = statistics.median(engine_ratio(*model)["ratio"] for _ in range(rounds))
    name = model[1]
    rows = [Row(f"{name}, engine", ratio, "times SimPy", 100.0, least=True), layout(*model, rounds)]
    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            rows += large(case, Path(name))
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small model, no verdict")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = measure(SMOKE, MINILM, 1) if options.smoke else measure(CASES, BERT, 3)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            bound = "at least" if row.least else "at most"
            goal = "" if row.target is None else f"  wanted: {bound} {row.target:g}"
            missed = "  MISSED" if row.missed else ""
            print(f"{row.case:36} {row.value:10.1f} {row.unit:12}{goal}{missed}")
    return 1 if any(row.missed for row in rows) and not options.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
