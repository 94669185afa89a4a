"""Models of tasks: directories of the user's own, the GGUF file, and names for adapters."""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peft
import pytest
import tiny_tasks as tiny
import torch
import transformers as tf

from cimsim.errors import TaskError
from cimsim.tasks import load_model, load_task
from cimsim.tasks.gguf import read_gguf
from cimsim.tasks.model import HALORA_TARGETS, lora_targets
from cimsim.tasks.smollm import _INNER, _OUTER, read_llama

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
IDS = torch.tensor([[1, 7, 8, 9, 2]])


@torch.no_grad()
def logits(model, ids=IDS):
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


# Directories ---------------------------------------------------------------------------------


def test_a_classifier_keeps_its_own_head(tmp_path):
    config = tf.BertConfig(**(tiny.BERT.to_dict() | {"num_labels": 3}))
    own = tiny.built(tf.BertForSequenceClassification, config)
    model = load_model(tiny.save(own, tmp_path / "mine"), labels=2)
    assert (model.name, model.kind, model.labels, model.note) == ("mine", "encoder", 3, "")
    assert model.saved == ("classifier",)
    assert not model.module.training
    assert torch.equal(logits(model.module), logits(own))


def test_an_encoder_gets_a_head_that_the_seed_fixes(tmp_path):
    own = tiny.built(tf.BertModel, tiny.BERT)
    folder = tiny.save(own, tmp_path / "mine")
    state = torch.get_rng_state()
    one, same, other = (load_model(folder, labels=3, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.labels == 3
    assert one.saved == ("classifier",)
    assert "drawn anew" in one.note
    assert torch.equal(logits(one.module), logits(same.module))
    assert not torch.equal(logits(one.module), logits(other.module))
    with torch.no_grad():
        assert torch.equal(one.module.bert(IDS).last_hidden_state, own(IDS).last_hidden_state)


def test_a_pooler_without_weights_is_trained_with_the_head(tmp_path):
    own = tiny.built(tf.BertForMaskedLM, tiny.BERT)
    model = load_model(tiny.save(own, tmp_path / "mine"))
    assert model.saved == ("classifier", "pooler")
    targets, saved = list(model.lora_targets), list(model.saved)
    adapted = peft.get_peft_model(
        model.module, peft.LoraConfig(r=2, target_modules=targets, modules_to_save=saved)
    )
    adapters = [n for n, _ in adapted.named_modules() if n.endswith("lora_A")]
    assert len(adapters) == 12
    assert not [n for n in adapters if "pooler" in n]


def test_a_causal_model(tmp_path):
    own = tiny.built(tf.LlamaForCausalLM, tiny.LLAMA)
    model = load_model(tiny.save(own, tmp_path / "mine", pairs=False))
    assert (model.kind, model.saved, model.lora_targets) == ("causal", (), HALORA_TARGETS)
    assert model.max_tokens == 48
    assert torch.equal(logits(model.module), logits(own))


def test_pairs_reach_a_bert_with_token_types(tmp_path):
    own = tiny.built(tf.BertForSequenceClassification, tiny.BERT)
    model = load_model(tiny.save(own, tmp_path / "mine"))
    path = tmp_path / "pairs.jsonl"
    row = {"text": "w1 w2", "pair": "w3 w4 w5", "label": 0, "split": "test"}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"pair": "w9"}))
    task = load_task(path, model)
    with torch.no_grad():
        found = task.scores(model.module, task.test)
        given = model.tokenizer(
            ["w1 w2", "w1 w2"], ["w3 w4 w5", "w9"], return_tensors="pt", padding=True
        )
        wanted = own(**given).logits
        without = own(given["input_ids"], given["attention_mask"]).logits
    assert torch.allclose(found[0], wanted, atol=1e-6)
    assert not torch.allclose(found[0], without, atol=1e-3)


def broken(tmp_path: Path, how: str) -> Path:
    folder = tiny.save(tiny.built(tf.BertForSequenceClassification, tiny.BERT), tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    match how:
        case "no config":
            (folder / "config.json").unlink()
        case "no weights":
            (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        case "no tokeniser":
            (folder / "tokenizer.json").unlink()
        case "code":
            config["auto_map"] = {"AutoModel": "mine.Mine"}
        case "vision":
            config["model_type"], config["architectures"] = "vit", ["ViTModel"]
        case "other weights":
            config["num_hidden_layers"] = 3
        case "other sizes":
            config["intermediate_size"] = 32
        case "architecture":
            config["architectures"] = True
        case "length" | "pad":
            wrong = {"length": {"model_max_length": " "}, "pad": {"pad_token": "new"}}[how]
            path = folder / "tokenizer_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
        case "damaged tokeniser":
            (folder / "tokenizer.json").write_text("{")
    if how != "no config":
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no config", r"no config\.json there\. Give a local directory with a config\.json; .*\.$"),
        ("no weights", r"no \*\.safetensors there\. Save the weights with save_pretrained; "
                       r"pickled weights are never opened\.$"),
        ("no tokeniser", r"no tokeniser there \(none of tokenizer\.json, .*\)\. Save it .*$"),
        ("vision", r"architecture 'ViTModel' is neither a causal language model nor an .*$"),
        ("other weights", r"the weights lack bert\.encoder\.layer\.2\..*: config\.json and weights "
                          r"are of different models\.$"),
        ("other sizes", r"transformers cannot load the model: .*$"),
        ("architecture", r"architecture 'True' is neither a causal language model nor an .*$"),
        ("length", r"model_max_length of the tokeniser is to be a number of tokens, got ' ': .*$"),
        ("pad", r"the tokeniser's pad token 'new' has number [0-9]+, the model knows .*$"),
        ("damaged tokeniser", r"transformers cannot read the tokeniser: .*$"),
    ],
)  # fmt: skip
def test_a_broken_directory_says_what_is_wrong(tmp_path, how, message):
    folder = broken(tmp_path, how)
    with pytest.raises(TaskError, match=rf"(?s)^{folder}(/config\.json)?: {message}"):
        load_model(folder)


def test_code_beside_a_model_is_never_run(tmp_path):
    folder = broken(tmp_path, "code")
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    assert type(load_model(folder).module) is tf.BertForSequenceClassification


def test_an_unknown_model():
    with pytest.raises(TaskError) as problem:
        load_model("bert")
    assert str(problem.value) == (
        "bert: no such model. Name one of minilm, smollm2, or a directory with a config.json, "
        "weights and a tokeniser."
    )
    with pytest.raises(TaskError, match=r"^0 labels were asked for; a classifier has at least 1\."):
        load_model("minilm", labels=0)


def test_names_for_adapters_mean_the_blocks_alone():
    assert lora_targets(tiny.encoder().module, ("head",)) == ("dense", "key", "query", "value")
    bert = tf.BertForSequenceClassification(tiny.BERT)
    assert lora_targets(bert, ("classifier",)) == (
        "intermediate.dense", "key", "output.dense", "query", "value",
    )  # fmt: skip
    gpt2 = tf.GPT2LMHeadModel(tf.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=96))
    assert lora_targets(gpt2) == ("c_attn", "c_fc", "c_proj")


# GGUF ----------------------------------------------------------------------------------------


def test_blocks_are_dequantised_as_a_slow_loop_does_it(tmp_path):
    """low + step * code in float32; low nibbles are a block's first half, high ones its second."""
    source = np.random.default_rng(0)
    step, low = (source.normal(size=8).astype("<f2") for _ in range(2))
    codes = [source.bytes(16) for _ in range(8)]
    signed = [source.integers(-128, 128, 32).astype("i1") for _ in range(8)]
    tensors = {
        "four": (
            3,
            b"".join(
                s.tobytes() + m.tobytes() + c for s, m, c in zip(step, low, codes, strict=True)
            ),
        ),
        "eight": (
            8,
            b"".join(s.tobytes() + c.tobytes() for s, c in zip(step, signed, strict=True)),
        ),
    }
    blocks = {name: Blocks(kind, (2, 128), data) for name, (kind, data) in tensors.items()}
    file = read_gguf(write_gguf(tmp_path / "x.gguf", {}, blocks))
    f4 = np.float32
    four = [
        f4(f4(s) * f4(c[i % 16] >> 4 * (i // 16) & 15)) + f4(m)
        for s, m, c in zip(step, low, codes, strict=True)
        for i in range(32)
    ]
    eight = [f4(s) * f4(q) for s, c in zip(step, signed, strict=True) for q in c]
    for name, wanted in {"four": four, "eight": eight}.items():
        found = file.tensors[name]
        assert (found.shape, found.dtype) == ((2, 128), np.float32)
        assert found.ravel().tolist() == [float(value) for value in wanted]


@dataclass(frozen=True)
class Blocks:
    """A quantised tensor of a file: number of its type, shape, bytes."""

    kind: int
    shape: tuple[int, ...]
    data: bytes


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, value: object) -> bytes:
    def packed(item: object) -> tuple[int, bytes]:
        if isinstance(item, bool):
            return 7, struct.pack("<?", item)
        if isinstance(item, int):
            return 4, struct.pack("<I", item)
        if isinstance(item, float):
            return 6, struct.pack("<f", item)
        if isinstance(item, str):
            return 8, text(item)
        assert isinstance(item, list)
        kinds = [packed(part) for part in item]
        head = struct.pack("<IQ", kinds[0][0], len(item))
        return 9, head + b"".join(data for _, data in kinds)

    kind, data = packed(value)
    return text(key) + struct.pack("<I", kind) + data


def write_gguf(path: Path, metadata: dict, tensors: dict[str, np.ndarray | Blocks]) -> Path:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(entry(key, value) for key, value in metadata.items())
    body = b""
    for name, given in tensors.items():
        plain = not isinstance(given, Blocks)
        made = Blocks(0, given.shape, given.astype("<f4").tobytes()) if plain else given
        shape = made.shape[::-1]
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", made.kind, len(body))
        body += made.data
        body += bytes(-len(body) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + body)
    return path


METADATA = {
    "general.architecture": "llama", "llama.vocab_size": 262, "llama.embedding_length": 16,
    "llama.feed_forward_length": 24, "llama.block_count": 2, "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2, "llama.context_length": 64,
    "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 5000.0,
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.padding_token_id": 2,
}  # fmt: skip


def vocabulary() -> dict[str, list]:
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = ["<|end|>", "<|a|>", "<|b|>", *sorted(ByteLevel.alphabet()), "Ġt", "he", "Ġthe"]
    return {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3, *[1] * (len(tokens) - 3)],
        "tokenizer.ggml.merges": ["Ġ t", "h e", "Ġt he"],
    }


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Row j of the first half of a head goes to 2 j, of the second half to 2 j + 1."""
    size = len(weight) // heads
    rows = [
        h * size + half * (size // 2) + j
        for h in range(heads)
        for j in range(size // 2)
        for half in (0, 1)
    ]
    return weight[rows]


def llama_file(path: Path) -> tuple[Path, tf.LlamaForCausalLM]:
    config = tf.LlamaConfig(
        vocab_size=262, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=True,
    )  # fmt: skip
    own = tiny.built(tf.LlamaForCausalLM, config)
    tensors = {}
    for name, weight in own.state_dict().items():
        if name == "lm_head.weight":
            continue
        stem = name.removesuffix(".weight")
        for short, long in _OUTER.items():
            stem = short if stem == long else stem
        for short, long in _INNER.items():
            if stem.endswith(f".{long}"):
                stem = f"blk.{stem.split('.')[2]}.{short}"
        array = weight.numpy()
        heads = {"attn_q": 4, "attn_k": 2}.get(stem.split(".")[-1])
        tensors[f"{stem}.weight"] = array if heads is None else interleaved(array, heads)
    return write_gguf(path, METADATA | vocabulary(), tensors), own


def test_a_llama_in_gguf_computes_what_it_did(tmp_path):
    path, own = llama_file(tmp_path / "llama.gguf")
    model, tokenizer = read_llama(path)
    ids = torch.arange(40)[None]
    assert torch.allclose(logits(model, ids), logits(own, ids), atol=1e-6)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("the the12<|a|>")["input_ids"])
    assert tokens == ["t", "he", "Ġthe", "1", "2", "<|a|>"]
    said = "the caf\u00e9 12\n\n" + "\u201cx\u201d"
    assert tokenizer.decode(tokenizer(said)["input_ids"]) == said


def test_a_llama_in_gguf_is_what_transformers_makes_of_it(tmp_path):
    path, _ = llama_file(tmp_path / "llama.gguf")
    theirs = tf.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, local_files_only=True, dtype=torch.float32
    ).state_dict()
    mine = read_llama(path)[0].state_dict()
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        assert torch.equal(weight, theirs[name]), name


def test_a_damaged_file_is_no_traceback(tmp_path):
    path, _ = llama_file(tmp_path / "llama.gguf")
    whole = path.read_bytes()
    for size in (0, 3, 30, 500, len(whole) - 100):
        path.write_bytes(whole[:size])
        with pytest.raises(TaskError, match=rf"^{path}: "):
            read_gguf(path)
    write_gguf(path, METADATA | {"general.architecture": "gpt2"}, {})
    with pytest.raises(TaskError, match=r"this is no Llama model\.$"):
        read_llama(path)


def test_tensors_that_are_missing_or_of_unknown_type(tmp_path):
    path, _ = llama_file(tmp_path / "llama.gguf")
    file = read_gguf(path)
    assert {(type(t), t.flags.writeable) for t in file.tensors.values()} == {(np.ndarray, True)}
    less = {n: t for n, t in file.tensors.items() if n != "blk.1.ffn_up.weight"}
    write_gguf(path, file.metadata, less)
    with pytest.raises(TaskError, match=r"weights missing: \['model\.layers\.1\.mlp\.up_proj"):
        read_llama(path)
    for kind, said in (
        (99, r"99.* is not a valid GGMLQuantizationType"),
        (26, "for I32 is not yet"),
    ):
        write_gguf(path, {}, {"x": Blocks(kind, (1, 32), bytes(128))})
        with pytest.raises(TaskError, match=rf"^{path}: .*{said}"):
            read_gguf(path)


def test_gguf_without_its_package(tmp_path, monkeypatch):
    path, _ = llama_file(tmp_path / "llama.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(TaskError, match=rf"^{path}: reading it needs gguf: pip install '\.\[torch"):
        read_gguf(path)
