"""The whole chain on the miniature survey, from upstream files to a data set folder: exactly the truth, every way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster
from mini_request import mini_request
from mini_survey import Truth
from mini_survey.objects import INDEX, LOAD, MATCH, ONE_IMAGE, ONE_SPECTRUM

from astroclip_bench.datasets.arrays import arrow_to_numpy
from astroclip_bench.datasets.manifest import Manifest, pairs_of, read_manifest
from dataset_builders.desi_legacy.command import build
from dataset_builders.pairs.build import build_pairs
from dataset_builders.upstream.desi_coadd import DesiCoadds
from dataset_builders.upstream.multimodal_universe import MmuSpectra

STEPS = {
    INDEX: "index of DESI coadds",
    ONE_SPECTRUM: "one spectrum a target",
    ONE_IMAGE: "one image an object",
    MATCH: "match with images",
}
"""Step of the truth -> its name in the manifest."""

REASONS = {
    "negative TARGETID": "negative TARGETID",
    "sky fibre": "sky fibre",
    "fibre status": "bad fibre (COADD_FIBERSTATUS not 0)",
    "ZWARN": "ZWARN not 0",
    "no galaxy": "SPECTYPE not GALAXY",
    "DELTACHI2": "DELTACHI2 not above 40",
    "redshift error": "ZERR not below 0.0005 (1 + z)",
    "redshift range": "redshift not between 0 and 0.6",
    "duplicate TARGETID": "duplicate TARGETID",
    "same TARGETID, positions disagree": "left unmatched: same TARGETID, positions disagree",
    "counterpart has a nearer partner": "left unmatched: counterpart has a nearer partner",
    "no counterpart within the radius": "left unmatched: no counterpart within the radius",
    "g band missing": "g band missing (mostly exactly zero)",
    "r band missing": "r band missing (mostly exactly zero)",
    "z band missing": "z band missing (mostly exactly zero)",
    "not finite": "image not finite",
    "all zero": "flux all zero",
    "no ivar": "no pixel with positive ivar",
}
"""Reason of the truth -> its words in the manifest."""

COMPUTED = ("mag_r", "snr", "log_ssfr", "log_stellar_mass_std", "match_separation")
"""Columns that follow from the files by a calculation; every other one is a value of the files."""
RELATIVE_ERROR = 3e-6
OVERLAPS = np.r_[2700:2751, 4900:5026]


@pytest.fixture(scope="module")
def folder(mini_survey: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data set as the command makes it, in one process."""
    files, out = mini_survey.files, tmp_path_factory.mktemp("build") / "pairs"
    build(
        spectra=files.spectra,
        images=files.images,
        labels=[files.provabgs, files.provabgs_multimodal],
        morphology=files.votes,
        out=out,
    )
    return out


def rows(folder: Path) -> pd.DataFrame:
    """Return the columns that are no arrays, indexed by object_id."""
    paths = [folder / path for path in pair_files(read_manifest(folder))]
    schema = pq.read_schema(paths[0])
    light = [field.name for field in schema if not pa.types.is_nested(field.type)]
    return pd.concat([pq.read_table(path, columns=light).to_pandas() for path in paths]).set_index("object_id")


def pair_files(manifest: Manifest) -> list[str]:
    """Return the files that hold whole rows."""
    return [entry.path for entry in pairs_of(manifest.files)]


def dropped(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Return the rows dropped by step and reason, without reasons that never held."""
    steps = {step["step"]: step["dropped"] for step in manifest.build["steps"]}
    counts = {name: {reason: count for reason, count in steps[name].items() if count} for name in STEPS.values()}
    return {**counts, LOAD: manifest.build["dropped_while_loading"]}


def expected_drops(truth: Truth) -> dict[str, dict[str, int]]:
    return {
        STEPS.get(step, step): {REASONS[reason]: count for reason, count in truth.dropped_at(step).items()}
        for step in (*STEPS, LOAD)
    }


def test_rows_are_those_of_the_truth_table(folder: Path, mini_survey: Truth) -> None:
    found, expected = rows(folder), mini_survey.table.drop(columns=["number", "trap"])
    assert found.index.is_unique
    assert set(found.index) == set(expected.index)
    assert len(found) >= 2000
    found = found.loc[expected.index]
    for name in expected:
        values, truth = found[name], expected[name]
        if name in COMPUTED:
            np.testing.assert_allclose(values, truth, rtol=RELATIVE_ERROR, equal_nan=True, err_msg=name)
        elif truth.dtype == np.float64:
            np.testing.assert_array_equal(values, truth.astype(values.dtype), err_msg=name)
        else:
            assert values.where(values.notna(), None).tolist() == truth.where(truth.notna(), None).tolist(), name


def test_arrays_are_those_of_the_truth(folder: Path, mini_survey: Truth) -> None:
    """Equal but for the overlaps of the arms, where a mean may be rounded otherwise."""
    outside = np.setdiff1d(np.arange(7781), OVERLAPS)
    seen, samples = set(), {pair.spectrum.target_id: pair.label for pair in mini_survey.sky.pairs}
    columns = ["object_id", "image", "flux", "ivar", "log_stellar_mass_samples"]
    for path in pair_files(read_manifest(folder)):
        for batch in pq.ParquetFile(folder / path).iter_batches(64, columns=columns):
            images, flux, ivar = (arrow_to_numpy(batch.column(name)) for name in ("image", "flux", "ivar"))
            for number, object_id in enumerate(batch.column("object_id").to_pylist()):
                true_flux, true_ivar, _ = mini_survey.expected_spectrum(object_id)
                np.testing.assert_array_equal(images[number], mini_survey.expected_image(object_id))
                np.testing.assert_array_equal(flux[number, outside], true_flux[outside])
                np.testing.assert_array_equal(ivar[number, outside], true_ivar[outside])
                np.testing.assert_allclose(flux[number], true_flux, rtol=2e-7)
                np.testing.assert_allclose(ivar[number], true_ivar, rtol=2e-7)
                draws, label = batch.column("log_stellar_mass_samples")[number].as_py(), samples[int(object_id)]
                assert (draws is None) == (label is None)
                if label is not None:
                    np.testing.assert_array_equal(np.float32(draws), label.mass_samples.astype(np.float32))
                seen.add(object_id)
    assert seen == set(mini_survey.table.index)


def test_every_dropped_row_is_counted(folder: Path, mini_survey: Truth) -> None:
    manifest = read_manifest(folder)
    assert dropped(manifest) == expected_drops(mini_survey)
    steps = {step["step"]: step for step in manifest.build["steps"]}
    assert steps[STEPS[INDEX]]["read"] == mini_survey.read["spectra"]
    assert steps["index of Stein et al. images"]["read"] == mini_survey.read["images"]
    assert steps[STEPS[MATCH]]["kept"] - sum(dropped(manifest)[LOAD].values()) == len(mini_survey.table)
    for step in steps.values():
        assert step["read"] - sum(step["dropped"].values()) == step["kept"], step["step"]


def test_configurations_hold_the_rows_with_labels(folder: Path, mini_survey: Truth) -> None:
    for name, column in (("provabgs", "log_stellar_mass"), ("galaxy_zoo", "morphology_merging")):
        found = pads.dataset(folder / name).to_table(columns=["object_id", column]).to_pydict()
        expected = mini_survey.table[column].dropna()
        assert sorted(found["object_id"]) == sorted(expected.index)
        values = np.array(expected.loc[found["object_id"]])
        assert found[column] == (values.astype(np.float32).tolist() if values.dtype == float else values.tolist())


def test_two_workers_make_the_same_data_set(folder: Path, mini_survey: Truth, tmp_path: Path) -> None:
    manifest = read_manifest(build_pairs(mini_request(mini_survey.files), tmp_path / "pairs", workers=2))
    assert_same(manifest, read_manifest(folder))


def test_dask_makes_the_same_data_set_though_a_worker_dies(folder: Path, mini_survey: Truth, tmp_path: Path) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        killed: list[int] = []

        @contextmanager
        def killing(name: str) -> Iterator[Any]:
            def report(done: int, total: int) -> None:
                if name == "writing" and 0 < done < total and not killed:
                    killed.append(kill_one_worker(address))

            yield report

        out = build_pairs(mini_request(mini_survey.files), tmp_path / "pairs", scheduler=address, stage=killing)
    assert killed
    manifest, reference = read_manifest(out), read_manifest(folder)
    assert manifest.digest == reference.digest
    # A TARGETID that is found again beyond the margin of a piece of the sky counts as not found there.
    by_step, expected = dropped(manifest), dropped(reference)
    assert sum(by_step.pop(STEPS[MATCH]).values()) == sum(expected.pop(STEPS[MATCH]).values())
    assert by_step == expected
    assert manifest.build["matched"] == reference.build["matched"]
    assert manifest.build["joined"] == reference.build["joined"]


def kill_one_worker(address: str) -> int:
    with Client(address, set_as_default=False) as client:
        processes: Mapping[str, int] = client.run(os.getpid)
        busy = [worker for worker, tasks in client.processing().items() if tasks]
    os.kill(processes[busy[0]], signal.SIGKILL)
    return processes[busy[0]]


def assert_same(manifest: Manifest, reference: Manifest) -> None:
    assert manifest.digest == reference.digest
    for key in ("steps", "matched", "joined", "dropped_while_loading"):
        assert manifest.build[key] == reference.build[key], key


def test_catalogue_gives_the_redshifts_of_the_redrock_files(mini_survey: Truth) -> None:
    files = mini_survey.files
    from_redrock = DesiCoadds(files.spectra, cuts="bright-galaxy")
    from_catalogue = DesiCoadds(files.spectra, cuts="bright-galaxy", zcatalog=files.catalogue)
    for path in from_redrock.files():
        first, second = from_redrock.index(path), from_catalogue.index(path)
        assert first.dropped == second.dropped
        assert set(first.columns) == set(second.columns)
        for name, values in first.columns.items():
            np.testing.assert_array_equal(values, second.columns[name], err_msg=name)


@pytest.mark.parametrize("form", ["multimodal_inverted", "multimodal_original"])
def test_multimodal_copies_of_the_spectra_have_zwarn_in_the_meaning_of_desi(mini_survey: Truth, form: str) -> None:
    reader = MmuSpectra(getattr(mini_survey.files, form))
    found: dict[int, int] = {}
    for path in reader.files():
        index = reader.index(path)
        targets = index.columns["target_id"]
        found.update(zip(targets.tolist(), index.columns["zwarn"].tolist(), strict=True))
        payload = reader.load(path, index.columns["row"])
        for number, target in enumerate(targets.tolist()):
            if str(target) in mini_survey.table.index and found[target] == 0:
                flux, ivar, _ = mini_survey.expected_spectrum(str(target))
                np.testing.assert_array_equal(payload.columns["flux"][number], flux)
                np.testing.assert_array_equal(payload.columns["ivar"][number], ivar)
    assert {target: zwarn == 0 for target, zwarn in found.items()} == {
        target: zwarn == 0 for target, zwarn in mini_survey.multimodal_zwarn.items()
    }
