"""`astroclip-bench analyse`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from astroclip_bench.cli.common import (
    DataOption,
    DeviceOption,
    ModelArgument,
    RevisionOption,
    find_device,
    open_with_progress,
    say,
    slug,
)
from astroclip_bench.evaluation import DEFAULT_DATASET, DEFAULT_MODEL
from astroclip_bench.progress import progress_bar

if TYPE_CHECKING:
    from astroclip_bench.embedders import Embedder

SHOWN_OUTLIERS = 5


def analyse_command(
    model: ModelArgument = None,
    data: DataOption = DEFAULT_DATASET,
    out: Annotated[
        Path | None, typer.Option(help="Folder; results/MODEL--DATA-analysis if left out.", show_default=False)
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL2", help="Compare with the spaces of another model.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Objects analysed: train, validation or test.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Use N objects, chosen by hash of their ids.")] = None,
    eps: Annotated[
        float, typer.Option(min=0.0, help="Reach of an island on the map; 0.2 is for some 20,000 galaxies.")
    ] = 0.2,
    minimum: Annotated[int, typer.Option(min=1, help="Objects within reach that make an island.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the map, the clusters and the pictures.")] = 0,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Look at a model's embedding space: diagnostics, map, clusters, outliers.

    Writes analysis.json, umap.parquet, outliers.parquet and pictures of the maps, and of what clusters, islands (DBSCAN on the UMAP plane) and outliers look like. No score comes from it. Needs the extra [report].

    \b
    Examples:
      astroclip-bench analyse
      astroclip-bench analyse model.pt --data ./desi_legacy --out analysis
      astroclip-bench analyse model.pt --against photometry --split validation
    """
    from astroclip_bench.analysis.analyse import analyse
    from astroclip_bench.embedders import load_embedder

    where = find_device(device)
    embedder = load_embedder(model or DEFAULT_MODEL, device=where)
    other: Embedder | None = None if against is None else load_embedder(against, device=where)
    dataset = open_with_progress(data, revision)
    folder = out or Path("results") / f"{slug(embedder.info.name)}--{slug(dataset.info.name)}-analysis"
    analysis = analyse(
        embedder,
        dataset,
        folder,
        split=split,
        against=other,
        limit=limit,
        eps=eps,
        minimum=minimum,
        seed=seed,
        show_progress=progress_bar,
    )
    typer.echo(_render(analysis))
    say(f"written: {folder}")


def _render(analysis: dict[str, Any]) -> str:
    from tabulate import tabulate

    dataset, model = analysis["dataset"], analysis["embedder"]
    simulated = "SIMULATED data; " if dataset["simulated"] else ""
    heading = f"{model['name']} ({model['dimension']}-d) on {dataset['name']} {dataset['version']} ({simulated}{dataset['rows']:,} {dataset['split']})"
    tables = [
        heading,
        *(tabulate(rows, headers="keys", tablefmt="simple", floatfmt=".3g") for rows in _tables(analysis) if rows),
    ]
    return "\n\n".join(tables)


def _tables(analysis: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the rows of each table shown: modalities, their pairs, two models, spaces, outliers."""
    found = analysis["diagnostics"]
    modalities = [
        {"modality": name, **{key: value for key, value in row.items() if key != "hubness"}}
        | {f"hubness {key}": value for key, value in row["hubness"].items()}
        for name, row in found["modalities"].items()
    ]
    other = (analysis["against"] or {}).get("name")
    models = [{"against": other, **row} for row in found["models"]]
    spaces = [
        {
            "space": name,
            "k-means k": space["k"],
            "silhouette": space["silhouettes"][str(space["k"])],
            "islands": sum(1 for part in space["islands"] if part["part"] is not None and part["part"] >= 0),
            "in none": sum(part["n"] for part in space["islands"] if part["part"] == -1),
            **{f"eta² of {label}": value for label, value in list(space["explained"]["clusters"].items())[:1]},
        }
        for name, space in analysis["spaces"].items()
    ]
    wanted = ("object_id", "rank", "distance", "redshift", "redshift_of_neighbours", "redshift_deviation")
    outliers = [
        {"space": name, **{key: row[key] for key in wanted}}
        for name, rows in analysis["outliers"].items()
        for row in rows[:SHOWN_OUTLIERS]
    ]
    return [modalities, found["pairs"], models, spaces, outliers]
