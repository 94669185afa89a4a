"""Figures that pages tell of shipped machines are those of the present model, as they print them.

Each test computes the numbers of a sentence or a table anew and looks for it, with all its numbers,
in the page. A figure that moves fails here with the text that the page should have.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pages import page, says
from small import ROOT

import cimsim
from cimsim.costs.programming.cells import changed_levels
from cimsim.costs.programming.joint import level_change
from cimsim.ir import Workload, load_workload
from cimsim.mapping import Correlated
from cimsim.report import Report
from cimsim.spec import Architecture
from cimsim.validation import ibm_3dcim, ibm_pcm, tasks

MINILM, LLAMA = "minilm_sentiment_r8_s32", "llama3.2_1b_r4_p512_d128"
IMAGES = "benchmarks/images"
TABLES = (
    "energy of the stream",
    "time of a request, and lost to all switches",
    "beside the base model",
)
"""Of those that `cimsim switch` prints, the ones that the page has."""
FEW = "lora-sram", "lora-pmca", "lora-rram", "lora-fusion", "xbm"
"""Strategies of the stream that are quick to price; break-even points are between these."""


def row(name: str, *cells: object) -> None:
    says(name, f"| {' | '.join(map(str, cells))} |")


def run(
    machine: str | Architecture, workload: str | Workload, pipeline: str, mapper: str | None = None
) -> Report:
    if isinstance(machine, str):
        machine = cimsim.machine(machine)
    if isinstance(workload, str):
        workload = cimsim.workload(workload)
    return cimsim.simulate(workload, machine, pipeline=pipeline, mapper=mapper).report


def test_a_stream_of_requests(cimsim: Any) -> None:
    chosen = [word for name in FEW for word in ("--strategy", name)]
    code, out, err = cimsim("switch", "halora_rram_sram", "minilm_8_tasks", *chosen)
    assert code == 0, err
    told = page("docs/switching.md")
    heading, seen = "", []
    for line in out.splitlines():
        if not line.startswith(("│", "┏", "┃", "┡", "└")):
            heading = line
        if line.startswith("│ ") and heading in TABLES:
            seen.append(heading)
            assert " ".join(line.split()) in told, heading
        elif line.startswith(("break-even", "base model")):
            seen.append(line)
            assert line in told
    assert len(seen) == len(FEW) * len(TABLES) + 1 + told.count("break-even: ")


@pytest.mark.parametrize(("units", "mapper"), [
    (700, "reload"), (1300, "reload"), (1300, "reload:2"), (2600, "reload"), (2600, "reload:2"),
    (2600, "reload:4"), (3400, "reload"),
])  # fmt: skip
def test_weights_that_take_turns(units: int, mapper: str) -> None:
    machine = cimsim.machine("halora_sram_only").with_values({"sram.unit_count": units})
    done = run(machine, MINILM, "layer:block_tokens=1", mapper)
    turns = done.reloads
    share = f"{turns.energy_J / done.energy_J:.0%}".replace("%", " %") if turns else "-"
    row(
        "docs/reload.md", units, f"`{mapper}`" if turns else "any",
        f"{done.latency_s * 1e6:.1f} us", f"{done.energy_J * 1e6:.0f} uJ", share,
        f"{done.area_by_unit_mm2['sram']:.0f} mm2", turns.writes if turns else 0,
    )  # fmt: skip


def test_the_note_of_a_run_that_reloads() -> None:
    machine = cimsim.machine("halora_sram_only").with_values({"sram.unit_count": 1300})
    (note,) = (
        note for note in run(machine, MINILM, "token", "reload:2").notes if "rewritten" in note
    )
    says("docs/reload.md", f"note: {note}")


def test_what_binds_the_prompt_of_the_main_job() -> None:
    prompt = cimsim.workload(LLAMA).with_tokens(512, 1)  # of 128 steps of decode, which take longer
    machine = cimsim.machine("halora_rram_sram")
    simulation = cimsim.simulate(
        prompt, machine, pipeline="layer:block_tokens=1,share_clusters=512"
    )
    part = simulation.bottlenecks().phases["prefill"]
    busiest, chain = part.busiest, part.chain
    assert busiest is not None
    assert chain is not None
    us = {
        name: f"{time_s * 1e6:.0f} us"
        for times in (part.by_unit_s, part.by_kind_s, part.by_wait_s)
        for name, time_s in times.items()
    }
    says("docs/bounds.md", (
        f"its prompt takes {part.latency_s * 1e6:.0f} us, {busiest.latency_ratio:.2f} times the "
        f"busiest pool of clusters ({busiest.time_s * 1e6:.0f} us) and {chain.latency_ratio:.3f} "
        f"times the chain ({chain.time_s * 1e6:.0f} us)"
    ))  # fmt: skip
    says("docs/bounds.md", (
        f"On that path clusters have {us['pmca']} ({us['vector']} of elementwise chains, "
        f"{us['softmax']} of softmax, {us['norm']} of norms), SRAM units {us['sram']}, DMA "
        f"{us['dma']}. Of all of it {us['order']} wait for the block before, {us['data']} for data "
        f"and {us['shared']} for a cluster"
    ))  # fmt: skip
    says("docs/bounds.md", f"1.5 times the busiest pool, {1.5 * busiest.time_s * 1e6:.0f} us,")
    clusters, arrays = (
        next(v for v in part.levers if f"{unit}.clock_MHz" in v.new) for unit in ("pmca", "sram")
    )
    assert f"{clusters.predicted_s:.1g}" == f"{arrays.predicted_s:.1g}"
    says("docs/bounds.md", f"predicted to save {float(f'{arrays.predicted_s:.1g}') * 1e6:.0f} us")
    narrow = run(machine, prompt, "layer:block_tokens=1,share_clusters=16")
    says("docs/bounds.md", f"({narrow.phases['prefill'].latency_s * 1e3:.2f} ms on 16 clusters)")


def test_predictions_beside_measurements() -> None:
    """The ends of two ranges: the clock under `layer:1`, the integration time of ISAAC's tiles."""
    ratios = {}
    for machine, pipeline in (("halora_rram_sram", "layer:1"), ("isaac_rram", "layer:4")):
        simulation = cimsim.simulate(
            cimsim.workload(MINILM), cimsim.machine(machine), pipeline=pipeline
        )
        for lever in simulation.bottlenecks(levers=True).total.levers:
            assert lever.measured_s is not None
            ratios[machine, *lever.new] = lever.predicted_s / lever.measured_s
    clock = ratios["halora_rram_sram", "pmca.clock_MHz"]
    says("docs/bounds.md", f"| clock of clusters | {clock:.2f} to ")
    says("docs/bounds.md", f" to {ratios['isaac_rram', 'rram.integration_ns']:.0f}: a second path")


def test_layers_that_share_arrays() -> None:
    needed = 17_178
    enough = cimsim.machine("isaac_rram").with_values({"rram.tile_count": needed})
    dense, apart = (
        run(machine, "convnext_tiny_224", "token", mapper)
        for machine, mapper in (("isaac_rram", "dense"), (enough, "one-per-tile"))
    )
    assert apart.tiles_used == needed
    says("docs/convolutions.md", (
        f"under `token` at {dense.latency_s / apart.latency_s:.1f} times the latency that "
        f"{needed:,} tiles would give"
    ))  # fmt: skip


def test_designs_of_a_second_example() -> None:
    bits_rows = ((4, 128), (6, 128), (8, 128))
    given = json.loads((ROOT / "benchmarks/dse/llama.json").read_text())
    done = cimsim.sweep(
        given["workload"], given["architecture"], outputs=given["outputs"],
        pipeline="layer:block_tokens=1",
        points=[{"rram.adc_bits": bits, "rram.rows": rows} for bits, rows in bits_rows],
    )  # fmt: skip
    for (bits, rows), found in zip(bits_rows, done.rows, strict=True):
        latency, energy, area = (float(found.values[key] or 0) for key in given["outputs"])
        says("docs/exploration.md", (
            f"| {bits} | {rows} | {latency * 1e3:.2f} ms | {energy * 1e3:.1f} mJ | {area:,.0f} mm2 "
        ))  # fmt: skip
    lean, better = (done.rows[i].values for i in (0, 1))
    more = [float(better[k] or 0) / float(lean[k] or 1) - 1 for k in given["outputs"]]
    says("docs/exploration.md", f"cost {more[1]:.0%} of energy".replace("%", " %"))
    says("docs/exploration.md", f"and {more[2]:.0%} of area".replace("%", " %"))


def test_units_by_a_table_of_costs() -> None:
    pcm = {(r.quantity.split(", weights ")[1], r.unit): r.simulated for r in ibm_pcm.rows()}
    held, stacked = "on the chip: ", "reloaded (stacked tiles): "
    again = "reloaded (cells rewritten): batch of 8"
    says("docs/op_units.md", (
        f"follow: {pcm[f'{held}batch of 8', 'TOP/s']:.0f} TOP/s (360 published), "
        f"{pcm[f'{held}one sequence', 'ms']:.2f} ms (0.35)"
    ))  # fmt: skip
    says("docs/op_units.md", (
        f"a batch of 8 takes {pcm[f'{stacked}batch of 8', 'ms']:.2f} ms on "
        f"{pcm[f'{stacked}area', 'mm2']:.0f} mm2 where 2.68 ms and 210 mm2 are published, at "
        f"{pcm[f'{stacked}batch of 8', 'TOP/s/W']:.1f} TOP/s/W"
    ))  # fmt: skip
    chip = ibm_pcm.one_core(cimsim.machine("ibm_pcm_chip"))
    assert chip.rram is not None
    whole_rows = chip.with_values({"rram.write.cells_in_parallel": chip.rram.columns})
    rewritten_s = ibm_pcm.run(whole_rows, ibm_pcm.encoder("BERT-base"), ibm_pcm.BATCH, "reload")[0]
    says("docs/op_units.md", (
        f"it takes {pcm[again, 'ms'] / 1e3:.1f} s at {pcm[again, 'TOP/s/W']:.1f} TOP/s/W; with "
        f"whole rows at a time {rewritten_s:.2f} s"
    ))  # fmt: skip
    times = [r for r in ibm_3dcim.rows() if r.unit == "ns"]
    off_ns, *shares = (abs(r.simulated - r.published) for r in times)
    says("docs/op_units.md", f"agrees to {off_ns:.0f} ns of {times[0].published:,.0f},")
    eight, one = (
        f"{100 * off / r.published:.1f} %" for off, r in zip(shares, times[1:], strict=True)
    )
    says("docs/op_units.md", f"With 8 tiles it is {eight} shorter")
    says("docs/op_units.md", f"either way, {one}.")


def test_cells_that_a_switch_changes() -> None:
    """Weights that an adapter moved, and foreign ones, of three kinds of cells."""
    near = Correlated(1.0 / (1.0 + 0.055**2))
    told = []
    for machine in ("halora_rram_sram", "ahwa_pcm_pmca", "neurram"):
        tiles = cimsim.machine(machine).rram
        assert tiles is not None
        changes = (level_change(tiles, near), changed_levels(tiles))
        told.append([f"{1.0 - np.trace(change.share):.0%}"[:-1] for change in changes])
    (one, one_apart), (pair, pair_apart), (few, few_apart) = told
    says("docs/tasks.md", (
        f"Of an 8-bit cell with an offset {one} % change ({one_apart} % of foreign weights), of a "
        f"pair of such cells {pair} % ({pair_apart} %), of a pair of 3-bit ones {few} % "
        f"({few_apart} %)"
    ))  # fmt: skip
    isaac = cimsim.machine("isaac_rram").rram
    assert isaac is not None
    slices = f"{1.0 - np.trace(changed_levels(isaac).share):.0%}"[:-1]
    says("docs/tasks.md", (
        f"Of 8-bit cells with an offset {one_apart} % change, of a pair with two signs "
        f"{pair_apart} %, of 2-bit slices {slices} %"
    ))  # fmt: skip


def test_area_of_deltas() -> None:
    areas = [r.simulated for r in tasks.rows() if r.quantity.startswith("delta: area of")]
    told = ", ".join(f"{area:.2f}" for area in areas)
    says("docs/tasks.md", f"Area of 2, 4, 8 tasks over as many models on BERT-base: {told} ")


@pytest.mark.parametrize("machine", [
    "halora_rram_sram", "halora_rram_only", "halora_sram_only", "ahwa_pcm_pmca", "isaac_rram",
    "puma",
])  # fmt: skip
def test_strategies_side_by_side(machine: str) -> None:
    """Rows of MiniLM; what `auto` found is run as the table has it."""
    name = "benchmarks/pipelines/README.md"
    start = f"| {machine} | {MINILM} | "
    cells = page(name).split(start)[1].split(" | ")
    which, chosen = cells[2], cells[7].split(" |")[0]
    auto, best, token = (run(machine, MINILM, p).latency_s for p in (chosen, which, "token"))
    says(name, (
        f"{start}{auto * 1e3:.4f} | {best * 1e3:.4f} | {which} | {best / auto:.3f} | "
        f"{token * 1e3:.4f} |"
    ))  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "workloads").glob("*.json")), ids=lambda p: p.stem)
def test_workloads(path: Any) -> None:
    workload = load_workload(path)
    if workload.accounting == "paper":
        return  # the page has no row of it
    counts = (
        " + ".join(f"{count:,}" for count in each)
        for each in (
            [len(phase.ops) for phase in workload.phases],
            [phase.macs() for phase in workload.phases],
        )
    )
    adapter = f"{workload.adapter.parameter_count:,}" if workload.adapter else ""
    cells = (f"`{path.name}`", f"{workload.parameter_count:,}", adapter, *counts)
    says("workloads/README.md", f"| {' | '.join(cells)} |".replace("|  |", "| |"))


def test_numbers_on_columns_of_an_image_network() -> None:
    """The prose over results.json, whose costs test_image_study holds to the model."""
    found = json.loads((ROOT / IMAGES / "results.json").read_text())["costs"]
    head = found["frozen"]
    bits = {name: cost["task_bits"] - head["task_bits"] for name, cost in found.items()}
    says(
        f"{IMAGES}/README.md", f"has {bits['piggyback'] / bits['xbm']:.0f} times the bits of `xbm`"
    )
    more_nJ = [
        (found[name]["switch_energy_J"] - head["switch_energy_J"]) * 1e9
        for name in ("xbm", "xma", "scales")
    ]
    says(f"{IMAGES}/README.md", (
        f"is the writing of the head, {head['switch_energy_J'] * 1e6:.0f} uJ and "
        f"{head['switch_s'] * 1e3:.1f} ms"
    ))  # fmt: skip
    says(f"{IMAGES}/README.md", f"it is {min(more_nJ):.0f} to {max(more_nJ):.0f} nJ")
    for name, verb in (("piggyback", " takes"), ("full", "")):
        mJ, ms = (found[name][key] * 1e3 for key in ("switch_energy_J", "switch_s"))
        says(f"{IMAGES}/README.md", f"`{name}`{verb} {mJ:.1f} mJ and {ms:.1f} ms")
