"""Principal components of images or spectra as an embedding: an architecture of its own, fitted in one pass.

Images: asinh of the three bands, the central square, made smaller. Spectra: inverse-variance means in bins of 150 km/s
over the spectrum's own scale. Both are centred and projected on the leading components, each scaled to variance 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from astroclip_bench.errors import DataError, EmbedderError
from baselines.astroclip.alignment import SPECTRUM_SHAPES
from baselines.astroclip.data import to_tensors
from baselines.astroclip.encoders import complete_config
from baselines.astroclip.inputs import ImageInput
from baselines.astroclip.log_bins import LogBins

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.progress import Progress

ARCHITECTURE = "pca"
ARCHITECTURE_VERSION = 1
BATCH_ROWS = 512
"""Galaxies of one partial fit. scikit-learn's increments depend on it a little: part of the settings."""
SCALED_SPECTRUM = 2
"""Which channel of `LogBins` is the spectrum over its own scale, stretched by asinh."""


class ImagePixels(nn.Module):
    """Images as flat vectors: asinh(flux / softening), the central `crop` pixels, brought to `resize`."""

    columns: tuple[str, ...] = ("image",)

    def __init__(self, *, crop: int = 96, resize: int = 32) -> None:
        super().__init__()
        self.input = ImageInput("asinh", crop, resize=resize)
        self.preprocessing, self.size = self.input.description, 3 * resize**2

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return (n, 3 resize^2) of ``image`` (n, 3, H, W)."""
        planes: Tensor = self.input(batch["image"])
        return planes.flatten(1)


class SpectrumPixels(nn.Module):
    """Spectra as flat vectors: asinh(flux / scale) in bins of 150 km/s; the scale is the mean of the band fluxes."""

    columns: tuple[str, ...] = ("flux", "ivar")

    def __init__(self) -> None:
        super().__init__()
        self.bins = LogBins()
        self.preprocessing = "asinh of inverse-variance means in bins of 150 km/s over the mean absolute band flux"
        self.size = self.bins.bins

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return (n, bins) of ``flux`` and ``ivar`` (n, pixels)."""
        channels: Tensor = self.bins(batch["flux"], batch.get("ivar"))[0]
        return channels[:, SCALED_SPECTRUM]


PIXELS: Mapping[str, type[ImagePixels] | type[SpectrumPixels]] = {"image": ImagePixels, "spectrum": SpectrumPixels}


class PcaEmbedding(nn.Module):
    """Whitened principal components.

    Attributes
    ----------
    mean, components, deviation
        (pixels,), (dimension, pixels) and (dimension,): what `fit` finds.
    """

    version = ARCHITECTURE_VERSION
    mean: Tensor
    components: Tensor
    deviation: Tensor

    def __init__(self, modality: str, components: int, settings: Mapping[str, Any]) -> None:
        super().__init__()
        if modality not in PIXELS:
            raise EmbedderError(f"principal components of modality {modality!r}", " or ".join(PIXELS))
        values = complete_config(f"pca of {modality!r}", PIXELS[modality], settings)
        self.pixels = PIXELS[modality](**values)
        self.modalities, self.dimension = (modality,), components
        self.preprocessing = f"{self.pixels.preprocessing}; {components} principal components, whitened"
        self.input_shapes = {name: shape for name, shape in SPECTRUM_SHAPES.items() if name in self.pixels.columns}
        self.config: dict[str, Any] = {"modality": modality, "components": components, "settings": values}
        self.register_buffer("mean", torch.zeros(self.pixels.size))
        self.register_buffer("components", torch.zeros(components, self.pixels.size))
        self.register_buffer("deviation", torch.ones(components))

    def embed(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return (n, dimension) float32.

        Raises
        ------
        EmbedderError
            If `modality` is not the one it was fitted to.
        """
        if modality not in self.modalities:
            raise EmbedderError(f"no modality {modality!r}", self.modalities[0])
        with torch.autocast(self.mean.device.type, enabled=False):
            projected: Tensor = (self.pixels(batch) - self.mean) @ self.components.T / self.deviation
        return projected


def build(config: Mapping[str, Any]) -> PcaEmbedding:
    """Return the embedding of a configuration (entry point ``pca``), not fitted.

    Parameters
    ----------
    config
        ``modality``, ``components`` and ``settings`` (of `ImagePixels` or `SpectrumPixels`).

    Raises
    ------
    EmbedderError
        If a key is missing or unknown.
    """
    return PcaEmbedding(**complete_config(f"architecture {ARCHITECTURE!r}", PcaEmbedding, config))


def fit(
    dataset: BenchDataset,
    modality: str,
    components: int,
    settings: Mapping[str, Any],
    progress: Progress | None = None,
) -> PcaEmbedding:
    """Fit the components of a train split, read once (Ross et al. 2008, as scikit-learn's IncrementalPCA).

    Raises
    ------
    DataError
        If the train split has fewer galaxies than components are asked for.
    """
    from sklearn.decomposition import IncrementalPCA

    module = build({"modality": modality, "components": components, "settings": dict(settings)})
    split = dataset.splits["train"]
    if split.rows < components:
        raise DataError(f"{split.rows} galaxies in the train split", f"at least {components}, one a component")
    analysis = IncrementalPCA(n_components=components)
    pending: list[np.ndarray] = []
    done = 0
    with torch.inference_mode():
        for batch in split.batches(module.pixels.columns, BATCH_ROWS):
            pending.append(module.pixels(to_tensors(batch)).numpy())
            done += len(batch.object_ids)
            # A last batch of fewer galaxies than components cannot be fitted by itself: it joins the one before.
            if 0 < split.rows - done < components:
                continue
            analysis.partial_fit(np.concatenate(pending))
            pending = []
            if progress:
                progress(done, split.rows)
    found = {"mean": analysis.mean_, "components": analysis.components_}
    found["deviation"] = np.sqrt(analysis.explained_variance_)
    with torch.no_grad():
        for name, values in found.items():
            getattr(module, name).copy_(torch.from_numpy(np.asarray(values)))
    return module
