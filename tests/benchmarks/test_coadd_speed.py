"""Reading a coadd of 500 targets into whole spectra, at once and in a build's batches, against reading it bare, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from desi_files import ARMS, fibermap, write_coadd

from dataset_builders.pairs.source import BATCH_ROWS
from dataset_builders.upstream import desi_layout
from dataset_builders.upstream.desi_coadd import DesiCoadds

TARGETS = 500
ROUNDS = 9
MINIMUM_RATE = 0.7
"""Of the rate of the bare reading, of the quickest round of each: other processes only ever slow a round down."""
IMAGES = [f"{arm}_{kind}" for arm in ARMS for kind in ("FLUX", "IVAR", "MASK")]


@pytest.fixture(scope="module")
def coadd(tmp_path_factory) -> Path:
    """Return a coadd of the full layout, resolution included (223 MB), in which one fibre in ten is bad."""
    folder = tmp_path_factory.mktemp("healpix")
    random = np.random.default_rng(0)
    images = {}
    for arm, (_, width) in ARMS.items():
        shape = (TARGETS, width)
        images[f"{arm}_FLUX"] = random.standard_normal(shape, np.float32)
        images[f"{arm}_IVAR"] = random.random(shape, np.float32)
        images[f"{arm}_MASK"] = (random.random(shape, np.float32) < 0.01).astype(np.uint32)
        images[f"{arm}_RESOLUTION"] = np.zeros((TARGETS, 11, width), np.float32)
    target_id = 39633345008634465 + np.arange(TARGETS)
    table = fibermap(target_id, COADD_FIBERSTATUS=(np.arange(TARGETS) % 10 == 3).astype(np.int32))
    return write_coadd(folder / "coadd-sv3-bright-10016.fits", table, images)


def with_astropy(path: Path) -> list[np.ndarray]:
    with fits.open(path, memmap=False) as hdus:
        return [hdus[name].data for name in IMAGES]


def with_fitsio(path: Path) -> list[np.ndarray]:
    with fitsio.FITS(path) as hdus:
        return [hdus[name].read() for name in IMAGES]


def cpu_seconds(read: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    read(path)
    return time.process_time() - start


@pytest.mark.parametrize("rows", [TARGETS, BATCH_ROWS])
def test_whole_spectra_are_read_nearly_as_fast_as_bare_images(coadd, benchmark, rows):
    """Both open the file as a new one; the bare reading neither looks at the values nor puts the arms together."""
    reader = DesiCoadds(coadd, redshifts="none")

    def parse(path: Path) -> None:
        desi_layout.forget()
        for start in range(0, TARGETS, rows):
            assert not reader.load(path, np.arange(start, min(start + rows, TARGETS))).faults.any()

    bare: list[float] = []
    ours: list[float] = []
    parse(coadd)
    benchmark.pedantic(
        lambda: ours.append(min(cpu_seconds(parse, coadd) for _ in range(2))),
        setup=lambda: bare.append(min(cpu_seconds(read, coadd) for read in (with_astropy, with_fitsio))),
        rounds=ROUNDS,
    )
    rate = min(bare) / min(ours)
    index = [cpu_seconds(reader.index, coadd) for _ in range(ROUNDS)]
    benchmark.extra_info["share_of_bare_rate"] = round(rate, 2)
    for name, times in {"bare": bare, "load": ours, "index": index}.items():
        benchmark.extra_info[f"{name}_cpu_milliseconds"] = round(1e3 * min(times), 1)
    assert rate >= MINIMUM_RATE
