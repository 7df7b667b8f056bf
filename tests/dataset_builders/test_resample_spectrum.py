"""Resampling against closed forms: what is put in by wavelength comes out by wavelength."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from dataset_builders.resample_spectrum import bin_edges, overlap_lengths, resample_flux, resample_mask

OLD = bin_edges(10 ** (3.58 + 1e-4 * np.arange(3800)))  # SDSS: 3802 to 9120 angstrom
NEW = bin_edges(3600.0 + 0.8 * np.arange(7781))
COVERED = (NEW[:-1] >= OLD[0]) & (NEW[1:] <= OLD[-1])


def test_edges_lie_halfway():
    np.testing.assert_allclose(bin_edges([1.0, 2.0, 4.0]), [0.5, 1.5, 3.0, 5.0])
    assert NEW[[0, -1]] == pytest.approx([3599.6, 9824.4])


@pytest.mark.parametrize("centres", [[1.0], [2.0, 1.0], [1.0, 1.0], [1.0, np.nan]])
def test_a_grid_must_rise(centres):
    with pytest.raises(DataError, match="do not rise"):
        bin_edges(centres)


def test_overlaps_add_up_to_the_shared_range():
    lengths = overlap_lengths(OLD, NEW)
    assert lengths.nnz < 2 * (len(OLD) + len(NEW))
    np.testing.assert_allclose(lengths.sum(axis=1)[COVERED], np.diff(NEW)[COVERED], rtol=1e-10)
    np.testing.assert_allclose(lengths.sum(axis=0), np.diff(OLD), rtol=1e-10)
    brute = np.clip(np.minimum.outer(NEW[1:40], OLD[1:]) - np.maximum.outer(NEW[:39], OLD[:-1]), 0, None)
    np.testing.assert_allclose(lengths[:39].toarray(), brute, atol=1e-9)


@pytest.mark.parametrize(("old", "new"), [([0, 1, 2], [3, 4, 5]), ([3, 4, 5], [0, 1, 2])])
def test_grids_that_do_not_meet_give_nothing(old, new):
    flux, ivar = resample_flux([[1.0, 1.0]], [[1.0, 1.0]], old, new)
    assert not flux.any()
    assert not ivar.any()


def test_a_constant_stays_and_nothing_is_made_up_outside():
    flux, ivar = resample_flux(np.full((2, 3800), 7.25), np.full((2, 3800), 4.0), OLD, NEW)
    np.testing.assert_allclose(flux[:, COVERED], 7.25, rtol=1e-12)
    outside = (NEW[1:] <= OLD[0]) | (NEW[:-1] >= OLD[-1])
    assert outside.sum() > 1000
    assert not flux[:, outside].any()
    assert not ivar[:, outside].any()


def test_bin_means_of_a_line_are_exact_on_nested_grids():
    # Old bins are means of f = 3 + 0.5 x; new bins are unions of old ones, so their means are exact too.
    old, new = np.sort(np.random.default_rng(1).uniform(0, 10, 31)), slice(0, None, 5)
    mean = 3 + 0.25 * (old[1:] + old[:-1])
    flux, _ = resample_flux([mean], np.ones((1, 30)), old, old[new])
    np.testing.assert_allclose(flux[0], 3 + 0.25 * (old[new][1:] + old[new][:-1]), rtol=1e-12)


def test_the_integral_is_conserved():
    random = np.random.default_rng(2)
    flux = random.normal(5, 40, (3, 3800))
    resampled, ivar = resample_flux(flux, np.ones_like(flux), OLD, NEW)
    first, last = np.flatnonzero(COVERED)[[0, -1]]
    low, high = NEW[first], NEW[last + 1]
    inside = np.clip(np.minimum(OLD[1:], high) - np.maximum(OLD[:-1], low), 0, None)
    wanted, scale = flux @ inside, np.abs(flux) @ inside
    found = resampled[:, COVERED] @ np.diff(NEW)[COVERED]
    assert (np.abs(found - wanted) <= 1e-12 * scale).all()
    assert (ivar[:, COVERED] > 0).all()


def test_random_grids_against_a_fine_one():
    random = np.random.default_rng(3)
    old = np.concatenate([[0], np.sort(random.integers(1, 999, 40)), [1000]])
    old, new = np.unique(old), np.unique(random.integers(100, 900, 60))
    flux = random.normal(size=(1, len(old) - 1))
    fine = np.repeat(flux[0], np.diff(old))
    wanted = [fine[low:high].mean() for low, high in pairwise(new)]
    np.testing.assert_allclose(resample_flux(flux, np.ones_like(flux), old, new)[0][0], wanted, rtol=1e-12)


def test_without_masks_it_is_what_spectres_does():
    spectres = pytest.importorskip("spectres")
    random = np.random.default_rng(5)
    centres, flux, ivar = (OLD[1:] + OLD[:-1]) / 2, random.normal(9, 3, (2, 3800)), random.uniform(0.5, 2, (2, 3800))
    new = 4000 + 0.8 * np.arange(5000)
    wanted, error = spectres.spectres(new, centres, flux, ivar**-0.5, verbose=False)
    found, weight = resample_flux(flux, ivar, bin_edges(centres), bin_edges(new))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    np.testing.assert_allclose(weight**-0.5, error, rtol=1e-9)


def test_variance_is_that_of_the_weighted_mean():
    # The new bin takes 1 of the first old bin (variance 4) and 3 of the second (variance 1).
    flux, ivar = resample_flux([[8.0, 4.0]], [[0.25, 1.0]], [0, 2, 5], [1, 5])
    assert flux[0, 0] == pytest.approx((8 + 3 * 4) / 4)
    assert 1 / ivar[0, 0] == pytest.approx((1 * 4 + 9 * 1) / 16)
    random = np.random.default_rng(4)
    noise = random.normal(0, 2.0, (20_000, 6))
    drawn, claimed = resample_flux(noise, np.full(noise.shape, 0.25), np.arange(7), [0.5, 2.25, 5.0])
    np.testing.assert_allclose(drawn.std(axis=0) ** -2, claimed[0], rtol=0.03)


def test_masked_samples_have_no_say():
    flux, ivar = np.array([[1.0, 1e9, 3.0, np.nan]]), np.array([[1.0, 0.0, 1.0, 0.0]])
    found, weight = resample_flux(flux, ivar, [0, 1, 2, 3, 4], [0, 1.5, 2.5, 3.2, 3.9])
    np.testing.assert_allclose(found, [[1.0, 3.0, 3.0, 0.0]])
    # Of the third bin 0.5 of 0.7 is covered; the last one has no good sample at all.
    np.testing.assert_allclose(weight, [[1.0, 1.0, 1.0, 0.0]])
    sliver, none = resample_flux([[1.0, 2.0]], [[1.0, 0.0]], [0, 1, 2], [0.6, 1.6])
    assert (sliver[0, 0], none[0, 0]) == (0.0, 0.0)


def test_mask_bits_gather():
    found = resample_mask([[1, 2, 4], [0, 8, 0]], [0, 1, 2, 3], [-1, 0, 0.5, 1.5, 2.5, 5])
    assert found.tolist() == [[0, 1, 3, 6, 4], [0, 0, 8, 8, 0]]
    assert found.dtype == np.uint32
