"""DoRA: PEFT's adapters traced, timed and computed with magnitudes folded behind the converters."""

from __future__ import annotations

import copy
from typing import Any

import analog
import peft
import pytest
import small
import torch
import transformers as tf
from frontend_zoo import ZOO
from torch import nn

from cimsim import simulate
from cimsim.accuracy.placing import as_mapped
from cimsim.adaptation import LoraFusion, adaptation_named, without_lora
from cimsim.costs.cluster import elementwise_busy
from cimsim.errors import MappingError, WorkloadError
from cimsim.frontend import trace_model, trace_module
from cimsim.frontend.dora import with_folded_dora
from cimsim.frontend.quiet import quietly
from cimsim.ir import Elementwise, Workload
from cimsim.mappers import build_mapping
from cimsim.noise import Ideal
from cimsim.schedule.pair import LoraBranch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def with_dora(model: nn.Module, *targets: str, **fields: Any) -> Any:
    """`model` with a DoRA adapter whose magnitudes are others than at the start."""
    config = peft.LoraConfig(
        r=4, target_modules=list(targets), use_dora=True, init_lora_weights=False, **fields
    )
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(7)
        made = peft.get_peft_model(model, config).eval()
        for name, parameter in made.named_parameters():
            if "magnitude" in name:
                parameter.data *= 1.0 + 0.3 * torch.rand_like(parameter)
    return made


@pytest.fixture(scope="module")
def model() -> Any:
    return with_dora(analog.llama(None), "q_proj", "down_proj")


@pytest.fixture(scope="module")
def workload(model: Any) -> Workload:
    return analog.traced(model)


def merges(workload: Workload) -> list[dict[str, int]]:
    return [
        op.functions for _, op in workload.ops()
        if isinstance(op, Elementwise) and any(".lora_B" in source for source in op.inputs)
    ]  # fmt: skip


def test_a_trace_is_that_of_lora_and_a_product_an_output(workload: Workload) -> None:
    plain = analog.traced(analog.llama(4))
    assert merges(workload) == [{"mul": 2, "add": 1}] * 4
    assert merges(plain) == [{"mul": 1, "add": 1}] * 4
    assert workload.macs == plain.macs
    assert without_lora(workload).phases == without_lora(plain).phases
    assert workload.parameter_count == plain.parameter_count
    magnitudes = [p for p in workload.parameters if p.role == "magnitude"]
    q = "model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight"
    assert q in {p.name for p in magnitudes}
    assert workload.adapter is not None
    assert plain.adapter is not None
    assert workload.adapter.kind == "dora"
    more = workload.adapter.parameter_count - plain.adapter.parameter_count
    assert more == sum(p.size for p in magnitudes) > 0
    assert Workload.model_validate(workload.model_dump()) == workload


def test_values_are_counted_as_peft_trains_them(model: Any, workload: Workload) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert workload.adapter is not None
    assert workload.adapter.parameter_count == trained


def test_a_bias_stays_outside_the_magnitudes() -> None:
    net = with_dora(nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)), "0")
    traced = trace_module(net, (torch.zeros(3, 12),), name="net")
    assert merges(traced) == [{"mul": 2, "add": 2}]


@pytest.mark.parametrize("bias", [True, False])
def test_the_folded_form_is_that_of_peft(bias: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = with_dora(nn.Sequential(nn.Linear(12, 10, bias=bias), nn.Linear(10, 4)), "0", "1")
        x = torch.randn(5, 12)
    folded = with_folded_dora(net)
    assert folded is not net
    with torch.no_grad():
        found, wanted = folded(x), net(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    layer = net.base_model.model[0]
    merged = layer.base_layer.weight + layer.scaling["default"] * (
        layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    )
    g = layer.lora_magnitude_vector["default"].weight / merged.norm(dim=1)
    by_hand = g * (x @ merged.T) + (layer.base_layer.bias if bias else 0.0)
    torch.testing.assert_close(folded.base_model.model[0](x), by_hand, rtol=1e-5, atol=1e-5)


def test_the_folded_form_passes_the_gradients_of_peft(model: Any) -> None:
    grads = []
    for made in (copy.deepcopy(model), with_folded_dora(copy.deepcopy(model))):
        made(analog.IDS).logits.square().mean().backward()
        grads.append({n: p.grad for n, p in made.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    assert any("magnitude" in name for name in grads[0])
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-3, atol=1e-6)


def test_transposed_weights_of_gpt2() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        gpt2 = tf.GPT2LMHeadModel(ZOO["gpt2"].config).eval()
    model = with_dora(gpt2, "c_attn", fan_in_fan_out=True)
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in (with_folded_dora(model), model))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert merges(analog.traced(model))[0] == {"mul": 2, "add": 2}


@pytest.mark.parametrize("adaptation", ["lora-rram", "merged"])
def test_on_exact_tiles_it_is_the_model(model: Any, workload: Workload, adaptation: str) -> None:
    machine = analog.machine()
    mapping = analog.mapped(workload, machine, adaptation)
    placed = as_mapped(model, mapping)
    converted = analog.analogize(placed, mapping, machine, **analog.ideal(machine))
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in (converted, model))
    assert float((found - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())


def test_converters_are_calibrated_on_what_a_sees(model: Any, workload: Workload) -> None:
    """PEFT's own forward pass sends the unit matrix through A and B first."""
    machine = analog.machine()
    mapping = analog.mapped(workload, machine, "lora-rram")
    chips = [
        analog.programmed(m, mapping, machine, Ideal()).at(samples=(analog.IDS,))
        for m in (model, with_folded_dora(model))
    ]
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in chips)
    assert torch.equal(found, wanted)


def test_a_switch_writes_the_branch_and_the_magnitudes(workload: Workload) -> None:
    machine = small.machine(rram={"tile_count": 20_000}, sram={"unit_count": 20_000})
    plain = analog.traced(analog.llama(4))
    both = [
        simulate(w, machine, adaptation="lora-sram", pipeline="token").report
        for w in (plain, workload)
    ]
    lora, dora = (report.reprogramming.adapter_switch for report in both)
    assert lora.sram_bits_written == dora.sram_bits_written > 0
    assert lora.register_bits_written == 0
    magnitudes = [p for p in workload.parameters if p.role == "magnitude"]
    assert dora.register_bits_written == 16 * sum(p.size for p in magnitudes)
    assert both[1].latency_s > both[0].latency_s


def test_on_a_cluster_magnitudes_take_a_kernel_over_the_outputs() -> None:
    pmca = small.machine().pmca
    plain = LoraBranch(48, 40, 4)
    dora = LoraBranch(48, 40, 4, 1, (("mul", 1),))
    for tokens in (1, 3):
        before, after = plain.busy(pmca, tokens)
        extra = elementwise_busy(pmca, tokens * 40, {"mul": 1})
        assert dora.busy(pmca, tokens) == (before, after.then(extra))


def test_a_cluster_runs_dora_in_more_time(workload: Workload) -> None:
    machine = small.machine(rram={"tile_count": 20_000})
    plain, dora = (
        simulate(w, machine, adaptation="lora-pmca", pipeline="layer:block_tokens=2").report
        for w in (analog.traced(analog.llama(4)), workload)
    )
    assert dora.latency_s > plain.latency_s
    assert dora.block_tokens == plain.block_tokens


def test_a_directory_gives_the_workload_of_the_live_model(
    model: Any, workload: Workload, tmp_path: Any
) -> None:
    model.save_pretrained(tmp_path)
    saved = trace_model(ZOO["llama"].config, task="text-generation", prefill=6, adapter=tmp_path)
    assert saved.adapter == workload.adapter
    assert saved.parameters == workload.parameters
    assert saved.phases == workload.phases


def test_what_dora_cannot_be_part_of_is_refused(model: Any, workload: Workload) -> None:
    both = copy.deepcopy(model)
    with quietly():
        both.add_adapter("second", peft.LoraConfig(r=2, target_modules=["q_proj"]))
    both.base_model.set_adapter(["default", "second"])
    with pytest.raises(WorkloadError, match="default, second are active and 'default' is DoRA"):
        analog.traced(both)
    with pytest.raises(MappingError, match="is DoRA: a pool is made of plain LoRA"):
        LoraFusion().apply(workload)
    mapped = build_mapping(without_lora(workload), analog.machine(), adaptation_named("none"))
    with pytest.raises(MappingError, match="runs the base model alone"):
        as_mapped(model, mapped)
