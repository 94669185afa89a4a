"""What makes a program valid: every index and amount, and who is at the ends of each buffer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from cimsim.engines.actors import (
    CLOCK_MAX_PS,
    Actor,
    Count,
    Crew,
    Duration,
    Get,
    Hold,
    Put,
    Use,
    Verb,
    members_of,
    roles_of,
    rows_of,
)
from cimsim.engines.scenes import Groups

if TYPE_CHECKING:
    from cimsim.engines.program import Program


def check(program: Program) -> None:
    """Raise ValueError, naming the object, where `program` is not valid, see there."""
    if isinstance(program.groups, Groups):
        scenes = program.groups.scenes
        _check_groups(program, (group for scene in scenes for group in scene.groups))
        if _stand_apart(program, program.groups):
            return
    _check_groups(program, program.groups)
    _check_ends(program, Put, "producing", "puts tokens into")
    _check_ends(program, Get, "consuming", "gets tokens from")


def _check_groups(program: Program, groups: Iterable[Actor | Crew]) -> None:
    checked: set[int] = set()
    for group in groups:
        members = members_of(group)
        if isinstance(group, Crew):
            _check_elsewhere(program, group)
        for actor in roles_of(group):
            if actor.iterations < 0:
                raise ValueError(
                    f"actor {actor.name!r}: iterations must be >= 0, got {actor.iterations}"
                )
            for index, verb in enumerate(actor.steps):
                if members > 1 or not _plainly_valid(program, actor, verb, checked):
                    _check_verb(program, actor, index, verb, members, checked)


def _stand_apart(program: Program, groups: Groups) -> bool:
    """Whether the indices of scenes are there every time, and each buffer has one actor a side."""
    for stand in groups.stands:
        for places in (stand.scene.resources or {}).values():
            if places.min() < 0 or places.max() >= len(program.resources):
                return False
    for side in (Put, Get):
        pairs = [(*stand.scene.ends(side), stand.actors) for stand in groups.stands]
        at = np.concatenate([buffers.ravel() for buffers, _, _ in pairs])
        if at.size and (at.min() < 0 or at.max() >= program.buffer_count):
            return False
        own = np.concatenate([(first[:, None] + owner).ravel() for _, owner, first in pairs])
        owner = np.full(program.buffer_count, -1)
        owner[at] = own
        if (owner[at] != own).any() or (owner < 0).any():
            return False
    return True


def _plainly_valid(program: Program, actor: Actor, verb: Verb, checked: set[int]) -> bool:
    """Whether a verb of an actor that stands alone is seen at a glance to be valid."""
    amount: Duration | Count
    if type(verb) is Get or type(verb) is Put:
        amount, known = verb.count, 0 <= verb.buffer < program.buffer_count
    elif type(verb) is Use:
        amount, known = verb.duration, 0 <= verb.resource < len(program.resources)
    elif type(verb) is Hold:
        amount, known = verb.duration, True
    else:
        return False
    if isinstance(amount, np.ndarray):
        return known and id(amount) in checked and amount.shape == (actor.iterations,)
    return known and type(amount) is int and 0 <= amount <= CLOCK_MAX_PS


def _check_verb(
    program: Program, actor: Actor, index: int, verb: Verb, members: int, checked: set[int]
) -> None:
    if isinstance(verb, (Get, Put)):
        amount, what = verb.count, "count"
        target, bound, kind = verb.buffer, program.buffer_count, "buffer"
    elif isinstance(verb, Use):
        amount, what = verb.duration, "duration"
        target, bound, kind = verb.resource, len(program.resources), "resource"
    elif isinstance(verb, Hold):
        amount, what, target, bound, kind = verb.duration, "duration", 0, 1, ""
    else:
        raise ValueError(
            f"actor {actor.name!r}, step {index}: a step must be a Get, Put, Hold or Use, "
            f"got {verb!r}"
        )
    behind = (rows_of(verb) if members == 1 else members) - 1 if kind == "buffer" else 0
    if not 0 <= target < bound - behind:
        target += behind * (target >= 0)
        raise ValueError(
            f"{_where(actor, index)}: {kind} index must be within 0..{bound - 1}, got {target}"
            if bound
            else f"{_where(actor, index)}: {kind} {target} asked for, the program has none"
        )
    rows = rows_of(verb) if members == 1 and kind == "buffer" else 0
    fault = _amount_fault(amount, rows, actor.iterations, checked)
    if fault:
        raise ValueError(f"{_where(actor, index)}: {what} must be {fault}")


def _check_elsewhere(program: Program, crew: Crew) -> None:
    for places in crew.elsewhere.values():
        if places.min() < 0 or places.max() >= len(program.resources):
            raise ValueError(
                f"crew {crew.actors[0].name!r}: resource index must be within "
                f"0..{len(program.resources) - 1}, got {places.min()} to {places.max()}"
            )


def _check_ends(program: Program, verb_type: type[Get] | type[Put], role: str, does: str) -> None:
    owner = [-1] * program.buffer_count
    first = 0
    for group in program.groups:
        members, roles = members_of(group), roles_of(group)
        for number, actor in enumerate(roles, first):
            for verb in actor.steps:
                if type(verb) is not verb_type:
                    continue
                if members == 1 and type(verb.count) is int:
                    mine = [number]
                elif members > 1:
                    mine = list(range(number, number + members * len(roles), len(roles)))
                else:
                    mine = [number] * rows_of(verb)
                for at, own in enumerate(mine, verb.buffer):
                    if owner[at] not in (-1, own):
                        first_owner, second = (program.actors[n].name for n in (owner[at], own))
                        raise ValueError(
                            f"buffer {program.buffers[at].name!r}: one {role} actor allowed, both "
                            f"{first_owner!r} and {second!r} are; give each its own buffer"
                        )
                    owner[at] = own
        first += members * len(roles)
    if -1 in owner:
        raise ValueError(
            f"buffer {program.buffers[owner.index(-1)].name!r}: no actor {does} it; "
            f"add one or drop the buffer"
        )


def _where(actor: Actor, index: int) -> str:
    return f"actor {actor.name!r}, step {index} ({type(actor.steps[index]).__name__})"


def _amount_fault(amount: Duration | Count, rows: int, iterations: int, checked: set[int]) -> str:
    """What is wrong with a duration or count, or ""; `checked` holds ids of arrays seen valid."""
    if isinstance(amount, (int, np.integer)):
        return "" if 0 <= amount <= CLOCK_MAX_PS else f"within 0..2**63 - 1, got {amount}"
    if not isinstance(amount, np.ndarray):
        return f"an int or an int64 array, got {amount!r}"
    if amount.shape not in ((iterations,), (rows, iterations)):
        return f"one entry an iteration, shape ({iterations},), got shape {amount.shape}"
    if id(amount) in checked:
        return ""
    if amount.dtype != np.int64:
        return f"an int64 array, got dtype {amount.dtype}"
    if iterations and amount.min() < 0:
        return f">= 0, got {amount.min()} in iteration {amount.argmin() % iterations}"
    checked.add(id(amount))
    return ""
