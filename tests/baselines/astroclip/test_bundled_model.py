"""The bundled model: weights that the recipe `mini` gave."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclip_bench.embedders import load_embedder
from astroclip_bench.embedders.weights import read_model
from astroclip_bench.records import IMAGE_SIZE, N_WAVELENGTH
from baselines.astroclip import BUNDLED, alignment
from baselines.astroclip.config import read_recipe
from dataset_builders.mock_survey.source import MockSurvey

N = 6
COLUMNS = {"image": ("image",), "spectrum": ("flux", "ivar")}


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = 0.01 * torch.randn(N, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    image[:, :, 60:90, 60:90] += torch.rand(N, 3, 1, 1, generator=generator)
    flux = 3.0 + torch.randn(N, N_WAVELENGTH, generator=generator)
    ivar = torch.rand(N, N_WAVELENGTH, generator=generator)
    ivar[:, ::50] = 0
    return {"image": image, "flux": flux, "ivar": ivar}


@pytest.fixture(scope="module")
def model() -> alignment.AlignmentModel:
    stored = read_model(BUNDLED)
    network = alignment.build(stored.config)
    network.load_state_dict(stored.state_dict)
    return network.eval()


def embed(model: alignment.AlignmentModel, batch: dict[str, torch.Tensor], modality: str) -> torch.Tensor:
    with torch.inference_mode():
        return model.embed({name: batch[name] for name in COLUMNS[modality]}, modality)


def test_has_a_name_and_is_small():
    info = load_embedder("astroclip-mini").info
    assert (info.name, info.dimension, info.modalities) == ("astroclip-mini", 128, ("image", "spectrum"))
    assert BUNDLED.stat().st_size < 8e6


def test_its_networks_are_those_of_the_recipe(model):
    stages = {stage.name: stage.own for stage in read_recipe("mini").stages}
    configured = {"image": stages["image"]["encoder"], **stages["align"]["encoders"]}
    for modality, encoder in configured.items():
        assert encoder.items() <= model.config["encoders"][modality].items()
    assert model.config["dimension"] == stages["align"]["dimension"]


@pytest.mark.parametrize("modality", COLUMNS)
def test_embedding_does_not_depend_on_the_batch(model, batch, modality):
    together = embed(model, batch, modality)
    assert together.shape == (N, 128)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(N))
    assert torch.pdist(together).min() > 1e-3  # galaxies that differ are told apart
    alone = torch.cat([embed(model, {k: v[i : i + 1] for k, v in batch.items()}, modality) for i in range(N)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def galaxies() -> dict[str, np.ndarray]:
    """Return 32 simulated galaxies."""
    rows = next(MockSurvey(32, seed=5).objects(list(range(32)))).to_pylist()
    arrays = {name: np.array([row[name] for row in rows], np.float32) for names in COLUMNS.values() for name in names}
    return {**arrays, "image": arrays["image"].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)}


@pytest.mark.parametrize("modality", COLUMNS)
def test_bfloat16_agrees_with_float32(galaxies, modality):
    rows = {name: galaxies[name] for name in COLUMNS[modality]}
    single, half = (load_embedder("astroclip-mini", dtype=dtype).embed(rows, modality) for dtype in ("float32", "bf16"))
    assert (single * half).sum(1).min() > 0.999


def test_a_spectrum_finds_its_image(galaxies):
    embedder = load_embedder("astroclip-mini")
    image, spectrum = (embedder.embed({name: galaxies[name] for name in COLUMNS[one]}, one) for one in COLUMNS)
    similarity = image @ spectrum.T
    rank = (similarity > similarity.diagonal()[:, None]).sum(1)
    assert (rank == 0).mean() > 10 / 32  # ten times what chance gives


@pytest.mark.parametrize("kind", ["zero flux", "all masked", "not finite"])
def test_empty_spectra_are_finite_and_alike(model, batch, kind):
    flux, ivar = torch.zeros(2, N_WAVELENGTH), torch.ones(2, N_WAVELENGTH)
    if kind == "all masked":
        flux, ivar = batch["flux"][:2], torch.zeros(2, N_WAVELENGTH)
    if kind == "not finite":
        flux = torch.full((2, N_WAVELENGTH), torch.nan)
    vectors = embed(model, {"flux": flux, "ivar": ivar}, "spectrum")
    assert vectors.isfinite().all()
    torch.testing.assert_close(vectors[0], vectors[1])


def test_masked_pixels_and_the_edge_of_the_image_do_not_matter(model, batch):
    changed = dict(batch, flux=torch.where(batch["ivar"] > 0, batch["flux"], 1e6), image=batch["image"].clone())
    changed["image"][..., :28, :] = 99.0
    for modality in COLUMNS:
        torch.testing.assert_close(embed(model, changed, modality), embed(model, batch, modality))
