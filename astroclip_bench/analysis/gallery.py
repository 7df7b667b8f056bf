"""Pictures of what parts of an embedding space hold: images, spectra and texts, and the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.figure_style import COLOURS, NUMBER_MAP, as_text, new_figure, set_title, styled
from astroclip_bench.files import atomic_path
from astroclip_bench.records import Modality, wavelength_angstrom

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from astroclip_bench.datasets import SplitView

READ_ROWS = 256
DPI = 150
NOWHERE_COLOUR = "#BBBBBB"

DISPLAY_SCALES = {"g": 6.0, "r": 3.4, "z": 2.2}
"""Brightness a nanomaggy of the Legacy Survey viewer, whose colours one knows; 1 for other bands."""
DISPLAY_MINIMUM, DISPLAY_STRETCH, DISPLAY_Q = -0.04, 0.35, 8.0
SMOOTH_ANGSTROM = 12.0
SPECTRA_A_PANEL = 4
LANE, LANE_HEIGHT = (-0.5, 2.5), 1.8
"""Limits of a spectrum over its median, and how far apart two of them are drawn."""
SPECTRUM_AXIS = "vacuum wavelength (Å), observed frame; flux over its median"
TEXT_LINE, TEXT_LENGTH = 130, 380
"""Characters of a line of text across a figure, and after how many it is cut off."""
PICTURE_AXIS = "colours"
"""The axis by which a modality of ready pictures is known."""
LIMIT_PERCENT = (0.5, 99.5)


@dataclass(frozen=True)
class Row:
    """One row of a gallery: its title, the rows of the split shown, and a caption for each."""

    title: str
    members: Sequence[int]
    captions: Sequence[str]


def read_members(view: SplitView, modality: Modality, members: Sequence[int]) -> dict[int, Any]:
    """Return the first column of a modality for some rows of a split: row -> array, or text."""
    column, wanted = modality.columns[0], set(members)
    found: dict[int, Any] = {}
    start = 0
    for batch in view.batches([column], READ_ROWS):
        values = batch.arrays[column]
        here = (row for row in range(start, start + len(values)) if row in wanted)
        found |= {row: values[[row - start]][0] for row in here}  # a copy: the batch is let go
        start += len(values)
    return found


def draws(modality: Modality) -> bool:
    """Say whether objects of this modality can be shown."""
    return _painter(modality) is not None


def draw_gallery(rows: Sequence[Row], modality: Modality, arrays: Mapping[int, Any], title: str, path: Path) -> None:
    """Draw one row of images, or one panel of spectra or texts, for each row of a gallery, as PNG.

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
    with styled():
        figure = paint(rows, modality, arrays)
        set_title(figure, title)
        save_picture(figure, path)


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
    with styled():
        save_picture(_paint_maps(planes, colours, parts, title), path)


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


def _paint_maps(
    planes: Mapping[str, NDArray[np.float64]],
    colours: Mapping[str, Mapping[str, NDArray[np.floating]]],
    parts: Mapping[str, Mapping[str, NDArray[np.integer]]],
    title: str,
) -> Figure:
    columns = max(len(colours[name]) + len(parts[name]) for name in planes)
    figure = new_figure(2.8 * len(planes), 3.1 * columns)
    grid = figure.subplots(len(planes), columns, squeeze=False)
    for axes, (name, plane) in zip(grid, planes.items(), strict=True):
        size = float(np.clip(3000 / max(len(plane), 1), 0.5, 8))
        panels = iter(axes)
        for label, values in colours[name].items():
            axis = next(panels)
            known = np.isfinite(values)
            low, high = np.percentile(values[known], LIMIT_PERCENT) if known.any() else (0.0, 1.0)
            points = axis.scatter(*plane[known].T, c=values[known], s=size, vmin=low, vmax=high, cmap=NUMBER_MAP)
            figure.colorbar(points, ax=axis, label=label)
        for label, part in parts[name].items():
            axis = next(panels)
            named = [COLOURS[value % len(COLOURS)] if value >= 0 else NOWHERE_COLOUR for value in part]
            axis.scatter(*plane.T, c=named, s=size)
            axis.set_title(f"{label}: {len(np.unique(part[part >= 0]))}", fontsize=8)
        axes[0].set_ylabel(name)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
    set_title(figure, title)
    return figure


def show_image(axis: Axes, image: NDArray[np.floating], modality: Modality, caption: str) -> None:
    """Show an image (bands, H, W), or a picture (colours, H, W), with its caption in a corner, and no frame."""
    if PICTURE_AXIS in modality.axes:  # from 0 to 1, the first row on top
        axis.imshow(np.clip(np.moveaxis(image, 0, -1), 0, 1), interpolation="antialiased")
    else:
        axis.imshow(to_rgb(image, modality.axes["bands"]), origin="lower", interpolation="antialiased")
    box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 0.8}
    axis.text(0.03, 0.03, as_text(caption), transform=axis.transAxes, color="white", fontsize=6.5, bbox=box)
    axis.set(xticks=[], yticks=[])


def show_spectra(
    axis: Axes,
    spectra: Sequence[NDArray[np.floating]],
    modality: Modality,
    captions: Sequence[str],
    colours: Sequence[str] = COLOURS,
) -> None:
    """Draw spectra one above the other, each smoothed and over its median; what leaves its lane is cut off."""
    wave = wavelength_angstrom(modality)
    width = max(1, round(SMOOTH_ANGSTROM / float(wave[1] - wave[0])))
    for lane, (spectrum, caption) in enumerate(zip(spectra, captions, strict=True)):
        smooth = np.convolve(spectrum, np.full(width, 1 / width), "same")
        scale = float(np.median(np.abs(smooth))) or 1.0
        base = LANE_HEIGHT * (len(spectra) - 1 - lane)
        axis.plot(wave, np.clip(smooth / scale, *LANE) + base, lw=0.5, color=colours[lane % len(colours)])
        axis.text(
            1.005,
            base + 1,
            as_text(caption),
            transform=axis.get_yaxis_transform(),
            fontsize=6.5,
            va="center",
            linespacing=1,
        )
    axis.set(yticks=[], ylim=(LANE[0], LANE_HEIGHT * (len(spectra) - 1) + LANE[1]), xlim=(wave[0], wave[-1]))
    axis.tick_params(labelsize=6.5)


def show_texts(
    axis: Axes, texts: Sequence[str], captions: Sequence[str], colours: Sequence[str], line: int = TEXT_LINE
) -> None:
    """Write texts one below the other, each behind its caption and wrapped at so many characters; no frame."""
    import textwrap

    marked = [f"[{', '.join(caption.splitlines())}]  " if caption else "" for caption in captions]
    whole = [textwrap.shorten(mark + text, TEXT_LENGTH) for mark, text in zip(marked, texts, strict=True)]
    lines = [textwrap.fill(text, line) for text in whole]
    heights = np.array([one.count("\n") + 1.6 for one in lines])
    tops = 1 - np.concatenate([[0], np.cumsum(heights)[:-1]]) / max(float(heights.sum()), 1.0)
    for text, top, colour in zip(lines, tops, colours, strict=False):
        axis.text(0, top, as_text(text), fontsize=5.8, color=colour, va="top", transform=axis.transAxes)
    axis.set_axis_off()


def _paint_texts(rows: Sequence[Row], modality: Modality, arrays: Mapping[int, str]) -> Figure:
    figure = new_figure(0.38 * sum(len(row.members) + 1 for row in rows) + 0.4, 8.5)
    heights = [len(row.members) for row in rows]
    for axis, row in zip(figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0], rows, strict=True):
        axis.set_title(row.title, fontsize=7, loc="left")
        show_texts(axis, [arrays[member] for member in row.members], row.captions, ["black"] * len(row.members))
    return figure


def _paint_images(rows: Sequence[Row], modality: Modality, arrays: Mapping[int, NDArray[np.float32]]) -> Figure:
    width = max(len(row.members) for row in rows)
    figure = new_figure(1.22 * len(rows) + 0.4, 1.15 * width + 0.4)
    grid = figure.subplots(len(rows), width, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        axes[0].set_ylabel(row.title, fontsize=6.5)
        for axis in axes:
            axis.set(xticks=[], yticks=[], frame_on=False)
        for axis, member, caption in zip(axes, row.members, row.captions, strict=False):
            show_image(axis, arrays[member], modality, caption)
    return figure


def _paint_spectra(rows: Sequence[Row], modality: Modality, arrays: Mapping[int, NDArray[np.float32]]) -> Figure:
    lanes = min(SPECTRA_A_PANEL, max(len(row.members) for row in rows))
    figure = new_figure((0.35 * lanes + 0.15) * len(rows) + 0.8, 8.5)
    grid = figure.subplots(len(rows), 1, squeeze=False, sharex=True)
    for axis, row in zip(grid[:, 0], rows, strict=True):
        shown = [arrays[member] for member in row.members[:lanes]]
        show_spectra(axis, shown, modality, row.captions[: len(shown)])
        axis.set_ylabel(row.title, fontsize=6.5)
    grid[-1, 0].set_xlabel(SPECTRUM_AXIS, fontsize=7)
    return figure


def _painter(modality: Modality) -> Any:
    """Return what shows a modality of such axes, or None."""
    painters = {
        "pixel_scale_arcsec": _paint_images,
        PICTURE_AXIS: _paint_images,
        "wavelength_start_angstrom": _paint_spectra,
        "language": _paint_texts,
    }
    return next((paint for axis, paint in painters.items() if axis in modality.axes), None)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
