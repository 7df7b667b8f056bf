"""Pictures of a data set: a montage of galaxies and one of spectra with lines marked.

::

    python -m dataset_builders.mock_survey.gallery DATASET_DIR --out DIR
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from astroclip_bench.figure_style import LINES_ANGSTROM
from astroclip_bench.files import atomic_path
from astroclip_bench.records import wavelength_angstrom
from dataset_builders.display import dr2_rgb

if TYPE_CHECKING:
    from astroclip_bench.datasets import SplitView

MONTAGE_ROWS, MONTAGE_COLUMNS = 5, 8
SPECTRA = 6
SMOOTH_PIXELS = 5
READ_ROWS = 256
LABELS = ("redshift", "log_stellar_mass", "log_ssfr", "mag_r", "snr")


def good_rows(split: SplitView) -> np.ndarray:
    """Return the numbers of the rows with a spectrum and without a defect in the image."""
    return np.flatnonzero((split.column("spectrum_empty") == 0) & (split.column("image_defect") == 0))


def read_rows(split: SplitView, column: str, rows: np.ndarray) -> np.ndarray:
    """Return the arrays (n, ...) of a modality's column for the given rows, in their order."""
    found: dict[int, np.ndarray] = {}
    wanted, start = set(rows.tolist()), 0
    for batch in split.batches([column], READ_ROWS):
        values = batch.arrays[column]
        found |= {row: values[row - start].copy() for row in range(start, start + len(values)) if row in wanted}
        start += len(values)
    return np.stack([found[row] for row in rows.tolist()])


def choose_galaxies(split: SplitView) -> np.ndarray:
    """Return rows from bright to faint, half of them of the brightest 5 %, whose shapes can be seen."""
    good = good_rows(split)
    order = good[np.argsort(split.column("mag_r")[good])]
    count, cut = MONTAGE_ROWS * MONTAGE_COLUMNS, int(0.05 * len(order))
    bright = np.linspace(0, cut, count // 2, endpoint=False).astype(int)
    faint = np.linspace(cut, len(order) - 1, count - count // 2).astype(int)
    return np.asarray(order[np.concatenate([bright, faint])])


def galaxy_montage(split: SplitView, path: Path) -> None:
    """Draw galaxies from bright to faint, with redshift, mass and magnitude."""
    import matplotlib.pyplot as plt

    rows = choose_galaxies(split)
    labels = [split.column(name)[rows] for name in ("redshift", "log_stellar_mass", "mag_r")]
    figure, axes = plt.subplots(MONTAGE_ROWS, MONTAGE_COLUMNS, figsize=(10.4, 6.5))
    for axis, image, z, mass, mag in zip(axes.flat, read_rows(split, "image", rows), *labels, strict=True):
        axis.imshow(dr2_rgb(image), origin="lower", interpolation="antialiased")
        axis.text(4, 147, f"z {z:.2f}", color="white", fontsize=6.5, va="top")
        axis.text(4, 4, f"log M {mass:.1f}   r {mag:.1f}", color="white", fontsize=6.5)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0.02)
    save_small(figure, path, dpi=92, colours=192)


def choose_spectra(split: SplitView) -> np.ndarray:
    """Return rows of rising redshift, of the better half in signal-to-noise ratio."""
    good, snr = good_rows(split), split.column("snr")
    clear = good[snr[good] > np.percentile(snr[good], 55)]
    order = clear[np.argsort(split.column("redshift")[clear])]
    return np.asarray(order[np.linspace(0.04 * len(order), 0.96 * len(order), SPECTRA).astype(int)])


def spectrum_montage(split: SplitView, wave: np.ndarray, path: Path) -> None:
    """Draw spectra of rising redshift, with the wavelengths of lines marked."""
    import matplotlib.pyplot as plt

    rows = choose_spectra(split)
    labels = {name: split.column(name)[rows] for name in LABELS}
    figure, axes = plt.subplots(SPECTRA, 1, figsize=(10, 1.75 * SPECTRA), sharex=True)
    for index, (axis, flux) in enumerate(zip(axes, read_rows(split, "flux", rows), strict=True)):
        _draw_spectrum(axis, wave, flux, {name: float(values[index]) for name, values in labels.items()})
    axes[-1].set(xlim=(wave[0], wave[-1]), xlabel="vacuum wavelength (Å), observed frame")
    figure.supylabel("flux density ($10^{-17}$ erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$)", fontsize=9)
    figure.tight_layout(h_pad=0.15)
    save_small(figure, path, dpi=100, colours=32)


def _draw_spectrum(axis: Any, wave: np.ndarray, flux: np.ndarray, labels: dict[str, float]) -> None:
    """Draw one spectrum (7781,), smoothed, into `axis`."""
    smooth = np.convolve(flux, np.ones(SMOOTH_PIXELS) / SMOOTH_PIXELS, "same")
    axis.plot(wave, smooth, lw=0.5, color="black")
    low, typical, high = np.percentile(smooth[400:], [1.0, 95.0, 99.7])
    high = min(high, 2.5 * typical)  # strong lines may leave the frame, the continuum may not
    axis.set_ylim(min(0.0, low), 1.35 * high)
    for name, rest in LINES_ANGSTROM.items():
        observed = rest * (1 + labels["redshift"])
        if wave[0] < observed < wave[-1]:
            axis.axvline(observed, color="tab:red", lw=0.5, alpha=0.45)
            axis.text(observed + 8, 1.22 * high, name, fontsize=6.5, color="tab:red")
    text = (
        f"z = {labels['redshift']:.3f}   log M* = {labels['log_stellar_mass']:.2f}   "
        f"log sSFR = {labels['log_ssfr']:.1f}   r = {labels['mag_r']:.1f}   S/N = {labels['snr']:.1f}"
    )
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    axis.text(0.995, 0.74, text, transform=axis.transAxes, ha="right", fontsize=7.5, bbox=box)
    axis.tick_params(labelsize=7)


def save_small(figure: Any, path: Path, dpi: int, colours: int) -> None:
    """Save a figure as PNG with a palette of so many colours, and close it."""
    import io

    import matplotlib.pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    plt.close(figure)
    with atomic_path(path) as temporary:
        picture = Image.open(buffer).convert("RGB")
        # Maximum coverage keeps rare colours, where the default spends the palette on the sky's noise.
        palette = picture.quantize(colours, method=Image.Quantize.MAXCOVERAGE)
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
            temporary, format="PNG", optimize=True
        )


def main(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(help="Folder for galaxies.png and spectra.png.")],
    split: Annotated[str, typer.Option(help="Split to show.")] = "validation",
) -> None:
    """Draw montages of galaxies and of spectra."""
    import matplotlib as mpl

    from astroclip_bench.datasets import open_dataset

    mpl.use("Agg")
    opened = open_dataset(dataset)
    view = opened.splits[split]
    galaxy_montage(view, out / "galaxies.png")
    spectrum_montage(view, wavelength_angstrom(opened.modalities["spectrum"]), out / "spectra.png")


if __name__ == "__main__":
    typer.run(main)
