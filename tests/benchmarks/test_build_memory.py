"""A build of pairs needs no more memory for many files than for few, nor for many pairs than for few."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from desi_files import fibermap, random_arms, redshift_table, write_coadd, write_table

from dataset_builders.upstream.desi_targets import encode_target_id

SURVEYS = {"few files": (6, 160), "many files": (48, 20), "four times the pairs": (48, 80)}
"""Survey -> number of files, of spectra and of images each, and of targets in a file."""
MEMORY_GROWTH_AT_MOST = {"many files": 1.10, "four times the pairs": 1.25}
"""Peak against that of few files. What the allocator holds back grows over the first few shards, by some 100 MB."""

BUILD = """
import json, re, sys
from pathlib import Path
from dataset_builders.desi_legacy import texts
from dataset_builders.pairs.build import PairRequest, build_pairs
from dataset_builders.upstream.desi_coadd import DesiCoadds
from dataset_builders.upstream.legacy_stein import SteinImages

folder = Path(sys.argv[1])
request = PairRequest(texts.INFO, DesiCoadds(folder / "spectra"), SteinImages(folder / "images"), shard_rows=200)
build_pairs(request, folder / "out")
counts = json.loads((folder / "out" / "manifest.json").read_text())["counts"]
# Not getrusage: what it calls the peak includes that of the process this one was forked from.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.stdout.write(json.dumps({"pairs": sum(counts.values()), "peak_kb": peak}))
"""


def write_survey(folder: Path, files: int, targets: int) -> Path:
    count = files * targets
    ids = encode_target_id(np.full(count, 9010), 300_000 + np.arange(count), np.arange(count))
    ra, dec = 150.0 + 0.01 * np.arange(count), 2.0 + 0.001 * np.arange(count)
    for number in range(files):
        part = slice(number * targets, (number + 1) * targets)
        table = fibermap(ids[part], TARGET_RA=ra[part], TARGET_DEC=dec[part])
        place = folder / "spectra" / str(number)
        write_coadd(place / f"coadd-sv3-bright-{number}.fits", table, random_arms(targets, seed=number))
        write_table(place / f"redrock-sv3-bright-{number}.fits", redshift_table(ids[part]), "REDSHIFTS")
    write_images(folder / "images" / "south", ids, ra, dec, files)
    return folder


def write_images(folder: Path, ids: np.ndarray, ra: np.ndarray, dec: np.ndarray, files: int) -> None:
    """Write the images of every `files`-th galaxy into one file each, so that all files are needed all the time."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(files):
        rows = slice(number, None, files)
        with h5py.File(folder / f"images_npix152_{number:09d}_{number + 1:09d}.h5", "w") as file:
            shape = (len(ids[rows]), 3, 152, 152)
            file["images"] = random.normal(0, 0.01, shape).astype(np.float32)
            file["ra"], file["dec"], file["inds"] = ra[rows], dec[rows], np.arange(shape[0])
            file["release"] = np.full(shape[0], 9010, np.int32)
            file["brickid"] = (300_000 + np.arange(len(ids)))[rows].astype(np.int32)
            file["objid"] = np.arange(len(ids))[rows].astype(np.int32)
            file["ebv"] = np.full(shape[0], 0.02, np.float32)
            file["flux"] = np.full((shape[0], 3), 5.0, np.float32)


def peak_megabytes(folder: Path, pairs: int) -> float:
    output = subprocess.run([sys.executable, "-c", BUILD, str(folder)], check=True, capture_output=True).stdout
    measured = json.loads(output)
    assert measured["pairs"] == pairs
    return measured["peak_kb"] / 1e3


@pytest.mark.slow
def test_memory_grows_neither_with_files_nor_with_pairs(tmp_path, benchmark):
    peaks = {}
    for name, (files, targets) in SURVEYS.items():
        folder = write_survey(tmp_path / name, files, targets)
        peaks[name] = peak_megabytes(folder, files * targets)
        shutil.rmtree(folder)
    folder = write_survey(tmp_path / "timed", *SURVEYS["many files"])
    benchmark.pedantic(peak_megabytes, (folder, 960), rounds=1)
    benchmark.extra_info["peak_mb"] = peaks
    for name, growth in MEMORY_GROWTH_AT_MOST.items():
        assert peaks[name] < growth * peaks["few files"], name
