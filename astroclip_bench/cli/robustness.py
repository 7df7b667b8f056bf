"""`astroclip-bench robustness`."""

from __future__ import annotations

import json
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
from astroclip_bench.evaluation import DEFAULT_DATASET, DEFAULT_MODEL
from astroclip_bench.progress import progress_bar


def robustness_command(
    model: ModelArgument = None,
    data: DataOption = DEFAULT_DATASET,
    out: Annotated[
        Path | None, typer.Option(help="File; results/MODEL--DATA-robustness.json if left out.", show_default=False)
    ] = None,
    perturbations: Annotated[
        str | None,
        typer.Option(help="Names, separated by commas; all of them if left out.", metavar="A,B", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use N objects of each split.")] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Score a model on worse observations than its reference set.

    Test objects with added noise, blur, dust, missing pixels, a missing band or a tilted calibration are asked of a clean train split; faint galaxies of a bright one. Redshift and stellar mass by knn16, and recall@10, each with a 95 % interval. Run again, it goes on with the levels that the file lacks.

    \b
    Perturbations:
      noise, psf, dust, missing-pixels, tilt, missing-BAND, population-shift

    \b
    Examples:
      astroclip-bench robustness
      astroclip-bench robustness model.pt --data ./desi_legacy --device cuda
      astroclip-bench robustness model.pt --perturbations noise,missing-z --limit 500
    """
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.files import write_json
    from astroclip_bench.robustness import measure_robustness

    set_threads(threads)
    names = None if perturbations is None else [name.strip() for name in perturbations.split(",") if name.strip()]
    embedder = load_embedder(model or DEFAULT_MODEL, device=find_device(device))
    dataset = open_with_progress(data, revision)
    path = out or Path("results") / f"{slug(embedder.info.name)}--{slug(dataset.info.name)}-robustness.json"
    check_writable(path)
    record = measure_robustness(
        embedder,
        dataset,
        names=names,
        limit=limit,
        previous=_previous(path),
        save=lambda found: write_json(path, found),
        show_progress=progress_bar,
    )
    typer.echo(render(record))
    say(f"written: {path}")


def render(record: dict[str, Any]) -> str:
    """Return a table with a row for each perturbation, level and query modality."""
    from tabulate import tabulate

    rows: dict[tuple[str, str, float], dict[str, Any]] = {}
    for point in record["curves"]:
        key = (point["query"], point["perturbation"], point["level"])
        row = rows.setdefault(
            key, {"query": key[0], "perturbation": key[1], "level": f"{point['level']:g} {point['unit']}"}
        )
        error = "" if point["standard_error"] is None else f" ± {point['standard_error']:.3f}"
        value = "-" if point["value"] is None else f"{point['value']:.3f}{error}"
        row[f"{point['task']} {point['metric']}\n{point['reference']} ->"] = value
    order = list(record["perturbations"])
    table = [rows[key] for key in sorted(rows, key=lambda key: (key[0], order.index(key[1]), key[2]))]
    dataset = record["dataset"]
    simulated = "SIMULATED data; " if dataset["simulated"] else ""
    limited = "" if record["options"]["limit"] is None else f" INCOMPLETE: --limit {record['options']['limit']}"
    heading = (
        f"{record['embedder']['name']} on {dataset['name']} {dataset['version']} ({simulated}"
        f"{dataset['splits']['train']['rows']:,} train / {dataset['splits']['test']['rows']:,} test){limited}"
    )
    left_out = [f"{name}: not applicable, {reason}" for name, reason in record["not_applicable"].items()]
    return "\n\n".join([heading, tabulate(table, headers="keys", tablefmt="simple", missingval="-"), *left_out])


def _previous(path: Path) -> dict[str, Any] | None:
    from astroclip_bench.errors import ResultError

    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["curves"], list):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{path} is no robustness record", todo="remove it, or name another --out") from error
    return dict(found)
