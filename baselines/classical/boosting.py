"""Gradient-boosted trees on magnitudes and colours: what photometric redshifts are commonly made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.builtin import asinh_magnitude

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset, SplitView

Features = npt.NDArray[np.float64]
MODALITY = "photometry"


@dataclass(frozen=True)
class BoostingSettings:
    """How the trees are grown; everything else is scikit-learn's default.

    Parameters
    ----------
    iterations
        Trees grown. Of these, the first so many predict best on the validation split, and only those are used.
    """

    iterations: int = 400


def magnitudes_and_colours(split: SplitView, columns: Sequence[str]) -> Features:
    """Return the asinh magnitudes of all bands, then the colours of neighbouring ones, (n, 2 bands - 1).

    Parameters
    ----------
    columns
        ``flux_<band>``, nanomaggies, from blue to red.
    """
    magnitude = [asinh_magnitude(split.column(name)) for name in columns]
    return np.stack([*magnitude, *(blue - red for blue, red in pairwise(magnitude))], axis=1)


def predict_labels(
    dataset: BenchDataset, targets: Sequence[str], settings: BoostingSettings, seed: int
) -> Mapping[str, npt.NDArray[np.float64]]:
    """Fit one ensemble a label on the train split, and return its predictions for the test split.

    Galaxies without the label are left out of the fit.

    Returns
    -------
    predictions
        Label -> (n,), in its unit.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    columns = dataset.modalities[MODALITY].columns
    train, validation, test = (dataset.splits[name] for name in ("train", "validation", "test"))
    features = {split.name: magnitudes_and_colours(split, columns) for split in (train, validation, test)}
    predictions = {}
    for target in targets:
        label = {split.name: split.column(target) for split in (train, validation)}
        known = {name: np.isfinite(values) for name, values in label.items()}
        trees = HistGradientBoostingRegressor(
            max_iter=settings.iterations, early_stopping=False, random_state=np.random.RandomState(seed)
        )
        trees.fit(features["train"][known["train"]], label["train"][known["train"]])
        truth = label["validation"][known["validation"]]
        errors = [
            float(np.mean((guess - truth) ** 2))
            for guess in trees.staged_predict(features["validation"][known["validation"]])
        ]
        stages = list(trees.staged_predict(features["test"]))
        predictions[target] = np.asarray(stages[int(np.argmin(errors))], np.float64)
    return predictions
