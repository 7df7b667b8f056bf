"""Pictures of a data set: a montage of galaxies and one of spectra with lines marked.

::

    python -m dataset_builders.mock_survey.gallery DATASET_DIR --out DIR
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from astroclip_bench.records import read_schema, wavelength_angstrom

MONTAGE_ROWS, MONTAGE_COLUMNS = 5, 8
SPECTRA = 6
SMOOTH_PIXELS = 5
DISPLAY_OFFSET, DISPLAY_SOFTENING = 0.03, 20.0
DISPLAY_SCALES = {"g": 6.0, "r": 3.4, "z": 2.2}
LINES_ANGSTROM = {
    "[O II]": 3728.5, "K": 3934.8, "H": 3969.6, "Hδ": 4102.9, "G": 4305.6, "Hβ": 4862.7, "[O III]": 5008.2,
    "Mg b": 5176.6, "Na D": 5895.6, "Hα": 6564.6, "[S II]": 6725.0,
}  # fmt: skip
"""Vacuum wavelengths."""
LABELS = ("object_id", "redshift", "log_stellar_mass", "log_ssfr", "mag_r", "snr", "spectrum_empty", "image_defect")


def display_rgb(image: np.ndarray) -> np.ndarray:
    """Return the colours (n, n, 3), 0 to 1, of an image (3, n, n) in nanomaggies, as the Legacy viewer shows it.

    The arcsinh stretch of Lupton et al. (2004): red, green and blue are z, r and g.
    """
    planes = [image["grz".index(band)] * DISPLAY_SCALES[band] + DISPLAY_OFFSET for band in "zrg"]
    colours = np.clip(np.stack(planes, axis=-1), 0.0, None)
    intensity = colours.mean(axis=-1, keepdims=True)
    stretched = np.arcsinh(DISPLAY_SOFTENING * intensity) / np.sqrt(DISPLAY_SOFTENING)
    return np.clip(colours * stretched / np.where(intensity > 0, intensity, 1.0), 0.0, 1.0)


def read_objects(folder: Path, split: str, columns: list[str], limit: int) -> tuple[Any, Any]:
    """Return the first `limit` rows of a split as an Arrow table, and the data set's schema."""
    import pyarrow.dataset

    files = sorted((folder / "data").glob(f"{split}-*.parquet"))
    dataset = pyarrow.dataset.dataset(files, format="parquet")
    return dataset.head(limit, columns=columns, batch_size=100), dataset.schema


def galaxy_montage(table: Any, path: Path) -> None:
    """Draw galaxies from bright to faint, with redshift, mass and magnitude."""
    import matplotlib.pyplot as plt

    order = np.argsort(table["mag_r"].to_numpy())
    # Half of the places go to the brighter fifth, whose shapes can be seen; the rest follows the survey.
    count = MONTAGE_ROWS * MONTAGE_COLUMNS
    bright = np.linspace(0, len(order) // 5, count // 2, endpoint=False).astype(int)
    faint = np.linspace(len(order) // 5, len(order) - 1, count - count // 2).astype(int)
    figure, axes = plt.subplots(MONTAGE_ROWS, MONTAGE_COLUMNS, figsize=(10.4, 6.9))
    for axis, place in zip(axes.flat, np.concatenate([bright, faint]), strict=True):
        row = int(order[place])
        image = np.array(table["image"][row].as_py(), np.float32)
        axis.imshow(display_rgb(image), origin="lower", interpolation="nearest")
        z, mass, mag = (table[name][row].as_py() for name in ("redshift", "log_stellar_mass", "mag_r"))
        axis.text(4, 144, f"z {z:.2f}", color="white", fontsize=6.5, va="top")
        axis.text(4, 4, f"log M {mass:.1f}   r {mag:.1f}", color="white", fontsize=6.5)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0.02)
    save_small(figure, path, dpi=100)


def spectrum_montage(table: Any, wave: np.ndarray, path: Path) -> None:
    """Draw spectra of rising redshift, with the wavelengths of lines marked."""
    import matplotlib.pyplot as plt

    snr = table["snr"].to_numpy()
    usable = np.flatnonzero(snr > np.percentile(snr, 55))
    order = usable[np.argsort(table["redshift"].to_numpy()[usable])]
    chosen = order[np.linspace(0.04 * len(order), 0.96 * len(order), SPECTRA).astype(int)]
    figure, axes = plt.subplots(SPECTRA, 1, figsize=(10, 1.75 * SPECTRA), sharex=True)
    for axis, row in zip(axes, chosen, strict=True):
        flux = np.array(table["flux"][int(row)].as_py(), np.float32)
        smooth = np.convolve(flux, np.ones(SMOOTH_PIXELS) / SMOOTH_PIXELS, "same")
        axis.plot(wave, smooth, lw=0.5, color="black")
        low, high = np.percentile(smooth, [1.0, 99.7])
        axis.set_ylim(min(0.0, low), 1.35 * high)
        labels = {name: table[name][int(row)].as_py() for name in LABELS}
        for name, rest in LINES_ANGSTROM.items():
            observed = rest * (1 + labels["redshift"])
            if wave[0] < observed < wave[-1]:
                axis.axvline(observed, color="tab:red", lw=0.5, alpha=0.45)
                axis.text(observed + 8, 1.22 * high, name, fontsize=6.5, color="tab:red")
        axis.text(
            0.995,
            0.06,
            f"z = {labels['redshift']:.3f}   log M* = {labels['log_stellar_mass']:.2f}   "
            f"log sSFR = {labels['log_ssfr']:.1f}   r = {labels['mag_r']:.1f}   S/N = {labels['snr']:.1f}",
            transform=axis.transAxes,
            ha="right",
            fontsize=7.5,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
        )
        axis.tick_params(labelsize=7)
    axes[-1].set(xlim=(wave[0], wave[-1]), xlabel="vacuum wavelength (Å), observed frame")
    figure.supylabel("flux density ($10^{-17}$ erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$)", fontsize=9)
    figure.tight_layout(h_pad=0.15)
    save_small(figure, path, dpi=100)


def save_small(figure: Any, path: Path, dpi: int) -> None:
    """Save a figure as PNG with a palette of 256 colours, and close it."""
    import io

    import matplotlib.pyplot as plt
    from PIL import Image

    from astroclip_bench.files import atomic_path

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    plt.close(figure)
    with atomic_path(path) as temporary:
        picture = Image.open(buffer).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)


def main(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(help="Folder for galaxies.png and spectra.png.")],
    split: Annotated[str, typer.Option(help="Split to show.")] = "validation",
    limit: Annotated[int, typer.Option(help="Choose among so many objects.")] = 400,
) -> None:
    """Draw montages of galaxies and of spectra."""
    import matplotlib as mpl

    mpl.use("Agg")
    table, schema = read_objects(dataset, split, ["image", "flux", *LABELS], limit)
    table = table.filter((table["spectrum_empty"].to_numpy() == 0) & (table["image_defect"].to_numpy() == 0))
    _, modalities = read_schema(schema)
    galaxy_montage(table, out / "galaxies.png")
    spectrum_montage(table, wavelength_angstrom(modalities["spectrum"]), out / "spectra.png")


if __name__ == "__main__":
    typer.run(main)
