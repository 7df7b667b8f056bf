"""Spender's figures: reconstructions with their residuals, how good they are, and the strangest spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.figure_style import COLOURS, GUIDE, LINES_ANGSTROM, MARKERS, new_figure, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from baselines.spender.reconstruction import Fits

DATA_COLOUR, MODEL_COLOUR = "#AAAAAA", COLOURS[1]
LABEL_HEIGHTS = (1.0, 1.1, 1.2)
"""Of the names of lines, in turn, in parts of the panel's height."""
SHOWN_PERCENT = (0.5, 99.7)
CONTINUUM_PERCENT = (0.5, 97.0)
"""What the axis of the strangest spectra shows: the continuum, with the feet of its lines."""
SMOOTH_PIXELS = 5
BINS_OF_SIGNAL = 6

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Drawn:
    """One reconstruction: wavelength, flux, inverse variance and model (pixels,), and what stands above it."""

    wavelength: Values
    flux: Values
    weight: Values
    model: Values
    redshift: float
    caption: str


def draw_reconstructions(spectra: Sequence[Drawn], title: str) -> Figure:
    """Draw data, model and residual of each spectrum, observed frame below, the lines at rest marked."""
    figure = new_figure(2.05 * len(spectra) + 0.5)
    parts = figure.subfigures(len(spectra), 1, squeeze=False)[:, 0]
    for part, spectrum in zip(parts, spectra, strict=True):
        upper, lower = part.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
        _draw_spectrum(upper, spectrum)
        _draw_residual(lower, spectrum)
        lower.set_xlim(spectrum.wavelength[0], spectrum.wavelength[-1])
    lower.set_xlabel("observed vacuum wavelength (Å)")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    set_title(figure, title)
    return figure


def draw_fits(fits: Fits, title: str) -> Figure:
    """Draw how the reduced chi^2 of each model is distributed, and how it goes with the signal to noise."""
    from matplotlib.ticker import NullFormatter

    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    values = {name: found[np.isfinite(found)] for name, found in fits.reduced_chi2.items()}
    low, high = np.percentile(np.concatenate(list(values.values())), (0.1, 99.0))
    edges = np.geomspace(min(low, 0.9), high, 50)
    for number, (name, found) in enumerate(values.items()):
        style = {"color": COLOURS[number], "linestyle": ("-", "--", ":")[number % 3]}
        label = f"{name}: median {np.median(found):.2f}"
        left.hist(np.clip(found, edges[0], edges[-1]), edges, histtype="step", label=label, **style)
    _draw_trends(right, fits)
    right.set(yscale="log", ylabel="reduced χ² (median, quartiles)")
    for axis, across in ((left, "reduced χ²"), (right, "median signal to noise of a pixel")):
        axis.set(xscale="log", xlabel=across)
        axis.grid()
    for axis in (left.xaxis, right.xaxis, right.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    right.set_yticks([1, 2, 5, 10])
    right.set_xticks([1, 2, 5, 10])
    left.axvline(1, color=GUIDE, lw=0.8, ls=":")
    left.set_ylabel("galaxies")
    left.legend(loc="upper right")
    right.axhline(1, color=GUIDE, lw=0.8, ls=":")
    set_title(figure, title)
    return figure


def _draw_trends(axis: Axes, fits: Fits) -> None:
    signal = fits.signal_to_noise
    bright = np.isfinite(signal) & (signal > 0)
    edges = np.quantile(signal[bright], np.linspace(0, 1, BINS_OF_SIGNAL + 1))
    place = np.digitize(signal, edges[1:-1])
    for number, (name, found) in enumerate(fits.reduced_chi2.items()):
        chosen = [bright & np.isfinite(found) & (place == part) for part in range(BINS_OF_SIGNAL)]
        chosen = [part for part in chosen if part.any()]
        across = [float(np.median(signal[part])) * 1.04 ** (number - 1) for part in chosen]
        middle, low, high = (np.array([np.quantile(found[part], q) for part in chosen]) for q in (0.5, 0.25, 0.75))
        bars = [middle - low, high - middle]
        axis.errorbar(across, middle, bars, color=COLOURS[number], marker=MARKERS[number], label=name, capsize=2)


def _draw_spectrum(axis: Axes, spectrum: Drawn) -> None:
    good = spectrum.weight > 0
    flux = np.where(good, spectrum.flux, np.nan)
    axis.plot(spectrum.wavelength, flux, color=DATA_COLOUR, lw=0.4, label="data")
    axis.plot(spectrum.wavelength, spectrum.model, color=MODEL_COLOUR, lw=0.8, label="model")
    low, high = np.percentile(flux[good], SHOWN_PERCENT)
    low, high = min(low, spectrum.model.min()), max(high, spectrum.model.max())
    axis.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    axis.set_ylabel("flux density")
    mark_lines(axis, spectrum.redshift, spectrum.wavelength)
    _caption(axis, spectrum.caption)


def _caption(axis: Axes, text: str) -> None:
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    axis.text(0.99, 0.05, text, transform=axis.transAxes, ha="right", va="bottom", fontsize=6.5, bbox=box)


def _draw_residual(axis: Axes, spectrum: Drawn) -> None:
    """Draw the residual in units of the noise, of means of a few pixels."""
    length = len(spectrum.flux) // SMOOTH_PIXELS * SMOOTH_PIXELS
    weight = spectrum.weight[:length].reshape(-1, SMOOTH_PIXELS)
    difference = np.where(spectrum.weight > 0, spectrum.flux - spectrum.model, 0)[:length].reshape(weight.shape)
    total = weight.sum(1)
    residual = np.divide((weight * difference).sum(1), np.sqrt(total), out=np.full(len(total), np.nan), where=total > 0)
    axis.plot(spectrum.wavelength[:length].reshape(weight.shape).mean(1), residual, color=COLOURS[0], lw=0.4)
    axis.axhline(0, color=GUIDE, lw=0.6)
    axis.set(ylim=(-6, 6), ylabel="Δ / σ")


def mark_lines(axis: Axes, redshift: float, wavelength: Values) -> None:
    """Mark where the known lines of a galaxy lie."""
    for number, (name, rest) in enumerate(LINES_ANGSTROM.items()):
        observed = rest * (1 + redshift)
        if wavelength[0] < observed < wavelength[-1]:
            axis.axvline(observed, color=GUIDE, lw=0.5, ls=":", zorder=0)
            height = LABEL_HEIGHTS[number % len(LABEL_HEIGHTS)]
            axis.text(
                observed, height, name, transform=axis.get_xaxis_transform(), fontsize=6, ha="center", va="bottom"
            )


def draw_strangest(spectra: Sequence[Drawn], title: str) -> Figure:
    """Draw the strangest spectra and what the autoencoder makes of them, both smoothed, two a row."""
    rows = -(-len(spectra) // 2)
    figure = new_figure(1.45 * rows + 0.5)
    grid = figure.subplots(rows, 2, squeeze=False)
    for axis, spectrum in zip(grid.flat, spectra, strict=False):
        smooth = _smoothed(spectrum.flux, spectrum.weight)
        model = _smoothed(spectrum.model, spectrum.weight)
        axis.plot(spectrum.wavelength, smooth, color=COLOURS[6], lw=0.5, label="data")
        axis.plot(spectrum.wavelength, model, color=MODEL_COLOUR, lw=0.8, alpha=0.8, label="model")
        mark_lines(axis, spectrum.redshift, spectrum.wavelength)
        _caption(axis, spectrum.caption)
        axis.set_xlim(spectrum.wavelength[0], spectrum.wavelength[-1])
        if np.isfinite(smooth).any():
            low, high = np.nanpercentile(smooth, CONTINUUM_PERCENT)
            axis.set_ylim(low - 0.4 * (high - low or 1), high + 0.3 * (high - low or 1))
    for axis in grid[-1]:
        axis.set_xlabel("observed vacuum wavelength (Å)")
    for axis in grid.flat[len(spectra) :]:
        axis.set_axis_off()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    set_title(figure, title)
    return figure


def _smoothed(values: Values, weight: Values) -> Values:
    """Return the weighted running mean of a spectrum, NaN where no pixel has data."""
    kernel = np.ones(2 * SMOOTH_PIXELS + 1)
    total = np.convolve(weight, kernel, "same")
    weighted = np.convolve(np.where(weight > 0, values, 0) * weight, kernel, "same")
    mean: Values = np.divide(weighted, total, out=np.full(len(total), np.nan), where=total > 0)
    return mean


def chosen_by(values: Mapping[int, float], count: int) -> list[int]:
    """Return keys whose values lie at even steps from high to low, between the extremes."""
    order = sorted(values, key=lambda key: -values[key])
    return [order[int((number + 0.5) / count * len(order))] for number in range(min(count, len(order)))]
