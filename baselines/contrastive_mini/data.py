"""The training set in the form the networks take, made once and read through memory maps.

Reducing an image and a spectrum (`preprocess`) shrinks a galaxy from 340 kB to 30 kB. The two halves of a spectrum,
its even and its odd pixels, are kept apart: they share the galaxy but no noise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from astroclip_bench.datasets import Batch, BenchDataset
from astroclip_bench.errors import DataError
from astroclip_bench.files import atomic_folder, write_json
from astroclip_bench.progress import Progress
from baselines.contrastive_mini import preprocess as pre
from baselines.contrastive_mini.model import ARCHITECTURE_VERSION, ContrastiveMini

COLUMNS = ("image", "flux", "ivar")
BATCH_SIZE = 256
FLOAT16_MAXIMUM = 65504.0
SHAPES: dict[str, tuple[int, ...]] = {
    "pixels": (3, pre.IMAGE_PIXELS, pre.IMAGE_PIXELS),
    "apertures": (3, len(pre.APERTURE_RADII_ARCSEC)),
    "halves": (2, 2, pre.N_BINS),
}
"""Arrays of a galaxy: mean nanomaggies, aperture fluxes, and (half, flux or ivar, bin); float16 but the apertures."""

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Reduced:
    """The reduced galaxies of one split, memory-mapped."""

    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["pixels"])

    def _take(self, name: str, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.arrays[name][rows].astype(np.float32))

    def images(self, rows: np.ndarray) -> Pair:
        """Return pixels and apertures of some rows, float32."""
        return self._take("pixels", rows), self._take("apertures", rows)

    def halves(self, rows: np.ndarray) -> tuple[Pair, Pair]:
        """Return (flux, ivar) of the even and of the odd pixels, (n, N_BINS) each."""
        halves = self._take("halves", rows)
        return (halves[:, 0, 0], halves[:, 0, 1]), (halves[:, 1, 0], halves[:, 1, 1])


def combine(first: Pair, second: Pair) -> Pair:
    """Return flux and ivar of the whole spectrum from those of its halves."""
    ivar = first[1] + second[1]
    return (first[0] * first[1] + second[0] * second[1]) / ivar.clamp_min(1e-12), ivar


def reduce_split(
    dataset: BenchDataset, split: str, model: ContrastiveMini, folder: Path, progress: Progress | None = None
) -> Reduced:
    """Return one split in reduced form, from `folder` if it was made there before from the same data.

    Parameters
    ----------
    folder
        Written whole or not at all.

    Raises
    ------
    DataError
        If the data set lacks a column or the split is empty.
    """
    rows = dataset.splits[split].rows if split in dataset.splits else 0
    if not rows:
        raise DataError(f"data set {dataset.info.name!r} has no rows in split {split!r}", "galaxies to train on")
    made_from = {"data": dataset.digest, "split": split, "rows": rows, "version": ARCHITECTURE_VERSION}
    note = folder / "reduced.json"
    if folder.exists() and not (note.exists() and json.loads(note.read_text()) == made_from):
        raise DataError(
            f"{folder} was made from other data or by another version", todo="remove it, or name another --out"
        )
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            _write(dataset, split, model, temporary, progress)
            write_json(temporary / note.name, made_from)
    return Reduced({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in SHAPES})


def _write(dataset: BenchDataset, split: str, model: ContrastiveMini, folder: Path, progress: Progress | None) -> None:
    view = dataset.splits[split]
    files = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.float32 if name == "apertures" else np.float16, (view.rows, *shape)
        )
        for name, shape in SHAPES.items()
    }
    done = 0
    for batch in view.batches(COLUMNS, BATCH_SIZE):
        rows = slice(done, done + len(batch.object_ids))
        for name, values in reduce_batch(batch, model).items():
            files[name][rows] = values
        done = rows.stop
        if progress:
            progress(done, view.rows)


def reduce_batch(batch: Batch, model: ContrastiveMini) -> dict[str, np.ndarray]:
    """Return the arrays of `SHAPES` of one batch."""
    with torch.no_grad():
        image, flux, ivar = (torch.from_numpy(np.array(batch.arrays[name], np.float32)) for name in COLUMNS)
        pixels, apertures = model.image.reduce(image)
        even = (torch.arange(ivar.shape[1]) % 2 == 0).float()
        halves = [torch.stack(model.spectrum.reduce(flux, ivar * parity), 1) for parity in (even, 1 - even)]
        reduced = {"pixels": pixels, "apertures": apertures, "halves": torch.stack(halves, 1)}
    return {name: values.clamp(-FLOAT16_MAXIMUM, FLOAT16_MAXIMUM).numpy() for name, values in reduced.items()}
