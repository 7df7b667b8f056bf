"""What training minimises: image against spectrum, and each half of a spectrum against the other half.

No label enters. The image alone would teach the spectrum encoder only what images show, a photometric redshift at
best; the second term asks that two halves of the same exposure, which share the galaxy but not the noise, be found
among those of other galaxies, which keeps the lines.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.contrastive_mini.model import ContrastiveMini

INITIAL_SCALE = 10.0
MAXIMUM_SCALE = 100.0
SPECTRUM_SCALE = 8.0
"""Multiplier of the cosine between two halves of a spectrum."""


def info_nce(first: Tensor, second: Tensor, scale: Tensor | float) -> Tensor:
    """Return the symmetric cross entropy of matching rows of two (n, d) unit-length matrices (Radford et al. 2021).

    Parameters
    ----------
    scale
        Multiplier of the cosine (the inverse temperature).
    """
    logits = scale * (first.float() @ second.float().T)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


class Objective(nn.Module):
    """The model with what only training needs: the scale of the cosine between image and spectrum."""

    def __init__(self, model: ContrastiveMini, spectrum_weight: float) -> None:
        super().__init__()
        self.model = model
        self.spectrum_weight = spectrum_weight
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    @property
    def scale(self) -> Tensor:
        """Multiplier of the cosine between image and spectrum, learned."""
        return self.log_scale.exp().clamp(max=MAXIMUM_SCALE)

    def forward(
        self, image: tuple[Tensor, Tensor], first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """Return the loss and its parts.

        Parameters
        ----------
        image, first, second
            Reduced images, and the two halves of the reduced spectra.
        """
        seen = functional.normalize(self.model.image(*image).float(), dim=1)
        spectra = self.model.spectrum(torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]))
        halves = functional.normalize(spectra.float(), dim=1).chunk(2)
        pair = (info_nce(seen, halves[0], self.scale) + info_nce(seen, halves[1], self.scale)) / 2
        spectrum = info_nce(halves[0], halves[1], SPECTRUM_SCALE)
        return {"loss": pair + self.spectrum_weight * spectrum, "pair": pair, "spectrum": spectrum}
