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
from cimsim.costs.tile import mvm_energy_J, rram_mac_J
from cimsim.errors import SpecError, WorkloadError
from cimsim.ir import Linear, Workload, load_workload, save_workload
from cimsim.report.accounting import (
    NOTE,
    TARGETS,
    block_energies,
    halora_accounting,
    weight_area_mm2,
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
    return {block.kind: math.fsum(block.energy_J) for block in blocks}


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
def test_a_mac_costs_what_a_full_tile_costs(path: Path) -> None:
    rram = load_architecture(path).rram
    if rram is None:
        return
    whole = mvm_energy_J(rram, rram.rows, rram.weight_columns, 1, 1)
    blocks = math.fsum(whole[key] for key in ("cells", "dac", "adc"))
    assert rram_mac_J(rram) * rram.rows * rram.weight_columns == pytest.approx(blocks, rel=1e-12)


def test_energy_of_the_1b_model_by_hand() -> None:
    found = energies(load_workload(SHIPPED))
    h, i, layers, tokens = 2048, 8192, 16, 512
    assert found == pytest.approx(
        {
            "base": layers * (4 * h * h + 2 * h * i) * tokens * (7.546e-15 + 1.5625e-12 / 64),
            "lora": layers * 4 * (6 * h + 2 * (h + i)) * tokens * 91.4e-15,
            "attention": 2 * layers * h * tokens**2 * 195e-15,
            "softmax": layers * 32 * tokens**2 * 10.9e-12,
        },
        rel=1e-12,
    )


@given(st.integers(1, 12), st.integers(2, 5))
def test_linear_terms_grow_with_tokens_and_attention_with_their_square(
    tokens: int, times: int
) -> None:
    one, more = energies(tiny(tokens=tokens)), energies(tiny(tokens=tokens * times))
    for kind, power in (("base", 1), ("lora", 1), ("attention", 2), ("softmax", 2)):
        assert more[kind] == pytest.approx(one[kind] * times**power, rel=1e-12)


def test_lora_on_rram_is_counted_like_a_base_weight() -> None:
    on_rram, on_sram = energies(tiny(), "rram"), energies(tiny(), "sram")
    rram, sram = HYBRID.rram, HYBRID.sram
    assert rram is not None
    assert sram is not None
    assert on_sram["lora"] / on_rram["lora"] == pytest.approx(
        sram.mac_energy_fJ * 1e-15 / rram_mac_J(rram), rel=1e-12
    )
    del on_rram["lora"], on_sram["lora"]
    assert on_rram == on_sram


def test_a_machine_that_cannot_count_so_says_why() -> None:
    with pytest.raises(SpecError, match="has no `paper_accounting` block"):
        simulate(tiny(), small.machine(), pipeline="token")
    with pytest.raises(SpecError, match=r"not on pmca\. Choose --adapt"):
        simulate(tiny(), HYBRID, adaptation="lora-pmca", pipeline="token")
    with pytest.raises(SpecError, match="not on sram"):
        simulate(tiny(), PLACEMENTS["halora_rram_only"], adaptation="lora-sram", pipeline="token")


def test_a_paper_report_holds_the_blocks_and_nothing_else() -> None:
    report = simulate(tiny(), HYBRID, pipeline="token").report
    found = energies(tiny())
    assert report.accounting == "paper"
    assert report.energy_by_kind_J == pytest.approx(found, rel=1e-12)
    assert report.energy_J == pytest.approx(math.fsum(found.values()), rel=1e-12)
    assert set(report.energy_by_unit_J) == {"rram", "sram", "attention", "softmax"}
    assert report.notes == (NOTE,)
    alone = simulate(tiny(), HYBRID, adaptation="none", pipeline="token").report
    assert set(alone.energy_by_kind_J) == {"base", "attention", "softmax"}
    assert alone.energy_J == pytest.approx(report.energy_J - found["lora"], rel=1e-12)


def test_a_true_report_has_no_paper_constant_in_it() -> None:
    dear = HYBRID.with_values(
        {"paper_accounting.attention_mac_energy_fJ": 1e6, "paper_accounting.softmax_energy_pJ": 1e6}
    )
    cut = small.cut_down(load_workload(small.ROOT / "workloads/llama3.2_1b_r4_p512_d128.json"))
    before, after = (
        simulate(cut, HYBRID, pipeline="token").report,
        simulate(cut, dear, pipeline="token").report,
    )
    assert before.accounting == after.accounting == "true"
    assert before.energy_by_component_J == after.energy_by_component_J
    assert before.energy_by_unit_J["leakage"] > 0.0


# Placements --------------------------------------------------------------------------------------


def test_placements_differ_in_nothing_but_where_things_are() -> None:
    files = {n: json.loads((small.ROOT / f"arch_configs/{n}.json").read_text()) for n in PLACEMENTS}
    hybrid = files.pop("halora_rram_sram")
    for other in files.values():
        changed = {key for key in hybrid if hybrid[key] != other.get(key)}
        assert changed <= {
            "name", "description", "weights_on", "attention_on", "adaptation", "rram", "sram",
        }  # fmt: skip
        assert other.get("rram") in (None, hybrid["rram"])
        if (sram := other.get("sram")) is not None:
            assert {k for k in sram if sram[k] != hybrid["sram"][k]} <= {"unit_count", "sources"}


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_placement_runs_a_traced_model(name: str) -> None:
    cut = small.cut_down(load_workload(small.ROOT / "workloads/llama3.2_1b_r4_p512_d128.json"))
    report = simulate(cut, PLACEMENTS[name], pipeline="token").report
    used = {unit for unit in ("rram", "sram") if report.energy_by_unit_J[unit] > 0.0}
    expected = {
        "halora_rram_sram": {"rram", "sram"}, "halora_rram_only": {"rram"},
        "halora_sram_only": {"sram"},
    }  # fmt: skip
    assert used == expected[name]


def test_keys_and_values_cost_write_energy_on_sram() -> None:
    cut = small.cut_down(load_workload(small.ROOT / "workloads/llama3.2_1b_r4_p512_d128.json"))
    plain = simulate(cut, HYBRID, pipeline="token").report
    dear = simulate(
        cut, HYBRID.with_values({"sram.write_energy_fJ_per_bit": 23.8}), pipeline="token"
    ).report
    written = plain.energy_by_component_J["sram.kv_write"]
    assert written > 0.0
    assert dear.energy_J - plain.energy_J == pytest.approx(written, rel=1e-9)
    slow = simulate(
        cut, HYBRID.with_values({"sram.write_bits_per_cycle": 1}), pipeline="token"
    ).report
    assert slow.latency_s > plain.latency_s


def test_area_of_the_placements_is_the_share_of_lora() -> None:
    workload = tiny(hidden=512, intermediate=1024)
    rram_only, hybrid = (
        math.fsum(weight_area_mm2(workload, PLACEMENTS[n], home(u)).values())
        for n, u in (("halora_rram_only", "rram"), ("halora_rram_sram", "sram"))
    )
    sram_only = math.fsum(
        weight_area_mm2(workload, PLACEMENTS["halora_sram_only"], home("sram")).values()
    )
    assert workload.adapter is not None
    share = workload.adapter.parameter_count / sum(p.size for p in workload.parameters)
    times = sram_only / rram_only
    assert hybrid / rram_only == pytest.approx(1.0 + (times - 1.0) * share, rel=1e-12)
    assert times == pytest.approx(10.0, rel=1e-3)
    with pytest.raises(SpecError, match="no sram array of this machine holds weights"):
        weight_area_mm2(workload, PLACEMENTS["halora_rram_only"], home("sram"))


# The table ---------------------------------------------------------------------------------------


def test_the_published_table() -> None:
    rows = {row.quantity.rpartition(": ")[2]: row for row in halora.rows()}
    assert all(row.passed for row in rows.values())
    for name, published in (
        ("A100 at its int8 peak", 550.5), ("hybrid of A100", 3.29), ("RRAM share", 72.83),
        ("LoRA share", 0.54), ("hybrid's surplus", 1.1), ("SRAM-only", 10.0),
    ):  # fmt: skip
        assert rows[name].published == published
    assert not rows["A100 at its int8 peak"].fitted
    assert rows["RRAM share"].fitted


def test_what_decides_the_table_is_marked_as_fitted() -> None:
    assumed = HYBRID.assumed()
    for field in (
        "rram.cell_read_energy_fJ", "sram.mac_energy_fJ", "sram.unit_area_um2",
        "paper_accounting.attention_mac_energy_fJ", "paper_accounting.softmax_energy_pJ",
    ):  # fmt: skip
        assert re.match("calibrated on|fitted to", assumed[field])


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
    assert set(written["true"]["LLaMA-3.2-1B"]) == {*PLACEMENTS, "a100", "weight_area_mm2"}


def test_a_layer_saved_with_the_adapter_counts_as_adapter() -> None:
    plain, name = tiny(), "layers.0.o_proj"
    workload = small.saved(plain, name)
    before, after = energies(plain), energies(workload)
    macs, weights = 6 * 128 * 128, 128 * 128
    assert HYBRID.rram is not None
    assert HYBRID.sram is not None
    assert before["base"] - after["base"] == pytest.approx(macs * rram_mac_J(HYBRID.rram))
    exact_J = macs * HYBRID.sram.mac_energy_fJ * 1e-15
    assert after["lora"] - before["lora"] == pytest.approx(exact_J)
    areas = [weight_area_mm2(w, HYBRID, home("sram"))["sram"] for w in (plain, workload)]
    cells = HYBRID.sram.rows * HYBRID.sram.columns
    moved_mm2 = weights / cells * HYBRID.sram.unit_area_um2 * 1e-6
    assert areas[1] - areas[0] == pytest.approx(moved_mm2)
