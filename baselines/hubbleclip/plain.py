"""Plain captions: one property of a galaxy in a few words, for the pre-training that stands in for CLIP's own.

CLIP's 400 million pairs from the web cannot be had offline. What they give HubbleCLIP is a model that knows words, and
pictures, before it sees an abstract; plain captions of the train split give the small model the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from baselines.astroclip.draws import integers

PLAIN: Mapping[str, tuple[tuple[float, str], ...]] = {
    "redshift": ((0.1, "a nearby galaxy"), (0.3, "a galaxy not far away"), (torch.inf, "a distant galaxy")),
    "log_stellar_mass": ((9.5, "a dwarf galaxy"), (10.7, "a galaxy of common mass"), (torch.inf, "a massive galaxy")),
    "log_ssfr": ((-11.0, "a red, dead galaxy"), (-10.3, "a fading galaxy"), (torch.inf, "a blue galaxy forming stars")),
    "mag_r": ((18.0, "a bright galaxy"), (19.3, "a galaxy of common brightness"), (torch.inf, "a faint galaxy")),
}
"""Column -> upper bounds, exclusive, and what is said of the galaxies below each."""

CAPTIONS: tuple[str, ...] = tuple(text for bounds in PLAIN.values() for _, text in bounds)


def plain_captions(batch: Mapping[str, Tensor], generator: Generator) -> Tensor:
    """Return for each galaxy the place in `CAPTIONS` of one caption that holds, of a property drawn at random.

    Parameters
    ----------
    batch
        The columns of `PLAIN`, (n,) each.
    """
    places, first = [], 0
    for name, bounds in PLAIN.items():
        edges = torch.tensor([bound for bound, _ in bounds[:-1]], device=batch[name].device)
        places.append(first + torch.bucketize(batch[name].contiguous(), edges, right=True))
        first += len(bounds)
    table = torch.stack(places, dim=1)
    drawn = integers(generator, 0, len(PLAIN) - 1, len(table), 1).to(table.device)
    return table.gather(1, drawn)[:, 0]
