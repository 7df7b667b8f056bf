"""HubbleCLIP from data to scores: the base model, its fine-tuning and the paper's controls, and the paper's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from baselines.hubbleclip.searches import IMAGE, TEXT, Space, accuracy, mean_cosines, open_space
from baselines.hubbleclip.variants import BASE, CHANGES, FINE_TUNED, on_survey_images, variant
from baselines.systems.system import Outcome, Scale

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.progress import Progress
    from baselines.hubbleclip.figures import Described, Found

    Show = Callable[[str], AbstractContextManager[Progress]]

RECIPES: Mapping[Scale, str] = {"mini": "hubbleclip-mini", "published": "hubbleclip"}
STAGES = "stages"

GALAXY_QUERIES = (
    "nearby spiral galaxies",
    "distant massive red galaxies",
    "edge-on disk galaxies",
    "merging galaxies",
    "dwarf galaxies",
    "elliptical galaxies, old and dead",
    "very blue starburst galaxies",
    "faint and very compact targets",
    "bright galaxies, large on the sky",
    "a study of how star formation stops",
)
"""For images of a survey of galaxies."""
HUBBLE_QUERIES = (
    "globular cluster",
    "dwarf galaxy",
    "SN1987A",
    "strong lensing",
    "galaxy clusters",
    "interstellar medium",
    "dark matter",
    "spiral galaxies",
    "lyman alpha",
    "comets",
)
"""Those of the paper, for pictures of the Hubble archive."""
N_FOUND, N_DESCRIBED, N_CLASSES = 6, 6, 5


def reproduce(dataset: BenchDataset, out: Path, *, scale: Scale, device: str = "cpu", quiet: bool = False) -> Outcome:
    """Train and score the base model, its fine-tuning and the controls; see `Outcome`."""
    from astroclip_bench.progress import progress_bar

    show = partial(progress_bar, quiet=quiet)
    models = train_variants(dataset, out, scale, quiet)
    results = {name: score(path, dataset, path.with_name("result.json"), device, show) for name, path in models.items()}
    spaces = {name: open_space(path, dataset, device) for name, path in models.items()}
    scores: dict[str, float] = {}
    for name, space in spaces.items():
        own, other = mean_cosines(space, dataset)
        scores |= {f"mean cosine with the own caption, {name}": own, f"mean cosine with others, {name}": other}
    return Outcome(results, draw(dataset, spaces, out / "figures"), scores)


def train_variants(dataset: BenchDataset, out: Path, scale: Scale, quiet: bool) -> dict[str, Path]:
    """Return the model file of the base model and of each variant; the base is trained once."""
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.train import run_recipe

    recipe = read_recipe(RECIPES[scale])
    if dataset.modalities[IMAGE].unit == "nmgy":
        recipe = on_survey_images(recipe)
    models: dict[str, Path] = {}
    for name in CHANGES:
        folder = out / name.replace(" ", "-")
        stages = run_recipe(variant(recipe, name), dataset, folder, quiet=quiet, shared=out / STAGES)
        models |= {BASE: stages[BASE]} if BASE in stages else {}
        models[name] = folder / "model.pt"
    return models


def score(model: Path, dataset: BenchDataset, path: Path, device: str, show: Show) -> Path:
    """Score the searches of a model, and the classes it finds by prompts; scores that `path` holds are kept."""
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.evaluation import evaluate
    from astroclip_bench.results.record import read_result, write_result

    result = evaluate(
        load_embedder(str(model), device=device),
        dataset,
        tasks=["retrieval", *prompt_tasks(dataset)],
        floors=("random-projection",),
        previous=read_result(path) if path.exists() else None,
        show_progress=show,
    )
    write_result(result, path)
    return path


def prompt_tasks(dataset: BenchDataset) -> list[str]:
    """Return the tasks that ask by texts for a label of the data set."""
    from astroclip_bench.tasks.registry import all_tasks

    return [name for name, task in all_tasks().items() if task.prompts and task.target in dataset.labels]


def draw(dataset: BenchDataset, spaces: Mapping[str, Space], folder: Path) -> tuple[Path, ...]:
    """Draw the paper's figures into a folder, and return the PNG files."""
    from astroclip_bench.figure_style import save_figure
    from baselines.hubbleclip.figures import data_title, draw_accuracy, draw_described, draw_found

    folder.mkdir(parents=True, exist_ok=True)
    modality, where = dataset.modalities[IMAGE], data_title(dataset.info)
    searches = {name: accuracy(space, dataset) for name, space in spaces.items()}
    main = {name: searches[name] for name in (BASE, FINE_TUNED)}
    two = {name: spaces[name] for name in (FINE_TUNED, BASE)}
    queries = GALAXY_QUERIES if modality.unit == "nmgy" else HUBBLE_QUERIES
    figures = {
        "figure-1": draw_accuracy(main, f"HubbleCLIP on {where}: retrieval accuracy"),
        "figure-2": draw_accuracy(searches, f"HubbleCLIP on {where}: retrieval accuracy of all variants"),
        "figure-4": draw_found(
            found(dataset, spaces[BASE], queries), modality, f"{where}: images that texts find, base model"
        ),
        "figure-5": draw_found(
            found(dataset, spaces[FINE_TUNED], queries), modality, f"{where}: images that texts find, fine-tuned model"
        ),
    }
    if prompt_tasks(dataset):
        figures["figure-3"] = draw_described(
            described(dataset, two), modality, f"{where}: what is closest to an image, its own in brackets"
        )
    return tuple(save_figure(figures[name], folder / name)[0] for name in sorted(figures))


def found(dataset: BenchDataset, space: Space, queries: Sequence[str]) -> list[Found]:
    """Return the test images closest to each query."""
    from astroclip_bench.analysis.gallery import read_members
    from baselines.hubbleclip.figures import Found

    view = dataset.splits["test"]
    best = np.argsort(-(space.texts(dataset, list(queries)) @ space.vectors[IMAGE].T), axis=1)[:, :N_FOUND]
    images = read_members(view, dataset.modalities[IMAGE], best.ravel().tolist())
    words = _words(dataset)
    return [
        Found(query, [images[row] for row in rows], [words[row] for row in rows])
        for query, rows in zip(queries, best.tolist(), strict=True)
    ]


def described(dataset: BenchDataset, spaces: Mapping[str, Space]) -> list[Described]:
    """Return some test galaxies, chosen by hash, with the classes and science cases closest to each."""
    from astroclip_bench.analysis.gallery import read_members
    from astroclip_bench.datasets.views import lowest_hashes
    from astroclip_bench.tasks.registry import all_tasks
    from baselines.hubbleclip.figures import Described

    view, tasks = dataset.splits["test"], [all_tasks()[name] for name in prompt_tasks(dataset)]
    words = _words(dataset)
    rows = lowest_hashes(view.object_ids, N_DESCRIBED).tolist()
    images, captions = (
        read_members(view, dataset.modalities[IMAGE], rows),
        view.column(dataset.modalities[TEXT].columns[0]),
    )
    prompts = [prompt for task in tasks for prompt in task.prompts]
    classes = np.array([name for task in tasks for name in task.classes])
    labels = [view.column(str(task.target)) for task in tasks]
    closest = {name: spaces[name].vectors[IMAGE][rows] @ spaces[name].texts(dataset, prompts).T for name in spaces}
    return [
        Described(
            images[row],
            words[row],
            captions[row],
            {
                name: [
                    f"[{found}]" if found in {label[row] for label in labels} else found
                    for found in classes[np.argsort(-cosines[place])[:N_CLASSES]].tolist()
                ]
                for name, cosines in closest.items()
            },
        )
        for place, row in enumerate(rows)
    ]


def _words(dataset: BenchDataset) -> list[str]:
    """Return what each test object is in a word: the label that the first task of prompts asks for, if there is one."""
    from astroclip_bench.tasks.registry import all_tasks

    view, names = dataset.splits["test"], prompt_tasks(dataset)
    labels = view.column(str(all_tasks()[names[0]].target)) if names else [""] * view.rows
    return [str(label or "") for label in labels]
