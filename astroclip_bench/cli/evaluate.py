"""`astroclip-bench evaluate`, `tasks` and `check-model`."""

from __future__ import annotations

import enum
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from astroclip_bench.cli.common import (
    DataOption,
    DeviceOption,
    ModelArgument,
    RevisionOption,
    ThreadsOption,
    check_writable,
    find_device,
    open_with_progress,
    say,
    set_threads,
    slug,
)
from astroclip_bench.evaluation import DEFAULT_DATASET, DEFAULT_MODEL, DEFAULT_SUITE
from astroclip_bench.progress import Progress, progress_bar


class Dtype(enum.StrEnum):
    """Arithmetic of the embedder."""

    float32 = "float32"
    bf16 = "bf16"


class Format(enum.StrEnum):
    """What is written to standard output."""

    table = "table"
    json = "json"


class ResumeMode(enum.StrEnum):
    """What is done with an earlier result at --out."""

    only_missing = "only-missing"
    always = "always"
    never = "never"


def evaluate_command(
    model: ModelArgument = None,
    data: DataOption = DEFAULT_DATASET,
    revision: RevisionOption = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks, separated by commas; all of the suite if left out.")] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="zero-shot: the core tasks; or full: morphology and others too, probes trained on the embeddings, and "
            "label-efficiency curves."
        ),
    ] = DEFAULT_SUITE,
    device: DeviceOption = "auto",
    dtype: Annotated[Dtype, typer.Option(help="float32 is reproducible; bf16 is faster where hardware has it.")] = (
        Dtype.float32
    ),
    threads: ThreadsOption = None,
    batch_size: Annotated[str, typer.Option(help="Objects embedded at a time, or auto.")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Use N objects of each split; marked incomplete.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Result file; results/MODEL--DATA.json if left out. Outcomes of single objects stand beside it as .parquet.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="What standard output gets.")] = Format.table,
    resume: Annotated[
        ResumeMode,
        typer.Option(
            help="only-missing: keep the scores of a matching result at --out and compute the rest; "
            "always: the same, but fail if there is no matching result; never: start anew, embeddings too."
        ),
    ] = ResumeMode.only_missing,
    floors: Annotated[bool, typer.Option(help="Score the built-in floors beside the model.")] = True,
) -> None:
    """Score a model, with intervals and floors.

    Zero-shot redshift, stellar mass and other properties, and retrieval between modalities. Every score comes with a 95 % interval and stands beside its floors. With no MODEL and no --data, the bundled model
    is scored on the embedded mock survey, which is generated once.

    \b
    Examples:
      astroclip-bench evaluate
      astroclip-bench evaluate --suite full
      astroclip-bench evaluate model.pt --data ./desi_legacy --device cuda
      astroclip-bench evaluate embeddings.parquet --tasks redshift,retrieval
      astroclip-bench evaluate mypackage.models:load --limit 500 --format json
    """
    size = _batch_size(batch_size)
    set_threads(threads)
    names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]

    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.evaluation import FLOORS, evaluate
    from astroclip_bench.files import atomic_path
    from astroclip_bench.results.outcomes import check_replaceable, outcomes_path
    from astroclip_bench.results.record import write_result
    from astroclip_bench.results.table import render
    from astroclip_bench.tasks.registry import select_tasks
    from astroclip_bench.tasks.suites import get_suite

    select_tasks(names)
    get_suite(suite)
    embedder = load_embedder(model or DEFAULT_MODEL, device=find_device(device), dtype=dtype.value)
    dataset = open_with_progress(data, revision)
    path = out or Path("results") / f"{slug(embedder.info.name)}--{slug(dataset.info.name)}.json"
    check_writable(path)
    outcomes = outcomes_path(path)
    check_replaceable(outcomes)
    # Both files or neither: the outcomes replace the earlier ones when the result has been written.
    with atomic_path(outcomes) as new_outcomes:
        result = evaluate(
            embedder,
            dataset,
            tasks=names,
            suite=suite,
            batch_size=size,
            dtype=dtype.value,
            limit=limit,
            floors=FLOORS if floors else (),
            previous=_previous(path, resume),
            must_match=resume is ResumeMode.always,
            outcomes=new_outcomes,
            previous_outcomes=outcomes,
            use_cache=resume is not ResumeMode.never,
            show_progress=_show_progress,
        )
        write_result(result, path)
    if output is Format.json:
        typer.echo(json.dumps(result.to_dict(), indent=2))
    else:
        typer.echo(render(result))
    say(f"written: {path}, and the outcomes of single objects: {outcomes.name}")


def tasks_command(
    output: Annotated[Format, typer.Option("--format", help="What standard output gets.")] = Format.table,
) -> None:
    """List what is measured, by which protocols and metrics, and which protocols belong to which suite.

    \b
    Examples:
      astroclip-bench tasks
      astroclip-bench tasks --format json
    """
    from dataclasses import asdict

    from tabulate import tabulate

    from astroclip_bench.tasks.registry import all_tasks
    from astroclip_bench.tasks.suites import SUITES

    tasks = all_tasks().values()
    if output is Format.json:
        typer.echo(json.dumps([asdict(task) for task in tasks], indent=2))
        return
    rows = [
        (
            task.name,
            "yes" if task.core else "no",
            task.version,
            task.target or "-",
            task.unit or "-",
            ", ".join(task.protocols),
            ", ".join(task.metrics),
        )
        for task in tasks
    ]
    headers = ["task", "core", "version", "target", "unit", "protocols", "metrics (first is primary)"]
    typer.echo(tabulate(rows, headers=headers, tablefmt="simple", maxcolwidths=[None, None, None, None, None, 20, 60]))
    for suite in SUITES.values():
        counts = ", ".join(f"{count:,}" for count in suite.label_counts)
        curve = f"; {', '.join(suite.curves)} also at {counts} labels" if counts else ""
        typer.echo(f"\nSuite {suite.name}: {suite.description}. Protocols: {', '.join(suite.protocols)}{curve}.")


def check_model_command(
    model: ModelArgument = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set to take a sample from; synthetic arrays if left out.", show_default=False),
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Arithmetic of the embedder.")] = Dtype.float32,
) -> None:
    """Check a model against the contract.

    Prints the input that it is given, and the outcome of each check: evaluation mode, determinism over two passes, independence of batch size and order, finite values, shape, and
    independence of labels. Exit code 2 if a check fails.

    \b
    Examples:
      astroclip-bench check-model model.pt
      astroclip-bench check-model mypackage.models:load --data mock-mini
    """
    from astroclip_bench.embedders import check_embedder, describe_inputs, load_embedder

    embedder = load_embedder(model or DEFAULT_MODEL, device=find_device(device), dtype=dtype.value)
    dataset = None if data is None else open_with_progress(data, revision)
    info = embedder.info
    typer.echo(f"{info.name}: {info.dimension}-d, {', '.join(info.modalities)}, digest {info.digest[:16]}")
    for modality, targets in info.targets.items():
        typer.echo(f"predicts from {modality}: {', '.join(targets)}")
    typer.echo(describe_inputs(dataset))
    report = check_embedder(embedder, dataset)
    typer.echo(str(report))


def _show_progress(what: str) -> AbstractContextManager[Progress]:
    return progress_bar(what)


def _batch_size(text: str) -> int | Any:
    from astroclip_bench.errors import UserError

    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--batch-size {text}", "a positive integer, or auto")
    return int(text)


def _previous(path: Path, resume: ResumeMode) -> Any:
    """Return the earlier result at `path` that `resume` asks to go on from, or None."""
    from astroclip_bench.errors import ResultError
    from astroclip_bench.results.record import read_result

    if resume is ResumeMode.never or (resume is ResumeMode.only_missing and not path.exists()):
        return None
    try:
        return read_result(path)
    except ResultError as error:
        if resume is ResumeMode.always:
            raise
        raise ResultError(str(error), todo="remove it, name another --out, or use --resume never") from error
