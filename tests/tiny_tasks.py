"""Tiny models with tokenisers of a hundred words, for tests of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from cimsim.tasks import Example, SentenceClassifier, TaskModel
from cimsim.tasks.model import lora_targets

torch.set_num_threads(1)
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
VOCABULARY = (*SPECIAL, *(f"w{i}" for i in range(86)), "yes", "no", "Question", "Answer", ":", "?")
BERT = tf.BertConfig(
    vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=24, max_position_embeddings=40,
)  # fmt: skip
LLAMA = tf.LlamaConfig(
    vocab_size=len(VOCABULARY), hidden_size=16, intermediate_size=24, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=48,
    bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip


def tokenizer(*, pairs: bool = False) -> Any:
    """Words by number; with `pairs` in BERT's form, [CLS] a [SEP] b [SEP]."""
    numbers = {word: i for i, word in enumerate(VOCABULARY)}
    engine = Tokenizer(models.WordLevel(numbers, "[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    if pairs:
        engine.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
        )  # fmt: skip
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=engine, pad_token="[PAD]", unk_token="[UNK]", sep_token="[SEP]",
        cls_token="[CLS]", model_input_names=inputs if pairs else inputs[::2],
    )  # fmt: skip


def built(model_class: Any, config: Any, seed: int = 5, spread: float = 0.3) -> Any:
    """A model with weights large enough that its outputs differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=spread)
    return model


def encoder(labels: int = 2) -> TaskModel:
    module = built(lambda config: SentenceClassifier(config, labels, seed=3), BERT)
    return TaskModel(
        "tiny-bert", "encoder", module, tokenizer(pairs=True), lora_targets(module, ("head",)),
        ("head",),
    )  # fmt: skip


def causal() -> TaskModel:
    module = built(tf.LlamaForCausalLM, LLAMA)
    return TaskModel("tiny-llama", "causal", module, tokenizer(), lora_targets(module))


def save(model: Any, folder: Path, *, pairs: bool = True) -> Path:
    """`model` and a tokeniser as a directory."""
    model.save_pretrained(folder)
    tokenizer(pairs=pairs).save_pretrained(folder)
    return folder


def labelled(count: int, labels: int = 2, seed: int = 0) -> tuple[Example, ...]:
    """Single sequences of 3 to 12 tokens."""
    source = torch.Generator().manual_seed(seed)
    return tuple(
        Example((_tokens(source, 3, 12),), i % labels) for i in range(count)
    )  # fmt: skip


def questions(count: int, choices: int = 3, seed: int = 0) -> tuple[Example, ...]:
    """A shared prompt of 2 to 6 tokens and continuations of 1 to 5."""
    source = torch.Generator().manual_seed(seed)
    found = []
    for i in range(count):
        prompt = _tokens(source, 2, 6)
        rows = tuple(prompt + _tokens(source, 1, 5) for _ in range(choices))
        found.append(Example(rows, i % choices, (len(prompt),) * choices))
    return tuple(found)


def _tokens(source: torch.Generator, low: int, high: int) -> tuple[int, ...]:
    count = int(torch.randint(low, high + 1, (1,), generator=source))
    return tuple(torch.randint(4, len(VOCABULARY), (count,), generator=source).tolist())
