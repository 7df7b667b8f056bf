"""A picture of proposals: captions, each above the images of its galaxies.

::

    python -m dataset_builders.mock_proposals.gallery mock-proposals --out DIR
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from dataset_builders.display import dr2_rgb
from dataset_builders.mock_proposals.folder import FIGURE
from dataset_builders.mock_survey.gallery import read_rows, save_small

if TYPE_CHECKING:
    from astroclip_bench.datasets import SplitView

SHOWN_CLASSES = 6
GALAXIES = 4
"""Galaxies that a proposal must have to be shown; as many are."""
CENTRE = slice(38, 114)
"""Pixels shown along each side, 20 arcsec."""
CAPTION_CHARACTERS = 80


def choose_proposals(split: SplitView) -> list[np.ndarray]:
    """Return the rows of the proposal with the brightest galaxies, for each of the first classes."""
    proposals, classes = split.column("proposal_id"), split.column("object_class")
    magnitude, whole = split.column("mag_r"), split.column("image_defect") == 0
    chosen: dict[str, np.ndarray] = {}
    for name in sorted(set(proposals), key=lambda name: float(np.median(magnitude[proposals == name]))):
        rows = np.flatnonzero((proposals == name) & whole)
        if len(rows) >= GALAXIES:
            chosen.setdefault(classes[rows[0]], rows[:GALAXIES])
    return list(chosen.values())[:SHOWN_CLASSES]


def proposal_montage(split: SplitView, path: Path) -> None:
    """Draw a few proposals, two beside each other."""
    import matplotlib.pyplot as plt

    groups = choose_proposals(split)
    captions, classes = split.column("caption"), split.column("object_class")
    figure = plt.figure(figsize=(11, 2.15 * -(-len(groups) // 2)), layout="constrained")
    figure.suptitle("mock-proposals: SIMULATED galaxies, invented proposals", fontsize=11)
    panels = np.ravel(np.asarray(figure.subfigures(-(-len(groups) // 2), 2, hspace=0.04, wspace=0.02)))
    for panel, rows in zip(panels, groups, strict=False):
        text = textwrap.fill(captions[rows[0]], CAPTION_CHARACTERS)
        panel.suptitle(f"[{classes[rows[0]]}]\n{text}", fontsize=8.5, x=0.01, ha="left")
        for axis, image in zip(panel.subplots(1, GALAXIES), read_rows(split, "image", rows), strict=True):
            axis.imshow(dr2_rgb(image[:, CENTRE, CENTRE]), origin="lower", interpolation="antialiased")
            axis.axis("off")
    save_small(figure, path, dpi=100, colours=192)


def main(
    dataset: Annotated[str, typer.Argument(help="Name or folder of the data set.")],
    out: Annotated[Path, typer.Option(help=f"Folder for {FIGURE}.")],
    split: Annotated[str, typer.Option(help="Split to show.")] = "validation",
) -> None:
    """Draw a few proposals with the images of their galaxies."""
    import matplotlib as mpl

    from astroclip_bench.datasets import open_dataset

    mpl.use("Agg")
    proposal_montage(open_dataset(dataset).splits[split], out / FIGURE)


if __name__ == "__main__":
    typer.run(main)
