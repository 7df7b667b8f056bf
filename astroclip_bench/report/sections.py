"""The sections of a report, in order: what each shows, and how to make what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.report import curves, maps, overview, predictions, tables
from astroclip_bench.report.material import Found, Material, published
from astroclip_bench.report.parts import SHOWN_TASKS, data_name, pair_name, primary_scores, task_title, with_interval
from astroclip_bench.report.tables import Table
from astroclip_bench.results.table import notes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCHES, OTHER_GALLERIES = "retrieval-", ("clusters-", "outliers-")
"""Beginnings of the names of the pictures that `analyse` leaves."""


@dataclass(frozen=True)
class Drawn:
    """A figure to be drawn: the name of its files, who draws it, its caption, and what it shows in words."""

    stem: str
    draw: Callable[[], Figure | None]
    caption: str
    alt: str


@dataclass(frozen=True)
class Picture:
    """A picture that is there already."""

    path: Path
    caption: str
    alt: str
    closed: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page. `missing` says in one line how to make what it would show."""

    anchor: str
    title: str
    text: Sequence[str] = ()
    figures: Sequence[Drawn] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    missing: str = ""


def sections(material: Material) -> list[Section]:
    """Return the sections of a report."""
    return [make(material) for make in (_scores, _predictions, _calibration, _retrieval, _dimension, _labels)] + [
        make(material) for make in (_robustness, _space, _provenance)
    ]


def _scores(material: Material) -> Section:
    compared = [tables.models_table(material), tables.baselines_table(material), tables.published_table()]
    figure = Drawn(
        "overview",
        lambda: overview.draw_overview(material),
        "R² with 95 % intervals, by the modality that is asked about. An arrow at the left edge stands for a lower value. "
        "Baselines and floors saw the same data; hollow diamonds did NOT: they are published figures of other data sets, "
        "splits and protocols, and are not ranked.",
        f"Dot plot. {_in_words(material, SHOWN_TASKS)} All values stand in the tables below.",
    )
    text = [*notes(material.result), published()["about"]]
    found = [table for table in compared if table is not None]
    return Section("scores", "Scores", text, [figure], tables=[*tables.headline_tables(material.result), *found])


def _predictions(material: Material) -> Section:
    figures = [
        Drawn(
            f"predictions-{task}",
            lambda task=task: predictions.draw_predictions(material, task),  # type: ignore[misc]
            f"{task_title(task)}: predicted against true, and what is left (below), for each reference → query. Colour: "
            "galaxies a cell. Dashed: equality. Orange: running median, and the central 68 % (dotted). What lies beyond "
            "the axes stands at their edge.",
            _in_words(material, [task]),
        )
        for task in predictions.AXES
    ]
    return Section("predictions", "Predicted against true", (), figures, missing=_outcomes_missing(material))


def _calibration(material: Material) -> Section:
    figure = Drawn(
        "calibration",
        lambda: predictions.draw_calibration(material, "redshift"),
        "Where the true redshift falls within the distribution that the neighbours give (probability integral "
        "transform). Flat: calibrated. U-shaped: too narrow. Domed: too wide. Sloped: biased. Grey: where 95 % of the "
        "bins of a calibrated prediction lie.",
        "Histograms of the probability integral transform of redshift, one for each pair of modalities.",
    )
    return Section("calibration", "Calibration", (), [figure], missing=_outcomes_missing(material))


def _retrieval(material: Material) -> Section:
    figure = Drawn(
        "retrieval",
        lambda: curves.draw_returned(material),
        "Share of searches that find their own galaxy within the returned fraction of the test pool. Points: scores with "
        f"95 % intervals. {published()['retrieval_about']}",
        _in_words(material, ["retrieval"]),
    )
    caption = (
        "Searches at even steps of rank, from the best found to the worst. Orange: the query's own galaxy, with its rank; "
        "blue: what else came first. Dotted: lines at the redshift of the query."
    )
    pictures = _gallery(material, (SEARCHES,), caption)
    missing = "" if pictures else _missing(material.analysis, tables.commands(material)[1][1])
    return Section("retrieval", "Retrieval", (), [figure], pictures, missing=missing)


def _dimension(material: Material) -> Section:
    title = "Score against dimension"
    if not material.sweep.content:
        todo = "astroclip-bench sweep mini stages.align.dimension=8,16,32,64,128,256,512 --out sweep"
        return Section("dimension", title, missing=f"No sweep was named. Run: {todo}; then add --sweep sweep")
    data = next(iter(material.sweep.content.values())).dataset
    figure = Drawn(
        "dimension",
        lambda: curves.draw_dimension(material.sweep.content),
        f"One recipe at several dimensions of the embedding, on {data_name(data)}, with 95 % intervals.",
        "Lines of R² of redshift and stellar mass, and of recall at 10, against embedding dimension.",
    )
    return Section("dimension", title, (), [figure])


def _labels(material: Material) -> Section:
    figure = Drawn(
        "labels",
        lambda: curves.draw_labels(material),
        "R² of the test galaxies against the number of train labels that a probe is given: the mean over three draws of "
        "them, with 95 % intervals. Lower than −0.3 is not shown.",
        "Lines of R² of redshift and stellar mass against the number of labels, one panel for each pair of modalities.",
    )
    command = f"{tables.commands(material)[0][1].replace(' --suite full', '')} --suite full"
    return Section("labels", "Label efficiency", (), [figure], missing=f"Not scored. Run: {command}")


def _robustness(material: Material) -> Section:
    title = "Robustness"
    record = material.robustness.content
    if not record:
        return Section("robustness", title, missing=_missing(material.robustness, tables.commands(material)[2][1]))
    names = list(dict.fromkeys(point["task"] for point in record["curves"]))
    figures = [
        Drawn(
            f"robustness-{name}",
            lambda name=name: curves.draw_robustness(record, name),  # type: ignore[misc]
            f"{task_title(name)}: test galaxies observed worse are asked of a clean train split; 0 is the clean score. "
            "Lower than −0.3 is not shown.",
            f"Lines of the score of {task_title(name)} against the level of each perturbation.",
        )
        for name in names
    ]
    rows = [[name, item["description"], item["unit"]] for name, item in record["perturbations"].items()]
    described = Table("Perturbations", ["name", "what is done", "unit of the level"], rows, closed=True, left=3)
    limit = record.get("options", {}).get("limit")
    text = [] if limit is None else [f"INCOMPLETE: made with --limit {limit}."]
    return Section("robustness", title, text, figures, tables=[described])


def _space(material: Material) -> Section:
    title = "Embedding space"
    if not material.analysis.content:
        missing = _missing(material.analysis, tables.commands(material)[1][1])
        return Section("space", title, missing=missing)
    figure = Drawn(
        "umap",
        lambda: maps.draw_maps(material, _read_map(material)),
        "UMAP of each embedding space; joint is the mean of an object's vectors. Distances on the map are no measure.",
        "Scatter plots of the embedding spaces, coloured by redshift and by stellar mass.",
    )
    pictures = _gallery(material, OTHER_GALLERIES, "Drawn by lot from each part.", closed=True)
    return Section("space", title, (), [figure], pictures, tables=_space_tables(material.analysis.content))


def _space_tables(analysis: dict[str, Any]) -> list[Table]:
    """Return the diagnostics of each modality, and of each two of them."""
    found = analysis["diagnostics"]
    modalities = {
        name: {
            **{key: value for key, value in row.items() if key != "hubness"},
            **{f"hubness {key}": value for key, value in row["hubness"].items()},
        }
        for name, row in found["modalities"].items()
    }
    pairs = {
        f"{row['one']}, {row['other']}": {key: row[key] for key in row if key not in ("one", "other")}
        for row in found["pairs"]
    }
    return [
        _numbers("Each space", "modality", modalities),
        *([_numbers("Two spaces", "modalities", pairs)] if pairs else []),
    ]


def _numbers(caption: str, head: str, rows: dict[str, dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    cells = [
        [name, *("–" if row.get(key) is None else f"{row[key]:.3g}" for key in columns)] for name, row in rows.items()
    ]
    return Table(caption, [head, *(column.replace("_", " ") for column in columns)], cells)


def _provenance(material: Material) -> Section:
    text = ["Scores of this report can be computed again from what is named here; equal digests mean equal content."]
    return Section("provenance", "Provenance", text, tables=tables.provenance_tables(material))


def _read_map(material: Material) -> Any:
    import pandas as pd

    return pd.read_parquet(material.analysis.path / "umap.parquet")


def _gallery(material: Material, starts: tuple[str, ...], caption: str, closed: bool = False) -> list[Picture]:
    """Return the pictures of an analysis whose names begin so; of several spaces, those of the last."""
    names = [Path(name) for name in (material.analysis.content or {}).get("files", [])]
    chosen = [name for name in names if name.suffix == ".png" and name.name.startswith(starts)]
    if closed and chosen:
        space = list(material.analysis.content["spaces"])[-1]
        chosen = [name for name in chosen if f"-{space}-" in name.name]
    return [
        Picture(
            material.analysis.path / name, f"{name.stem.replace('-', ' ').capitalize()}. {caption}", name.stem, closed
        )
        for name in chosen
        if not name.is_absolute() and ".." not in name.parts and (material.analysis.path / name).is_file()
    ]


def _in_words(material: Material, tasks: Sequence[str]) -> str:
    """Return the scores of some tasks as a sentence each, for those who do not see the figure."""
    sentences = []
    for task in tasks:
        scores = primary_scores(material.result.scores, task)
        values = [f"{pair_name((score.reference, score.query))} {with_interval(score)}" for score in scores]
        if values:
            sentences.append(f"{task_title(task)}, {scores[0].metric}: {'; '.join(values)}.")
    return " ".join(sentences)


def _missing(found: Found, command: str) -> str:
    why = "Not made yet." if found.reason in ("", "missing") else f"{found.reason}."
    return f"{why} Run: {command}"


def _outcomes_missing(material: Material) -> str:
    """Return how to get outcomes of single objects, or why they tell nothing here."""
    if material.outcomes.reason:
        return f"The result {material.outcomes.reason}. Run: {tables.commands(material)[0][1]}"
    return "The data set or the model does not allow it: see the notes on what is not applicable."
