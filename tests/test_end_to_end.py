"""Every model family, from its configuration to a report, on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from frontend_zoo import ZOO

import cimsim
from cimsim import engines
from cimsim.frontend import trace_model
from cimsim.ir import MatMul, Workload
from cimsim.mappers import DensePacking, OneBlockPerTile
from cimsim.schedule.pipelines import PIPELINES

ROOT = Path(__file__).parent.parent
MACHINES = {
    name: cimsim.load_architecture(ROOT / f"arch_configs/{name}.json")
    for name in ("halora_rram_sram", "ahwa_pcm_pmca")
}


@pytest.mark.parametrize("family", ZOO)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_family_runs_on_both_engines(family: str, machine: str) -> None:
    member = ZOO[family]
    workload = trace_model(
        member.config, prefill=member.prefill, decode=member.decode, task=member.task
    )
    pipeline = cimsim.parse_pipeline("layer:block_tokens=4")
    done = cimsim.simulate(workload, MACHINES[machine], pipeline=pipeline)
    reference = engines.run(done.plan.program, "simpy")
    assert np.array_equal(reference.start_ps, done.run.start_ps)
    assert np.array_equal(reference.end_ps, done.run.end_ps)
    assert done.report.latency_s > 0
    assert done.report.energy_by_kind_J["base"] > 0
    attends = any(
        isinstance(op, MatMul) and op.stationary_token_axis == "n" for _, op in workload.ops()
    )
    if attends and machine == "halora_rram_sram":
        assert done.report.energy_by_component_J["sram.attention"] > 0
        assert done.report.energy_by_component_J["sram.kv_write"] > 0


@pytest.fixture(scope="module")
def classifier() -> Workload:
    """A tiny BERT with LoRA and a classification head that is saved with it."""
    member = ZOO["bert-classes"]
    return trace_model(
        member.config, prefill=12, task=member.task, lora_rank=2, lora_targets=["query", "value"],
        modules_to_save=["classifier"],
    )  # fmt: skip


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("mapper", [OneBlockPerTile(), DensePacking(replicate=(("*", 2),))])
def test_a_saved_head_runs_with_its_adapter(
    classifier: Workload, machine: str, pipeline: str, mapper: OneBlockPerTile | DensePacking
) -> None:
    done = cimsim.simulate(
        classifier, MACHINES[machine], pipeline=cimsim.parse_pipeline(pipeline), mapper=mapper
    )
    reference = engines.run(done.plan.program, "simpy")
    assert np.array_equal(reference.start_ps, done.run.start_ps)
    assert np.array_equal(reference.end_ps, done.run.end_ps)
    unit = MACHINES[machine].adaptation.removeprefix("lora-")
    head = done.mapping.placements["classifier.weight"]
    assert (head.unit, head.role) == (unit, "saved")
    spent = {
        c.component: sum(c.energy_J)
        for c in done.plan.charges(done.architecture)
        if c.stage == "classifier"
    }
    values = 64 * 2
    switch = done.report.reprogramming.adapter_switch
    assert classifier.adapter is not None
    exchanged = classifier.adapter.parameter_count + values
    assert classifier.adapter.saved_parameter_count == values + 2
    assert switch.cells_written == 0
    if unit == "sram":
        sram = MACHINES[machine].sram
        assert sram is not None
        assert spent["products"] == pytest.approx(values * sram.mac_energy_fJ * 1e-15, rel=1e-12)
        held = {p.weight: p.replicas for p in done.mapping.placements.values() if p.role != "base"}
        sizes = {p.name: p.size for p in classifier.parameters}
        written = sum(copies * sizes[weight] for weight, copies in held.items())
        assert switch.sram_bits_written == written * sram.weight_bits
        if mapper.name == "one-per-tile" and pipeline != "replicated":
            assert written == exchanged
    else:
        assert spent["cores"] > 0
        assert switch.tcdm_bytes_written == 2 * exchanged
    rram = {c.stage for c in done.plan.charges(done.architecture) if c.unit == "rram"}
    assert "classifier" not in rram
    assert "bert.pooler.dense" in rram
