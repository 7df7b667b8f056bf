"""The first AstroCLIP from data to scores: both pre-trainings, the alignment, and a search from each side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.files import write_json
from baselines.systems.system import Outcome, Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Result

RECIPES: Mapping[Scale, str] = {"mini": "astroclip-v1-mini", "published": "astroclip-v1"}
TITLES: Mapping[str, str] = {
    "image": "images alone: MoCo v2",
    "spectrum": "spectra alone: next slice",
    "align": "aligned, 128 dimensions",
}
"""Stage of the recipe -> what its model is."""
COMPARED = (("redshift", "r2"), ("stellar-mass", "r2"))
SPLIT = "test"


def reproduce(dataset: BenchDataset, out: Path, *, scale: Scale, device: str = "cpu", quiet: bool = False) -> Outcome:
    """Train the stages, score the model of each, and draw; see `Outcome`."""
    from astroclip_bench.analysis.retrieved import draw_searches
    from astroclip_bench.analysis.subject import embed_subject
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.scored import RESULT, score_model
    from baselines.astroclip.train import run_recipe

    show = partial(progress_bar, quiet=quiet)
    models = run_recipe(read_recipe(RECIPES[scale]), dataset, out, quiet=quiet)
    paths = {stage: model.with_name(RESULT) for stage, model in models.items()}
    results = {
        stage: score_model(models[stage], dataset, path, device=device, show_progress=show)
        for stage, path in paths.items()
    }
    folder = out / "figures"
    draw_scores(results, folder / "figure-1.png")
    subject = embed_subject(load_embedder(str(models["align"]), device=device), dataset, SPLIT, None, show)
    data = f"{dataset.info.name}{' (SIMULATED data)' if dataset.info.simulated else ''}"
    drawn = draw_searches(subject, dataset, f"the first AstroCLIP on {data}", folder)
    figures = [folder / "figure-1.png"]
    for number, name in enumerate(drawn, 2):
        figures.append((folder / name).rename(folder / f"figure-{number}.png"))
    scores = final_losses({stage: model.parent for stage, model in models.items()})
    write_json(out / "scores.json", scores)
    return Outcome({TITLES[stage]: path for stage, path in reversed(paths.items())}, tuple(figures), scores)


def draw_scores(results: Mapping[str, Result], path: Path) -> None:
    """Draw the zero-shot scores of each stage's model, with their intervals and the floor of photometry."""
    from astroclip_bench.analysis.gallery import save_picture
    from astroclip_bench.figure_style import GUIDE, new_figure, set_title, styled
    from astroclip_bench.results.record import ALL
    from astroclip_bench.tasks.registry import all_tasks

    first = next(iter(results.values()))
    with styled("train"):
        figure = new_figure(2.7)
        panels = figure.subplots(1, len(COMPARED), sharey=True)
        for axis, (task, metric) in zip(panels, COMPARED, strict=True):
            _draw_task(axis, results, task, metric)
            wanted = (task, metric, ALL, all_tasks()[task].protocols[0])
            for row in first.floors.get("photometry", []):
                if (row.task, row.metric, row.group, row.protocol) == wanted and row.value is not None:
                    axis.axvline(row.value, color=GUIDE, lw=0.8, ls="--", label="magnitudes and colours")
            axis.set(xlabel="R², zero-shot, with 95 %", title=task.replace("-", " "))
            axis.grid()
        panels[0].invert_yaxis()
        lines, labels = panels[0].get_legend_handles_labels()
        by_label = dict(zip(labels, lines, strict=True))
        figure.legend(by_label.values(), by_label.keys(), loc="outside lower center", ncols=4)
        kind = "SIMULATED data" if first.dataset["simulated"] else "real data"
        set_title(figure, f"The first AstroCLIP on {first.dataset['name']} ({kind}): reference → query")
        save_picture(figure, path)


def _draw_task(axis: Axes, results: Mapping[str, Result], task: str, metric: str) -> None:
    """Draw one row for each pair of modalities of each stage."""
    from astroclip_bench.figure_style import COLOURS, MARKERS
    from baselines.astroclip.scored import compared_scores, pair_name

    names: list[str] = []
    for number, (stage, result) in enumerate(results.items()):
        style: dict[str, Any] = {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": "", "capsize": 2}
        for score in compared_scores(result):
            if (score.task, score.metric) == (task, metric) and score.value is not None:
                low, high = (end if end is not None else score.value for end in (score.low, score.high))
                bars = [[score.value - low], [high - score.value]]
                axis.errorbar([score.value], [len(names)], xerr=bars, label=TITLES[stage], **style)
                names.append(pair_name(score).replace("->", "→"))
    axis.set_yticks(range(len(names)), names)


def final_losses(folders: Mapping[str, Path]) -> dict[str, float]:
    """Return the last validation loss of each stage that took one, from its log."""
    import json

    found = {}
    for stage, folder in folders.items():
        entries = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = [entry["validation_loss"] for entry in entries if "validation_loss" in entry]
        if losses:
            found[f"validation loss, {TITLES[stage]}"] = float(losses[-1])
    return found
