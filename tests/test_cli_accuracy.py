"""cimsim accuracy, cimsim run --accuracy and cimsim trace minilm, on a toy model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import small
import toy_task

import cimsim.tasks
from cimsim.accuracy import study, trace_task_model
from cimsim.ir import load_workload, save_workload
from cimsim.report import Report, load_accuracy, load_report
from cimsim.studies import accuracy
from cimsim.tasks.packages import MINILM, SENTENCES, is_cached
from cimsim.training import load_trained, parse_method
from cimsim.training.record import Record, digest_of_weights

MINILM_FILE = small.ROOT / "workloads" / "minilm_sentiment_r8_s32.json"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def base():
    return toy_task.model()


@pytest.fixture(scope="module")
def files(base, tmp_path_factory) -> Path:
    """A machine, two adapters, and workloads with and without a name for their model."""
    folder = tmp_path_factory.mktemp("files")
    machine = toy_task.machine().model_dump(mode="json", exclude_none=True)
    machine["rram"]["accuracy"] = {
        "device": {"kind": "gaussian", "sigma_ratio": 0.05},
        "device_source": "assumed: for tests", "sources": {},
    }  # fmt: skip
    (folder / "machine.json").write_text(json.dumps(machine))
    for seed, name in ((1, "a"), (2, "b")):
        toy_task.adapter(base, folder / name, seed=seed)
    toy_task.adapter(base, folder / "rank4", rank=4)
    workload = trace_task_model(base, load_trained(base, folder / "a"), tokens=6)
    save_workload(workload, folder / "toy.json")
    origin = {key: value for key, value in workload.origin.items() if key != "model"}
    save_workload(workload.model_copy(update={"origin": origin}), folder / "nameless.json")
    save_workload(trace_task_model(base, tokens=6), folder / "bare.json")
    (folder / "file").write_text("mine")
    return folder


@pytest.fixture(scope="module")
def task(base, files):
    return toy_task.task(load_trained(base, files / "a"))


@pytest.fixture(autouse=True)
def toy(monkeypatch, base, task) -> None:
    """`toy` is a model and a task that load by name, beside those that cimsim knows."""
    load_model, load_task = cimsim.tasks.load_model, cimsim.tasks.load_task
    count = cimsim.tasks.label_count
    for home in (cimsim.tasks, study):
        monkeypatch.setattr(
            home, "load_model", lambda s, **k: base if s == "toy" else load_model(s, **k)
        )
        monkeypatch.setattr(
            home,
            "load_task",
            lambda s, m, *a, **k: task if s == "toy" else load_task(s, m, *a, **k),
        )
        monkeypatch.setattr(home, "label_count", lambda s: 2 if s == "toy" else count(s))


@pytest.fixture
def call(monkeypatch, files, cimsim) -> Cli:
    """The command line, run beside `files`."""
    monkeypatch.chdir(files)
    return cimsim


QUICK = ("--seeds", 2, "--limit", 20, "--workers", 1)
TOY = ("--task", "toy", "--adapter", "a", *QUICK)


def test_a_table_is_printed(call):
    code, out, err = call(
        "accuracy", "machine.json", "toy", *TOY, "--noise", "gaussian:sigma_ratio=0.1"
    )
    assert (code, err) == (0, "")
    for word in (
        "toy_s32", "toy: a, accuracy (%)", "gaussian:sigma_ratio=0.1", "as it is", "digital 100.00",
        "2 draws (too few for an interval, 3 are",
        "the first 20 of 120 test examples only", "loading this adapter",
    ):  # fmt: skip
        assert word in " ".join(out.split()), word


def test_model_and_workload_file_give_the_same_numbers(call):
    by_model = call("accuracy", "machine.json", "toy", *TOY, "--tokens", 6, "--json")
    assert by_model[0] == 0
    assert call("accuracy", "machine.json", "toy.json", *TOY, "--json") == by_model
    named = call("accuracy", "machine.json", "nameless.json", "--model", "toy", *TOY, "--json")
    assert named == by_model
    longer = call("accuracy", "machine.json", "toy", *TOY, "--tokens", 9, "--json")
    values = [json.loads(out)["results"][0]["by_time"] for _, out, _ in (by_model, longer)]
    assert values[0] == values[1]


def test_run_and_accuracy_agree(call, tmp_path):
    options = ("--noise", "pcm", "--times", "0,3600", "--both")
    code, out, _ = call("accuracy", "machine.json", "toy.json", *TOY, *options, "--json")
    assert code == 0
    (alone,) = json.loads(out)["results"]
    folder = tmp_path / "out"
    code, out, err = call(
        "run",
        "--pipeline",
        "token",
        "machine.json",
        "toy.json",
        "--accuracy",
        *TOY,
        *options,
        "--json",
        "-o",
        folder,
    )
    assert (code, err) == (0, "")
    report = load_report(folder / "report.json")
    assert report.to_json() == out
    within = json.loads(out)["accuracy"]
    inputs = [found.pop("inputs") for found in (alone, within)]
    assert within == alone
    assert inputs[0].items() > inputs[1].items()
    assert within["lora_reload"] == report.reprogramming.adapter_switch.model_dump()
    assert inputs[1]["mapping_sha256"] == report.inputs["mapping_sha256"]
    assert len(within["by_time"]) == 4
    plain = load_report(folder / "report.json").model_copy(update={"accuracy": None})
    code, out, _ = call("run", "--pipeline", "token", "machine.json", "toy.json", "--json")
    assert out == plain.to_json()
    assert "accuracy" not in json.loads(out)


def test_run_prints_accuracy_beside_latency(call, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, _ = call(
        "run", "--pipeline", "token", "machine.json", "toy.json", "--accuracy", *TOY
    )
    assert code == 0
    for word in ("Phases", "Reprogramming", "toy: a, accuracy (%)", "gaussian:sigma_ratio=0.05"):
        assert word in out


def test_reports_without_accuracy_still_load(call, tmp_path):
    assert call("run", "--pipeline", "token", "machine.json", "toy.json", "-o", tmp_path)[0] == 0
    data = json.loads((tmp_path / "report.json").read_text())
    assert "accuracy" not in data
    assert Report.model_validate(data).accuracy is None


def test_two_adapters_are_compared_and_drawn(call, tmp_path):
    code, out, _ = call(
        "accuracy", "machine.json", "toy", "--task", "toy", "--adapter", "a", "--adapter", "b",
        "--sigmas", "0,0.1", "--times", "0,60", *QUICK, "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    assert "b - a" in out
    report = load_accuracy(tmp_path / "out" / "accuracy.json")
    assert [result.adapter for result in report.results] == ["a", "b"]
    assert [noise.device["sigma_ratio"] for noise in report.results[0].by_noise] == [0.0, 0.1]
    assert len(report.paired) == 4
    first, other = (result.by_noise[1].by_time[0] for result in report.results)
    line = next(p for p in report.paired if p.noise == report.results[0].by_noise[1].noise)
    assert line.difference == pytest.approx(other.mean - first.mean)
    assert (tmp_path / "out" / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_adapters_of_one_name_are_told_apart_by_their_folder(call, files, base):
    toy_task.adapter(base, files / "more" / "a", seed=3)
    code, out, _ = call(
        "accuracy", "machine.json", "toy", "--task", "toy", "--adapter", "a", "--adapter",
        "more/a", *QUICK, "--json",
    )  # fmt: skip
    assert code == 0
    assert [r["adapter"] for r in json.loads(out)["results"]] == [f"{files.name}/a", "more/a"]
    code, _, err = call("accuracy", "machine.json", "toy", "--task", "toy", "--adapter", "a",
                        "--adapter", "./a", *QUICK)  # fmt: skip
    assert code == 2
    assert "adapters cannot be told apart by name" in err


def test_the_bare_model_and_a_whole_one(call, files, base):
    code, out, _ = call("accuracy", "machine.json", "toy", "--task", "toy", *QUICK, "--json")
    assert code == 0
    (bare,) = json.loads(out)["results"]
    assert bare["adapter"] is None
    assert bare["lora_reload"]["sram_bits_written"] == 0
    code, out, _ = call("accuracy", "machine.json", "toy.json", "--task", "toy", *QUICK, "--json")
    assert code == 0  # the base model of a workload with LoRA
    assert json.loads(out)["results"][0]["by_time"] == bare["by_time"]

    from safetensors.torch import save_file

    (files / "whole").mkdir(exist_ok=True)
    state = {name: tensor.detach().clone() for name, tensor in base.module.state_dict().items()}
    save_file(state, files / "whole" / "model.safetensors")
    code, out, _ = call("accuracy", "machine.json", "toy", "--task", "toy", "--adapter", "whole",
                        *QUICK, "--json")  # fmt: skip
    assert code == 0
    (whole,) = json.loads(out)["results"]
    assert whole["by_time"] == bare["by_time"]
    assert whole["lora_reload"]["cells_written"] > 0


def test_settings_reach_the_measurement(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # no heading is broken

    def measured(*options: object) -> dict:
        code, out, err = call("accuracy", "machine.json", "toy", *TOY, *options, "--json")
        assert code == 0, err
        return json.loads(out)["results"][0]

    plain = measured()
    assert plain["noise"] == "gaussian:sigma_ratio=0.05"
    assert (plain["draws"], plain["examples"], plain["converters"]) == (2, 20, True)
    coarse = measured("--adc-bits", 3, "--dac-bits", 3)
    assert (coarse["adc_bits"], coarse["dac_bits"]) == (3, 3)
    assert coarse["noisy_mean"] < plain["noisy_mean"]
    both = measured("--adc-bits", "3,8", "--dac-bits", 3)
    assert [noise["adc_bits"] for noise in both["by_noise"]] == [3, 8]
    assert both["by_noise"][0] == coarse["by_noise"][0]
    code, out, _ = call("accuracy", "machine.json", "toy", *TOY, "--adc-bits", "3,8")
    assert code == 0
    assert "ADC bits" in out
    assert "ADC of" not in out
    weights = measured("--weights-only", "--noise", "ideal")
    assert not weights["converters"]
    assert weights["noisy_mean"] == weights["digital"] == 100.0
    assert [p["compensated"] for p in measured("--both")["by_time"]] == [False, True]
    assert [p["compensated"] for p in measured("--compensate")["by_time"]] == [True]
    merged = measured("--adapt", "merged", "--weights-only", "--noise", "ideal")
    assert merged["noisy_mean"] == 100.0
    assert merged["lora_reload"]["cells_written"] > 0
    assert measured("--set", "rram.adc_bits=3")["noisy_mean"] < plain["noisy_mean"]


ACCURACY = ("accuracy", "machine.json", "toy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*ACCURACY, "--adapter", "a"), "which task? Give --task sentiment, boolq"),
        ((*ACCURACY, "--task", "sorting"), "sorting"),
        (("accuracy", "machine.json", "nowhere", *TOY), "nowhere: no such model"),
        (("accuracy", "machine.json", "nameless.json", *TOY), "does not say which model"),
        ((*ACCURACY, "--model", "toy", *TOY), "two models were given, toy and --model toy"),
        ((*ACCURACY, *TOY[:3], "nowhere"), "no adapter_config.json there"),
        ((*ACCURACY, *TOY, "--times", "-1"), "a time of -1 s after programming"),
        ((*ACCURACY, *TOY, "--times", "nan"), "--times takes numbers with commas"),
        ((*ACCURACY, *TOY, "--times", "0,soon"), "--times takes numbers with commas between them"),
        ((*ACCURACY, *TOY, "--times", ""), "--times takes numbers with commas between them"),
        ((*ACCURACY, *TOY, "--times", "1,1"), "the time 1 s is named twice"),
        ((*ACCURACY, *TOY, "--adc-bits", "4,5.5"), "--adc-bits takes numbers with commas between"),
        ((*ACCURACY, *TOY, "--adc-bits", "4,99"), "bits"),
        ((*ACCURACY, *TOY, "--sigmas", ","), "--sigmas takes numbers with commas between them"),
        ((*ACCURACY, *TOY, "--sigmas", "-0.1"), "sigma_ratio must lie in 0 .. 1, got -0.1"),
        ((*ACCURACY, *TOY, "--noise", "pcm", "--sigmas", "0"), "sigmas vary the sigma_ratio of"),
        ((*ACCURACY, *TOY, "--noise", "pcm", "--noise", "ideal", "--sigmas", "0"), "2 were given"),
        ((*ACCURACY, *TOY, "--noise", "fog"), "unknown noise 'fog'"),
        ((*ACCURACY, *TOY, "--noise", "pcm", "--noise", "pcm"), "noise pcm is named twice"),
        ((*ACCURACY, *TOY, "--seeds", "0"), "0 noise draws were asked for"),
        ((*ACCURACY, *TOY, "--limit", "0"), "0 test examples were asked for"),
        ((*ACCURACY, *TOY, "--workers", "0"), "0 processes were asked for"),
        ((*ACCURACY, *TOY, "--both", "--compensate"), "--both stands for --compensate and"),
        ((*ACCURACY, *TOY, "--weights-only", "--adc-bits", "6"), "bits of converters were given"),
        (
            ("accuracy", "machine.json", "toy.json", *TOY, "--tokens", "9"),
            "--tokens had no effect with a traced workload",
        ),
        (
            ("accuracy", "machine.json", "base", "--task", "toy", "--adapt", "lora-sram"),
            "--adapt had no effect on a model as it is",
        ),
        ((*ACCURACY, *TOY, "--precision", "low"), "precision is one of highest, high, medium"),
        ((*ACCURACY, *TOY, "--adc-bits", "1"), "bits must lie in 2 .. 22, got 1"),
        ((*ACCURACY, *TOY, "--tokens", "0"), "a sequence of 0 tokens was asked for"),
        ((*ACCURACY, *TOY, "--adapt", "none"), "adaptation 'none' runs the base model alone"),
        (("accuracy", "machine.json", "bare.json", *TOY), "was traced without one"),
        (("accuracy", "machine.json", "toy.json", "--task", "toy", "--adapt", "lora-sram", *QUICK),
         "has a rank-2 adapter, the model that is to run it has none"),
        (("accuracy", "machine.json", "toy.json", *TOY[:3], "rank4", *QUICK), "made for another"),
        (("run", "machine.json", "toy.json", "--task", "toy"), "--task had no effect without"),
        (("run", "machine.json", "toy.json", "--both"), "--both had no effect without --accuracy"),
        (("run", "machine.json", "toy.json", "--accuracy", *TOY, "--adapter", "b"), "run has one"),
        (("run", "machine.json", "toy.json", "--accuracy", "--adapter", "a"), "which task?"),
        (("run", "machine.json", "nameless.json", "--accuracy", *TOY), "does not say which model"),
        (("run", "machine.json", "toy.json", "--accuracy", *TOY, "--times", "-5"), "-5 s after"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_in_one_line(call, arguments, message):
    code, out, err = call(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


def test_a_file_is_no_place_for_results(call):
    code, out, err = call(*ACCURACY, *TOY, "-o", "file")
    assert (code, out) == (1, "")
    assert "it is a file, -o names a directory" in err


def test_an_adapter_of_another_model_is_refused(call, files):
    from cimsim.training import METHODS

    record = Record(METHODS["plain"](), 0, "minilm", "toy", 1, "", "", "float32", 1)
    record.save(files / "b")
    try:
        code, _, err = call(*ACCURACY, "--task", "toy", "--adapter", "b", *QUICK)
    finally:
        (files / "b" / "training.json").unlink()
    assert code == 2
    assert "trained for model 'minilm', but the model is 'toy'" in err


@pytest.fixture
def aged(base, files):
    """Adapters that say for which age they were trained."""
    config = json.loads((files / "a" / "adapter_config.json").read_text())
    digest = digest_of_weights(base.module, config["modules_to_save"])

    def made(**ages):
        for name, method in ages.items():
            record = Record(parse_method(method), 0, "toy", "toy", 1, "", digest, "float32", 1)
            record.save(files / name)

    yield made
    for name in "ab":
        (files / name / "training.json").unlink(missing_ok=True)


def test_adapters_are_swapped_by_the_clock(call, aged, tmp_path):
    aged(a="plain", b="noise-aware:device=pcm,age_s=60")
    code, out, err = call(
        "accuracy", "machine.json", "toy", "--task", "toy", "--adapter", "b", "--adapter", "a",
        "--by-age", "--noise", "pcm:scaled=true", "--times", "0,59,60,1e6", *QUICK,
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, err
    assert "by age - b" in out
    old, young, swapped = load_accuracy(tmp_path / "out" / "accuracy.json").results
    assert swapped.adapter == "by age"
    assert swapped.by_time == (*young.by_time[:2], *old.by_time[2:])
    assert swapped.noisy_mean == young.noisy_mean
    assert swapped.digital == young.digital
    assert "a from 0 s" in swapped.note
    assert "b from 60 s" in swapped.note
    assert swapped.lora_reload in (old.lora_reload, young.lora_reload)
    assert swapped.inputs == young.inputs | {
        "adapter_sha256_from_60_s": old.inputs["adapter_sha256"]
    }


@pytest.mark.parametrize(
    ("ages", "given", "said"),
    [
        ({}, ("a", "b"), "a has no training.json, which says for which age its adapter was"),
        ({"a": "plain"}, ("a",), "adapters that take turns are two or more, each trained for"),
        ({"a": "plain", "b": "halora"}, ("a", "b"), "are both for an age of 0 s: give one"),
        (
            {"a": "ahwa:device=pcm,age_s=5", "b": "ahwa:device=pcm,age_s=9"}, ("b", "a"),
            "the youngest adapter is for an age of 5 s, and 0 s was asked for: give one",
        ),
    ],
)  # fmt: skip
def test_ages_that_make_no_schedule(call, aged, ages, given, said):
    aged(**ages)
    named = [part for name in given for part in ("--adapter", name)]
    code, _, err = call(
        "accuracy", "machine.json", "toy", "--task", "toy", *named, "--by-age", *QUICK
    )
    assert code == 2
    assert said in err


def test_missing_packages_are_named(call, monkeypatch):
    monkeypatch.setattr(accuracy, "find_spec", lambda name: None if name == "peft" else name)
    code, _, err = call(*ACCURACY, *TOY)
    assert code == 2
    assert "needs torch, transformers and peft (peft missing)" in err


def test_help_groups_the_options(call):
    for verb in ("run", "accuracy"):
        code, out, _ = call(verb, "--help")
        assert code == 0
        arguments, options, own = (
            out.index(title) for title in ("Arguments:", "\nOptions:", "Accuracy options:")
        )
        assert arguments < options < out.index("--mapper") < own < out.index("--task")


def test_the_shipped_workload_is_minilms():
    workload = load_workload(MINILM_FILE)
    assert workload.origin["model"] == "minilm"
    assert (workload.adapter.rank, workload.adapter.saved_parameter_count) == (8, 770)
    lora = [op for _, op in workload.ops() if getattr(op, "role", "") == "lora_a"]
    assert len(lora) == 36
    assert workload.phases[0].tokens == 32


@pytest.mark.skipif(not is_cached(MINILM), reason="the package of MiniLM is not in the cache")
def test_it_is_made_by_one_command(call, tmp_path):
    path = tmp_path / MINILM_FILE.name
    assert call("trace", "minilm", "--lora-rank", 8, "--prefill", 32, "-o", path)[0] == 0
    fresh, kept = load_workload(path), load_workload(MINILM_FILE)
    packages = ("torch", "transformers", "peft")
    assert {k: v for k, v in fresh.origin.items() if k not in packages} == {
        k: v for k, v in kept.origin.items() if k not in packages
    }
    assert fresh.model_copy(update={"origin": kept.origin}) == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the length of the prompt is missing"),
        (("--prefill", 8, "--task", "fill-mask"), "has its head already"),
        (("--prefill", 8, "--lora-alpha", 4), "without a rank"),
        (("--prefill", 8, "--lora-rank", 4, "--adapter", "a"), "give one"),
    ],
)
def test_tracing_a_task_model_wrongly(call, arguments, message):
    code, _, err = call("trace", "minilm", *arguments, "-o", "w.json")
    assert code == 2
    assert message in err


@pytest.mark.skipif(
    not (is_cached(MINILM) and is_cached(SENTENCES)), reason="model or data are not in the cache"
)
def test_the_bare_minilm_on_the_machine(call):
    code, out, err = call(
        "accuracy", small.ROOT / "arch_configs" / "halora_rram_sram.json", "minilm", "--task",
        "sentiment", "--limit", 4, "--seeds", 1, "--workers", 1, "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    (found,) = json.loads(out)["results"]
    assert (found["examples"], found["examples_available"]) == (4, 2114)
