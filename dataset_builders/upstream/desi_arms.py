"""The three arms of DESI spectra, and how they become one spectrum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astroclip_bench.records import N_WAVELENGTH

N_DIAGONALS = 11
"""Diagonals of the resolution matrix that DESI files keep."""

FloatArray = npt.NDArray[np.floating[Any]]


class Arm(NamedTuple):
    """One arm of n spectra, in any byte order.

    `flux`, `ivar` and `mask` are (n, width), `resolution` is (n, 11, width) or None; the arm covers the pixels
    `start` to `start` + width of the common grid. What `mask` means is its bits combined by XOR with `mask_zero`.
    """

    start: int
    flux: FloatArray
    ivar: FloatArray
    mask: npt.NDArray[np.integer[Any]]
    mask_zero: int = 0
    resolution: FloatArray | None = None

    @property
    def stop(self) -> int:
        """Return the first pixel of the common grid after the arm."""
        return self.start + int(self.flux.shape[1])

    def rows(self, rows: npt.NDArray[np.int64]) -> Arm:
        """Return some of the spectra, by increasing number; views where the numbers have no gap."""
        gapless = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        here = slice(rows[0], rows[-1] + 1) if gapless else rows
        matrix = None if self.resolution is None else self.resolution[here]
        return Arm(self.start, self.flux[here], self.ivar[here], self.mask[here], self.mask_zero, matrix)


class Spectra(NamedTuple):
    """Whole spectra: `flux` and `ivar` float32, `mask` uint32, (n, 7781); `resolution` float32, (n, 11, 7781)."""

    flux: npt.NDArray[np.float32]
    ivar: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint32]
    resolution: npt.NDArray[np.float32] | None = None

    @classmethod
    def empty(cls, n: int, resolution: bool = False) -> Spectra:
        """Return arrays for n spectra, with values to be filled in."""
        shape = (n, N_WAVELENGTH)
        matrix = np.zeros((n, N_DIAGONALS, N_WAVELENGTH), np.float32) if resolution else None
        return cls(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint32), matrix)

    def rows(self, rows: slice | npt.NDArray[np.int64]) -> Spectra:
        """Return some of the spectra; views where `rows` is a slice."""
        matrix = None if self.resolution is None else self.resolution[rows]
        return Spectra(self.flux[rows], self.ivar[rows], self.mask[rows], matrix)


@dataclass(frozen=True)
class CoaddRule:
    """How masks take part in combining the arms; see `RULES`."""

    description: str
    drop_masked: bool
    combine_masks: Callable[[Any, Any], Any]
    clear_mask_where_used: bool


RULES = {
    "desispec-0.70": CoaddRule(
        "copied outside the overlaps; inside, mean weighted by ivar, masks or-ed; mask cleared where ivar > 0",
        drop_masked=False,
        combine_masks=np.bitwise_or,
        clear_mask_where_used=True,
    ),
    "desispec-edr": CoaddRule(
        "flux and ivar 0 where masked; in the overlaps mean of what is not masked, weighted by ivar, masks and-ed",
        drop_masked=True,
        combine_masks=np.bitwise_and,
        clear_mask_where_used=False,
    ),
}
"""Rules of `desispec.coaddition.coadd_cameras`, which was rewritten in desispec 0.70.0 (PR 2488).

Under both, flux in an overlap is the sum of ivar times flux over the sum of ivar (0 where that is 0), and ivar adds.
The older code (0.51 made EDR) multiplies ivar by (mask == 0) everywhere, so that a masked pixel has flux and ivar 0;
it ANDs the masks of the arms into an array of zeros, which gives 0 in every overlap: here the AND is that of the arms.
It also divides flux times ivar by ivar outside the overlaps, where here flux is copied; that is equal to rounding.
"""


def combine_arms(arms: Sequence[Arm], rule: CoaddRule, out: Spectra) -> None:
    """Combine the arms of n spectra, in order of wavelength, into `out`.

    Overlaps are computed in float64, the rest is copied. The resolution, where all arms and `out` have it, follows
    desispec 0.70 under every rule: copied outside the overlaps, inside a mean weighted by the ivar of the pixel that
    each element of the matrix comes from (desispec issue 2372).
    """
    for arm in arms:
        pixels = slice(arm.start, arm.stop)
        out.flux[:, pixels], out.ivar[:, pixels], out.mask[:, pixels] = arm.flux, arm.ivar, arm.mask
        out.mask[:, pixels] ^= np.uint32(arm.mask_zero)
        if out.resolution is not None and arm.resolution is not None:
            out.resolution[:, :, pixels] = arm.resolution
    if rule.drop_masked:
        out.ivar[out.mask != 0] = 0
        out.flux[~(out.ivar > 0)] = 0
    for left, right in pairwise(arms):
        _combine_overlap(left, right, rule, out)
    if rule.clear_mask_where_used:
        np.multiply(out.mask, ~(out.ivar > 0), out=out.mask)


def _combine_overlap(left: Arm, right: Arm, rule: CoaddRule, out: Spectra) -> None:
    pixels = slice(right.start, left.stop)
    sides = [(left, slice(right.start - left.start, None)), (right, slice(0, left.stop - right.start))]
    weights = [arm.ivar[:, part].astype(float) for arm, part in sides]
    masks = [arm.mask[:, part].astype(np.uint32) ^ np.uint32(arm.mask_zero) for arm, part in sides]
    if rule.drop_masked:
        weights = [weight * (mask == 0) for weight, mask in zip(weights, masks, strict=True)]
    out.flux[:, pixels] = _weighted_mean([arm.flux[:, part] for arm, part in sides], weights)
    out.ivar[:, pixels] = weights[0] + weights[1]
    out.mask[:, pixels] = rule.combine_masks(*masks)
    if out.resolution is not None and left.resolution is not None and right.resolution is not None:
        matrices = [left.resolution[:, :, sides[0][1]], right.resolution[:, :, sides[1][1]]]
        out.resolution[:, :, pixels] = _weighted_mean(
            matrices, [_weights_of_matrix(arm.ivar)[:, :, part] for arm, part in sides]
        )


def _weighted_mean(values: Sequence[FloatArray], weights: Sequence[FloatArray]) -> FloatArray:
    """Return the mean of two arrays, 0 where no weight is positive."""
    total = weights[0] + weights[1]
    mean: FloatArray = (weights[0] * values[0] + weights[1] * values[1]) / np.where(total > 0, total, 1.0)
    return mean


def _weights_of_matrix(ivar: FloatArray) -> FloatArray:
    """Return for each element of the banded matrix the ivar of its pixel: element (d, j) belongs to j + d - 5."""
    middle = N_DIAGONALS // 2
    return np.stack([np.roll(ivar.astype(float), middle - d, axis=1) for d in range(N_DIAGONALS)], axis=1)
