"""Figures of simulations that stand in the prose and the tables of pages are what cimsim gives.

Programs of pages are run by test_readme.py; here are numbers that no program prints. Each is
computed, written as its page writes it and looked for there. Named strategies stand for what `auto`
finds, which takes several runs; bands are too slow.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from pages import says
from small import ROOT
from test_memory_models import MACROS

import cimsim
from cimsim.cli.sensitivity import energy_bands
from cimsim.costs.components import sram_unit
from cimsim.costs.leakage import voltage_ratio
from cimsim.report import Baseline, Report
from cimsim.report.leakage import leakage_W
from cimsim.schedule.pipelines import parse_pipeline
from cimsim.search.shorten import samples
from cimsim.serving import switch
from cimsim.simulation import Simulation
from cimsim.spec import Architecture
from cimsim.studies.pipelines import Shape, Study

MAIN, GPU = "llama3.2_1b_r4_p512_d128", "a100_sxm4_80gb"
FOUND, NARROW = "layer:block_tokens=1,share_clusters=512", "layer:block_tokens=1"
"""What `auto` finds, and the same within groups of clusters."""
OF_THE_LAW: dict[str, Any] = {
    "rram.affine_lanes": 1,
    "rram.models.logic.anchor.affine_lanes": 1,
    "rram.models.logic.anchor.digital_area_um2": 1453,
}
WHOLE = ("sram.rows_per_multiplier", 1)


@cache
def hybrid(*changes: tuple[str, Any]) -> Architecture:
    made = cimsim.machine("halora_rram_sram")
    return made.with_values(dict(changes)) if changes else made


def main(pipeline: str, *changes: tuple[str, Any], mapper: str | None = None) -> Report:
    """The main job."""
    return _main(pipeline, changes, mapper)


@cache
def _main(pipeline: str, changes: tuple[tuple[str, Any], ...], mapper: str | None) -> Report:
    return cimsim.simulate(
        cimsim.workload(MAIN), hybrid(*changes), pipeline=pipeline, mapper=mapper
    ).report


@cache
def a100() -> tuple[Baseline, Baseline]:
    """The A100 on the main job, with LoRA unmerged and merged: the same beside every machine."""
    report = cimsim.with_baseline(main(FOUND), cimsim.workload(MAIN), cimsim.gpu(GPU))
    apart, merged = report.baselines.values()
    assert (apart.lora, merged.lora) == ("unmerged", "merged")
    return apart, merged


def ms(report: Report, phase: str) -> str:
    return f"{report.phases[phase].latency_s * 1e3:.2f} ms"


def mJ(report: Report) -> str:
    return f"{report.energy_J * 1e3:.1f} mJ"


def ratios(report: Report) -> tuple[str, str]:
    """Times and energies of the A100 over those of the machine; with LoRA merged in brackets."""
    times = [f"{gpu.latency_s / report.latency_s:.1f}" for gpu in a100()]
    energies = [f"{gpu.energy_J / report.energy_J:.0f}" for gpu in a100()]
    return f"{times[0]} ({times[1]})", f"{energies[0]} ({energies[1]})"


@pytest.mark.parametrize(
    ("pipeline", "row"),
    [
        (FOUND, "`auto`"),
        (NARROW, "`layer:block_tokens=1`: vector work in groups of 16 clusters"),
        ("token", "`token`: layers take turns"),
    ],
)
def test_pipelines_of_the_main_job(pipeline: str, row: str) -> None:
    got = main(pipeline)
    cells = (row, ms(got, "prefill"), ms(got, "decode"), mJ(got), *ratios(got))
    says("README.md", f"| {' | '.join(cells)} |")


def test_what_readme_concludes_from_them() -> None:
    wide, narrow, token = (main(pipeline) for pipeline in (FOUND, NARROW, "token"))
    layer = main("layer")
    apart = a100()[0].phases["prefill"].latency_s
    fast, slow = (apart / got.phases["prefill"].latency_s for got in (wide, token))
    gated_J = wide.energy_by_component_J["leakage.rram_gated"]
    ends = [
        a100()[0].energy_J
        / (wide.energy_J + (end_uW / hybrid().rram.power_states.gated_leakage_uW - 1) * gated_J)
        for end_uW in (0.5, 100)
    ]
    says(
        "README.md",
        f"(prefill {ms(wide, 'prefill')}, decode {ms(wide, 'decode')}, {mJ(wide)})",
        f"costs {wide.energy_J / narrow.energy_J - 1:.0%} more".replace("%", " %"),
        f"`token` has {slow:.2f} times the A100's speed, `auto` {fast:.1f} times",
        f"({layer.phases['prefill'].latency_s * 1e3:.2f} and {ms(layer, 'decode')}, {mJ(layer)})",
        f"0.5 to 100 uW each: {ends[0]:.0f} to {ends[1]:.0f} times",
    )


@pytest.mark.parametrize(
    ("row", "changes", "mapper"),
    [
        ("as shipped: 65,536 units, 8 rows a multiplier", (), None),
        ("`sram.rows_per_multiplier` 1", (WHOLE,), None),
        ("as shipped, `--mapper one-per-tile:sram_rows_used=8`", (),
         "one-per-tile:sram_rows_used=8"),
        ("`sram.rows_per_multiplier` 1, 10,240 units, of which the job uses 9,984",
         (WHOLE, ("sram.unit_count", 10_240)), None),
    ],
)  # fmt: skip
def test_rows_that_share_a_multiplier(
    row: str, changes: tuple[tuple[str, Any], ...], mapper: str | None
) -> None:
    got = main(FOUND, *changes, mapper=mapper)
    areas = f"{got.area_mm2:,.0f}, {got.area_used_mm2:,.0f} mm2"
    cells = (row, ms(got, "prefill"), ms(got, "decode"), mJ(got), areas, *ratios(got))
    says("docs/components.md", f"| {' | '.join(cells)} |")
    units = 56_576 if mapper else 9_984  # those that the page names
    assert got.sram_units_used == units
    says("docs/components.md", f"{units:,}")


def test_half_as_many_units_of_sixteen_rows() -> None:
    got = main(FOUND, mapper="one-per-tile:sram_rows_used=16")
    says(
        "docs/components.md",
        f"16 rows, {got.sram_units_used:,} units, are {got.latency_s * 1e3:.2f} ms and {mJ(got)}",
    )


@pytest.mark.parametrize("macro", MACROS)
def test_published_macros_beside_the_law(macro: str) -> None:
    """The arguments are those of tests/test_memory_models.py."""
    rows, shared, columns, bits, results, added, pJ, mm2, clock_MHz = MACROS[macro]
    law_fJ = sram_unit.mac_fJ(rows, shared, 8, 8, results, 4, 28, 0.9)
    law_mm2 = sram_unit.unit_um2(rows, shared, columns, bits, 2, results, 0, 28) * 1e-6
    most_MHz = 1e3 / sram_unit.cycle_ns(rows / shared, bits, added, 28)
    says(
        "docs/components.md",
        f"| {macro} | {rows:,}, {shared} | {pJ * 1e3:.1f} fJ, law {law_fJ:.1f} "
        f"({law_fJ / pJ / 1e3:.2f} times) | {mm2:.3f} mm2, law {law_mm2:.3f} "
        f"({law_mm2 / mm2:.2f} times) | {clock_MHz} MHz, law at most {most_MHz:.0f} |",
    )


def test_what_readme_says_of_them() -> None:
    shared, whole = main(FOUND), main(FOUND, WHOLE)
    few = main(FOUND, WHOLE, ("sram.unit_count", 10_240))
    spread = main(FOUND, mapper="one-per-tile:sram_rows_used=8")
    speed, energy = zip(
        *(
            [value.partition(" ")[0] for value in ratios(got)]
            for got in (shared, whole, few, spread)
        ),
        strict=True,
    )
    says(
        "README.md",
        *(f"{unit_mm2(*changes):.3f} mm2" for changes in ((WHOLE,),)),
        f"instead of {unit_mm2():.3f}:",
        f"takes {whole.latency_s * 1e3:.2f} ms instead of {shared.latency_s * 1e3:.2f} and "
        f"{whole.energy_J * 1e3:.0f} mJ instead of {shared.energy_J * 1e3:.0f}, "
        f"on a die of {whole.area_mm2:,.0f} mm2 instead of {shared.area_mm2:,.0f}",
        f"{speed[1]} times the A100's speed (unmerged) instead of {speed[0]} and {energy[1]} "
        f"instead of {energy[0]} times its energy",
        f"{speed[2]} and {energy[2]} times. Idle units",
        f"{spread.latency_s * 1e3:.2f} ms, {spread.energy_J * 1e3:.0f} mJ, {speed[3]} and "
        f"{energy[3]} times",
    )


def unit_mm2(*changes: tuple[str, Any]) -> float:
    made = hybrid(*changes)
    assert made.sram is not None
    return made.area_mm2()["sram"] / made.sram.unit_count


def test_the_gates_of_a_tile_with_one_lane() -> None:
    got, as_shipped = main(FOUND, *OF_THE_LAW.items()), main(FOUND)
    alone = hybrid(("rram.models.logic.anchor", None))
    digital_um2, tile_um2 = alone.rram.digital_area_um2, alone.rram.tile_area_um2
    speed, energy = ratios(got)
    says(
        "docs/components.md",
        f"has {hybrid(*OF_THE_LAW.items()).area_mm2()['rram']:,.0f} mm2 of tiles instead of "
        f"{hybrid().area_mm2()['rram']:,.0f}",
        f"takes {got.latency_s * 1e3:.2f} ms and {mJ(got)} instead of "
        f"{as_shipped.latency_s * 1e3:.2f} and {as_shipped.energy_J * 1e3:.1f}",
        f"{speed.replace(')', ' merged)')} times the A100's speed and {energy} times its energy",
        f"{digital_um2 / (tile_um2 - digital_um2):.0f} times the rest of the tile, "
        f"{alone.area_mm2()['rram']:,.0f} mm2 of tiles",
    )


def test_areas_of_models() -> None:
    """Anchored, by the law alone, and what more banks and cores take."""
    alone = ("sram.models.unit.anchor", None)
    banks, cores = hybrid(("buffer.banks", 4096)), hybrid(("pmca.cores", 64))
    assert banks.buffer.energy_pJ_per_bit == pytest.approx(hybrid().buffer.energy_pJ_per_bit / 4)
    cluster_mm2 = [made.area_mm2()["pmca"] / made.pmca.cluster_count for made in (cores, hybrid())]
    says(
        "docs/components.md",
        f"(the law alone: {round(unit_mm2(alone) * 1e6, -2):,.0f} um2)",
        f"the same anchor gives {unit_mm2(WHOLE):.3f} mm2, the law alone "
        f"{unit_mm2(alone, WHOLE):.3f}",
        f"{banks.area_mm2()['buffer']:.0f} mm2 of {hybrid().area_mm2()['buffer']:.0f}",
        f"{banks.buffer.leakage_mW / 1e3:.1f} W of {hybrid().buffer.leakage_mW / 1e3:.2f}",
    )
    says(
        "docs/power.md",
        f"at the 0.8 V of 1 GHz it is {voltage_ratio(0.8, 0.65):.1f} times as much as at 0.65 V",
    )
    says("docs/clusters.md", f"take {cluster_mm2[0]:.2f} mm2 in place of {cluster_mm2[1]:.1f}")


def test_macros_of_leap_draw_their_power_all_the_time() -> None:
    leap = cimsim.machine("leap")
    watts = {n: leakage_W(leap, {"rram": n})["rram"] for n in (458_048, 65_536)}
    says("docs/clusters.md", f"{watts[458_048]:.0f} W for 458,048 of them")
    says("docs/clusters.md", "those of 65,536 macros")
    assert watts[65_536] == pytest.approx(10.5, rel=0.02)  # the published watts


def test_distances_on_the_die_of_the_main_machine() -> None:
    link, plan = hybrid().tile_link, hybrid().floorplan
    assert plan is not None
    says(
        "docs/wires.md",
        f"{plan.edge_mm:.0f} mm a side and {plan.clusters} clusters a transfer to the buffer takes "
        f"{link.hops} hops, {plan.to_buffer_mm:.0f} mm and {link.energy_pJ_per_bit:.1f} pJ/bit, "
        f"one within a group {link.near_hops} hops and {link.near_energy_pJ_per_bit:.1f} pJ/bit",
    )


@pytest.mark.parametrize(
    ("row", "changes"),
    [
        ("0.5 uW all the time (before)",
         (("rram.power_states", None), ("rram.models.standing", None), ("rram.leakage_uW", 0.5))),
        ("as shipped", ()),
        ("never gated (`clock_gated`)", (("rram.power_states.idle", "clock_gated"),)),
    ],
)  # fmt: skip
def test_what_gated_tiles_leak(row: str, changes: tuple[tuple[str, Any], ...]) -> None:
    got = main(NARROW, *changes)
    leaks = [
        got.energy_by_component_J.get(f"leakage.rram{state}")
        for state in ("", "_gated", "_wake_up")
    ]
    told = ["" if J is None else f"{J * 1e3:,.{int(J < 1)}f} mJ" for J in (*leaks, got.energy_J)]
    cells = [row, ms(got, "prefill"), ms(got, "decode"), *told]
    says("docs/power.md", " ".join(f"| {' | '.join(cells)} |".split()))
    if not changes:
        uW = hybrid().rram.power_states.gated_leakage_uW
        by = {x: (got.energy_J + (x / uW - 1) * (leaks[1] or 0)) * 1e3 for x in (0.5, 25.6)}
        says(
            "docs/power.md",
            f"0.5 uW would make {by[0.5]:.0f} mJ of the {got.energy_J * 1e3:.0f}, "
            f"a tenth of 256 uW {by[25.6]:.0f} mJ",
            f"All {got.sram_units_used:,} units of this job leak "
            f"{got.energy_by_component_J['leakage.sram'] * 1e3:.1f} of the "
            f"{got.energy_J * 1e3:.0f} mJ",
        )


def test_layers_that_stream_add_less_later() -> None:
    us = {16: main(NARROW).phases["prefill"].latency_s * 1e6}
    for layers in (1, 3, 12):
        (sample,) = samples(cimsim.workload(MAIN), (layers,))
        short = cimsim.simulate(sample.workload, hybrid(), pipeline=NARROW).report
        us[layers] = short.phases["prefill"].latency_s * 1e6
    says(
        "docs/pipelines.md",
        f"the second and third add {(us[3] - us[1]) / 2:.0f} us each to the prompt, the last four "
        f"{(us[16] - us[12]) / 4:.0f} us each",
    )


def test_the_layer_whose_cluster_is_the_bottleneck() -> None:
    machine = cimsim.machine("ahwa_pcm_pmca").with_values({"rram.integration_ns": 128.0})
    study = Study(machine)
    us, used = {}, {}
    for name in ("token", "balanced", "split", "replicated"):
        row = study.layer(Shape(512, 128, 8, 320), parse_pipeline(name))
        us[name], used[name] = f"{row.makespan_s * 1e6:.1f} us", row.pmca_utilisation
    says(
        "docs/pipelines.md",
        f"(`token`) takes {us['token']} for 320 tokens, in the blocks of `balanced` "
        f"{us['balanced']}, `split` {us['split']}",
        f"the cluster is {used['split']:.0%} busy".replace("%", " %"),
        f"`replicated` {us['replicated']}",
    )


@cache
def minilm() -> Simulation:
    workload = cimsim.workload("minilm_sentiment_r8_s32")
    return cimsim.simulate(workload, hybrid(), pipeline=FOUND)


def test_the_first_run_of_a_newcomer() -> None:
    """The table of docs/start.md."""
    got = minilm().report
    written, switched = got.reprogramming, got.reprogramming.adapter_switch
    (band,) = energy_bands(minilm(), got).bands
    links, tiles = (got.energy_by_unit_J[unit] / got.energy_J * 100 for unit in ("link", "rram"))
    says(
        "docs/start.md",
        f"| Phases | {got.latency_s * 1e6:.2f} us and {got.energy_J * 1e6:.1f} uJ for the prompt",
        f"the network takes {links:.0f} % of the energy, tiles {tiles:.0f} %",
        f"| Reprogramming | {written.energy_J * 1e6:.0f} uJ and {written.time_s * 1e3:.0f} ms to "
        f"program the model once, {switched.energy_J * 1e6:.1f} uJ and "
        f"{switched.time_s * 1e6:.1f} us to switch its adapter",
        f"between {band.low * 1e6:.0f} and {band.high * 1e6:.0f} uJ",
    )
    part = minilm().bottlenecks().phases["prefill"]
    lever = part.levers[0]
    assert lever.new == {"sram.clock_MHz": 2 * hybrid_clock_MHz()}
    gain = f"gain {lever.predicted_s / part.latency_s * 100:.0f} %"
    says("docs/start.md", f"doubling `sram.clock_MHz` would {gain}")


def hybrid_clock_MHz() -> float:
    sram = hybrid().sram
    assert sram is not None
    return sram.clock_MHz


def test_the_front_of_two_hundred_designs() -> None:
    """Its two points; that no other is on it takes them all."""
    workload = cimsim.workload("minilm_sentiment_r8_s32").with_rank(1)
    for point, rows in (("1 knee", 64), ("2", 128)):
        made = hybrid(("rram.adc_bits", 4), ("rram.rows", rows))
        got = cimsim.simulate(workload, made, pipeline="layer:block_tokens=4").report
        values = f"{got.latency_s * 1e6:.1f} {got.energy_J * 1e6:.1f} {got.area_used_mm2:.1f}"
        says("README.md", f"{point} {values} {rows}")


def test_switches_between_eight_tasks() -> None:
    folder = ROOT / "scenarios"
    found = switch(
        hybrid(), folder / "minilm_8_tasks.json", folder=folder,
        strategies=["lora-sram", "lora-rram", "merged", "xbm"],
    )  # fmt: skip
    sram, rram, merged, masks = found.strategies
    uJ = {one.strategy: f"{one.energy_J / one.requests * 1e6:.0f} uJ" for one in found.strategies}
    p50_ms = {one.strategy: one.latency.p50_s * 1e3 for one in found.strategies}
    assert sram.switching_s == 0.0
    says(
        "README.md",
        f"takes {uJ[sram.strategy]} and never waits with LoRA on SRAM ({sram.extra_area_mm2:.0f} "
        f"mm2 more), {uJ[rram.strategy]} and {p50_ms[rram.strategy]:.2f} ms (median) with LoRA on "
        f"RRAM, {merged.energy_J / merged.requests * 1e3:.1f} mJ and "
        f"{p50_ms[merged.strategy]:.1f} ms with adapters merged",
        f"{uJ[masks.strategy]} and {p50_ms[masks.strategy]:.2f} ms with binary masks",
    )
