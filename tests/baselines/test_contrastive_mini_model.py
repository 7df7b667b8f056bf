"""The bundled reference model: its preprocessing and its networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import IMAGE_SIZE, N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from baselines.contrastive_mini import preprocess as pre
from baselines.contrastive_mini.model import ContrastiveMini, ModelConfig, build

N = 6
PARAMETERS = 1_441_240


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
def model() -> ContrastiveMini:
    torch.manual_seed(0)
    return build({}).eval()


def embed(model: ContrastiveMini, batch: dict[str, torch.Tensor], modality: str) -> torch.Tensor:
    columns = ("image",) if modality == "image" else ("flux", "ivar")
    with torch.inference_mode():
        return model.embed({name: batch[name] for name in columns}, modality)


def test_declares_what_the_harness_reads(model):
    assert (model.version, model.modalities, model.dimension) == (1, ("image", "spectrum"), 128)
    assert "L2" in model.preprocessing


def test_parameter_count_is_pinned(model):
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS


@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_embeddings_are_unit_vectors_of_the_declared_size(model, batch, modality):
    vectors = embed(model, batch, modality)
    assert vectors.shape == (N, model.dimension)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(N))
    assert torch.pdist(vectors).min() > 1e-5  # galaxies that differ are told apart


@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_embedding_is_deterministic_and_independent_of_the_batch(model, batch, modality):
    together = embed(model, batch, modality)
    assert torch.equal(together, embed(model, batch, modality))
    alone = torch.cat([embed(model, {k: v[i : i + 1] for k, v in batch.items()}, modality) for i in range(N)])
    torch.testing.assert_close(alone, together, rtol=0, atol=2e-6)
    backwards = embed(model, {k: v.flip(0) for k, v in batch.items()}, modality).flip(0)
    torch.testing.assert_close(backwards, together, rtol=0, atol=2e-6)


def test_bfloat16_agrees(model, batch):
    for modality in model.modalities:
        with torch.autocast("cpu", torch.bfloat16):
            low = embed(model, batch, modality)
        assert (low * embed(model, batch, modality)).sum(1).min() > 0.999


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


def test_masked_pixels_do_not_matter(model, batch):
    changed = dict(batch, flux=torch.where(batch["ivar"] > 0, batch["flux"], 1e6))
    torch.testing.assert_close(embed(model, changed, "spectrum"), embed(model, batch, "spectrum"))


def test_only_the_centre_of_the_image_matters(model, batch):
    changed = batch["image"].clone()
    changed[..., :28, :] = 99.0
    torch.testing.assert_close(embed(model, {"image": changed}, "image"), embed(model, batch, "image"))


def test_state_dict_round_trip(model, batch):
    config = model.config.to_mapping()
    other = build(config)
    other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    assert torch.equal(embed(other.eval(), batch, "spectrum"), embed(model, batch, "spectrum"))
    assert ModelConfig.from_mapping(config) == model.config


def test_refuses_unknown_configuration_and_modality(model, batch):
    with pytest.raises(EmbedderError, match="widht"):
        build({"widht": 3})
    with pytest.raises(EmbedderError, match="photometry"):
        model.embed(dict(batch), "photometry")


def test_rebinning_conserves_flux():
    index, weight = pre.bin_overlaps()
    wavelength = WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * np.arange(N_WAVELENGTH)
    flux = torch.from_numpy(np.sin(wavelength / 300) + wavelength / 5000)[None]
    means, ivar = pre.rebin_spectrum(flux, torch.ones_like(flux), torch.from_numpy(index), torch.from_numpy(weight))
    end = (WAVELENGTH_START_ANGSTROM - 0.4) * (np.exp(pre.LOG_STEP * pre.N_BINS) - 1) / WAVELENGTH_STEP_ANGSTROM
    covered = np.clip(end - np.arange(N_WAVELENGTH), 0, 1)
    assert float((means * ivar).sum()) == pytest.approx(float(flux[0].numpy() @ covered), rel=1e-5)
    centre = (WAVELENGTH_START_ANGSTROM - 0.4) * np.exp(pre.LOG_STEP * (np.arange(pre.N_BINS) + 0.5))
    np.testing.assert_allclose(means[0].numpy(), np.sin(centre / 300) + centre / 5000, atol=2e-3)


def test_bins_cover_each_pixel_once():
    index, weight = pre.bin_overlaps()
    total = np.bincount(index.ravel(), weight.ravel(), N_WAVELENGTH)
    inside = total > 0
    assert inside[: index[-1].min()].all()
    np.testing.assert_allclose(total[: index[-1].min()], 1.0, atol=1e-6)


def test_aperture_holds_the_flux_inside_it():
    image = torch.ones(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    _, fluxes = pre.reduce_image(image, torch.from_numpy(pre.aperture_masks()))
    area = np.pi * (np.asarray(pre.APERTURE_RADII_ARCSEC) / 0.262) ** 2
    np.testing.assert_allclose(fluxes[0, 0].numpy(), area, rtol=0.02)
