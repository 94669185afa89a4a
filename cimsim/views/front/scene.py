"""What is drawn of a front: points that are done, which of them are on it, and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cimsim.exploration.effects import Effects, effects, told
from cimsim.exploration.front import Front
from cimsim.values.display import brief
from cimsim.views.front.columns import Column, axis, objective

MOST_POINTS = 4_000
"""Choice: dominated points that are drawn; of more, an even choice. The front is always whole."""
MOST_LINES = 500
"""Choice: dominated points that are lines of parallel coordinates, likewise."""


@brief
@dataclass(frozen=True)
class Scene:
    """Points in columns, and the front among them by rising first objective.

    `front` are indices of points, `knee` is one of them, `why` says for each of the front what
    binds it (empty where it is not known). `others` are further results at each point as text,
    `inputs` names and digests of what the study rests on.
    """

    title: str
    note: str
    axes: tuple[Column, ...]
    objectives: tuple[Column, ...]
    front: tuple[int, ...]
    knee: int
    why: tuple[str, ...]
    effects: Effects
    others: Mapping[str, tuple[str, ...]]
    inputs: Mapping[str, str]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Axes, then objectives."""
        return (*self.axes, *self.objectives)

    @property
    def dominated(self) -> list[int]:
        """The other points, at most MOST_POINTS of them."""
        kept = set(self.front)
        others = [i for i in range(len(self.objectives[0].texts)) if i not in kept]
        return _evenly(others, MOST_POINTS)

    @property
    def ground(self) -> list[int]:
        """Of the dominated points those that are lines of parallel coordinates."""
        return _evenly(self.dominated, MOST_LINES)

    @property
    def pairs(self) -> list[tuple[Column, Column]]:
        """Objectives that are drawn against each other; one alone against the first axis."""
        if len(self.objectives) > 1:
            return list(combinations(self.objectives, 2))
        return [(self.axes[0], self.objectives[0])] if self.axes else []

    @property
    def reasons(self) -> list[str]:
        """What binds points of the front, the most frequent first, then "" if some is unknown."""
        return sorted(dict.fromkeys(self.why), key=lambda why: (not why, -self.why.count(why)))


def _evenly(points: list[int], most: int) -> list[int]:
    """At most `most` of the points, evenly chosen, both ends included."""
    if len(points) <= most:
        return points
    at = np.linspace(0, len(points) - 1, most).round().astype(int)
    return [points[i] for i in at.tolist()]


def scene_of(front: Front, study: Mapping[str, str]) -> Scene:
    """The scene of a front, with what is fixed in its study."""
    rows = (*front.rows, *front.dominated)
    told = []
    for key in ("architecture", "workload"):
        name = study.get(key, "").partition(", sha256")[0]
        told.append(f"{key} varied" if name == "varied" else name)
    return scene(
        [row.settings for row in rows], [row.values for row in rows],
        {objective.key: objective.maximise for objective in front.objectives},
        range(len(front.rows)), front.knee, why=front.why,
        title=", ".join(filter(None, told)), note=front.note, inputs=study, found=front.effects,
    )  # fmt: skip


def scene(
    settings: Sequence[Mapping[str, Any]],
    values: Sequence[Mapping[str, Any]],
    objectives: Mapping[str, bool],
    front: Sequence[int],
    knee: int,
    *,
    why: Sequence[str],
    title: str,
    note: str,
    inputs: Mapping[str, str],
    found: Effects | None = None,
) -> Scene:
    """The scene of points with `settings` and `values`; `objectives` are key -> maximise.

    `found` are the effects of the axes, over more points perhaps; those of these if left out.
    A setting that a point lacks is drawn as `null`.
    """
    keys = dict.fromkeys(key for one in settings for key in one)
    varied = {key: [one.get(key) for one in settings] for key in keys}
    sought = {key: [one[key] for one in values] for key in objectives}
    first, maximise = next(iter(objectives.items()))
    order = sorted(range(len(front)), key=lambda i: sought[first][front[i]] * (1 - 2 * maximise))
    found = found or effects(varied, sought, np.asarray(front, np.int64))
    further = dict.fromkeys(key for one in values for key in one if key not in sought)
    others = {key: tuple(told(one.get(key)) for one in values) for key in further}
    return Scene(
        title=title, note=note,
        axes=tuple(axis(key, of) for key, of in varied.items()),
        objectives=tuple(objective(k, of, maximise=objectives[k]) for k, of in sought.items()),
        front=tuple(front[i] for i in order), knee=knee, why=tuple(why[i] for i in order),
        effects=found, others=others, inputs=inputs,
    )  # fmt: skip
