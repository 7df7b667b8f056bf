"""How much do simple features tell? R^2 of redshift and mass from each view of a data set, and from what must not leak.

::

    python -m dataset_builders.mock_survey.measure DATASET_DIR [--out measured.md]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from dataset_builders.mock_survey.spectrum import smooth_flux

if TYPE_CHECKING:
    from astroclip_bench.datasets import SplitView

CROP_PIXELS, CORNER_PIXELS = 64, 20
BIN_PIXELS = 12
COMPONENTS = 64
TARGETS = {"redshift": "z", "log_stellar_mass": "log M*"}
READ_ROWS = 256
SOFTENING_NMGY, TINY_NMGY = 0.1, 1e-4
IMAGE_SCALES_NMGY = np.array([0.004, 0.008, 0.02], np.float32)[:, None, None]
"""Noise of a sky pixel in g, r, z."""

Features = dict[str, np.ndarray]


def binned(spectra: np.ndarray) -> np.ndarray:
    """Return means (n, n_wave // 12) over bins of 12 pixels, 9.6 angstrom."""
    usable = spectra[:, : spectra.shape[1] // BIN_PIXELS * BIN_PIXELS]
    return np.asarray(usable.reshape(len(spectra), -1, BIN_PIXELS).mean(axis=2))


def batch_features(image: np.ndarray, flux: np.ndarray, ivar: np.ndarray) -> Features:
    """Return the features of one batch, before any dimension is reduced."""
    low = (image.shape[-1] - CROP_PIXELS) // 2
    centre = image[..., low : low + CROP_PIXELS, low : low + CROP_PIXELS]
    corners = image[..., :CORNER_PIXELS, :CORNER_PIXELS].reshape(len(image), 3, -1)
    level = np.median(corners, axis=2)
    # Robust, as a star in the corner says nothing about its noise.
    spread = np.median(np.abs(corners - level[..., None]), axis=2)
    known = np.where(ivar > 0, ivar, 1.0)
    return {
        "image": np.arcsinh(centre / IMAGE_SCALES_NMGY).reshape(len(image), -1),
        "spectrum": binned(flux),
        "smooth flux": np.arcsinh(binned(smooth_flux(flux))),
        "ivar": binned(np.log10(known)),
        "corner": np.concatenate([np.arcsinh(level / IMAGE_SCALES_NMGY.ravel()), np.log(spread + TINY_NMGY)], axis=1),
    }


def read_features(split: SplitView) -> tuple[Features, dict[str, np.ndarray]]:
    """Return the features of the rows of a split that have a spectrum, and their targets."""
    good = split.column("spectrum_empty") == 0
    parts: dict[str, list[np.ndarray]] = {}
    for batch in split.batches(["image", "flux", "ivar"], READ_ROWS):
        for name, values in batch_features(*(batch.arrays[name] for name in ("image", "flux", "ivar"))).items():
            parts.setdefault(name, []).append(values.astype(np.float32))
    features = {name: np.concatenate(values)[good] for name, values in parts.items()}
    fluxes = np.stack([split.column(f"flux_{band}") for band in "grz"], axis=1)[good]
    features["magnitudes"] = np.arcsinh(fluxes / SOFTENING_NMGY)
    place = [split.column("ra"), split.column("dec"), np.array(split.object_ids, float), split.column("ebv")]
    features["place"] = np.stack(place, axis=1)[good]
    return features, {name: split.column(name)[good] for name in TARGETS}


def nearest_neighbours(train: np.ndarray, target: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict by the mean of the 16 nearest neighbours, weighted by inverse distance."""
    from sklearn.neighbors import KNeighborsRegressor

    return np.asarray(KNeighborsRegressor(16, weights="distance").fit(train, target).predict(test))


def perceptron(train: np.ndarray, target: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict by a small network with early stopping."""
    from sklearn.neural_network import MLPRegressor

    centre, scale = target.mean(), target.std()
    network = MLPRegressor(hidden_layer_sizes=(128, 128), early_stopping=True, max_iter=200, random_state=0, alpha=1e-3)
    return np.asarray(network.fit(train, (target - centre) / scale).predict(test) * scale + centre)


PREDICTORS: tuple[Callable[..., np.ndarray], ...] = (nearest_neighbours, perceptron)
VIEWS = (
    ("g, r, z magnitudes", "magnitudes", False, False),
    ("image, PCA", "image", True, False),
    ("spectrum, PCA", "spectrum", True, False),
    ("spectrum, PCA whitened", "spectrum", True, True),
    ("flux smoothed as `ivar` has it, PCA whitened", "smooth flux", True, True),
    ("`ivar` alone, PCA whitened", "ivar", True, True),
    ("corner of the image: level and noise", "corner", False, False),
    ("position, E(B-V), object number", "place", False, False),
)
"""Row of the table, feature, reduced to 64 principal components or not, whitened or not."""


def reduced(train: np.ndarray, test: np.ndarray, pca: bool, whiten: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return features reduced and standardised as fitted on `train`."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not pca:
        steps = make_pipeline(StandardScaler())
    elif whiten:
        steps = make_pipeline(PCA(COMPONENTS, whiten=True, random_state=0, svd_solver="randomized"))
    else:
        # One scale for all components keeps their order of importance.
        steps = make_pipeline(PCA(COMPONENTS, random_state=0, svd_solver="randomized"))
    first, second = steps.fit_transform(train), steps.transform(test)
    scale = first.std() if pca and not whiten else 1.0
    return first / scale, second / scale


def measure(train: SplitView, test: SplitView) -> str:
    """Return the table, in Markdown, of R^2 on `test` for models fitted on `train`."""
    from sklearn.metrics import r2_score

    train_features, train_targets = read_features(train)
    test_features, test_targets = read_features(test)
    heads = [f"{symbol}, {kind}" for symbol in TARGETS.values() for kind in ("k-NN", "MLP")]
    counts = f"{len(train_features['magnitudes']):,} / {len(test_features['magnitudes']):,}"
    lines = ["| from | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for title, name, pca, whiten in VIEWS:
        first, second = reduced(train_features[name], test_features[name], pca, whiten)
        cells = [
            f"{r2_score(test_targets[target], predict(first, train_targets[target], second)):.2f}"
            for target in TARGETS
            for predict in PREDICTORS
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nR^2; {counts} galaxies of train / test; PCA to {COMPONENTS} components.\n"


def main(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    out: Annotated[Path | None, typer.Option(help="Also write the table into this file.")] = None,
) -> None:
    """Print how well simple features predict redshift and mass, fitted on train and scored on test."""
    from astroclip_bench.datasets import open_dataset
    from astroclip_bench.files import atomic_path

    splits = open_dataset(dataset).splits
    table = measure(splits["train"], splits["test"])
    typer.echo(table, nl=False)
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
