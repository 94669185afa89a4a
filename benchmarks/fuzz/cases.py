"""Cases by kind and number: which file is mutated, and which command reads it.

In arguments `@NAME` stands for the input of that name: the mutated one, or the valid one. Outputs
go to `out`, which is the case's own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import bases
import edits
from edits import Edit

Texts = tuple[str, ...]

MACHINE = "@halora_rram_sram.arch.json"
WORK = "@minilm_sentiment_r8_s32.work.json"
QUICK = ("--seeds", "1", "--limit", "2", "--workers", "1")
ARCHITECTURES = tuple(f"{name}.arch.json" for name in bases.MACHINES)
WORKLOADS = tuple(f"{name}.work.json" for name in bases.WORKLOADS)
ARGV = "argv"


@dataclass(frozen=True)
class Case:
    """Arguments, and the edits of files and arguments that make it a case."""

    name: str
    arguments: Texts
    edits: tuple[Edit, ...]

    def without(self, position: int) -> Case:
        """The case with one edit less."""
        kept = self.edits[:position] + self.edits[position + 1 :]
        return replace(self, edits=kept)


def make(kind: str, number: int, seed: int, base: Path) -> Case:
    """Case `number` of `kind`; the same for the same seed."""
    random = Random(f"{seed}/{kind}/{number}")
    arguments, chosen = KINDS[kind](random, base)
    return Case(f"{kind}-{number}", _piped(random, arguments), tuple(chosen))


PIPELINES = {
    ("--pipeline", "token"): 84, (): 8,
    ("--pipeline", "balanced"): 2, ("--pipeline", "layer"): 2, ("--pipeline", "split"): 2,
    ("--pipeline", "replicated"): 1, ("--pipeline", "sequential"): 1,
}  # fmt: skip
"""Percent of the runs that name no pipeline: a search takes twenty times as long as `token`."""


def _piped(random: Random, arguments: Texts) -> Texts:
    """`arguments`; a run without a pipeline gets one of `PIPELINES`.

    A search of a large workload is beyond the limits of a case: those are never searched.
    """
    if arguments[0] != "run" or "--pipeline" in arguments:
        return arguments
    picked = random.choices(list(PIPELINES), list(PIPELINES.values()))[0]
    return (*arguments, *(picked if picked or WORK in arguments else ("--pipeline", "token")))


def laid_out(case: Case, base: Path, folder: Path) -> list[str]:
    """Write the mutated inputs of `case` to `folder`; its arguments with every file in place."""
    touched = {edit.target.split("/")[0] for edit in case.edits} - {ARGV}
    for name in touched:
        source = base / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        targets = {e.target for e in case.edits if e.target.split("/")[0] == name}
        for target in targets:
            mine = [e for e in case.edits if e.target == target]
            (folder / target).write_bytes(_mutated((base / target).read_bytes(), mine))
    arguments = list(case.arguments)
    for edit in case.edits:
        if edit.target == ARGV:
            _edit_arguments(arguments, edit)
    return [_placed(text, touched, base) for text in arguments]


def _placed(text: str, touched: set[str], base: Path) -> str:
    if not text.startswith("@"):
        return text
    return text[1:] if text[1:] in touched else str(base / text[1:])


def _mutated(data: bytes, chosen: list[Edit]) -> bytes:
    structural = [e for e in chosen if e.action not in edits.BYTES]
    if structural and data[:1] == b"{":
        lines = data.decode().splitlines()
        if len(lines) > 1 and all(line.startswith("{") for line in lines):
            documents = [json.loads(line) for line in lines]
            text = edits.apply(documents, structural)
            data = _as_lines(text)
        else:
            data = edits.apply(json.loads(data), structural).encode()
    for edit in chosen:
        if edit.action in edits.BYTES:
            data = edits.apply_bytes(data, edit)
    return data


def _as_lines(text: str) -> bytes:
    """A list's elements, one a line; a text that no longer reads stays as it is."""
    return text[1:-1].replace("}, {", "}\n{").encode()


def _edit_arguments(arguments: list[str], edit: Edit) -> None:
    if edit.action == "option":
        arguments += [str(part) for part in edit.path] + ([edit.text] if edit.text != "\0" else [])
    elif edit.path and int(edit.path[0]) < len(arguments):
        at = int(edit.path[0])
        arguments[at : at + 1] = [] if edit.action == "drop" else [edit.text]


def _count(random: Random) -> int:
    return random.choices((1, 2, 3, 5), (60, 22, 10, 8))[0]


def _file_edits(random: Random, base: Path, target: str) -> list[Edit]:
    """Structural edits of a file mostly, of its bytes else."""
    if random.random() < 0.06 or not target.endswith((".json", ".jsonl")):
        return [edits.propose_bytes(random, target)]
    text = (base / target).read_text()
    lines = text.splitlines() if target.endswith("l") else []
    document = [json.loads(line) for line in lines] if lines else json.loads(text)
    return [edits.propose(random, target, document) for _ in range(_count(random))]


Made = tuple[Texts, list[Edit]]


def _architecture(random: Random, base: Path) -> Made:
    target = random.choice(ARCHITECTURES)
    machine = f"@{target}"
    arguments = random.choice((
        ("check", machine), ("check", machine, WORK), ("run", machine, WORK),
        ("run", machine, WORK, "--json"), ("run", machine, "@halora_accounting_1b.work.json"),
        ("run", machine, "@qwen2.5_0.5b_r4_p512_d128.work.json", "--json"),
        ("run", machine, WORK, "--pipeline", "balanced"), ("map", machine, WORK),
        ("pipelines", machine, "--layer", "64x64", "--tokens", "16"),
        ("pipelines", machine, WORK, "--strategy", "token", "--json"),
        ("mvm", machine, "--draws", "1"), ("mvm", machine, "--draws", "1", "--json"),
    ))  # fmt: skip
    return arguments, _file_edits(random, base, target)


def _workload(random: Random, base: Path) -> Made:
    target = random.choice(WORKLOADS)
    machine, work = f"@{random.choice(ARCHITECTURES)}", f"@{target}"
    pipeline = random.choice(("token", "balanced", "layer", "sequential", "replicated", "split"))
    arguments = random.choice((
        ("check", machine, work), ("run", machine, work), ("run", machine, work, "--json"),
        ("run", machine, work, "--pipeline", pipeline, "--json"),
        ("run", machine, work, "--baseline", "@a100.gpu.json", "--json"),
        ("map", machine, work), ("map", machine, work, "--json"),
        ("pipelines", machine, work, "--strategy", pipeline),
    ))  # fmt: skip
    return arguments, _file_edits(random, base, target)


def _gpu(random: Random, base: Path) -> Made:
    mode = random.choice(((), ("--baseline-mode", "roofline"), ("--baseline-mode", "calibrated")))
    work = f"@{random.choice(WORKLOADS)}"
    shown = random.choice(((), ("--json",)))
    arguments = ("run", MACHINE, work, "--baseline", "@a100.gpu.json", *mode, *shown)
    return arguments, _file_edits(random, base, "a100.gpu.json")


def _noise(random: Random, base: Path) -> Made:
    target = f"{random.choice(list(bases.NOISES))}.noise.json"
    more = random.choice(((), ("--json", "--time", "3600")))
    arguments = ("mvm", MACHINE, "--draws", "1", "--noise", f"@{target}", *more)
    return arguments, _file_edits(random, base, target)


def _chip(random: Random, base: Path) -> Made:
    """A noise model or a machine under the accuracy of a model."""
    target = random.choice((*(f"{name}.noise.json" for name in bases.NOISES), *ARCHITECTURES))
    arguments: Texts = ("accuracy", MACHINE, "@llama.model", "--task", "@t2.task.jsonl", *QUICK)
    if target.endswith("noise.json"):
        return (*arguments, "--noise", f"@{target}", "--times", "0,3600"), _file_edits(
            random, base, target
        )
    arguments = (arguments[0], f"@{target}", *arguments[2:], "--json")
    return arguments, _file_edits(random, base, target)


def _adapter(random: Random, base: Path) -> Made:
    name = random.choice(("llama", "bert"))
    file = random.choices(("adapter_config.json", "adapter_model.safetensors"), (5, 1))[0]
    task = "@t2.task.jsonl" if name == "llama" else "@t0.task.jsonl"
    adapter = ("--adapter", f"@{name}.adapter")
    arguments = random.choice((
        ("trace", f"@{name}.config", "-o", "out/w.json", "--prefill", "8", *adapter),
        ("accuracy", MACHINE, f"@{name}.model", "--task", task, *QUICK, *adapter),
    ))  # fmt: skip
    return arguments, _file_edits(random, base, f"{name}.adapter/{file}")


def _model(random: Random, base: Path) -> Made:
    name = random.choice(("llama", "bert"))
    if random.random() < 0.75:
        lora = random.choice(((), ("--lora-rank", "2", "--lora-targets", "q_proj,query")))
        decode = ("--decode", "2") if name == "llama" else ()
        arguments = ("trace", f"@{name}.config", "-o", "out/w.json", "--prefill", "8")
        target = f"{name}.config/config.json"
        return (*arguments, *decode, *lora), _file_edits(random, base, target)
    task = "@t2.task.jsonl" if name == "llama" else "@t0.task.jsonl"
    file = random.choice(("config.json", "tokenizer.json", "tokenizer_config.json",
                          "model.safetensors"))  # fmt: skip
    arguments = ("accuracy", MACHINE, f"@{name}.model", "--task", task, *QUICK)
    return arguments, _file_edits(random, base, f"{name}.model/{file}")


def _task(random: Random, base: Path) -> Made:
    target, model = random.choice((
        ("t0.task.jsonl", "bert"), ("t1.task.jsonl", "llama"), ("t2.task.jsonl", "llama"),
    ))  # fmt: skip
    arguments: Texts = ("accuracy", MACHINE, f"@{model}.model", "--task", f"@{target}", *QUICK)
    if random.random() < 0.2 and target != "t2.task.jsonl":
        arguments = ("train", MACHINE, f"@{model}.model", "--task", f"@{target}", "-o", "out",
                     "--epochs", "0.5", "--method", "plain:batch=4,rank=2")  # fmt: skip
    return arguments, _file_edits(random, base, target)


def _report(random: Random, base: Path) -> Made:
    shown = random.choice(((), ("--json",)))
    arguments = ("compare", "@a.report.json", "@b.report.json", *shown)
    return arguments, _file_edits(random, base, random.choice(("a.report.json", "b.report.json")))


RUN = ("run", MACHINE, WORK)
ACCURACY = ("accuracy", MACHINE, "@bert.model", "--task", "@t0.task.jsonl", *QUICK)
TRACE = ("trace", "@llama.config", "-o", "out/w.json", "--prefill", "8")
TRAIN = ("train", MACHINE, "@bert.model", "--task", "@t0.task.jsonl", "-o", "out", "--epochs",
         "0.5", "--method", "plain:batch=4,rank=2")  # fmt: skip
ACCOUNTING = ("workload", "halora-accounting", "--hidden", "64", "--intermediate", "128",
              "--layers", "1", "--heads", "2", "--tokens", "8", "--rank", "2", "-o",
              "out/w.json")  # fmt: skip
COMMON = ("--adapt", "--mapper", "--replicate", "--set")
NOISY = ("--noise", "--sigmas", "--times", "--seeds", "--adc-bits", "--dac-bits", "--limit",
         "--adapter", "--tokens", "--weights-only", "--both", "--compensate")  # fmt: skip
VERBS: dict[Texts, Texts] = {
    RUN: (*COMMON, "--set", "--set", "--replicate", "--pipeline", "--engine", "--baseline",
          "--baseline-mode", "--batch", "--host-ms", "--seed", "--timeline-intervals", "--task",
          "--json", "--noise", "-o"),
    (*RUN, "--pipeline", "token", "--baseline", "@a100.gpu.json", "--json"): (
        "--batch", "--host-ms", "--baseline-mode",
    ),
    ("check", MACHINE, WORK): (*COMMON, "--json"),
    ("map", MACHINE, WORK): (*COMMON, "--json"),
    ("pipelines", MACHINE, "--layer", "64x64", "--tokens", "16"): (
        "--layer", "--rank", "--tokens", "--strategy", "--integration-ns", "--block-tokens",
        "--set", "--json",
    ),
    ("mvm", MACHINE, "--draws", "1"): (
        "--bits", "--noise", "--rows", "--ir-drop", "--columns", "--time", "--draws", "--seed",
        "--set", "--json",
    ),
    ACCOUNTING: ACCOUNTING[2:-2:2],
    ("schema", "architecture"): (),
    ("compare", "@a.report.json", "@b.report.json"): ("--json",),
}  # fmt: skip
"""Commands that need no torch, and options of each."""
STUDIES: dict[Texts, Texts] = {
    ACCURACY: (*COMMON, *NOISY, "--json"),
    TRAIN: (*COMMON, "--method", "--epochs", "--rank", "--seed", "--every", "--threads", "--start"),
    TRACE: ("--prefill", "--decode", "--lora-rank", "--lora-alpha", "--lora-targets", "--adapter",
            "--task", "--name", "-o"),
}  # fmt: skip


def reports() -> list[Texts]:
    """Commands that make the two reports to compare."""
    machines = zip("ab", ("halora_rram_sram", "ahwa_pcm_pmca"), strict=True)
    return [
        ("run", f"@{machine}.arch.json", WORK, "--pipeline", "token", "-o", name)
        for name, machine in machines
    ]


WARM: tuple[Texts, ...] = (
    ("run", "@ahwa_pcm_pmca.arch.json", "@flan_t5_large_r16_s256_d32.work.json", "--pipeline",
     "balanced"),
    ("mvm", "@hermes_pcm.arch.json", "--draws", "1", "--noise", "pcm"),
)  # fmt: skip
WARM_STUDIES: tuple[Texts, ...] = (
    ("accuracy", MACHINE, "@llama.model", "--task", "@t2.task.jsonl", *QUICK, "--adapter",
     "@llama.adapter"),
)  # fmt: skip
"""Further commands that load what those of `VERBS` do not."""
FLAGS = ("--json", "--weights-only", "--both", "--compensate")
FIELDS = ("rram.integration_ns", "rram.rows", "rram.columns", "rram.tile_count", "sram.unit_count",
          "rram.accuracy.device.kind", "rram.accuracy.device", "rram.write.pulse_ns", "rram",
          "name", "rram.accuracy.adc_range", "dram.capacity_GiB", "pmca.matrix_engine.rows",
          "adaptation",
          "rram.adc_bits", "rram.sources.rows", "pmca.cores", "tile_link.bandwidth_GBps", "x", "",
          "rram.", ".rows", "rram.rows.x", "rram.g_max_uS", "pmca.clock_MHz",
          "weights_on")  # fmt: skip
SPOKEN = (
    "gaussian:sigma_ratio=", "pcm:", "stuck_at:on_rate=", "table:g_ratio=", "retention:t0_s=",
    "write_verify:max_pulses=", "balanced:block_tokens=", "token:block_tokens=",
    "replicated:copies=", "split:", "layer:", "halora:mu=", "noise-aware:sigma=", "ahwa:epochs=",
    "plain:rank=", "plain:batch=", "*=", "encoder.*=", "64x", "q_proj,",
)  # fmt: skip
WORDS = (
    "gaussian", "pcm", "ideal", "gaussian:5", "auto", "token", "balanced", "merged", "lora-pmca",
    "lora-rram", "dense", "simpy", "calibrated", "0,1,2", "1,1", "4,8", "0.1,0.2", "32x32x32",
    "0x5", "1e3x4", "-5x5", "½x2", "64 x 64", ".", "/", "/dev/null", "/proc/1/x", "~", "out",
    "@bert.adapter", "@bert.model", "@gaussian.noise.json", "@a100.gpu.json", "--", "--json", "-1",
)  # fmt: skip


def _options(random: Random, base: Path) -> Made:
    return _edited(random, VERBS)


def _study(random: Random, base: Path) -> Made:
    return _edited(random, STUDIES)


def _edited(random: Random, verbs: dict[Texts, Texts]) -> Made:
    """One of the commands with other options and arguments."""
    arguments = random.choice(list(verbs))
    options = verbs[arguments]
    chosen = []
    for _ in range(random.choices((1, 2, 3), (6, 3, 1))[0]):
        if options and random.random() < 0.85:
            option = random.choice(options)
            text = "\0" if option in FLAGS else _argument(random, option)
            chosen.append(Edit(ARGV, "option", (option,), text))
        else:
            action = random.choice(("set", "drop"))
            at = random.randrange(len(arguments))
            chosen.append(Edit(ARGV, action, (at,), _argument(random, "")))
    return arguments, chosen


def _argument(random: Random, option: str) -> str:
    """A text for an option; never one that asks for several processes or a large download."""
    if option == "--set" and random.random() < 0.9:
        value = edits.hostile(random) if random.random() < 0.7 else random.choice(WORDS)
        return f"{random.choice(FIELDS)}={value}".replace("\0", "0")
    roll = random.random()
    if roll < 0.4:
        text = random.choice(edits.NUMBERS)
    elif roll < 0.6:
        text = random.choice(edits.STRINGS)
    elif roll < 0.75:
        text = random.choice(SPOKEN) + random.choice((*edits.NUMBERS, "", "x", "é"))
    elif roll < 0.9:
        text = random.choice(WORDS)
    else:
        text = ",".join(random.choices(edits.NUMBERS, k=3))
    return text.replace("\0", "0").replace("\ud800", "\udcff")


Maker = Callable[[Random, Path], Made]

LIGHT: dict[str, Maker] = {
    "architecture": _architecture,
    "workload": _workload,
    "options": _options,
    "gpu": _gpu,
    "noise": _noise,
    "report": _report,
}
"""Kinds that need no torch: a process that has not loaded it forks in a tenth of the time."""
HEAVY: dict[str, Maker] = {
    "adapter": _adapter,
    "model": _model,
    "task": _task,
    "chip": _chip,
    "study": _study,
}
KINDS = LIGHT | HEAVY
SHARES = {
    "architecture": 28, "workload": 28, "options": 16, "gpu": 5, "noise": 6, "report": 3,
    "adapter": 3, "model": 3, "task": 2, "chip": 3, "study": 3,
}  # fmt: skip
"""Percent of all cases."""
