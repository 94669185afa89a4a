"""Several LoRA branches on one layer: traced, placed, run as one on clusters, computed on tiles."""

from __future__ import annotations

import copy
from typing import Any

import analog
import peft
import pytest
import small
import torch

from cimsim import simulate
from cimsim.adaptation import lora_weights, without_lora
from cimsim.frontend.quiet import quietly
from cimsim.functional import find_sites
from cimsim.ir import Branches, Elementwise, Linear, Norm, Phase, Workload, branches_of
from cimsim.schedule.pipelines.copies import adapted
from cimsim.schedule.shapes import shape_of
from cimsim.schedule.stages import build_stages
from cimsim.studies.pipelines import adapted_shapes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def two_adapters(first: int = 4, second: int = 2) -> Any:
    """A tiny LLaMA with two adapters at once, one of them on more layers."""
    model = analog.llama(first)
    config = peft.LoraConfig(
        r=second, target_modules=["q_proj", "up_proj", "down_proj"], init_lora_weights=False
    )
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(9)
        model.add_adapter("second", config)
    model.base_model.set_adapter(["default", "second"])
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return two_adapters()


@pytest.fixture(scope="module")
def workload(model: Any) -> Workload:
    return analog.traced(model)


def of(workload: Workload) -> dict[str, Branches]:
    return branches_of(op for _, op in workload.ops())


def test_every_branch_is_traced_under_its_adapter(workload: Workload) -> None:
    found = of(workload)
    q = found["model.layers.0.self_attn.q_proj"]
    assert [op.name for op in q.down] == [
        "model.layers.0.self_attn.q_proj.lora_A.default",
        "model.layers.0.self_attn.q_proj.lora_A.second",
    ]
    assert (q.rank, len(found["model.layers.0.mlp.up_proj"].down)) == (6, 1)
    merge = next(
        op for op in workload.phases[0].ops
        if isinstance(op, Elementwise) and q.up[0].name in op.inputs
    )  # fmt: skip
    assert set(merge.inputs) == {"model.layers.0.self_attn.q_proj", *(op.name for op in q.up)}
    assert merge.functions == {"mul": 2, "add": 2}
    lora = sum(op.macs for _, op in workload.ops() if isinstance(op, Linear) and op.role != "base")
    assert workload.adapter is not None
    assert lora == 6 * workload.adapter.parameter_count


def test_without_lora_every_branch_is_gone(workload: Workload) -> None:
    assert without_lora(workload).phases == analog.traced(analog.llama(None)).phases


def doubled(workload: Workload) -> Workload:
    """A second branch of the same rank beside each, merged with it as tracing does."""

    def again(name: str) -> str:
        return f"{name}.second" if ".lora_" in name else name

    phases = []
    for phase in workload.phases:
        ops: list[Any] = []
        for op in phase.ops:
            from_b = [source for source in op.inputs if source.endswith(".lora_B")]
            if isinstance(op, Elementwise) and from_b:
                inputs = (*from_b, *map(again, from_b), *(s for s in op.inputs if s not in from_b))
                functions = {name: 2 * count for name, count in op.functions.items()}
                op = op.model_copy(update={"inputs": inputs, "functions": functions})
            ops.append(op)
            if isinstance(op, Linear) and op.role != "base":
                names = {"name": again(op.name), "weight": again(op.weight),
                         "inputs": tuple(map(again, op.inputs))}  # fmt: skip
                ops.append(op.model_copy(update=names))
        phases.append(phase.model_copy(update={"ops": tuple(ops)}))
    lora = {p.name for p in workload.parameters if p.role in ("lora_a", "lora_b")}
    more = tuple(p.model_copy(update={"name": again(p.name)})
                 for p in workload.parameters if p.name in lora)  # fmt: skip
    return workload.remade(phases=tuple(phases), parameters=(*workload.parameters, *more))


def test_two_branches_on_a_cluster_are_one_of_both_ranks() -> None:
    """Factors side by side: the time and energy of one branch of rank 2 + 2, exactly."""
    machine = small.machine()
    both, one = (
        simulate(w, machine, adaptation="lora-pmca", pipeline="layer:block_tokens=2")
        for w in (doubled(small.decoder(rank=2)), small.decoder(rank=4))
    )
    assert both.report.latency_s == one.report.latency_s
    assert both.report.energy_J == small.close(one.report.energy_J)
    assert both.report.energy_by_kind_J == pytest.approx(one.report.energy_by_kind_J)
    assert both.report.reprogramming.adapter_switch == one.report.reprogramming.adapter_switch
    assert both.report.block_tokens == one.report.block_tokens


def test_a_layer_counts_once_whatever_its_branches() -> None:
    one, both = small.decoder(rank=4), doubled(small.decoder(rank=2))
    machine = small.machine()
    assert adapted_shapes(both) == adapted_shapes(one)
    assert adapted(both, machine, slowest=True) == adapted(one, machine, slowest=True)


@pytest.mark.parametrize("unit", ["sram", "rram"])
def test_arrays_hold_each_branch_and_a_switch_writes_all(unit: str) -> None:
    machine = small.machine()
    workload = doubled(small.decoder(rank=2))
    one = simulate(small.decoder(rank=2), machine, adaptation=f"lora-{unit}", pipeline="token")
    both = simulate(workload, machine, adaptation=f"lora-{unit}", pipeline="token")
    placed = both.mapping.placements
    assert all(placed[name].unit == unit for name in lora_weights(workload))
    written = {
        "sram": lambda r: r.reprogramming.adapter_switch.sram_bits_written,
        "rram": lambda r: r.reprogramming.adapter_switch.cells_written,
    }[unit]
    assert written(both.report) == 2 * written(one.report) > 0
    of_one, of_both = (r.report.energy_by_component_J for r in (one, both))
    if unit == "sram":
        assert of_both["sram.products"] == small.close(2 * of_one["sram.products"])
    else:
        assert of_both["rram.adc"] > of_one["rram.adc"]


def test_on_exact_tiles_the_sum_of_the_branches_is_computed(model: Any, workload: Workload) -> None:
    machine = analog.machine()
    mapping = analog.mapped(workload, machine, "lora-rram")
    sites = find_sites(model)
    assert set(mapping.placements) <= set(sites)
    assert "model.layers.0.mlp.up_proj.lora_B.second.weight" in mapping.placements
    converted = analog.analogize(model, mapping, machine, **analog.ideal(machine))
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in (converted, model))
        first = copy.deepcopy(model)
        first.base_model.set_adapter("default")
        assert float((first(analog.IDS).logits - wanted).abs().max()) > 0.01
    assert float((found - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())


def test_vector_work_behind_a_merge_joins_no_other_chain() -> None:
    """An addition of a merge and a norm is a stage of its own: weights stay with their clusters."""
    from cimsim.schedule.graph import build_graph

    ops = list(small.encoder(layers=1).phases[0].ops[:5])
    norm = Norm(name="norm", inputs=("embed",), tokens=6, norm="layer", rows=6, columns=24)
    both = Elementwise(name="both", inputs=(ops[-1].name, "norm"), tokens=6, elements=6 * 24,
                       functions={"add": 1})  # fmt: skip
    phase = Phase(name="prefill", tokens=6, ops=(*ops, norm, both))
    workload = small.workload_of("w", (phase,), 2)
    machine = small.machine()
    mapping = analog.mapped(workload, machine, "lora-pmca")
    stages = build_stages(build_graph(workload), machine, mapping, 1)
    assert [stage.name for stage in stages if stage.nodes[-1].name == "both"] == ["both"]
    assert "norm" in {stage.name for stage in stages}


def test_the_stage_of_a_layer_is_named_by_all_its_ranks() -> None:
    from cimsim.schedule.graph import build_graph

    machine, workload = small.machine(), doubled(small.decoder(rank=3))
    mapping = analog.mapped(workload, machine, "lora-pmca")
    stages = build_stages(build_graph(workload), machine, mapping, 1)
    shapes = [shape_of(stage) for stage in stages if stage.in_layer]
    assert set(shapes) == {"lora-32x32x6", "lora-32x16x6", "lora-48x32x6"}
    assert len(shapes) == 2 * 4
