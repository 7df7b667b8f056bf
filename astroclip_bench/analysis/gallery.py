"""Pictures of what parts of an embedding space hold: images and spectra, and the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import MissingExtraError
from astroclip_bench.files import atomic_path
from astroclip_bench.records import Modality, wavelength_angstrom

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroclip_bench.datasets import SplitView

READ_ROWS = 256
DPI = 110
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Okabe and Ito's, which the colour-blind can tell apart."""
NOWHERE_COLOUR = "#BBBBBB"

DISPLAY_SCALES = {"g": 6.0, "r": 3.4, "z": 2.2}
"""Brightness a nanomaggy of the Legacy Survey viewer, whose colours one knows; 1 for other bands."""
DISPLAY_MINIMUM, DISPLAY_STRETCH, DISPLAY_Q = -0.04, 0.35, 8.0
SMOOTH_ANGSTROM = 12.0
SPECTRA_A_PANEL = 4
LANE, LANE_HEIGHT = (-0.5, 2.5), 1.8
"""Limits of a spectrum over its median, and how far apart two of them are drawn."""
LIMIT_PERCENT = (0.5, 99.5)


@dataclass(frozen=True)
class Row:
    """One row of a gallery: its title, the rows of the split shown, and a caption for each."""

    title: str
    members: Sequence[int]
    captions: Sequence[str]


def read_members(view: SplitView, modality: Modality, members: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    """Return the first column of a modality for some rows of a split: row -> array."""
    column, wanted = modality.columns[0], set(members)
    found: dict[int, NDArray[np.float32]] = {}
    start = 0
    for batch in view.batches([column], READ_ROWS):
        values = batch.arrays[column]
        found |= {row: values[row - start].copy() for row in range(start, start + len(values)) if row in wanted}
        start += len(values)
    return found


def draws(modality: Modality) -> bool:
    """Say whether objects of this modality can be shown."""
    return _painter(modality) is not None


def draw_gallery(
    rows: Sequence[Row], modality: Modality, arrays: Mapping[int, NDArray[np.float32]], title: str, path: Path
) -> None:
    """Draw one row of images, or one panel of spectra, for each row of a gallery, as PNG.

    Parameters
    ----------
    modality
        One that `draws` says can be shown.
    arrays
        From `read_members`, in the unit of the modality.
    title
        Stands above.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    paint = _painter(modality)
    assert paint is not None
    figure = paint(rows, modality, arrays)
    figure.suptitle(title, fontsize=9)
    _save(figure, path)


def draw_maps(
    planes: Mapping[str, NDArray[np.float64]],
    colours: Mapping[str, Mapping[str, NDArray[np.floating]]],
    parts: Mapping[str, Mapping[str, NDArray[np.integer]]],
    title: str,
    path: Path,
) -> None:
    """Draw the map of each space, one row each, coloured by numbers and by parts, as PNG.

    Parameters
    ----------
    planes
        Space -> positions (n, 2).
    colours
        Space -> name of a number -> (n,), NaN where unknown.
    parts
        Space -> name of a division -> part of each object (n,), negative where it is in none.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    columns = max(len(colours[name]) + len(parts[name]) for name in planes)
    figure, grid = _subplots(len(planes), columns, 3.1 * columns, 2.8 * len(planes))
    for axes, (name, plane) in zip(grid, planes.items(), strict=True):
        size = float(np.clip(3000 / max(len(plane), 1), 0.5, 8))
        panels = iter(axes)
        for label, values in colours[name].items():
            axis = next(panels)
            known = np.isfinite(values)
            low, high = np.percentile(values[known], LIMIT_PERCENT) if known.any() else (0.0, 1.0)
            points = axis.scatter(*plane[known].T, c=values[known], s=size, vmin=low, vmax=high, cmap="viridis")
            figure.colorbar(points, ax=axis, label=label)
        for label, part in parts[name].items():
            axis = next(panels)
            named = [COLOURS[value % len(COLOURS)] if value >= 0 else NOWHERE_COLOUR for value in part]
            axis.scatter(*plane.T, c=named, s=size)
            axis.set_title(f"{label}: {len(np.unique(part[part >= 0]))}", fontsize=8)
        axes[0].set_ylabel(name)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=9)
    _save(figure, path)


def to_rgb(image: NDArray[np.floating], bands: Sequence[str]) -> NDArray[np.uint8]:
    """Return colours (H, W, 3) of an image (bands, H, W) in nanomaggies: the reddest, middle and bluest band.

    Lupton et al. 2004, PASP 116, 133.
    """
    from astropy.visualization import make_lupton_rgb

    scaled = [plane * DISPLAY_SCALES.get(band, 1.0) for plane, band in zip(image, bands, strict=True)]
    red, green, blue = scaled[-1], scaled[len(scaled) // 2], scaled[0]
    colours: NDArray[np.uint8] = make_lupton_rgb(
        red, green, blue, minimum=DISPLAY_MINIMUM, stretch=DISPLAY_STRETCH, Q=DISPLAY_Q
    )
    return colours


def _paint_images(rows: Sequence[Row], modality: Modality, arrays: Mapping[int, NDArray[np.float32]]) -> Figure:
    width = max(len(row.members) for row in rows)
    figure, grid = _subplots(len(rows), width, 1.15 * width + 0.4, 1.22 * len(rows) + 0.4)
    for axes, row in zip(grid, rows, strict=True):
        axes[0].set_ylabel(row.title, fontsize=6.5)
        for axis in axes:
            axis.set(xticks=[], yticks=[], frame_on=False)
        for axis, member, caption in zip(axes, row.members, row.captions, strict=False):
            axis.imshow(to_rgb(arrays[member], modality.axes["bands"]), origin="lower", interpolation="antialiased")
            box = {"facecolor": "black", "alpha": 0.5, "edgecolor": "none", "pad": 0.8}
            axis.text(0.03, 0.03, caption, transform=axis.transAxes, color="white", fontsize=5.5, bbox=box)
    return figure


def _paint_spectra(rows: Sequence[Row], modality: Modality, arrays: Mapping[int, NDArray[np.float32]]) -> Figure:
    """Draw the spectra of a row one above the other, each over its median; what leaves its lane is cut off."""
    wave = wavelength_angstrom(modality)
    lanes = min(SPECTRA_A_PANEL, max(len(row.members) for row in rows))
    figure, grid = _subplots(len(rows), 1, 8.5, (0.35 * lanes + 0.15) * len(rows) + 0.8, sharex=True)
    width = max(1, round(SMOOTH_ANGSTROM / float(wave[1] - wave[0])))
    for axis, row in zip(grid[:, 0], rows, strict=True):
        for lane, (member, caption) in enumerate(zip(row.members[:lanes], row.captions, strict=False)):
            smooth = np.convolve(arrays[member], np.full(width, 1 / width), "same")
            scale = float(np.median(np.abs(smooth))) or 1.0
            base = LANE_HEIGHT * (lanes - 1 - lane)
            axis.plot(wave, np.clip(smooth / scale, *LANE) + base, lw=0.5, color=COLOURS[lane % len(COLOURS)])
            axis.text(1.005, base + 1, caption, transform=axis.get_yaxis_transform(), fontsize=6, va="center")
        axis.set(yticks=[], ylim=(LANE[0], LANE_HEIGHT * (lanes - 1) + LANE[1]))
        axis.set_ylabel(row.title, fontsize=6.5)
        axis.tick_params(labelsize=6)
    grid[-1, 0].set(xlim=(wave[0], wave[-1]))
    grid[-1, 0].set_xlabel("vacuum wavelength (Å), observed frame; flux over its median", fontsize=7)
    return figure


def _painter(modality: Modality) -> Any:
    """Return what shows a modality of such axes, or None."""
    painters = {"pixel_scale_arcsec": _paint_images, "wavelength_start_angstrom": _paint_spectra}
    return next((paint for axis, paint in painters.items() if axis in modality.axes), None)


def _subplots(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """Return a figure that belongs to no window system, and its axes (rows, columns)."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
