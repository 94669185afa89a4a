"""Every model family, from its configuration to a report, on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from frontend_zoo import ZOO

import cimsim
from cimsim import engines
from cimsim.frontend import trace_model
from cimsim.workload import MatMul

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
