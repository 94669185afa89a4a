"""Where models come from: directories that can be read, and those that cannot."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys

import pytest
from frontend_zoo import ZOO
from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend import TASKS, trace_model
from cimsim.frontend.builder import list_parameters


def write_config(folder, text=None, **changes):
    data = ZOO["llama"].config.to_dict() | {"architectures": ["LlamaForCausalLM"]} | changes
    (folder / "config.json").write_text(json.dumps(data) if text is None else text)
    return folder


def test_a_directory_a_file_and_a_configuration_give_the_same(tmp_path):
    write_config(tmp_path)
    from_directory = trace_model(tmp_path, prefill=8, decode=1, name="x")
    from_file = trace_model(str(tmp_path / "config.json"), prefill=8, decode=1, name="x")
    from_config = trace_model(
        ZOO["llama"].config, task="text-generation", prefill=8, decode=1, name="x"
    )
    assert from_directory.phases == from_file.phases == from_config.phases
    assert from_directory.parameters == from_config.parameters
    assert from_directory.name == "x"
    assert trace_model(tmp_path, prefill=8).name == tmp_path.name


@pytest.mark.parametrize("tied", [True, False])
def test_an_untied_head_is_believed(tmp_path, tied):
    """The configuration class of mT5 forgets it; a checkpoint would tell transformers later."""
    data = ZOO["t5"].config.to_dict() | {
        "model_type": "mt5",
        "architectures": ["MT5ForConditionalGeneration"],
        "tie_word_embeddings": tied,
    }
    (tmp_path / "config.json").write_text(json.dumps(data))
    head = next(
        p for p in trace_model(tmp_path, prefill=8).parameters if p.name == "lm_head.weight"
    )
    assert (head.tied_to == "shared.weight") is tied


def test_weights_beside_the_configuration_are_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert trace_model(write_config(tmp_path), prefill=8).phases
    with pytest.raises(WorkloadError, match=r"pytorch_model\.bin: a model is given as a directory"):
        trace_model(tmp_path / "pytorch_model.bin", prefill=8)


def test_code_beside_a_known_model_is_not_run(tmp_path):
    """As published, many configurations name the files that transformers has taken over."""
    (tmp_path / "evil.py").write_text("raise SystemExit")
    plain = trace_model(write_config(tmp_path), prefill=8)
    auto = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    assert trace_model(write_config(tmp_path, auto_map=auto), prefill=8).phases == plain.phases


@pytest.mark.parametrize(("text", "changes", "message"), [
    ("{", {}, r"config\.json: line 1, column 2: the model configuration file is not valid JSON"),
    ("[]", {}, r"config\.json: no model_type in it, so it is no transformers configuration\.$"),
    (None, {"model_type": "unheard-of"}, r"model_type 'unheard-of' is not known to transformers"),
    (None, {"model_type": "evil", "auto_map": {"AutoModel": "evil.Model"}}, r"'evil' is not known "
     r"to transformers [0-9.]+ and code from the model's author \(auto_map\) is never run\."),
    (None, {"architectures": None}, r"^the llama configuration names no architecture, so the head"),
    (None, {"num_hidden_layers": 1000}, r"config.json: num_hidden_layers is 1000, at most 512"),
    (None, {"num_labels": 10**12}, r"config.json: num_labels is 1e\+12, at most 100000: lower it"),
    (None, {"architectures": 2}, r"asks for the architecture 2, which transformers"),
    (None, {"architectures": [None]}, r"asks for the architecture None, which transformers"),
    (None, {"architectures": ["os"]}, r"asks for the architecture 'os', which transformers 5"),
    (None, {"architectures": ["EvilModel"]}, r"asks for the architecture 'EvilModel', which"),
    (None, {"num_attention_heads": 0, "head_dim": None}, r"transformers refuses the configuration"),
    (None, {"vocab_size": -5}, r"^transformers cannot build a llama model from its configuration"),
])  # fmt: skip
def test_configurations_that_are_refused(tmp_path, text, changes, message):
    with pytest.raises(WorkloadError, match=message):
        trace_model(write_config(tmp_path, text, **changes), prefill=8)


def test_a_missing_configuration(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere", "meta-llama/Llama-3.2-1B"):
        with pytest.raises(WorkloadError, match=re.escape(
            f"{place}: no config.json there. Give a local directory with a config.json; models "
            "are never downloaded."
        )):  # fmt: skip
            trace_model(place, prefill=8)


@pytest.mark.parametrize(("name", "options", "message"), [
    ("llama", {"prefill": 0}, r"^prefill 0 and decode 0 were asked; a prompt has at least 1"),
    ("llama", {"prefill": 8, "decode": -1}, r"^prefill 8 and decode -1 were asked"),
    ("llama", {}, r"^the length of the prompt is missing\. Set prefill\.$"),
    ("llama", {"prefill": 200, "decode": 57}, r"^257 tokens were asked, but LlamaForCausalLM has "
     r"positions for 256 \(max_position_embeddings in its configuration\)\. Lower prefill or"),
    ("bert-qa", {"prefill": 8, "decode": 2}, r"^decode 2 was asked, but BertForQuestionAnswering "
     r"generates no tokens\."),
    ("vit", {"decode": 2}, r"^decode 2 was asked of a model that reads images; set 0\.$"),
    ("llama", {"prefill": 8, "task": "poetry"}, r"^task 'poetry' is not known; choose from"),
    ("vit", {"prefill": 8, "task": "text-generation"}, r"^transformers cannot build a vit model "
     r"for text-generation from its configuration"),
])  # fmt: skip
def test_requests_that_are_refused(name, options, message):
    member = ZOO[name]
    with pytest.raises(WorkloadError, match=message):
        trace_model(member.config, **{"task": member.task} | options)


def test_models_that_are_refused():
    with pytest.raises(WorkloadError, match=r"^Linear is no transformers model\. Use trace_module"):
        trace_model(nn.Linear(4, 4), prefill=8)
    with pytest.raises(WorkloadError, match=r"^task 'fill-mask' was given, but a model has its"):
        trace_model(nn.Linear(4, 4), prefill=8, task="fill-mask")


def test_origin_tells_how_the_file_was_made(tmp_path):
    workload = trace_model(
        write_config(tmp_path), prefill=8, decode=2, lora_rank=2, lora_targets=["q_proj"]
    )
    origin = dict(workload.origin)
    assert len(origin.pop("config_sha256")) == 64
    for package in ("torch", "transformers", "peft"):
        assert re.match(r"\d+\.\d+", origin.pop(package))
    assert origin == {
        "source": tmp_path.name,
        "prefill": 8,
        "decode": 2,
        "lora_rank": 2,
        "lora_alpha": 4.0,
        "lora_targets": "q_proj",
    }
    assert str(tmp_path) not in str(workload.origin)


def test_every_task_names_a_class():
    import transformers

    assert all(hasattr(transformers, name) for name in TASKS.values())


def test_reading_a_workload_needs_no_torch():
    code = "import sys, cimsim.ir; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_parameter_beyond_what_a_workload_holds_is_refused():
    """Also one that no operation uses, such as the table of token types."""
    table = nn.Embedding(2**53, 1, device="meta")
    with pytest.raises(WorkloadError, match=r"^weight: shape\.0: .* less than or equal to"):
        list_parameters(table, {}, {})
