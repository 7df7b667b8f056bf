"""Spender from data to scores: trained, scored, compared with simpler reconstructions, and asked for the strangest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroclip_bench.files import atomic_path, write_json
from baselines.systems.system import Outcome, Scale

if TYPE_CHECKING:
    from astroclip_bench.analysis.outliers import Strangeness
    from astroclip_bench.datasets import BenchDataset, SplitView
    from astroclip_bench.progress import Progress
    from baselines.classical.pca import PcaEmbedding
    from baselines.spender.autoencoder import SpenderAutoencoder
    from baselines.spender.figures import Drawn
    from baselines.spender.reconstruction import Fits

    Show = Callable[[str], AbstractContextManager[Progress]]

RECIPES: Mapping[Scale, str] = {"mini": "spender-mini", "published": "spender"}
EXAMPLES, STRANGEST = 4, 8
BRIGHTEST = 0.25
"""Share of the galaxies, by signal to noise, whose fits are also given by themselves."""


def reproduce(dataset: BenchDataset, out: Path, *, scale: Scale, device: str = "cpu", quiet: bool = False) -> Outcome:
    """Train Spender, score its latents, measure its reconstructions and rank its outliers; see `Outcome`."""
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.scored import RESULT, score_model
    from baselines.astroclip.train import run_recipe
    from baselines.spender.reconstruction import (
        Model,
        autoencoded,
        constant,
        measure,
        principal_components,
        redshift_drift,
    )

    show = partial(progress_bar, quiet=quiet)
    models = run_recipe(read_recipe(RECIPES[scale]), dataset, out, quiet=quiet)
    score_model(models["spectrum"], dataset, out / RESULT, device=device, show_progress=show)
    embedder = load_embedder(str(models["spectrum"]))
    encoder: SpenderAutoencoder = embedder.module.encoder  # type: ignore[attr-defined]
    pca = fitted_components(dataset, encoder.dimension, out / "pca.pt", show)
    view = dataset.splits["test"]
    compared = {
        "Spender": Model(autoencoded(encoder), encoder.dimension + 1),
        f"PCA, {encoder.dimension} components": Model(principal_components(pca), encoder.dimension + 1),
        "constant": Model(constant, 1),
    }
    with show("reconstruct") as report:
        fits = measure(view, compared, report)
    with show("move in redshift") as report:
        drift = redshift_drift(view, encoder, report)
    strange = rank_outliers(encoder, view, fits, out / "outliers.csv")
    scores = {**fit_scores(fits), "redshift drift of the latents": drift, **flag_scores(view, strange)}
    write_json(out / "scores.json", scores)
    figures = draw(dataset, encoder, fits, strange, out / "figures")
    return Outcome({f"{encoder.dimension} latents": out / RESULT}, figures, scores)


def fitted_components(dataset: BenchDataset, components: int, path: Path, show: Show) -> PcaEmbedding:
    """Return principal components of the train split's spectra, from `path` where they are there."""
    from astroclip_bench.embedders import load_embedder, save_model
    from baselines.classical import pca

    if not path.exists():
        with show("principal components") as report:
            module = pca.fit(dataset, "spectrum", components, {}, report)
        save_model(path, pca.ARCHITECTURE, module.version, module.config, module.state_dict())
    found: PcaEmbedding = load_embedder(str(path)).module  # type: ignore[attr-defined]
    return found


def fit_scores(fits: Fits) -> dict[str, float]:
    """Return the median reduced chi^2 of each model, of all galaxies and of the brightest."""
    bright = fits.signal_to_noise >= np.nanquantile(fits.signal_to_noise, 1 - BRIGHTEST)
    scores = {}
    for name, values in fits.reduced_chi2.items():
        scores[f"median reduced chi2, {name}"] = float(np.nanmedian(values))
        scores[f"median reduced chi2 of the brightest {BRIGHTEST:.0%}, {name}"] = float(np.nanmedian(values[bright]))
    return scores


def rank_outliers(encoder: SpenderAutoencoder, view: SplitView, fits: Fits, path: Path) -> Strangeness:
    """Rank the spectra by how alone their latents are, and write the table, strangest first.

    Each latent is divided by its standard deviation: distances know no units.
    """
    import pandas
    import torch

    from astroclip_bench.analysis.outliers import strangeness
    from astroclip_bench.records import columns_of_role
    from baselines.spender.reconstruction import batches

    with torch.inference_mode():
        latents = torch.cat([encoder(batch) for batch in batches(view)]).double().numpy()
    strange = strangeness(latents / np.maximum(latents.std(axis=0), 1e-12))
    names = [name for role in ("label", "property") for name in columns_of_role(view.schema, role)]
    columns = {name: values for name in names if (values := view.column(name)).ndim == 1}
    table = pandas.DataFrame(
        {
            "object_id": view.object_ids,
            "rank": strange.rank,
            "distance": strange.distance,
            **{f"reduced_chi2_{name}": values for name, values in fits.reduced_chi2.items()},
            "signal_to_noise": fits.signal_to_noise,
            **columns,
        }
    )
    with atomic_path(path) as temporary:
        table.sort_values("rank").to_csv(temporary, index=False)
    return strange


def flag_scores(view: SplitView, strange: Strangeness) -> dict[str, float]:
    """Return how well the distance finds the spectra that a flag of the data set names."""
    from astroclip_bench.analysis.outliers import flag_enrichment
    from astroclip_bench.records import columns_of_role

    columns = {name: view.column(name) for name in columns_of_role(view.schema, "property")}
    flags = {name: values for name, values in columns.items() if values.dtype.kind in "iu"}
    return {f"ROC area of {name}": area for name, area in flag_enrichment(strange.distance, flags).items()}


def draw(
    dataset: BenchDataset, encoder: SpenderAutoencoder, fits: Fits, strange: Strangeness, folder: Path
) -> tuple[Path, ...]:
    """Draw the figures; return their files."""
    from astroclip_bench.analysis.gallery import save_picture
    from astroclip_bench.figure_style import styled
    from baselines.spender import figures

    view = dataset.splits["test"]
    data = f"{dataset.info.name}{' (SIMULATED data)' if dataset.info.simulated else ''}"
    signal = {row: float(value) for row, value in enumerate(fits.signal_to_noise) if value > 0}
    examples = figures.chosen_by(signal, EXAMPLES)
    strangest = [int(row) for row in np.argsort(strange.rank)[:STRANGEST]]
    drawn = reconstructed(view, encoder, [*examples, *strangest], fits, strange)
    with styled("train"):
        made = [
            figures.draw_reconstructions(
                [drawn[row] for row in examples],
                f"Spender on {data}: spectra of falling signal to noise, reconstructions and residuals Δ (1e-17 erg/s/cm2/Å)",
            ),
            figures.draw_fits(fits, f"Spender on {data}: reconstructions, each at its best amplitude"),
            figures.draw_strangest(
                [drawn[row] for row in strangest],
                f"Spender on {data}: the spectra whose latents are most alone, smoothed (1e-17 erg/s/cm2/Å)",
            ),
        ]
        paths = [folder / f"figure-{number}.png" for number in range(1, len(made) + 1)]
        for figure, path in zip(made, paths, strict=True):
            save_picture(figure, path)
    return tuple(paths)


def reconstructed(
    view: SplitView, encoder: SpenderAutoencoder, rows: list[int], fits: Fits, strange: Strangeness
) -> dict[int, Drawn]:
    """Return what is drawn of some rows of a split."""
    import torch

    from baselines.spender.decoder import observed_wavelength
    from baselines.spender.figures import Drawn
    from baselines.spender.reconstruction import batches

    [chi2, *_] = fits.reduced_chi2.values()
    found, start = {}, 0
    for batch in batches(view):
        for row in set(rows) & set(range(start, start + len(batch["flux"]))):
            one = {name: values[row - start][None] for name, values in batch.items()}
            with torch.inference_mode():
                model, _, weight = encoder.reconstruct(one)
            z = float(one["redshift"])
            caption = f"z {z:.3f}, S/N {fits.signal_to_noise[row]:.1f}, reduced χ² {chi2[row]:.2f}, "
            found[row] = Drawn(
                observed_wavelength(model.shape[1], model.device).numpy(),
                one["flux"][0].numpy(),
                weight[0].numpy(),
                model[0].numpy(),
                z,
                f"{caption}strangeness {strange.rank[row]} of {view.rows}",
            )
        start += len(batch["flux"])
    return found
