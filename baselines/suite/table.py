"""The table of the baselines: what each is, what it needs and how it is made. One row is one baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from baselines.suite import makers

TARGETS = ("redshift", "log_stellar_mass", "age", "metallicity", "log_ssfr")
"""Labels that the baselines learn, of those that a data set has."""
ZOOBOT = "hf_hub:mwalmsley/zoobot-encoder-convnext_nano"


@dataclass(frozen=True)
class Baseline:
    """One reference row.

    Parameters
    ----------
    name, title
        Short name, and what it is in words.
    make
        Function that makes it; see `baselines.suite.makers`.
    modalities
        What the data set must have; where it is ``any``, one modality of whatever kind.
    settings
        Plain values that decide what is made; a change makes the baseline anew. ``recipe`` names a training recipe.
    seeds
        How often it is made at most: 1 where nothing is random.
    learns
        Whether it is fitted to labels; these are `TARGETS`.
    label
        Label that it cannot do without.
    package, extra
        Package that it needs beyond the plain installation, and the extra that brings it.
    weights
        Name of timm weights that have to lie in the cache.
    """

    name: str
    title: str
    make: Callable[[makers.Job], str]
    modalities: tuple[str, ...] = ("any",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    learns: bool = False
    label: str | None = None
    package: str | None = None
    extra: str = ""
    weights: str | None = None


def _trained(name: str, title: str, modality: str) -> Baseline:
    return Baseline(
        name,
        title,
        makers.train,
        (modality,),
        {"recipe": name},
        seeds=3,
        learns=True,
        package="accelerate",
        extra="train",
    )


def _untrained(name: str, title: str, modality: str, recipe: str) -> Baseline:
    return Baseline(name, title, makers.initialise, (modality,), {"recipe": recipe}, seeds=3)


def _pretrained(name: str, title: str, weights: str) -> Baseline:
    return Baseline(name, title, makers.load, ("image",), {"model": f"timm:{weights}"}, weights=weights)


BASELINES: tuple[Baseline, ...] = (
    Baseline("mean", "mean label of the train split", makers.average, learns=True),
    Baseline(
        "random-projection",
        "random projection of the input, k-NN",
        makers.load,
        settings={"model": "random-projection"},
    ),
    _untrained("untrained-image", "encoder of resnet18 with fresh weights, k-NN", "image", "resnet18"),
    _untrained("untrained-spectrum", "encoder of conv-att with fresh weights, k-NN", "spectrum", "conv-att"),
    Baseline("magnitudes", "magnitude and colours, k-NN", makers.load, ("photometry",), {"model": "photometry"}),
    _trained("photometry-mlp", "magnitudes and colours, MLP 64-64", "photometry"),
    Baseline(
        "gradient-boosting",
        "magnitudes and colours, gradient-boosted trees",
        makers.boost,
        ("photometry",),
        {"iterations": 400},
        learns=True,
    ),
    Baseline(
        "image-pca",
        "principal components of images, k-NN",
        makers.principal_components,
        ("image",),
        {"modality": "image", "components": 64, "pixels": {"crop": 96, "resize": 32}},
    ),
    Baseline(
        "spectrum-pca",
        "principal components of spectra, k-NN",
        makers.principal_components,
        ("spectrum",),
        {"modality": "spectrum", "components": 64, "pixels": {}},
    ),
    _pretrained("timm-resnet18", "ResNet18 of ImageNet, frozen, k-NN", "resnet18"),
    _pretrained("timm-dinov2", "ViT-S/14 of DINOv2, frozen, k-NN", "vit_small_patch14_dinov2"),
    _pretrained("zoobot", "Zoobot ConvNeXt-nano, frozen, k-NN", ZOOBOT),
    _trained("resnet18", "ResNet18 on images, supervised", "image"),
    _trained("conv-att", "convolutions with attention on spectra, supervised", "spectrum"),
    Baseline(
        "template-redshift",
        "redshift by principal-component templates",
        makers.fit_templates,
        ("spectrum",),
        {"templates": 5, "iterations": 20, "redshift_bins": 20, "galaxies_a_bin": 150},
        learns=True,
        label="redshift",
    ),
)
