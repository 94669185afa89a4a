"""What PEFT puts on a model: every kind named, and of LoRA only what acts counted."""

from __future__ import annotations

import copy
import dataclasses
import json
import re

import peft
import pytest
import small
import torch
import toy_task
import transformers as tf
from frontend_zoo import ZOO
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file
from torch import nn

import cimsim
from cimsim.errors import CimsimError, TaskError, WorkloadError
from cimsim.frontend import trace_model, trace_module
from cimsim.frontend.adapter_config import check_settings, read_adapter
from cimsim.frontend.adapters import adapters_in_use, merged_copy
from cimsim.frontend.quiet import quietly
from cimsim.functional import find_sites
from cimsim.tasks.directory import load_directory
from cimsim.training import load_trained

# PEFT reads a property of the model that transformers has renamed, and talks of merging.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

CONFIG = tf.LlamaConfig(**{**ZOO["llama"].config.to_dict(), "tie_word_embeddings": False})
LORA = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)


def bare():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return tf.LlamaForCausalLM(CONFIG).eval()


def with_peft(config=LORA):
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(4)
        return peft.get_peft_model(bare(), copy.deepcopy(config)).eval()


def traced(model):
    return trace_model(model, prefill=8, name="x")


OTHERS = {
    "ADALORA": lambda: peft.AdaLoraConfig(target_modules=["q_proj"], total_step=5),
    "BOFT": lambda: peft.BOFTConfig(target_modules=["q_proj"], boft_block_size=4),
    "IA3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"],
                                  feedforward_modules=["down_proj"]),
    "LN_TUNING": lambda: peft.LNTuningConfig(target_modules=["norm"]),
    "LOHA": lambda: peft.LoHaConfig(target_modules=["q_proj"]),
    "LOKR": lambda: peft.LoKrConfig(target_modules=["q_proj"]),
    "OFT": lambda: peft.OFTConfig(target_modules=["q_proj"], r=0, oft_block_size=4),
    "VERA": lambda: peft.VeraConfig(target_modules=["q_proj"], r=4),
    "POLY": lambda: peft.PolyConfig(target_modules=["q_proj"]),
    "HRA": lambda: peft.HRAConfig(target_modules=["q_proj"], r=4),
    "TRAINABLE_TOKENS": lambda: peft.TrainableTokensConfig(token_indices=[1, 2]),
    "PROMPT_TUNING": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
    "PREFIX_TUNING": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
    "P_TUNING": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_are_refused_by_name_alive_and_saved(kind, tmp_path):
    model = with_peft(OTHERS[kind]())
    said = rf"peft_type is '{kind}'; only LORA adapters are supported: what another kind computes"
    for ask in (traced, find_sites, adapters_in_use, merged_copy):
        with pytest.raises(WorkloadError, match=rf"^adapter 'default': {said}"):
            ask(model)
    with quietly():
        model.save_pretrained(tmp_path)
    with pytest.raises(WorkloadError, match=said):
        read_adapter(tmp_path)


def test_adaption_prompts_and_mixed_models_are_refused():
    prompts = peft.AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=4, adapter_layers=1)
    with pytest.raises(WorkloadError, match=r"PEFT's Adapt\w+, which cimsim does not model\. Use"):
        traced(with_peft(prompts))
    mixed = peft.get_peft_model(bare(), copy.deepcopy(LORA), mixed=True)
    with pytest.raises(WorkloadError, match=r"PEFT's PeftMixedModel, which cimsim does not model"):
        traced(mixed)


class Strange(nn.Module, BaseTunerLayer):
    """A layer of a tuner that nobody knows."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * self.base_layer(x)


def test_layers_of_unknown_tuners_are_refused():
    model = bare()
    model.model.layers[0].mlp.up_proj = Strange(model.model.layers[0].mlp.up_proj)
    model.model.layers[0].mlp.up_proj._active_adapter = ["mine"]
    model.model.layers[0].mlp.up_proj.adapter_layer_names = ("held",)
    model.model.layers[0].mlp.up_proj.held = nn.ModuleDict({"mine": nn.Linear(1, 1)})
    with pytest.raises(WorkloadError, match=r"^adapter 'mine' has no peft_config on the model"):
        traced(model)
    model.peft_config = {"mine": copy.deepcopy(LORA)}
    with pytest.raises(WorkloadError, match=r"^the adapter has layers of kind Strange, held, whi"):
        traced(model)


def test_layers_named_like_lora_without_an_adapter_are_refused():
    net = nn.Sequential()
    net.add_module("lora_A", nn.Linear(16, 2))
    net.add_module("lora_B", nn.Linear(2, 16))
    net = nn.Sequential(net, nn.Linear(16, 4))
    with pytest.raises(WorkloadError, match=r"^0\.lora_A\.weight is named as a LoRA factor of PEF"):
        trace_module(net, (torch.zeros(3, 16),), name="x")


@dataclasses.dataclass
class Later(peft.LoraConfig):
    """The configuration of a release to come."""

    new_trick: bool = True
    new_table: dict = dataclasses.field(default_factory=lambda: {"a": 1})


def test_fields_of_a_later_release():
    good = Later(r=2, target_modules=["q_proj"]).to_dict()
    check_settings(good, "here", Later)
    for field, value in [("new_trick", False), ("new_table", {}), ("new_trick", None)]:
        said = rf"^here: {field} is .*, a field that cimsim does not know, so what it changes"
        with pytest.raises(WorkloadError, match=said):
            check_settings({**good, field: value}, "here", Later)
    unset = {**good, "new_table": None, "new_trick": None}
    check_settings(unset, "here", peft.LoraConfig)
    with pytest.raises(WorkloadError, match=r"^here: new_trick is True, a field that cimsim does"):
        check_settings(good, "here", peft.LoraConfig)


@pytest.mark.parametrize(
    "value",
    ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica", "true", "new", 3, []],
)
def test_what_began_on_other_base_weights_is_refused(value):
    settings = {**LORA.to_dict(), "init_lora_weights": value}
    with pytest.raises(WorkloadError, match=r"^here: init_lora_weights is .* not known to leave"):
        check_settings(settings, "here", peft.LoraConfig)
    for fine in (True, False, None, "gaussian", "orthogonal", "eva"):
        check_settings({**settings, "init_lora_weights": fine}, "here", peft.LoraConfig)


@pytest.mark.parametrize(("field", "value"), [
    ("alora_invocation_tokens", [1, 2]),
    ("target_parameters", ["mlp.up_proj.weight"]),
    ("trainable_token_indices", [1]),
    ("layer_replication", [[0, 2]]),
    ("use_qalora", True),
    ("arrow_config", {}),
    ("kasa_config", {"beta": 0.1}),
    ("megatron_config", {"a": 1}),
    ("use_bdlora", {"nblocks": 2}),
    ("monteclora_config", {}),
    ("velora_config", {}),
])  # fmt: skip
def test_variants_are_refused_by_name(field, value):
    with pytest.raises(WorkloadError, match=rf"^here: {field} is .*, which cimsim does not model"):
        check_settings({**LORA.to_dict(), field: value}, "here", peft.LoraConfig)


def test_merged_in_place_is_the_same_workload():
    model = with_peft()
    before = traced(model)
    model.merge_adapter()
    assert traced(model) == before
    assert all(layer.merged for layer in model.modules() if isinstance(layer, BaseTunerLayer))
    machine = small.machine(adaptation="merged")
    report = cimsim.simulate(before, machine, pipeline="token").report
    adapted = {op.adapts for _, op in before.ops() if getattr(op, "adapts", None)}
    weights = sum(op.in_features * op.out_features for op in before.phases[0].ops
                  if op.name in adapted)  # fmt: skip
    written = report.reprogramming.adapter_switch.cells_written
    assert written == weights * machine.rram.devices_per_weight > 0


def test_merged_and_unloaded_is_the_bare_model():
    assert traced(with_peft().merge_and_unload()) == traced(bare())


def test_one_adapter_beside_one_that_is_merged_counts_with_it():
    model = with_peft()
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["up_proj"]))
    model.base_model.set_adapter(["default", "other"])
    both = traced(model)
    model.set_adapter("other")
    model.merge_adapter(["default"])
    assert traced(model) == both
    assert both.adapter.branches == 2


def test_two_adapters_that_save_one_module_are_refused():
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    model = with_peft(config)
    with quietly():
        model.add_adapter("other", copy.deepcopy(config))
    for part in model.modules():
        if isinstance(part, BaseTunerLayer):
            part.set_adapter(["default", "other"])
        elif isinstance(part, ModulesToSaveWrapper):
            part._active_adapter = ["default", "other"]
    with pytest.raises(WorkloadError, match=r"default, other are active and each saves its own"):
        traced(model)


def test_disabled_is_the_bare_model():
    model = with_peft()
    model.base_model.disable_adapter_layers()
    assert traced(model) == traced(bare())
    model.base_model.enable_adapter_layers()
    assert traced(model).adapter is not None


def test_of_several_adapters_only_the_active_one_is_listed():
    model = with_peft()
    only = with_peft(peft.LoraConfig(r=2, target_modules=["v_proj", "o_proj"]))
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["v_proj", "o_proj"]))
    model.add_adapter("odd", peft.LoraConfig(r=2, target_modules=["v_proj"], use_dora=True))
    assert traced(model) == traced(with_peft())
    model.set_adapter("other")
    assert traced(model) == traced(only)
    model.set_adapter("odd")
    assert traced(model).adapter.kind == "dora"


def test_an_idle_adapter_may_be_called_like_a_part_of_the_model():
    model = with_peft()
    model.add_adapter("layers", peft.LoraConfig(r=2, target_modules=["v_proj"], use_dora=True))
    assert traced(model) == traced(with_peft())
    model.base_model.model.model.layers[0].mlp = Odd(model.base_model.model.model.layers[0].mlp)
    with pytest.raises(WorkloadError, match=r"the model carries PEFT's Odd, which cimsim does not"):
        traced(model)


class Odd(nn.Module):
    """A module of PEFT's that is no tuner's layer."""

    __module__ = "peft.odd"

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_a_disabled_adapter_makes_room_for_one_that_is_asked_for():
    model = with_peft()
    asked = {"prefill": 8, "name": "x", "lora_rank": 2, "lora_targets": ["o_proj"]}
    with pytest.raises(WorkloadError, match=r"^the model has a LoRA adapter already"):
        trace_model(model, **asked)
    with model.disable_adapter():
        assert trace_model(model, **asked) == trace_model(bare(), **asked)


def test_an_adapter_on_an_adapter_is_refused():
    twice = peft.get_peft_model(with_peft(), peft.LoraConfig(r=2, target_modules=["o_proj"]))
    with pytest.raises(WorkloadError, match=r"^a PeftModel is wrapped in a PeftModel; put a sec"):
        traced(twice)


def test_a_task_type_brings_its_head_and_changes_nothing_else(tmp_path):
    base = toy_task.model()
    folder = toy_task.adapter(base, tmp_path)
    plain = load_trained(base, folder)
    data = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**data, "task_type": "SEQ_CLS"}))
    found = load_trained(base, folder)
    task = toy_task.ToyTask((), toy_task.task(base.module, 8, 8).test)
    assert torch.equal(task.scores(found, task.test), task.scores(plain, task.test))
    config = read_adapter(folder)
    assert config.modules_to_save == ["head", "classifier", "score"]


def injected():
    """An adapter without a PeftModel around it, as transformers puts it on."""
    with torch.random.fork_rng(), quietly():
        return peft.inject_adapter_in_model(copy.deepcopy(LORA), bare()).eval()


def test_injected_adapters_are_adapters():
    model = injected()
    assert traced(model) == traced(with_peft())
    assert adapters_in_use(model) == ("default",)
    for part in model.modules():
        if isinstance(part, BaseTunerLayer):
            part.enable_adapters(False)
    assert adapters_in_use(model) == ()
    assert traced(model) == traced(bare())


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_merged_copy_computes_the_same_and_leaves_the_model(wrapped):
    saving = dataclasses.replace(LORA, modules_to_save=["lm_head"])
    model = with_peft(saving) if wrapped else injected()
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        wanted = model(ids).logits
        for _ in range(2):
            plain = merged_copy(model)
            assert adapters_in_use(plain) == ()
            assert traced(plain) == traced(bare())
            assert float((plain(ids).logits - wanted).norm() / wanted.norm()) < 1e-5
            assert torch.equal(model(ids).logits, wanted)
            if wrapped:
                model.merge_adapter()
                wanted = model(ids).logits


def test_a_model_directory_with_an_adapter_in_it_is_not_taken_for_the_model(tmp_path):
    data = {**CONFIG.to_dict(), "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(data))
    LORA.save_pretrained(tmp_path)
    with pytest.raises(WorkloadError, match=r"an adapter lies beside the model \(adapter_config"):
        trace_model(tmp_path, prefill=8)
    assert trace_model(tmp_path, prefill=8, adapter=tmp_path).adapter == traced(with_peft()).adapter
    with pytest.raises(TaskError, match=r"an adapter lies beside the model"):
        load_directory(tmp_path, 2, 0)


def test_a_rank_that_no_tensor_has_asks_for_no_memory(tmp_path):
    base = toy_task.model()
    folder = toy_task.adapter(base, tmp_path)
    data = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**data, "r": 10**9}))
    with pytest.raises(TaskError, match=r"has rank 1000000000, the tensors of .* no more than 48 "):
        load_trained(base, folder)


def test_values_that_are_not_finite_are_refused(tmp_path):
    base = toy_task.model()
    path = toy_task.adapter(base, tmp_path) / "adapter_model.safetensors"
    state = load_file(path)
    name = sorted(state)[0]
    save_file({**state, name: state[name] * torch.inf}, path)
    with pytest.raises(TaskError, match=rf"{re.escape(name)} holds values that are not finite"):
        load_trained(base, tmp_path)


def test_all_linear_is_a_target():
    workload = trace_model(CONFIG, task="text-generation", prefill=8, lora_rank=2,
                           lora_targets=["all-linear"])  # fmt: skip
    names = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    assert workload.adapter.targets == names


def test_biases_that_are_trained_are_counted():
    config = tf.Qwen2Config(**{**ZOO["qwen2"].config.to_dict(), "num_hidden_layers": 1})
    counts = {}
    for bias in ("none", "all", "lora_only"):
        lora = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], bias=bias)
        model = peft.get_peft_model(tf.Qwen2ForCausalLM(config), lora)
        counts[bias] = trace_model(model, prefill=8).adapter.saved_parameter_count
    q, k, v = 64, 32, 32  # 4 heads of 16 channels, 2 of them for keys and values
    assert counts == {"none": 0, "all": q + k + v, "lora_only": q + v}


def test_biases_of_unsure_standing_are_refused():
    member = ZOO["t5"]
    lora = peft.LoraConfig(r=2, target_modules=["q"], bias="all")
    with pytest.raises(CimsimError, match=r"has bias='all', and whether PEFT trains .*attention_b"):
        trace_model(peft.get_peft_model(tf.T5ForConditionalGeneration(member.config), lora),
                    prefill=8)  # fmt: skip
