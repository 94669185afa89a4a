"""Small valid inputs that are mutated: shipped files, cut down, and tiny models with weights."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MACHINES = ("halora_rram_sram", "ahwa_pcm_pmca", "hermes_pcm", "neurram", "halora_sram_only")
WORKLOADS = (
    "minilm_sentiment_r8_s32", "flan_t5_large_r16_s256_d32", "qwen2.5_0.5b_r4_p512_d128",
    "halora_accounting_1b",
)  # fmt: skip
_LAYER = re.compile(r"\b(layers?|block)\.(\d+)\b")
TOKENS, STEPS, WORDS_KEPT = 32, 8, 512
"""Choice: at most so many prompt tokens, decode steps and words of a base: runs are short."""
NOISES: dict[str, dict[str, Any]] = {
    "gaussian": {"kind": "gaussian", "sigma_ratio": 0.02, "relative_to": "channel"},
    "stuck": {
        "kind": "stuck_at", "on_rate": 0.001, "off_rate": 0.01, "g_off_uS": 1.0,
        "inner": {"kind": "gaussian", "sigma_ratio": 0.02, "relative_to": "tile"},
    },
    "retention": {
        "kind": "retention", "loss_ratio_per_decade": 0.02, "t0_s": 1.0, "activation_eV": 0.6,
        "temperature_K": 358.0, "reference_K": 300.0, "inner": {"kind": "ideal"},
    },
    "table": {
        "kind": "table", "g_ratio": [0.0, 0.5, 1.0], "times_s": [1.0, 3600.0],
        "sigma_ratio": [[0.01, 0.02, 0.01], [0.02, 0.03, 0.02]], "title": "t",
    },
    "verify": {
        "kind": "write_verify", "tolerance_uS": 1.0, "start_uS": 0.0, "gain_ratio": 0.5,
        "step_sigma_uS": 0.8, "max_pulses": 60, "inner": {"kind": "read_noise"},
    },
    "pcm": {"kind": "pcm"},
    "neurram": {"kind": "neurram"},
}  # fmt: skip
WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"w{i}" for i in range(40)))
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(WORDS),
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 48, "rms_norm_eps": 1e-5,
    "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "tie_word_embeddings": True, "rope_theta": 10000.0, "attention_bias": False,
}  # fmt: skip
BERT = {
    "architectures": ["BertForSequenceClassification"], "model_type": "bert",
    "vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 40, "type_vocab_size": 2,
    "hidden_act": "gelu", "layer_norm_eps": 1e-12,
}  # fmt: skip

SIDES = ("train", "test", "train", "test", "train", "test")
TASKS: dict[str, list[dict[str, Any]]] = {
    "t0": [{"text": f"w{i} w{i + 2}", "label": i % 2, "split": s} for i, s in enumerate(SIDES)],
    "t1": [
        {"prompt": f"w{i} w3", "choices": ["w4", f"w{i} w5"], "label": i % 2, "split": s}
        for i, s in enumerate(SIDES)
    ],
    "t2": [{"text": f"w{i} w{i + 2} w1 w5", "split": s} for i, s in enumerate(SIDES)],
}
"""Labelled texts, questions and plain text."""


def write(folder: Path) -> None:
    """Write the valid inputs of all that runs without torch to `folder`."""
    for name in MACHINES:
        shutil.copy(ROOT / "arch_configs" / f"{name}.json", folder / f"{name}.arch.json")
    shutil.copy(ROOT / "arch_configs/gpu/a100_sxm4_80gb.json", folder / "a100.gpu.json")
    for name in WORKLOADS:
        document = one_layer(json.loads((ROOT / "workloads" / f"{name}.json").read_text()))
        _save(short(document), folder / f"{name}.work.json")
    for name, noise in NOISES.items():
        _save(noise, folder / f"{name}.noise.json")


def one_layer(document: dict[str, Any]) -> dict[str, Any]:
    """A workload with the first of its layers only, which hands on what the last one did."""
    for phase in document["phases"]:
        phase["ops"] = [op for op in phase["ops"] if _is_first(op["name"])]
        for op in phase["ops"]:
            op["inputs"] = [_LAYER.sub(r"\1.0", name, count=1) for name in op["inputs"]]
    parameters = [p for p in document["parameters"] if _is_first(p["name"])]
    if "adapter" in document:
        document["adapter"]["parameter_count"] = sum(
            math.prod(p["shape"]) for p in parameters if p.get("role") in ("lora_a", "lora_b")
        )
    return {**document, "parameters": parameters}


def short(document: dict[str, Any]) -> dict[str, Any]:
    """A workload over fewer prompt tokens, decode steps and words; every shape fits the others."""
    old = document["phases"][0]["tokens"]
    new = min(old, TOKENS)
    scores: dict[str, int] = {}
    for phase in document["phases"]:
        phase["tokens"] = new if phase["tokens"] == old else phase["tokens"]
        if "steps" in phase:
            phase["steps"] = min(phase["steps"], STEPS)
        for op in phase["ops"]:
            _shorten(op, old, new, scores)
    for parameter in document["parameters"]:
        if parameter["name"] == "lm_head.weight":
            parameter["shape"][0] = WORDS_KEPT
            parameter.pop("tied_to", None)
    return document


def _shorten(op: dict[str, Any], old: int, new: int, scores: dict[str, int]) -> None:
    """Put `new` prompt tokens in place of `old`; `scores` collects sizes of attention scores."""
    axis = op.get("stationary_token_axis", "columns" if op["kind"] == "softmax" else "none")
    if axis in op:
        op[axis] += new - old if op[axis] in (old, old + 1) else 0
    streamed = ("tokens", "rows", "m", "elements") if op["tokens"] == old else ()
    for field in {*streamed} & {*op}:
        op[field] = new * new if op[field] == old * old else op[field] * new // old
    if axis == "n":
        scores[op["name"]] = op["batch"] * op["m"] * op["n"]
    elif op["kind"] == "elementwise" and (known := {*op["inputs"]} & {*scores}):
        scores[op["name"]] = op["elements"] = scores[known.pop()]
    if op["name"] == "lm_head":
        op["out_features"] = WORDS_KEPT
    elif op["name"] == "argmax.0":
        op["inputs_per_output"] = WORDS_KEPT


def _is_first(name: str) -> bool:
    return all(number == "0" for _, number in _LAYER.findall(name)[:1])


def write_models(folder: Path) -> None:
    """Write models, adapters and tasks as well; needs torch, transformers and peft."""
    for name, lines in TASKS.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.task.jsonl").write_text(text)
    import peft
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    engine = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=engine, pad_token="[PAD]", unk_token="[UNK]", sep_token="[SEP]",
        cls_token="[CLS]", bos_token="[CLS]", eos_token="[SEP]",
    )  # fmt: skip
    torch.manual_seed(0)
    for name, config, targets in (
        ("llama", LLAMA, ["q_proj", "v_proj"]),
        ("bert", BERT, ["query"]),
    ):
        _save(config, folder / f"{name}.config" / "config.json")
        settings = transformers.AutoConfig.from_pretrained(folder / f"{name}.config")
        model = getattr(transformers, config["architectures"][0])(settings)
        model.save_pretrained(folder / f"{name}.model")
        tokenizer.save_pretrained(folder / f"{name}.model")
        lora = peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets)
        peft.get_peft_model(model, lora).save_pretrained(folder / f"{name}.adapter")


def _save(document: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
