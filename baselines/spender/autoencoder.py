"""Spender's autoencoder: its latents are what `embed` gives, its decoder what they are trained by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.inputs import good_pixels
from baselines.astroclip.spender import SpenderEncoder
from baselines.spender.decoder import SpectrumDecoder


class SpenderAutoencoder(SpenderEncoder):
    """Spender's encoder with the decoder that belongs to it; embedding does not use the decoder.

    Parameters
    ----------
    decoder_hidden
        Sizes of the decoder's hidden layers.
    z_max, bins
        Of the grid at rest, see `SpectrumDecoder`; the published ones are those for DESI's galaxies.
    pixels
        Length of the observed spectra.
    **encoder
        Of `SpenderEncoder`.
    """

    def __init__(
        self,
        *,
        latents: int = 6,
        channels: Sequence[int] = (128, 256, 512),
        kernels: Sequence[int] = (5, 11, 21),
        pools: Sequence[int] = (5, 11),
        hidden: Sequence[int] = (128, 64, 32),
        dropout: float = 0.0,
        mask_ivar: bool = False,
        bin_pixels: int = 1,
        decoder_hidden: Sequence[int] = (64, 256, 1024),
        z_max: float = 0.8,
        bins: int = 9780,
        pixels: int = N_WAVELENGTH,
    ) -> None:
        encoder: dict[str, Any] = {"channels": channels, "kernels": kernels, "pools": pools, "hidden": hidden}
        super().__init__(latents=latents, dropout=dropout, mask_ivar=mask_ivar, bin_pixels=bin_pixels, **encoder)
        self.decoder = SpectrumDecoder(latents, decoder_hidden, z_max, bins, pixels)

    def reconstruct(self, batch: Mapping[str, Tensor], latents: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the spectra that latents stand for, with the amplitude that fits the data best.

        Parameters
        ----------
        batch
            ``flux``, ``ivar`` (n, pixels) and ``redshift`` (n,).
        latents
            (n, latents); those of the batch where left out.

        Returns
        -------
        observed, rest
            (n, pixels) and (n, bins), in the unit of the flux.
        weight
            (n, pixels): the inverse variance, 0 at pixels that are not good or that the grid does not cover.
        """
        latents = self(batch) if latents is None else latents
        with torch.autocast(batch["flux"].device.type, enabled=False):
            rest = self.decoder(latents.float())
            return fitted(self.decoder, rest, batch)


def fitted(decoder: SpectrumDecoder, rest: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `SpenderAutoencoder.reconstruct` does, of decoded spectra (n, bins)."""
    flux, ivar = batch["flux"], batch["ivar"]
    observed, covered = decoder.observe(rest, batch["redshift"], flux.shape[1])
    weight = torch.where(good_pixels(flux, ivar) & covered, ivar, 0.0)
    amplitude = best_amplitude(observed, flux, weight)[:, None]
    return amplitude * observed, amplitude * rest, weight


def best_amplitude(model: Tensor, flux: Tensor, weight: Tensor) -> Tensor:
    """Return the factors (n,) of models (n, p) by which sum w (flux - factor model)^2 is least; 0 without weight."""
    flux = torch.where(weight > 0, flux, 0.0)
    return (weight * model * flux).sum(1) / (weight * model.square()).sum(1).clamp_min(1e-12)
