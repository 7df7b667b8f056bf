"""Photometric redshifts against the number of labels: fine-tuned, by a linear probe, and without pre-training.

The comparison of Hayat et al. 2021 (ApJL 911, L33, section 4.2). Every score has the interval of the benchmark: resamples
of whole sky pixels of the test split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.progress import Progress
    from astroclip_bench.results.record import Result, Score

    Show = Callable[[str], AbstractContextManager[Progress]]

TASK, METRICS = "redshift", ("r2", "sigma_nmad")
TUNED, SCRATCH, PROBE = "fine-tuned", "supervised from scratch", "linear probe, frozen features"
LINEAR, DIRECT = "linear", "direct"
"""Protocols: a ridge regression on the embeddings, and what a model itself predicts."""

Points = dict[int, "Score"]
"""Number of labels -> score."""


@dataclass(frozen=True)
class Curves:
    """Metric -> line -> points, and the results of both ways of training with all labels by line."""

    points: Mapping[str, Mapping[str, Points]]
    results: Mapping[str, Path]


def label_curves(
    model: Path,
    dataset: BenchDataset,
    recipe: str,
    counts: Sequence[int],
    out: Path,
    device: str,
    show: Show,
    quiet: bool,
) -> Curves:
    """Train and score at every number of labels, done ones left out.

    Parameters
    ----------
    model
        Model file of the pre-trained encoder.
    recipe
        Name of the recipe of the supervised stage.
    counts
        Numbers of labels beside all of them; those that the train split does not have are left out.
    """
    everything = dataset.splits["train"].rows
    sizes = [*(count for count in counts if count < everything), everything]
    points: dict[str, dict[str, Points]] = {metric: {} for metric in METRICS}
    results = {}
    for line, start in ((TUNED, model), (SCRATCH, None)):
        for size in sizes:
            path = train_on(dataset, recipe, size, start, out, device, show, quiet)
            results[line] = path
            for metric, score in _scores(path, DIRECT).items():
                points[metric].setdefault(line, {})[size] = score[everything]
    for metric, score in _scores(probe(model, dataset, out, device, show), LINEAR).items():
        points[metric][PROBE] = score
    return Curves(points, results)


def train_on(
    dataset: BenchDataset, recipe: str, size: int, start: Path | None, out: Path, device: str, show: Show, quiet: bool
) -> Path:
    """Train on `size` labelled galaxies, and as many to follow the training by; return the result file.

    The folder's name tells the weights that were started from.
    """
    from astroclip_bench.embedders import load_embedder, read_model
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.scored import RESULT
    from baselines.astroclip.train import run_recipe

    name = "scratch" if start is None else f"tuned-{read_model(start).digest[:8]}"
    folder = out / f"{name}-{size}"
    overrides = [f"data.limit={size}"]
    if start is not None:
        overrides.append(f"stages.photoz.start.image={start}")
    models = run_recipe(read_recipe(recipe, overrides), dataset, folder, quiet=quiet)
    return scored(load_embedder(str(models["photoz"]), device=device), dataset, folder / RESULT, "zero-shot", show)


def probe(model: Path, dataset: BenchDataset, out: Path, device: str, show: Show) -> Path:
    """Score ridge regressions on the frozen features, at several numbers of labels; return the result file."""
    from astroclip_bench.embedders import load_embedder

    return scored(load_embedder(str(model), device=device), dataset, out / "probe.json", "full", show)


def scored(embedder: object, dataset: BenchDataset, path: Path, suite: str, show: Show) -> Path:
    """Score the redshift alone and write the result; what it holds already is kept."""
    from astroclip_bench.evaluation import evaluate
    from astroclip_bench.results.record import read_result, write_result

    previous = read_result(path) if path.exists() else None
    result = evaluate(
        embedder,  # type: ignore[arg-type]
        dataset,
        tasks=[TASK],
        suite=suite,
        floors=(),
        previous=previous,
        show_progress=show,
    )
    write_result(result, path)
    return path


def _scores(path: Path, protocol: str) -> dict[str, Points]:
    """Return metric -> number of labels -> score on all test objects."""
    from astroclip_bench.results.record import ALL, LABELS, read_result

    result: Result = read_result(path)
    everything = result.dataset["splits"]["train"]["rows"]
    found: dict[str, Points] = {}
    for metric in METRICS:
        rows = result.find(task=TASK, protocol=protocol, metric=metric)
        counts = {
            row: everything if row.group == ALL else int(row.group.removeprefix(LABELS))
            for row in rows
            if (row.group == ALL or row.group.startswith(LABELS)) and row.value is not None
        }
        found[metric] = dict(sorted((count, row) for row, count in counts.items()))
    return found
