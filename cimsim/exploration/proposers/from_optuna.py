"""Samplers of Optuna: evolution (NSGA-II, NSGA-III), Parzen estimators (TPE), Gaussian processes.

Numbers in order are whole numbers to Optuna (their place in the list), names are categories. A
design without results is a failed trial, one beyond its limits a broken constraint.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from cimsim.exploration.proposers.positions import Positions
from cimsim.exploration.proposers.protocol import DesignOutcome, SearchSetup
from cimsim.exploration.space import Settings
from cimsim.runtime.libraries import library

POPULATIONS = (10, 50)
"""Choice: fewest and most designs of a generation; Optuna's own is 50."""
GENERATIONS = 10
"""Choice: generations that the trials are cut into, within `POPULATIONS`."""


class FromOptuna:
    """Proposes as a sampler of Optuna does; `make` makes it."""

    def __init__(self, asked: SearchSetup, make: Callable[[Any, SearchSetup], Any]) -> None:
        self._optuna = optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.positions, self._limited = Positions(asked.space), asked.limited
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = make(optuna, asked)
            directions = ["minimize"] * asked.objectives
            self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._axes = {name: self._axis(i) for i, name in enumerate(asked.space.axes)}
        self._open: dict[tuple[float, ...], list[Any]] = {}

    def propose(self) -> Settings:
        """What the sampler asks for next."""
        trial = self._ask()
        place = tuple(float(trial.params[name]) for name in self._axes)
        self._open.setdefault(place, []).append(trial)
        return self.positions.settings(place)

    def learn(self, settings: Settings, outcome: DesignOutcome) -> None:
        """Tell the sampler; a design that it did not ask for is handed to it as if it had."""
        place = tuple(self.positions.position(settings).tolist())
        trials = self._open.get(place)
        if trials:
            trial = trials.pop(0)
        else:
            whole = [size is not None for size in self.positions.sizes]
            values = [int(p) if w else p for p, w in zip(place, whole, strict=True)]
            self._study.enqueue_trial(dict(zip(self._axes, values, strict=True)))
            trial = self._ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if outcome.costs is None:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            else:
                if self._limited:
                    trial.set_constraint("excess", outcome.excess)
                self._study.tell(trial, list(outcome.costs))

    def _ask(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._study.ask(self._axes)

    def _axis(self, place: int) -> Any:
        distributions, size = self._optuna.distributions, self.positions.sizes[place]
        if size is None:
            return distributions.FloatDistribution(0.0, 1.0)
        if self.positions.ordered[place]:
            return distributions.IntDistribution(0, size - 1)
        return distributions.CategoricalDistribution(list(range(size)))


def population(trials: int) -> int:
    """Designs of a generation of evolution for so many trials."""
    fewest, most = POPULATIONS
    return min(max(trials // GENERATIONS, fewest), most)


def nsga2(optuna: Any, asked: SearchSetup) -> Any:
    """Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002."""
    return optuna.samplers.NSGAIISampler(seed=asked.seed, population_size=population(asked.trials))


def nsga3(optuna: Any, asked: SearchSetup) -> Any:
    """Deb and Jain, IEEE Transactions on Evolutionary Computation 18(4), 2014."""
    return optuna.samplers.NSGAIIISampler(seed=asked.seed, population_size=population(asked.trials))


def tpe(optuna: Any, asked: SearchSetup) -> Any:
    """Ozaki et al., multi-objective tree-structured Parzen estimators, GECCO 2020."""
    return optuna.samplers.TPESampler(seed=asked.seed, multivariate=True, constant_liar=True)


def gp(optuna: Any, asked: SearchSetup) -> Any:
    """A Gaussian process of every objective and the expected volume; needs torch and scipy."""
    for name in ("scipy", "torch"):
        library(name, f"the sampler gp needs {name}", "search,torch")
    return optuna.samplers.GPSampler(seed=asked.seed, deterministic_objective=True)


def _optuna() -> Any:
    return library("optuna", "samplers of Optuna need it", "search")
