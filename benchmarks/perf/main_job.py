"""Speed and memory of the main jobs: CPU seconds and peak memory of whole processes.

    python benchmarks/perf/main_job.py [--smoke] [--json]

Every case is `cimsim run` from the workload file to the finished report, in a process of its own;
CPU time is user plus system time, taken after one warm-up that fills the cache of the compiled
engine. The SimPy engine runs the same program in the same call for the ratio. With torch there,
BERT-base is traced at several lengths, for the cost of a token.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = (
    ("LLaMA-3.2-1B 512+128, 512x512 tiles", "ahwa_pcm_pmca", "llama3.2_1b_r4_p512_d128", "token"),
    ("LLaMA-3.2-1B 512+128, 64x64 tiles", "halora_rram_sram", "llama3.2_1b_r4_p512_d128", "token"),
    ("BERT-base 320, 512x512 tiles", "ahwa_pcm_pmca", "bert_base_r8_s320", "token"),
    ("MobileBERT 320, 512x512 tiles", "ahwa_pcm_pmca", "mobilebert_squad_r8_s320", "token"),
)
SEARCHED = ("halora_rram_sram", "llama3.2_1b_r4_p512_d128", "auto")
"""The main job as `cimsim run` runs it, without and with what bounds it."""
SMOKE = (("MiniLM 32, 512x512 tiles", "ahwa_pcm_pmca", "minilm_sentiment_r8_s32", "token"),)


def process(arguments: list[str]) -> tuple[float, float, float]:
    """CPU s, wall s and peak MB of `cimsim` with `arguments`."""
    command = [sys.executable, "-c", "from cimsim.cli import main; main()", *arguments]
    started = time.perf_counter()
    pid = os.posix_spawn(
        command[0], command, os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )  # fmt: skip
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed")
    wall = time.perf_counter() - started
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024.0


def arguments_of(machine: str, workload: str | Path, pipeline: str) -> list[str]:
    """Command line of one case."""
    path = workload if isinstance(workload, Path) else ROOT / f"workloads/{workload}.json"
    return [
        "run", str(ROOT / f"arch_configs/{machine}.json"), str(path), "--pipeline", pipeline,
        "--json",
    ]  # fmt: skip


def measured(case: str, arguments: list[str], *, warm: bool) -> dict[str, object]:
    """A row of `cimsim` with `arguments`; `warm` runs it once before, for the compiled code."""
    if warm:
        process(arguments)
    cpu, wall, memory = process(arguments)
    return {"case": case, "cpu_s": cpu, "wall_s": wall, "peak_MB": memory}


def engine_ratio(machine: str, workload: str, pipeline: str) -> dict[str, float]:
    """CPU s of both engines on one program, and their ratio."""
    import cimsim
    from cimsim import engines

    simulation = cimsim.simulate(
        cimsim.load_workload(ROOT / f"workloads/{workload}.json"),
        cimsim.load_architecture(ROOT / f"arch_configs/{machine}.json"),
        pipeline=cimsim.parse_pipeline(pipeline),
    )
    program = simulation.plan.program
    seconds = {}
    for engine in ("compiled", "simpy"):
        started = time.process_time()
        run = engines.run(program, engine)  # type: ignore[arg-type]
        seconds[engine] = time.process_time() - started
        assert (run.end_ps == simulation.run.end_ps).all()
    return {**seconds, "ratio": seconds["simpy"] / seconds["compiled"]}


def token_cost(lengths: tuple[int, ...]) -> list[dict[str, float]]:
    """CPU s of the compiled engine a token of BERT-base, by sequence length."""
    import cimsim
    from cimsim import engines
    from cimsim.frontend import trace_model

    machine = cimsim.load_architecture(ROOT / "arch_configs/ahwa_pcm_pmca.json")
    rows = []
    for length in lengths:
        workload = trace_model(ROOT / "workloads/configs/bert_base_qa", prefill=length)
        program = cimsim.simulate(workload, machine, pipeline="token").plan.program
        started = time.process_time()
        engines.run(program)
        seconds = time.process_time() - started
        rows.append({"tokens": length, "us_per_token": 1e6 * seconds / length})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one small case")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = SMOKE if options.smoke else CASES
    rows: list[dict[str, object]] = []
    for label, machine, workload, pipeline in cases:
        arguments = arguments_of(machine, workload, pipeline)
        rows.append(measured(label, arguments, warm=not options.smoke))
    if not options.smoke:
        arguments = arguments_of(*SEARCHED)
        rows.append(measured("the main job, auto", arguments, warm=True))
        rows.append(measured("the same with --bounds", [*arguments, "--bounds"], warm=True))
    result: dict[str, object] = {"processes": rows}
    both = SMOKE[0] if options.smoke else CASES[2]
    result["engines"] = engine_ratio(*both[1:])
    with tempfile.TemporaryDirectory() as folder:
        arguments = arguments_of("ahwa_pcm_pmca", tiny_workload(Path(folder)), "token")
        rows.append(measured("one layer (start-up)", arguments, warm=not options.smoke))
    try:
        result["token_cost"] = token_cost((8,) if options.smoke else (128, 256, 512))
    except ImportError:
        result["token_cost"] = "skipped: no torch"
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for row in rows:
        print(f"{row['case']:40} {row['cpu_s']:7.2f} s CPU {row['wall_s']:7.2f} s wall "
              f"{row['peak_MB']:7.0f} MB")  # fmt: skip
    print(f"{both[0]} on both engines:", result["engines"])
    print("compiled engine, BERT-base:", result["token_cost"])


def tiny_workload(folder: Path) -> Path:
    """The first op of BERT-base's first layer as a workload file."""
    data = json.loads((ROOT / "workloads/bert_base_r8_s320.json").read_text())
    ops = data["phases"][0]["ops"]
    first = next(op for op in ops if op["kind"] == "linear")
    data["phases"][0]["ops"] = [first | {"inputs": []}]
    path = folder / "tiny.json"
    path.write_text(json.dumps(data))
    return path


if __name__ == "__main__":
    main()
