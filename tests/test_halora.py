"""HaLoRA: its own accounting against closed forms, its three placements, its table."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from cimsim.adaptation import adaptation_named
from cimsim.costs.tile import array_mac_J, mvm_energy_J
from cimsim.errors import SpecError, WorkloadError
from cimsim.ir import Linear, Workload, load_workload, save_workload
from cimsim.report.accounting import (
    NOTE,
    TARGETS,
    block_energies,
    halora_accounting,
    transistors,
)
from cimsim.simulation import simulate
from cimsim.spec import load_architecture
from cimsim.validation import halora

Cli = Callable[..., tuple[int, str, str]]
PLACEMENTS = {
    name: load_architecture(small.ROOT / "arch_configs" / f"{name}.json")
    for name in ("halora_rram_sram", "halora_rram_only", "halora_sram_only")
}
HYBRID = PLACEMENTS["halora_rram_sram"]
SHIPPED = small.ROOT / "workloads" / "halora_accounting_1b.json"
SIZES = {"hidden": 2048, "intermediate": 8192, "layers": 16, "heads": 32, "tokens": 512, "rank": 4}


def tiny(**sizes: int) -> Workload:
    few = {"hidden": 128, "intermediate": 192, "layers": 2, "heads": 4, "tokens": 6, "rank": 2}
    return halora_accounting(**(few | sizes), name="tiny")


def home(unit: str) -> Callable[[Linear], Any]:
    """LoRA and what is saved with it on `unit`."""
    return adaptation_named(f"lora-{unit}").home


def energies(workload: Workload, lora_unit: str = "sram") -> dict[str, float]:
    blocks = block_energies(workload, HYBRID, home(lora_unit))
    slices = {(block.kind, block.unit): math.fsum(block.energy_J) for block in blocks}
    assert len(slices) == len(blocks)
    return {f"{unit} {kind}": energy_J for (kind, unit), energy_J in slices.items()}


# The workload ------------------------------------------------------------------------------------


@given(
    st.integers(1, 4), st.integers(1, 8), st.integers(1, 300), st.integers(1, 3),
    st.integers(1, 20), st.integers(1, 8),
)  # fmt: skip
def test_products_are_those_of_the_closed_form(
    heads: int, width: int, intermediate: int, layers: int, tokens: int, rank: int
) -> None:
    h = heads * width
    made = halora_accounting(
        hidden=h, intermediate=intermediate, layers=layers, heads=heads, tokens=tokens, rank=rank,
        name="any",
    )  # fmt: skip
    lora = layers * rank * (3 * 2 * h + 2 * (h + intermediate))
    linear = layers * (4 * h * h + 2 * h * intermediate)
    assert made.macs == tokens * (linear + lora) + 2 * layers * h * tokens**2
    assert made.parameter_count == linear
    assert made.adapter is not None
    assert made.adapter.parameter_count == lora
    assert lora == sum(p.size for p in made.parameters if p.role.startswith("lora"))


def test_the_paper_counts_no_gate_no_head_no_norm_and_full_heads() -> None:
    made = tiny()
    assert {op.kind for _, op in made.ops()} == {"linear", "matmul", "softmax", "elementwise"}
    base = [op for _, op in made.ops() if isinstance(op, Linear) and op.role == "base"]
    assert [op.name.rpartition(".")[2] for op in base[:6]] == [
        *TARGETS[:3], "o_proj", *TARGETS[3:]
    ]  # fmt: skip
    assert all((op.in_features, op.out_features) == (128, 128) for op in base[:4])
    assert not any(getattr(op, "causal", False) for _, op in made.ops())
    assert made.accounting == "paper"


def test_the_shipped_workload_is_what_the_command_writes(tmp_path: Path) -> None:
    made = halora_accounting(**SIZES, name="halora_accounting_1b")
    assert load_workload(SHIPPED) == made
    save_workload(made, tmp_path / "w.json")
    assert (tmp_path / "w.json").read_bytes() == SHIPPED.read_bytes()
    assert made.macs == 430_570_471_424


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rank": 0}, "halora-accounting: rank must lie in 1 to 1000000, got 0: change it"),
        ({"layers": -1}, "halora-accounting: layers must lie in 1 to 10000, got -1: change it"),
        ({"heads": 5}, "halora-accounting: 5 heads do not divide hidden 128. Change --heads."),
    ],
)
def test_sizes_that_make_no_model(change: dict[str, int], said: str) -> None:
    with pytest.raises(WorkloadError, match="^" + re.escape(said) + "$"):
        tiny(**change)


# Its energy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", small.ARCHITECTURES, ids=lambda p: p.stem)
def test_a_mac_in_the_arrays_is_that_of_the_cells_of_a_full_tile(path: Path) -> None:
    rram = load_architecture(path).rram
    if rram is None:
        return
    cells = mvm_energy_J(rram, rram.rows, rram.weight_columns, 1, 1)["cells"]
    assert array_mac_J(rram) * rram.rows * rram.weight_columns == pytest.approx(cells, rel=1e-12)


def test_energy_of_the_1b_model_by_hand() -> None:
    found = energies(load_workload(SHIPPED))
    h, i, layers, tokens = 2048, 8192, 16, 512
    assert found == pytest.approx(
        {
            "rram base": layers * (4 * h * h + 2 * h * i) * tokens * 31.97e-15,
            "sram lora": layers * 4 * (6 * h + 2 * (h + i)) * tokens * 91.4e-15,
            "periphery base": layers * (4 * h + i + h) * tokens * 31.92e-12,
        },
        rel=1e-12,
    )


def test_the_constants_are_the_slices_of_the_figure() -> None:
    """Fig. 7 and Table 6: 72.83 and 26.63 % of 18.1 mJ, over the products that Table 5 names."""
    h, i, layers, tokens = 2048, 8192, 16, 512
    macs, results = layers * (4 * h * h + 2 * h * i) * tokens, layers * (5 * h + i) * tokens
    rram, fitted = HYBRID.rram, HYBRID.paper_accounting
    assert rram is not None
    assert fitted is not None
    assert rram.cell_read_energy_fJ == pytest.approx(0.7283 * 18.1e-3 / macs * 1e15, abs=5e-3)
    assert fitted.periphery_energy_pJ == pytest.approx(0.2663 * 18.1e-3 / results * 1e12, abs=5e-3)


def test_the_other_model_follows_within_the_rounding_of_what_is_printed() -> None:
    """3B: 51.3 mJ within 0.05, slices of 78.66 and 20.92 %, by hand."""
    h, i, layers, tokens = 3072, 8192, 28, 512
    arrays = layers * (4 * h * h + 2 * h * i) * tokens * 31.97e-15
    periphery = layers * (5 * h + i) * tokens * 31.92e-12
    found = halora.energies_J("LLaMA-3.2-3B", "hybrid")
    assert found["rram"] == pytest.approx(arrays)
    assert found["periphery"] == pytest.approx(periphery)
    assert arrays == pytest.approx(0.7866 * 51.3e-3, rel=2e-3)
    assert periphery == pytest.approx(0.2092 * 51.3e-3, rel=6e-3)


@given(st.integers(1, 12), st.integers(2, 5))
def test_every_slice_grows_with_tokens(tokens: int, times: int) -> None:
    one, more = energies(tiny(tokens=tokens)), energies(tiny(tokens=tokens * times))
    for slice_, energy_J in one.items():
        assert more[slice_] == pytest.approx(energy_J * times, rel=1e-12)


def test_lora_on_rram_is_counted_like_a_base_weight_and_shares_its_converters() -> None:
    on_rram, on_sram = energies(tiny(), "rram"), energies(tiny(), "sram")
    rram, sram = HYBRID.rram, HYBRID.sram
    assert rram is not None
    assert sram is not None
    assert on_sram.pop("sram lora") / on_rram.pop("rram lora") == pytest.approx(
        sram.mac_energy_fJ / rram.cell_read_energy_fJ, rel=1e-12
    )
    assert on_rram == on_sram


def test_sram_has_no_converters() -> None:
    blocks = block_energies(tiny(), PLACEMENTS["halora_sram_only"], home("sram"))
    assert {block.unit for block in blocks} == {"sram"}
    assert sum(b.energy_J[0] for b in blocks) == pytest.approx(
        6 * sum(p.size for p in tiny().parameters) * 91.4e-15
    )


def test_a_machine_that_cannot_count_so_says_why() -> None:
    with pytest.raises(SpecError, match="has no `paper_accounting` block"):
        simulate(tiny(), small.machine(), pipeline="token")
    with pytest.raises(SpecError, match=r"not on pmca\. Choose --adapt"):
        simulate(tiny(), HYBRID, adaptation="lora-pmca", pipeline="token")
    with pytest.raises(SpecError, match="not on rram"):
        simulate(tiny(), PLACEMENTS["halora_sram_only"], adaptation="lora-rram", pipeline="token")


def test_a_paper_report_holds_the_blocks_and_nothing_else() -> None:
    report = simulate(tiny(), HYBRID, pipeline="token").report
    found = energies(tiny())
    assert report.accounting == "paper"
    assert report.energy_by_component_J == pytest.approx(
        {name.replace(" ", "."): energy_J for name, energy_J in found.items()}, rel=1e-12
    )
    assert report.energy_J == pytest.approx(math.fsum(found.values()), rel=1e-12)
    assert set(report.energy_by_unit_J) == {"rram", "sram", "periphery"}
    assert report.notes == (NOTE,)
    alone = simulate(tiny(), HYBRID, adaptation="none", pipeline="token").report
    assert set(alone.energy_by_kind_J) == {"base"}
    assert alone.energy_J == pytest.approx(report.energy_J - found["sram lora"], rel=1e-12)


def test_a_true_report_has_no_paper_constant_in_it() -> None:
    dear = HYBRID.with_values({"paper_accounting.periphery_energy_pJ": 1e6})
    cut = small.cut_down(load_workload(small.ROOT / "workloads/llama3.2_1b_r4_p512_d128.json"))
    before, after = (
        simulate(cut, HYBRID, pipeline="token").report,
        simulate(cut, dear, pipeline="token").report,
    )
    assert before.accounting == after.accounting == "true"
    assert before.energy_by_component_J == after.energy_by_component_J
    assert before.energy_by_unit_J["leakage"] > 0.0


# Placements --------------------------------------------------------------------------------------


def test_placements_differ_in_nothing_but_where_weights_and_lora_are() -> None:
    files = {n: json.loads((small.ROOT / f"arch_configs/{n}.json").read_text()) for n in PLACEMENTS}
    hybrid = files.pop("halora_rram_sram")
    for other in files.values():
        changed = {key for key in hybrid if hybrid[key] != other.get(key)}
        assert changed <= {
            "name", "description", "weights_on", "adaptation", "ranges", "rram", "sram",
        }  # fmt: skip
        known = {path: found for path, found in hybrid["ranges"].items() if path in other["ranges"]}
        assert other["ranges"] == known
        assert other.get("rram") in (None, hybrid["rram"])
        sram = other["sram"]
        assert {k for k in sram if sram[k] != hybrid["sram"][k]} <= {"unit_count", "sources"}


def test_attention_is_on_sram_in_every_placement() -> None:
    """Sec. 3.2: "we allocate MatMul modules to SRAM-based CIM"; Table 6: 18.0 against 18.1 mJ."""
    assert {machine.attention_on for machine in PLACEMENTS.values()} == {"sram"}
    cut = small.cut_down(load_workload(small.ROOT / "workloads/llama3.2_1b_r4_p512_d128.json"))
    found = [
        simulate(cut, machine, adaptation="none", pipeline="token").report
        for name, machine in PLACEMENTS.items()
        if name != "halora_sram_only"
    ]
    assert found[0].energy_by_component_J == found[1].energy_by_component_J
    assert found[0].latency_s == found[1].latency_s


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_placement_runs_a_traced_model(name: str) -> None:
    cut = small.cut_down(load_workload(small.ROOT / "workloads/llama3.2_1b_r4_p512_d128.json"))
    report = simulate(cut, PLACEMENTS[name], pipeline="token").report
    used = {unit for unit in ("rram", "sram") if report.energy_by_unit_J[unit] > 0.0}
    assert used == ({"sram"} if name == "halora_sram_only" else {"rram", "sram"})


def test_keys_and_values_cost_write_energy_on_sram() -> None:
    cut = small.cut_down(load_workload(small.ROOT / "workloads/llama3.2_1b_r4_p512_d128.json"))
    plain = simulate(cut, HYBRID, pipeline="token").report
    dear = simulate(
        cut,
        HYBRID.with_values({"sram.models.unit.anchor.write_energy_fJ_per_bit": 23.8}),
        pipeline="token",
    ).report
    written = plain.energy_by_component_J["sram.kv_write"]
    assert written > 0.0
    assert dear.energy_J - plain.energy_J == pytest.approx(written, rel=1e-9)
    slow = simulate(
        cut, HYBRID.with_values({"sram.write_bits_per_cycle": 1}), pipeline="token"
    ).report
    assert slow.latency_s > plain.latency_s


def test_transistors_of_the_placements_are_the_share_of_lora() -> None:
    """Table 6: 1 for a weight on RRAM, 10 in SRAM, so that the hybrid has 1 + 9 f."""
    workload = tiny(hidden=512, intermediate=1024)
    rram_only, hybrid, sram_only = (
        sum(transistors(workload, PLACEMENTS[n], home(u)).values())
        for n, u in (
            ("halora_rram_only", "rram"), ("halora_rram_sram", "sram"), ("halora_sram_only", "sram")
        )
    )  # fmt: skip
    assert workload.adapter is not None
    share = workload.adapter.parameter_count / sum(p.size for p in workload.parameters)
    assert rram_only == sum(p.size for p in workload.parameters)
    assert hybrid / rram_only == pytest.approx(1.0 + 9.0 * share, rel=1e-12)
    assert sram_only == 10 * rram_only
    with pytest.raises(SpecError, match="no rram array of this machine holds weights"):
        transistors(workload, PLACEMENTS["halora_sram_only"], home("rram"))
    with pytest.raises(SpecError, match="no pmca array of this machine holds weights"):
        transistors(workload, HYBRID, home("pmca"))


def test_the_input_converter_is_one_of_eight_bits() -> None:
    """MNSIM 2.0: 0.166 um2 at 1 bit (ISAAC), doubled for each bit more; README: 2,968 mm2."""
    rram = HYBRID.rram
    assert rram is not None
    assert rram.dac_area_um2 == pytest.approx(0.166 * 2 ** (rram.dac_bits - 1))
    by_hand = 4096 * 0.0416 + 64 * 21.248 + 1200 + 100
    assert rram.tile_area_um2 == pytest.approx(by_hand, rel=1e-4)
    said = (small.ROOT / "README.md").read_text().replace(",", "")
    for dac_um2 in (0.166, rram.dac_area_um2, 88.36, 150.0):
        machine = HYBRID.with_values({"rram.models.dac.anchor.dac_area_um2": dac_um2})
        assert f"{machine.area_mm2()['rram']:.0f} mm2" in said


# The table ---------------------------------------------------------------------------------------


def test_the_published_table() -> None:
    rows = {row.quantity: row for row in halora.rows()}
    assert len(rows) == 22
    assert all(row.passed for row in rows.values())
    energy = "{}, 512 tokens, paper accounting: {}"
    for model, name, published in (
        ("1B", "A100 at its int8 peak", 550.5), ("1B", "hybrid", 18.1), ("1B", "RRAM-only", 18.0),
        ("1B", "SRAM-only, as printed", 36.0), ("1B", "RRAM arrays share", 72.83),
        ("1B", "ADCs and other periphery share", 26.63), ("1B", "LoRA share", 0.54),
        ("3B", "A100 at its int8 peak", 1666.8), ("3B", "hybrid", 51.3), ("3B", "RRAM-only", 51.1),
        ("3B", "SRAM-only, as printed", 102.2), ("3B", "RRAM arrays share", 78.66),
        ("3B", "ADCs and other periphery share", 20.92), ("3B", "LoRA share", 0.42),
    ):  # fmt: skip
        assert rows[energy.format(f"LLaMA-3.2-{model}", name)].published == published
    cells = "LLaMA-3.2-{}, transistors of cells, RRAM-only = 1: hybrid"
    assert rows[cells.format("1B")].published == 1.014
    assert rows[cells.format("3B")].published == 1.011


def test_one_model_is_fitted_and_the_other_follows() -> None:
    rows = halora.rows()
    fitted = {
        row.quantity.rpartition(": ")[2] for row in rows if row.fitted and "1B" in row.quantity
    }
    assert fitted == {
        "hybrid", "hybrid of A100", "RRAM arrays share", "ADCs and other periphery share",
        "LoRA share", "SRAM-only",
    }  # fmt: skip
    assert {row.quantity for row in rows if row.fitted and "3B" in row.quantity} == {
        "LLaMA-3.2-3B, transistors of cells, RRAM-only = 1: SRAM-only"
    }


def test_the_paper_disagrees_with_itself_on_sram_and_both_are_shown() -> None:
    """36.0 and 102.2 mJ over 413.4 and 1,265.1 G products; the LoRA slice means 91.4 fJ."""
    rows = {row.quantity: row for row in halora.rows() if row.tolerance is None}
    for model, said in (("1B", "87.1 fJ a multiply-accumulate (75.4"), ("3B", "80.8 fJ")):
        row = rows[f"LLaMA-3.2-{model}, 512 tokens, paper accounting: SRAM-only, as printed"]
        assert said in row.source
        assert "means 91" in row.source
        assert row.error > 0.04
    assert len(rows) == 2


def test_what_decides_the_table_is_marked_as_fitted() -> None:
    assumed = HYBRID.assumed()
    for field in (
        "rram.cell_read_energy_fJ", "sram.mac_energy_fJ", "paper_accounting.periphery_energy_pJ",
    ):  # fmt: skip
        assert re.search("calibrated on", assumed[field])


# Command line and figure -------------------------------------------------------------------------


def test_the_command_writes_the_workload(cimsim: Cli, tmp_path: Path) -> None:
    path = tmp_path / "halora_accounting_1b.json"
    options = [part for key, value in SIZES.items() for part in (f"--{key}", value)]
    code, out, _ = cimsim("workload", "halora-accounting", *options, "-o", path)
    assert code == 0
    assert path.read_bytes() == SHIPPED.read_bytes()
    assert "805,306,368 parameters, 2,097,152 in LoRA" in out
    options[1] = 2047
    code, _, err = cimsim("workload", "halora-accounting", *options, "-o", path)
    assert code == 2
    assert "32 heads do not divide hidden 2047" in err


def test_a_run_is_labelled(cimsim: Cli, tmp_path: Path) -> None:
    save_workload(tiny(), tmp_path / "tiny.json")
    gpu = small.ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json"
    hybrid = small.ROOT / "arch_configs" / "halora_rram_sram.json"
    run = ("run", hybrid, tmp_path / "tiny.json", "--pipeline", "sequential", "--baseline", gpu)
    code, out, _ = cimsim(*run)
    assert code == 0
    for word in ("paper accounting", "not compared", "peak-int8", "claims no latency"):
        assert word in " ".join(out.split())
    assert "leakage " not in out.partition("note:")[0]
    code, _, err = cimsim(*run, "--baseline-mode", "calibrated")
    assert code == 2
    assert "mixes two accountings" in err


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    folder = small.ROOT / "benchmarks" / "figures" / "halora"
    data = tmp_path / "data.json"
    for arguments in (["run.py", "--smoke", "-o", data], ["plot.py", "-i", data, "-o", tmp_path]):
        call = [sys.executable, folder / arguments[0], *arguments[1:]]
        subprocess.run([str(part) for part in call], check=True, capture_output=True)
    for name in ("halora.png", "halora_paper.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    written = json.loads(data.read_text())
    assert set(written["true"]["LLaMA-3.2-1B"]) == {*PLACEMENTS, "a100"}


def test_a_layer_saved_with_the_adapter_counts_as_adapter() -> None:
    plain, name = tiny(), "layers.0.up_proj"
    workload = small.saved(plain, name)
    before, after = energies(plain), energies(workload)
    macs, weights = 6 * 128 * 192, 128 * 192
    assert HYBRID.rram is not None
    assert HYBRID.sram is not None
    moved_J = before["rram base"] - after["rram base"]
    assert moved_J == pytest.approx(macs * array_mac_J(HYBRID.rram))
    exact_J = macs * HYBRID.sram.mac_energy_fJ * 1e-15
    assert after["sram lora"] - before["sram lora"] == pytest.approx(exact_J)
    converters_J = before["periphery base"] - after["periphery base"]
    assert converters_J == pytest.approx(6 * 192 * 31.92e-12)
    cells = [transistors(w, HYBRID, home("sram"))["sram"] for w in (plain, workload)]
    assert cells[1] - cells[0] == 10 * weights
