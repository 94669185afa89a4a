"""Whole chips by hand: what the validation compares is what these closed forms give."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from cimsim import shipped
from cimsim.baseline.reference_models import MODELS, of_sizes
from cimsim.mappers import build_mapping
from cimsim.report.writes import write_costs
from cimsim.simulation import simulate
from cimsim.validation import ibm_3dcim, ibm_pcm, leap

BUFFER_NS = 1.0
"""Choice: what all transfers to and from a buffer of 1e8 GB/s take together, at most."""


def test_3d_cim_with_a_tile_for_every_array() -> None:
    """A pass of one token, and 100 ns a further token behind embedding and each of three layers.

    Embedding 10 + 100 + 10 + 10 and 10 on to the layers; attention 100 + 10 + 2 + 10; output 100 +
    10 + 10 + 50 + 10; MLP 100 + 10 + 1 + 10, and 100 + 3 x 10 + 10 + 10 + 50 + 10; the head 100 +
    10 and the choice 10.
    """
    layer = (100 + 10 + 2 + 10) + (100 + 10 + 10 + 50 + 10) + (100 + 10 + 1 + 10) + 210
    one = (10 + 100 + 10 + 10 + 10) + 3 * layer + (100 + 10 + 10)
    further = sum(range(11)) * 4 * 100
    machine = shipped.machine("ibm_3dcim").with_values(ibm_3dcim.PLACEHOLDERS)
    workload = shipped.workload("ibm_3dcim_example")
    report = simulate(workload, machine, pipeline="layer:1").report
    wanted = 11 * one + further
    assert wanted == 45_749
    assert wanted <= report.latency_s * 1e9 <= wanted + BUFFER_NS
    counted = 10 * (66 * 37 + 22) + 10 * (66 * (1 + 3 * 5 + 5 + 3) + 11) + 2 * 33
    work = report.energy_J - report.energy_by_unit_J["leakage"] - report.energy_by_unit_J["link"]
    assert work * 1e9 == pytest.approx(counted, rel=1e-9)
    assert report.energy_by_unit_J["leakage"] == pytest.approx(5 * report.latency_s)


def test_sequences_of_the_pcm_chip_follow_one_another_by_their_attention() -> None:
    chip, workload = shipped.machine("ibm_pcm_chip"), ibm_pcm.encoder("BERT-base")
    times = [ibm_pcm.run(chip, workload, n)[0] * 1e9 for n in (2, 3, 4)]
    for before, after in itertools.pairwise(times):
        assert after - before == pytest.approx(22_713, abs=BUFFER_NS)


def test_the_pcm_chip_rewrites_a_layer_in_the_time_of_a_tile() -> None:
    """Twelve times: 512 rows of 512 pairs of devices, one after the other, of which three quarters
    change (a device of a pair is at zero for half of all weights), in 8.52 pulses of 200 ns each;
    and all that layers take on stacked tiles.
    """
    chip, workload = shipped.machine("ibm_pcm_chip"), ibm_pcm.encoder("BERT-base")
    core = ibm_pcm.one_core(chip)
    found = ibm_pcm.run(core, workload, ibm_pcm.BATCH, "reload")[0]
    work = ibm_pcm.run(ibm_pcm.stacked(chip), workload, ibm_pcm.BATCH)[0]
    mapping = build_mapping(workload, core, "none", "reload")
    weight = next(p for p in mapping.placements.values() if p.grid.rows == 3072)
    (cost,) = write_costs(core, [weight.written()])["rram"]
    assert cost.cells is not None
    tile_s = 512 * 1024 * cost.cells.counts.mean * 200e-9
    assert cost.cells.counts.mean == pytest.approx(3 / 4 * 8.52, rel=0.01)
    assert cost.time_s == pytest.approx(tile_s, rel=1e-9)
    assert found == pytest.approx(12 * tile_s + work, rel=1e-3)


def test_a_larger_encoder_has_its_entry() -> None:
    """24 layers of 16 heads: the same pace, twice the layers to fill."""
    chip = shipped.machine("ibm_pcm_chip")
    larger = chip.with_values({
        "rram.tile_count": 24 * 48, "op_units.attention.unit_count": 24,
        "op_units.vector.unit_count": 96,
    })  # fmt: skip
    base, large = ibm_pcm.encoder("BERT-base"), ibm_pcm.encoder("BERT-large")
    small, big = ibm_pcm.run(chip, base, 1)[0], ibm_pcm.run(larger, large, 1)[0]
    assert big == pytest.approx(2 * small, rel=0.02)
    two = ibm_pcm.run(larger, large, 2)[0]
    assert (two - big) * 1e9 == pytest.approx(22_713, abs=BUFFER_NS)


def test_layers_of_leap_are_alike() -> None:
    """Four layers take three times longer than one as two do; the head and one layer are the rest.

    13,312 arrays a layer of 4096 x (2 x 4096 + 2 x 1024) and 3 x 14336, 32,064 of the head.
    """
    machine, sizes = shipped.machine("leap"), MODELS[leap.MODEL]
    found = [
        simulate(of_sizes(replace(sizes, layers=n), 64, 8), machine, pipeline="token:1").report
        for n in (1, 2, 4)
    ]
    one, two, four = (report.latency_s for report in found)
    assert four - one == pytest.approx(3 * (two - one), rel=1e-6)
    assert [report.tiles_used for report in found] == [13_312 * n + 32_064 for n in (1, 2, 4)]
    _, power_W = leap.macros()
    assert power_W == pytest.approx(161.85e-6 * (32 * 13_312 + 32_064))
