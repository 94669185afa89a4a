"""Mutated inputs for every verb of the command line, each in a process of its own with limits.

    python benchmarks/fuzz/run.py [--cases 10000] [--seed 0] [--kind architecture,workload]
        [--jobs 2] [--output DIR] [--replay KIND-NUMBER]

Prints a table of the faults by signature and exits with 1 if there is one. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import io
import json
import multiprocessing
import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bases
import cases
from judge import Limits, Verdict, cleared, judge


@dataclass(frozen=True)
class Result:
    """A case and how it ended."""

    case: cases.Case
    verdict: Verdict


@dataclass(frozen=True)
class Bench:
    """Where the valid inputs lie, and how a case is run."""

    base: Path
    work: Path
    seed: int
    limits: Limits = field(default_factory=Limits)

    def result(self, kind: str, number: int) -> Result:
        """Case `number` of `kind`."""
        return self.of(cases.make(kind, number, self.seed, self.base))

    def of(self, case: cases.Case) -> Result:
        """`case`, run in a folder of its own."""
        folder = cleared(self.work / f"{os.getpid()}")
        arguments = cases.laid_out(case, self.base, folder)
        names = json.dumps([asdict(edit) for edit in case.edits])
        return Result(case, judge(arguments, folder, names, self.limits))

    def shrunk(self, result: Result) -> Result:
        """The same fault by as few edits as possible."""
        position = 0
        while position < len(result.case.edits) and len(result.case.edits) > 1:
            smaller = self.of(result.case.without(position))
            if smaller.verdict.fault == result.verdict.fault:
                result = smaller
            else:
                position += 1
        return result


def planned(count: int, kinds: Iterable[str]) -> list[tuple[str, int]]:
    """(kind, number) of `count` cases, every kind by its share."""
    shares = {kind: cases.SHARES[kind] for kind in kinds}
    total = sum(shares.values())
    return [(kind, n) for kind, share in shares.items() for n in range(count * share // total)]


@contextlib.contextmanager
def bench(seed: int) -> Iterator[Bench]:
    """Valid inputs in a temporary folder, of kinds without torch; each verb has run once."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="cimsim-fuzz-") as text:
        base = Path(text) / "base"
        base.mkdir()
        bases.write(base)
        _once()
        _warm(base, cases.reports())
        for name in ("a", "b"):
            shutil.copy(base / name / "report.json", base / f"{name}.report.json")
        _warm(base, (*cases.VERBS, *cases.WARM))
        yield Bench(base, Path(text) / "work", seed)


def load_models(place: Bench) -> None:
    """Make the bench ready for kinds with torch as well; a fork takes ten times as long then."""
    with contextlib.redirect_stderr(io.StringIO()):
        bases.write_models(place.base)
        _warm(place.base, (*cases.STUDIES, *cases.WARM_STUDIES))


def _once() -> None:
    """Build the tree of commands once for all forks: half of the time of a short command."""
    import typer.main

    typer.main.get_command = functools.cache(typer.main.get_command)


def _warm(base: Path, commands: Iterable[tuple[str, ...]]) -> None:
    """Run commands in this process: what they load and compile is there for every fork."""
    before = Path.cwd(), sys.argv
    os.chdir(base)
    try:
        for arguments in commands:
            _called(arguments)
        shutil.rmtree("out", ignore_errors=True)
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
    gc.collect()
    gc.freeze()


def _called(arguments: tuple[str, ...]) -> None:
    from cimsim import cli

    sys.argv = ["cimsim", *(text.removeprefix("@") for text in arguments)]
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            cli.main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{sys.argv}: exit {end.code}: {heard.getvalue()}") from None


def results(place: Bench, plan: list[tuple[str, int]], jobs: int) -> Iterator[Result]:
    """Every case of `plan` by `jobs` processes, those without torch first."""
    light = [one for one in plan if one[0] in cases.LIGHT]
    heavy = [one for one in plan if one[0] in cases.HEAVY]
    yield from _spread(place, light, jobs)
    if heavy:
        load_models(place)
        yield from _spread(place, heavy, jobs)


def _spread(place: Bench, plan: list[tuple[str, int]], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from (place.result(*one) for one in plan)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(_Task(place), plan, chunksize=8)


@dataclass(frozen=True)
class _Task:
    place: Bench

    def __call__(self, one: tuple[str, int]) -> Result:
        return self.place.result(*one)


def reproduction(place: Bench, result: Result, folder: Path) -> None:
    """Write the inputs of a case, its command line, and what it printed."""
    cleared(folder)
    arguments = cases.laid_out(result.case, place.base, folder)
    for position, text in enumerate(arguments):
        source = Path(text)
        if source.is_relative_to(place.base) and text != str(place.base):
            target = folder / source.name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy(source, target)
            arguments[position] = source.name
    command = " ".join(shlex.quote(text) for text in ("cimsim", *arguments))
    lines = [result.case.name, command, result.verdict.fault, "",
             *(f"{e.target} {e.action} {e.path} {e.text[:200]}" for e in result.case.edits), "",
             result.verdict.err[-4000:]]  # fmt: skip
    (folder / "case.txt").write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default=",".join(cases.KINDS), help="kinds, with commas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, help="folder for a reproduction of every fault")
    parser.add_argument("--replay", metavar="KIND-NUMBER", help="run one case and show it")
    given = parser.parse_args()
    with bench(given.seed) as place:
        if given.replay:
            sys.exit(replay(place, given.replay, given.output))
        plan = planned(given.cases, given.kind.split(","))
        sys.exit(survey(place, plan, given.jobs, given.output))


def replay(place: Bench, name: str, output: Path | None) -> int:
    """Show one case; 1 if it is a fault."""
    kind, _, number = name.partition("-")
    if kind in cases.HEAVY:
        load_models(place)
    found = place.result(kind, int(number))
    found = place.shrunk(found) if found.verdict.fault else found
    for edit in found.case.edits:
        print(edit.target, edit.action, edit.path, ascii(edit.text[:200]))
    print("cimsim", *found.case.arguments)
    print(ascii(found.verdict.out[-1000:]), found.verdict.err[-6000:], sep="\n")
    print(f"exit {found.verdict.code}; {found.verdict.fault or 'no fault'}")
    if output is not None:
        reproduction(place, found, output / name)
    return int(bool(found.verdict.fault))


def survey(place: Bench, plan: list[tuple[str, int]], jobs: int, output: Path | None) -> int:
    """Run all cases and print what was found; 1 if there is a fault."""
    codes: Counter[int] = Counter()
    faults: dict[str, list[Result]] = {}
    cpu_s = 0.0
    for done, result in enumerate(results(place, plan, jobs), 1):
        codes[result.verdict.code] += 1
        cpu_s += result.verdict.cpu_s
        if result.verdict.fault:
            faults.setdefault(result.verdict.fault, []).append(result)
        if done % 500 == 0:
            print(f"{done} of {len(plan)}: {len(faults)} signatures", file=sys.stderr, flush=True)
    for fault, found in sorted(faults.items(), key=lambda item: -len(item[1])):
        first = place.shrunk(min(found, key=lambda r: (len(r.case.edits), r.case.name)))
        print(f"{len(found):5}  {fault:70}  {first.case.name}")
        if output is not None:
            reproduction(place, first, output / first.case.name)
    count = sum(map(len, faults.values()))
    ended = ", ".join(f"exit {code}: {codes[code]}" for code in sorted(codes))
    print(f"{len(plan)} cases ({ended}), {cpu_s:.0f} s of CPU: {count} faults, "
          f"{len(faults)} signatures")  # fmt: skip
    return int(bool(faults))


if __name__ == "__main__":
    main()
