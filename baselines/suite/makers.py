"""How baselines are made: each function leaves its files in a folder and returns what `load_embedder` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.files import atomic_path
from astroclip_bench.progress import Progress, progress_bar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from astroclip_bench.datasets import BenchDataset

MODEL, PREDICTIONS = "model.pt", "predictions.parquet"
FIRST_SEED = 42
"""Seed 0 is the one that the recipes name."""
CACHED_BYTES = 3_000_000_000
"""Larger splits are read from disk while a network is trained."""


@dataclass(frozen=True)
class Job:
    """What a maker is given: the data, the labels to learn, the row's settings, the seed, and where to write."""

    dataset: BenchDataset
    targets: tuple[str, ...]
    settings: Mapping[str, Any]
    seed: int
    folder: Path
    quiet: bool = False

    def progress(self, what: str) -> AbstractContextManager[Progress]:
        """Give a progress bar for a part of the work."""
        return progress_bar(f"{self.folder.parent.name}, seed {self.seed}: {what}", quiet=self.quiet)


def load(job: Job) -> str:
    """Name a model that needs no making."""
    return str(job.settings["model"])


def average(job: Job) -> str:
    """Predict the mean of each label; the modality it stands under, the first, is not looked at."""
    from baselines.classical import averages

    modality = next(iter(job.dataset.modalities))
    return write_predictions(job, modality, averages.predict_labels(job.dataset, job.targets))


def boost(job: Job) -> str:
    """Fit gradient-boosted trees."""
    from baselines.classical import boosting

    settings = boosting.BoostingSettings(**job.settings)
    found = boosting.predict_labels(job.dataset, job.targets, settings, FIRST_SEED + job.seed)
    return write_predictions(job, boosting.MODALITY, found)


def fit_templates(job: Job) -> str:
    """Make templates and fit redshifts with them."""
    from baselines.classical import templates

    with job.progress("redshifts") as report:
        found = templates.predict_labels(job.dataset, job.targets, templates.TemplateSettings(**job.settings), report)
    return write_predictions(job, templates.MODALITY, found)


def principal_components(job: Job) -> str:
    """Fit principal components."""
    from astroclip_bench.embedders import save_model
    from baselines.classical import pca

    modality, components, pixels = (job.settings[key] for key in ("modality", "components", "pixels"))
    with job.progress("components") as report:
        module = pca.fit(job.dataset, modality, components, pixels, report)
    path = save_model(job.folder / MODEL, pca.ARCHITECTURE, module.version, module.config, module.state_dict())
    return str(path)


def train(job: Job) -> str:
    """Run a supervised recipe of one stage on the labels and bands that the data set has."""
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.train import run_recipe

    recipe = read_recipe(job.settings["recipe"], supervised_overrides(job))
    run_recipe(recipe, job.dataset, job.folder, quiet=job.quiet)
    return str(job.folder / MODEL)


def initialise(job: Job) -> str:
    """Write the encoder of a supervised recipe with the weights of its seed, not trained."""
    import torch

    from astroclip_bench.embedders import save_model
    from baselines.astroclip.architecture import ARCHITECTURE, build
    from baselines.astroclip.config import read_recipe

    (stage,) = read_recipe(job.settings["recipe"]).stages
    torch.manual_seed(FIRST_SEED + job.seed)
    module = build({"encoder": stage.own["encoder"]})
    path = save_model(job.folder / MODEL, ARCHITECTURE, module.version, module.config, module.state_dict())
    return str(path)


def supervised_overrides(job: Job) -> list[str]:
    """Return what of a supervised recipe depends on the data set: labels, bands, one validation an epoch, the cache."""
    import numpy as np

    from baselines.astroclip.config import read_recipe

    (stage,) = read_recipe(job.settings["recipe"]).stages
    rows = job.dataset.splits["train"].rows
    overrides = [
        f"seed={FIRST_SEED + job.seed}",
        f"stages.{stage.name}.targets={list(job.targets)!r}",
        f"stages.{stage.name}.train.validate_every={max(1, rows // stage.train.batch_size)}",
    ]
    modality = job.dataset.modalities[stage.name]
    if "bands" in stage.own["encoder"]:
        bands = [name.removeprefix("flux_") for name in modality.columns]
        overrides.append(f"stages.{stage.name}.encoder.bands={bands!r}")
    halves = 2 * rows * len(modality.columns) * int(np.prod(modality.shape, dtype=np.int64))
    return [*overrides, "data.cache=none"] if halves > CACHED_BYTES else overrides


def write_predictions(job: Job, modality: str, found: Mapping[str, npt.NDArray[np.floating]]) -> str:
    """Write predictions for the test split, label -> (n,), as `astroclip_bench.embedders` reads them."""
    columns = {f"predicted_{target}_from_{modality}": values for target, values in found.items()}
    return str(write_columns(job.folder / PREDICTIONS, job.dataset.splits["test"].object_ids, columns))


def write_columns(path: Path, object_ids: Sequence[str], columns: Mapping[str, npt.NDArray[np.floating]]) -> Path:
    """Write float32 columns (n,) beside the ids of the objects."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(values, pa.float32()) for name, values in columns.items()}
    with atomic_path(path) as temporary:
        pq.write_table(
            pa.table({"object_id": pa.array(object_ids, pa.string()), **arrays}), temporary, compression="zstd"
        )
    return path
