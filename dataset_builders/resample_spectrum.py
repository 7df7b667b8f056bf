"""Spectra from one wavelength grid to another with the flux conserved.

A sample is the mean flux density over its bin, so the mean over a new bin is the sum of the old samples weighted by the
lengths of overlap (Carnall 2017, arXiv:1705.05165, section 2): the integral over wavelength stays what it was. One
sparse matrix of those lengths serves all spectra of a grid and leaves out masked samples by weight, which SpectRes, the
code of that paper, does not: it would spread a masked sample's value over its neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError

Float64 = npt.NDArray[np.float64]

MINIMUM_COVERAGE = 0.5
"""A new bin of which good samples cover less than this is left empty: it would repeat a neighbour's value."""


def bin_edges(centres: npt.ArrayLike) -> Float64:
    """Return the n + 1 edges of n rising bins: halfway between neighbours, the outer two as far out as in.

    Raises
    ------
    DataError
        If there are fewer than two centres, or they do not rise.
    """
    middle = np.asarray(centres, np.float64)
    steps = np.diff(middle)
    if middle.ndim != 1 or len(middle) < 2 or not (steps > 0).all():
        raise DataError("the wavelengths of a spectrum do not rise from sample to sample", "a rising grid")
    inner = middle[:-1] + steps / 2
    return np.concatenate([[middle[0] - steps[0] / 2], inner, [middle[-1] + steps[-1] / 2]])


def overlap_lengths(old_edges: npt.ArrayLike, new_edges: npt.ArrayLike) -> Any:
    """Return the length that each new bin shares with each old bin, a `scipy.sparse.csr_array` (n_new, n_old).

    Parameters
    ----------
    old_edges, new_edges
        Rising edges, (n_old + 1,) and (n_new + 1,), in one unit.
    """
    from scipy.sparse import csr_array

    old, new = np.asarray(old_edges, np.float64), np.asarray(new_edges, np.float64)
    cuts = np.unique(np.concatenate([old, new]))
    pieces = cuts[(cuts >= max(old[0], new[0])) & (cuts <= min(old[-1], new[-1]))]
    # Between two neighbouring cuts lies one old bin and one new bin.
    row = np.searchsorted(new, pieces[:-1], side="right") - 1
    column = np.searchsorted(old, pieces[:-1], side="right") - 1
    return csr_array((np.diff(pieces), (row, column)), shape=(len(new) - 1, len(old) - 1))


def resample_flux(
    flux: npt.ArrayLike, ivar: npt.ArrayLike, old_edges: npt.ArrayLike, new_edges: npt.ArrayLike
) -> tuple[Float64, Float64]:
    """Resample flux densities, and propagate their inverse variances.

    The new flux is the mean of the good samples (finite, of positive inverse variance) weighted by overlap, and the new variance
    that of this mean. Two new bins that share an old sample are correlated, which the inverse variance does not tell:
    where the new bins are narrower than the old ones, the sum of the inverse variances exceeds the information there is
    by the ratio of the widths.

    Parameters
    ----------
    flux, ivar
        Flux density and inverse variance of n spectra on one grid, (n, n_old).
    old_edges, new_edges
        Rising edges of the bins, (n_old + 1,) and (n_new + 1,), in one unit.

    Returns
    -------
    flux, ivar
        (n, n_new) float64; both 0 in bins of which good samples cover less than `MINIMUM_COVERAGE`.
    """
    old_flux, old_ivar = np.asarray(flux, np.float64), np.asarray(ivar, np.float64)
    lengths = overlap_lengths(old_edges, new_edges)
    good = (old_ivar > 0) & np.isfinite(old_ivar) & np.isfinite(old_flux)
    variance = np.divide(1.0, old_ivar, out=np.zeros_like(old_ivar), where=good)
    covered = (lengths @ good.T.astype(np.float64)).T
    filled = covered >= MINIMUM_COVERAGE * np.diff(np.asarray(new_edges, np.float64))
    total = (lengths @ np.where(good, old_flux, 0.0).T).T
    total_variance = (lengths.power(2) @ variance.T).T
    new_flux = np.divide(total, covered, out=np.zeros_like(total), where=filled)
    new_ivar = np.divide(covered**2, total_variance, out=np.zeros_like(total), where=filled)
    return new_flux, new_ivar


def resample_mask(mask: npt.ArrayLike, old_edges: npt.ArrayLike, new_edges: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return, for each new bin, the bits of all old samples that it overlaps: (n, n_old) -> (n, n_new); 0 outside."""
    bits = np.asarray(mask, np.uint32)
    lengths = overlap_lengths(old_edges, new_edges)
    resampled = np.zeros((len(bits), lengths.shape[0]), np.uint32)
    row, column = lengths.nonzero()
    for spectrum, old in zip(resampled, bits, strict=True):
        np.bitwise_or.at(spectrum, row, old[column])
    return resampled
