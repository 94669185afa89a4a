"""What each request of a stream brings: its switch, weight by weight, and what that loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cimsim.adaptation import BASE_TASK, AdaptedTask
from cimsim.serving.levelling import STILL, Rotation, rotation
from cimsim.serving.memory import hits
from cimsim.serving.requests import Levelling, RequestStream, Residency
from cimsim.serving.switches import Loading, Switch, Switches
from cimsim.values.display import brief

ALL = ""
"""Name of all weights together, where nothing overlaps."""


@brief
@dataclass(frozen=True, slots=True)
class Write:
    """What is written of one weight: `bits` over the buffer, `dram_bits` of them out of DRAM.

    It takes `kept_ps` or more where they are in the buffer, `fetched_ps` or more from the first
    bit out of DRAM on, and `queued_ps` in queues that writes share.
    """

    bits: int
    dram_bits: int
    kept_ps: int
    fetched_ps: int
    queued_ps: Mapping[str, int]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class RequestWork:
    """A request's switch; no `switch` and no `writes` where the task before is its own.

    `place` is that of the units that a switch writes into, `moved`: they were others before.
    """

    task: int
    switch: Switch | None
    writes: Mapping[str, Write]
    dram_bits: int
    place: int = 0
    moved: bool = False


def jobs_of(
    stream: RequestStream,
    tasks: Sequence[AdaptedTask],
    start: AdaptedTask,
    switches: Switches,
    residency: Residency | None,
    *,
    overlap: bool,
    levelling: Levelling | None = None,
) -> list[RequestWork]:
    """The jobs of a stream of requests for `tasks`, of which the machine holds `start` at first.

    Raises CapacityError where `levelling` takes more units than there are.
    """
    loading = Loading(switches.architecture)
    behind = switches.architecture.adapters_in == "dram"
    pretrained = AdaptedTask(BASE_TASK, start.workload)
    order: list[int] = stream.task.tolist()
    held = [start, *(tasks[task] for task in order[:-1])]
    switching = [i for i, task in enumerate(order) if tasks[task].name != held[i].name]
    own = {task: switches.between(pretrained, tasks[task]) for task in sorted(set(order))}
    sizes = [switches.kept_bits(task) for task in tasks]
    names = [task.name for task in tasks]
    found = hits(residency, names, sizes, [order[i] for i in switching])
    kept = dict(zip(switching, found, strict=True))
    turns = rotation_of(switches, levelling, [(held[i], tasks[order[i]]) for i in switching])
    made: dict[tuple[int, int, bool, int, bool], RequestWork] = {}
    idle = {task: RequestWork(task, None, {}, 0) for task in set(order)}
    jobs: list[RequestWork] = []
    number = -1
    for i, task in enumerate(order):
        if i not in kept:
            jobs.append(idle[task])
            continue
        number += 1
        place, moved = turns.place(number), turns.moves(number)
        switch = switches.between(held[i], tasks[task], turns.weights if moved else frozenset())
        key = task, id(switch), kept[i], place, moved
        if key not in made:
            here = _kept(own[task], sizes[task]) if kept[i] else {}
            writes = _writes(switch, here, loading, behind=behind)
            dram_bits = sum(write.dram_bits for write in writes.values())
            if not overlap:
                writes = {ALL: _together(switch, dram_bits, loading)}
            made[key] = RequestWork(task, switch, writes, dram_bits, place, moved)
        jobs.append(made[key])
    return jobs


def rotation_of(
    switches: Switches,
    levelling: Levelling | None,
    pairs: Sequence[tuple[AdaptedTask, AdaptedTask]],
) -> Rotation:
    """Where the switches of a stream write, which goes from task to task as `pairs` say."""
    if levelling is None:
        return STILL
    distinct = {(before.name, after.name): (before, after) for before, after in pairs}
    found = [switches.between(before, after) for before, after in distinct.values()]
    return rotation(levelling, switches.architecture, switches.mapping, found)


def _kept(own: Switch, bits: int) -> dict[str, int]:
    """Bits of each weight that are in the buffer with a task, of which memory keeps `bits`.

    `own` writes the task in place of the base. What it writes beyond them is made of base weights,
    which come out of DRAM.
    """
    return {name: weight.bits * min(bits, own.bits) // max(1, own.bits)
            for name, weight in own.weights.items()}  # fmt: skip


def _writes(
    switch: Switch, kept: Mapping[str, int], loading: Loading, *, behind: bool
) -> dict[str, Write]:
    """The writes of a switch, of which `kept` bits are in the buffer."""
    found = {}
    for name, weight in switch.weights.items():
        here = min(weight.bits, kept.get(name, 0)) if behind else weight.bits
        out = weight.bits - here
        found[name] = Write(
            weight.bits, out,
            loading.written_ps(weight.bits, weight.written_s, from_dram=False),
            loading.written_ps(weight.bits, weight.written_s, from_dram=out > 0),
            weight.queued_ps,
        )  # fmt: skip
    return found


def _together(switch: Switch, dram_bits: int, loading: Loading) -> Write:
    time_s = switch.whole.time_s
    return Write(
        switch.bits, dram_bits,
        loading.written_ps(switch.bits, time_s, from_dram=False),
        loading.written_ps(switch.bits, time_s, from_dram=dram_bits > 0),
        {},
    )  # fmt: skip
