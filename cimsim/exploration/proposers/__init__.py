"""Samplers: what proposes the designs of a search, by name."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from cimsim.errors import CimsimError
from cimsim.exploration.proposers import from_optuna
from cimsim.exploration.proposers.drawn import Drawn
from cimsim.exploration.proposers.from_optuna import FromOptuna
from cimsim.exploration.proposers.modelled import FrontModel
from cimsim.exploration.proposers.protocol import DesignOutcome, Proposer, SearchSetup
from cimsim.values.display import shown

__all__ = ["DEFAULT", "SAMPLERS", "DesignOutcome", "Proposer", "SearchSetup", "proposer_named"]


@dataclass(frozen=True)
class Sampler:
    """How a proposer is made, the fewest trials that it learns anything from, and the most.

    Beyond `most` a proposal takes longer than a design.
    """

    make: Callable[[SearchSetup], Proposer]
    fewest: int = 1
    most: int | None = None


DEFAULT = "model"
SAMPLERS = {
    "model": Sampler(FrontModel, fewest=5),
    "random": Sampler(Drawn),
    # counted: two generations of the smallest population
    "nsga2": Sampler(lambda asked: FromOptuna(asked, from_optuna.nsga2), fewest=20),
    "nsga3": Sampler(lambda asked: FromOptuna(asked, from_optuna.nsga3), fewest=20),
    # counted: Optuna draws the first ten at random; most are its own advice
    "tpe": Sampler(lambda asked: FromOptuna(asked, from_optuna.tpe), fewest=11),
    "gp": Sampler(lambda asked: FromOptuna(asked, from_optuna.gp), fewest=11, most=500),
}
"""By name. `model` is cimsim's own."""


def proposer_named(name: str, asked: SearchSetup) -> Proposer:
    """The proposer of that name; raises CimsimError for others and for too few trials.

    Warns where there are more trials than a sampler is made for.
    """
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=3, cutoff=0.5) or list(SAMPLERS)
        raise CimsimError(f"there is no sampler {shown(name)}: take {', '.join(near)}.")
    sampler = SAMPLERS[name]
    if asked.trials < sampler.fewest:
        raise CimsimError(
            f"{name} learns nothing from {asked.trials} trials, it needs {sampler.fewest}: give "
            "more (--trials), or take random."
        )
    if sampler.most is not None and asked.trials > sampler.most:
        warnings.warn(
            f"{name} is slow beyond {sampler.most} trials, {asked.trials} were asked for: each "
            f"proposal takes seconds. {DEFAULT} stays quick.",
            stacklevel=3,
        )
    return sampler.make(asked)
