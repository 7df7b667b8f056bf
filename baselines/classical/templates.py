"""Redshifts by templates: principal components of galaxies at rest, fitted to a spectrum at every redshift.

The templates are the data set's own: made from spectra of the train split at their known redshifts, by principal
components that take missing pixels and inverse variances into account (Bailey 2012, PASP 124, 1015, section 3). The
redshift is where the weighted sum of squared residuals is least, as in DESI's Redrock (Guy et al. 2023, AJ 165, 144,
section 5). Everything lies on one grid of bins of 150 km/s, on which a redshift is a shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from astroclip_bench.errors import DataError
from baselines.astroclip.log_bins import LOG_STEP

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset, SplitView
    from astroclip_bench.progress import Progress

Array = npt.NDArray[np.float64]

MODALITY, LABEL = "spectrum", "redshift"
READ_ROWS = 256
SCAN_ROWS = 32
"""Spectra fitted at a time: their matrices at all redshifts take some tens of megabytes."""
RIDGE = 1e-9
"""Added to the diagonal of each fit's matrix, as a share of its trace: templates may be alike where a spectrum is cut."""
RELATIVE_ERROR = 0.03
"""Floor of the relative error of a bin while templates are made: no single bright galaxy is to make one."""


@dataclass(frozen=True)
class TemplateSettings:
    """How templates are made.

    Parameters
    ----------
    templates
        Number of components.
    iterations
        Alternations between coefficients and components.
    redshift_bins, galaxies_a_bin
        The train spectra used: those of highest signal-to-noise ratio in each of so many equal bins of redshift, which
        covers all rest wavelengths.
    """

    templates: int = 5
    iterations: int = 20
    redshift_bins: int = 20
    galaxies_a_bin: int = 150


@dataclass(frozen=True)
class Templates:
    """Spectra at rest (t, bins + shifts - 1), and the shift, in bins, of the lowest redshift that they are fitted at."""

    components: Array
    first_shift: int
    shifts: int


@dataclass(frozen=True)
class Spectra:
    """Binned spectra (n, bins): flux over its own scale, and the inverse variance of that; 0 where there is no data."""

    flux: Array
    ivar: Array


def predict_labels(
    dataset: BenchDataset, targets: Sequence[str], settings: TemplateSettings, progress: Progress | None = None
) -> Mapping[str, Array]:
    """Return the redshift of each galaxy of the test split, whatever else is in `targets`.

    A spectrum without data gets the mean redshift of the train split.

    Raises
    ------
    DataError
        If no galaxy of the train split has a spectrum and a redshift above -1.
    """
    train = dataset.splits["train"]
    redshift = train.column(LABEL)
    templates = make_templates(read_spectra(train), redshift, settings)
    spectra = read_spectra(dataset.splits["test"])
    found = fit_redshift(spectra, templates, progress)
    empty = ~(spectra.ivar > 0).any(axis=1)
    return {LABEL: np.where(empty, np.nanmean(redshift), found)}


def read_spectra(split: SplitView) -> Spectra:
    """Read a split's spectra into bins of 150 km/s, each over its mean absolute flux."""
    import torch

    from baselines.astroclip.data import to_tensors
    from baselines.astroclip.log_bins import LogBins

    flux: list[Array] = []
    ivar: list[Array] = []
    with torch.inference_mode():
        bins = LogBins(split.schema.field("flux").type.list_size)
        for batch in split.batches(("flux", "ivar"), READ_ROWS):
            tensors = to_tensors(batch)
            for kept, values in zip((flux, ivar), bins.rebin(tensors["flux"], tensors["ivar"]), strict=True):
                kept.append(values.double().numpy())
    spectra = Spectra(np.concatenate(flux), np.concatenate(ivar))
    good = spectra.ivar > 0
    scale = np.abs(spectra.flux).sum(axis=1, keepdims=True) / np.maximum(good.sum(axis=1, keepdims=True), 1)
    scale[scale == 0] = 1.0
    return Spectra(spectra.flux / scale, spectra.ivar * scale**2)


def make_templates(spectra: Spectra, redshift: Array, settings: TemplateSettings) -> Templates:
    """Return the components of spectra of known redshift (n,), brought to rest.

    Raises
    ------
    DataError
        If there is none.
    """
    usable = np.isfinite(redshift) & (redshift > -1) & (spectra.ivar > 0).any(axis=1)
    if not usable.any():
        raise DataError("no galaxy of the train split has a spectrum and a redshift", "some to make templates of")
    shift = np.zeros(len(redshift), np.int64)
    shift[usable] = np.rint(np.log1p(redshift[usable]) / LOG_STEP).astype(np.int64)
    first, last = int(shift[usable].min()), int(shift[usable].max())
    rows = _brightest(spectra, np.where(usable, redshift, np.nan), settings)
    flux, weight = (np.zeros((len(rows), spectra.flux.shape[1] + last - first)) for _ in range(2))
    bins = np.arange(spectra.flux.shape[1])
    places = bins + (last - shift[rows])[:, None]
    np.put_along_axis(flux, places, spectra.flux[rows], axis=1)
    ivar = spectra.ivar[rows]
    error = (RELATIVE_ERROR * spectra.flux[rows]) ** 2
    np.put_along_axis(weight, places, ivar / (1 + ivar * error), axis=1)
    components = weighted_components(flux, weight, settings.templates, settings.iterations)
    return Templates(components, first, last - first + 1)


def weighted_components(values: Array, weight: Array, number: int, iterations: int) -> Array:
    """Return the components (k, p) that leave the least weighted squares of values (n, p); none is subtracted before.

    Coefficients and components are fitted in turn, each by linear least squares (Bailey 2012, section 3.2).
    """
    covered = weight.sum(axis=0)
    mean = (values * weight).sum(axis=0) / np.where(covered > 0, covered, 1.0)
    random = np.random.default_rng(0)
    components = np.stack([mean, *(mean * random.normal(size=(number - 1, len(mean))))])
    for _ in range(iterations):
        coefficients = _least_squares(values, weight, components)
        components = _least_squares(values.T, weight.T, coefficients.T).T
        components = np.linalg.qr(components.T)[0].T
    return np.asarray(components)


def fit_redshift(spectra: Spectra, templates: Templates, progress: Progress | None = None) -> Array:
    """Return the redshift (n,) at which the templates leave the least chi-square of each spectrum.

    All shifts of the grid are tried; a parabola through the least value and its neighbours gives the fraction of a bin.
    """
    found = []
    for start in range(0, len(spectra.flux), SCAN_ROWS):
        rows = slice(start, start + SCAN_ROWS)
        explained = explained_squares(spectra.flux[rows], spectra.ivar[rows], templates)
        found.append(np.expm1(LOG_STEP * (templates.first_shift + _peak(explained))))
        if progress:
            progress(min(start + SCAN_ROWS, len(spectra.flux)), len(spectra.flux))
    return np.concatenate(found)


def explained_squares(flux: Array, ivar: Array, templates: Templates) -> Array:
    """Return by how much the best combination of templates lowers chi-square, at each shift, (n, shifts)."""
    number, bins = len(templates.components), flux.shape[1]
    # A larger shift looks at bluer rest wavelengths: windows in reverse.
    windows = sliding_window_view(templates.components, bins, axis=1)[:, ::-1]
    matrix: Array = np.empty((len(flux), templates.shifts, number, number))
    vector: Array = np.empty((len(flux), templates.shifts, number))
    for one in range(number):
        vector[:, :, one] = (flux * ivar) @ windows[one].T
        for other in range(one + 1):
            matrix[:, :, one, other] = matrix[:, :, other, one] = ivar @ (windows[one] * windows[other]).T
    explained: Array = np.einsum("nsk,nsk->ns", vector, _solve(matrix, vector))
    return explained


def _peak(values: Array) -> Array:
    """Return where each row (n, m) is largest, with the fraction from the parabola through three points."""
    best = values.argmax(axis=1)
    inner = np.clip(best, 1, values.shape[1] - 2)
    left, middle, right = (np.take_along_axis(values, (inner + step)[:, None], 1)[:, 0] for step in (-1, 0, 1))
    curvature = left - 2 * middle + right
    fraction = np.divide((left - right) / 2, curvature, out=np.zeros_like(middle), where=curvature < 0)
    return np.asarray(np.where(inner == best, inner + np.clip(fraction, -0.5, 0.5), best), np.float64)


def _brightest(spectra: Spectra, redshift: Array, settings: TemplateSettings) -> npt.NDArray[np.int64]:
    """Return the rows of highest signal-to-noise ratio in each bin of redshift (n,), NaN left out."""
    signal = np.median(spectra.flux * np.sqrt(spectra.ivar), axis=1)
    edges = np.linspace(np.nanmin(redshift), np.nanmax(redshift), settings.redshift_bins + 1)
    place = np.clip(np.searchsorted(edges, redshift, side="right") - 1, 0, settings.redshift_bins - 1)
    chosen = []
    for number in range(settings.redshift_bins):
        members = np.flatnonzero((place == number) & np.isfinite(redshift))
        chosen.append(members[np.argsort(-signal[members], kind="stable")[: settings.galaxies_a_bin]])
    return np.sort(np.concatenate(chosen))


def _least_squares(values: Array, weight: Array, basis: Array) -> Array:
    """Return the coefficients (n, k) of a basis (k, p) that fit values (n, p) best."""
    products = np.einsum("ip,jp->pij", basis, basis).reshape(basis.shape[1], -1)
    matrix = (weight @ products).reshape(len(values), len(basis), len(basis))
    return _solve(matrix, (values * weight) @ basis.T)


def _solve(matrix: Array, vector: Array) -> Array:
    """Return the solutions (..., k) of symmetric systems (..., k, k), some of which may be singular."""
    number = vector.shape[-1]
    ridge = RIDGE * np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] + np.finfo(np.float64).tiny
    return np.asarray(np.linalg.solve(matrix + ridge * np.eye(number), vector[..., None])[..., 0])
