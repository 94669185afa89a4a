"""What a search for a strategy chose and what it rejected, as values. Times in s, energies in J."""

from __future__ import annotations

from cimsim.values.bounds import Number, Whole
from cimsim.values.frozen import Frozen


class Candidate(Frozen):
    """A strategy that was tried.

    `estimated_s` follows from runs of a part of the workload, None where they failed;
    `simulated_s` from a run of the whole, None where the estimate ruled it out. `problem` says why
    it does not run, `same_as` names the strategy that runs the same here.
    """

    pipeline: str
    estimated_s: Number | None
    simulated_s: Number | None
    problem: str = ""
    same_as: str = ""


class Search(Frozen):
    """How a strategy was found: what was asked, what won, and all candidates, best first.

    `runs` are the runs of parts of the workload.
    """

    asked: str
    chosen: str
    runs: Whole
    candidates: tuple[Candidate, ...]
