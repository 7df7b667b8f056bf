"""DESI spectra of the Multimodal Universe: both formats, both meanings of ZWARN, and files that are something else."""

from __future__ import annotations

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astroclip_files import variable_lists

from astroclip_bench.errors import DataError
from dataset_builders.upstream.desi_targets import encode_target_id
from dataset_builders.upstream.multimodal_universe import BAD_ZWARN, MmuSpectra, desi_zwarn

N_ROWS = 70
DESI_ZWARN = np.where(np.arange(N_ROWS) % 5 == 0, 4, 0)


class Truth:
    """What the files hold."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        rows = np.arange(N_ROWS)
        self.target_id = encode_target_id(9010, 350_000 + rows, 40 + rows)
        self.ra, self.dec = random.uniform(150, 152, N_ROWS), random.uniform(1, 3, N_ROWS)
        self.redshift = random.uniform(0.01, 0.5, N_ROWS).astype(np.float32)
        self.flux = random.normal(3, 1, (N_ROWS, 7781)).astype(np.float32)
        self.ivar = random.uniform(0.5, 2, (N_ROWS, 7781)).astype(np.float32)
        self.bad = random.uniform(size=(N_ROWS, 7781)) < 0.02
        self.flux_r = random.uniform(1, 9, N_ROWS).astype(np.float32)
        self.flux_r[3] = -99

    def light(self):
        """Return the columns that both formats have, under their names."""
        return {
            "ra": self.ra,
            "dec": self.dec,
            "Z": self.redshift,
            "ZERR": np.full(N_ROWS, 2e-5, np.float32),
            "EBV": np.full(N_ROWS, 0.02, np.float32),
            "FLUX_R": self.flux_r,
            "FLUX_IVAR_R": np.full(N_ROWS, 30, np.float32),
        }

    def spectra(self):
        """Return the fields of a spectrum."""
        return {
            "flux": self.flux,
            "ivar": self.ivar,
            "lsf_sigma": np.full((N_ROWS, 7781), 0.7, np.float32),
            "lambda": np.tile(np.linspace(3600, 9824, 7781, dtype=np.float32), (N_ROWS, 1)),
            "mask": self.bad,
        }

    def write_hdf5(self, path, **changes):
        """Write one partition as the Multimodal Universe does, with changes (None leaves a column out)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            "object_id": self.target_id,
            "ZWARN": DESI_ZWARN,
            "DELTACHI2": np.full(N_ROWS, 90.0),
            "SPECTYPE": np.array([b"GALAXY", b"QSO   "])[np.arange(N_ROWS) % 2],
            "HEALPIX": np.full(N_ROWS, 26_065),
            "healpix": np.full(N_ROWS, 1_629),
            **self.light(),
            **{f"spectrum_{name}": values for name, values in self.spectra().items()},
        }
        with h5py.File(path, "w") as file:
            for name, values in (columns | changes).items():
                if values is not None:
                    file[name] = values
        return path

    def table(self, **changes):
        """Return the table of a HATS partition."""
        spectra = {name: variable_lists(values) for name, values in self.spectra().items() if name != "mask"}
        flat = pa.array(self.bad.reshape(-1))
        spectra["mask"] = pa.ListArray.from_arrays(pa.array(np.arange(N_ROWS + 1) * 7781, pa.int32()), flat)
        columns = {
            "_healpix_29": np.arange(N_ROWS),
            "spectrum": pa.StructArray.from_arrays(list(spectra.values()), names=list(spectra)),
            **self.light(),
            "ZWARN": DESI_ZWARN == 0,
            "object_id": self.target_id.astype(str).tolist(),
        }
        return pa.table(columns | changes)


@pytest.fixture(scope="module")
def truth():
    return Truth()


@pytest.fixture(scope="module")
def hdf5(truth, tmp_path_factory):
    return truth.write_hdf5(tmp_path_factory.mktemp("mmu") / "edr_sv3/healpix=1629/001-of-001.hdf5")


@pytest.fixture(scope="module")
def hats(truth, tmp_path_factory):
    """Return a HATS collection: the catalogue, its thumbnail, and a margin that repeats rows."""
    root = tmp_path_factory.mktemp("hats") / "mmu_desi_edr_sv3"
    for name, kind in (("mmu_desi_edr_sv3", "object"), ("mmu_desi_edr_sv3_10arcs", "margin")):
        path = root / name / "dataset/Norder=4/Dir=0/Npix=1629.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(truth.table(), path, row_group_size=67)
        (root / name / "hats.properties").write_text(f"obs_collection={name}\ndataproduct_type={kind}\n")
        pq.write_table(truth.table().slice(0, 1), root / name / "dataset/data_thumbnail.parquet")
    return root


@pytest.fixture(params=["hdf5", "hats"])
def reader(request):
    path = request.getfixturevalue(request.param)
    return MmuSpectra(path.parents[1] if request.param == "hdf5" else path)


def test_files(hdf5, hats):
    assert MmuSpectra(hdf5.parents[2]).files() == [hdf5]
    [only] = MmuSpectra(hats).files()
    assert only.relative_to(hats).as_posix() == "mmu_desi_edr_sv3/dataset/Norder=4/Dir=0/Npix=1629.parquet"
    with pytest.raises(DataError, match="margins and thumbnails alone"):
        MmuSpectra(hats / "mmu_desi_edr_sv3_10arcs").files()


def test_index(reader, truth):
    [path] = reader.files()
    index = reader.index(path)
    assert (index.read, len(index)) == (N_ROWS, N_ROWS)
    columns = index.columns
    np.testing.assert_array_equal(columns["target_id"], truth.target_id)
    np.testing.assert_array_equal(columns["ra"], truth.ra)
    np.testing.assert_array_equal(columns["redshift"], truth.redshift)
    np.testing.assert_array_equal(columns["zwarn"] == 0, DESI_ZWARN == 0)
    assert np.isnan(columns["flux_r"][3])
    np.testing.assert_array_equal(np.delete(columns["flux_r"], 3), np.delete(truth.flux_r, 3))
    # From 5800 to 7600 angstrom, as desispec has it for the R arm: pixels 2750 to 4999.
    expected = [
        np.median(np.where(bad, 0, flux * np.sqrt(ivar))[2750:5000])
        for flux, ivar, bad in zip(truth.flux, truth.ivar, truth.bad, strict=True)
    ]
    np.testing.assert_allclose(columns["snr"], expected, rtol=1e-6)
    assert "snr" not in MmuSpectra(path, snr=False).index(path).columns


@pytest.mark.parametrize("rows", [np.arange(N_ROWS), np.array([69, 3, 3, 0]), np.array([], int)])
def test_load(reader, truth, rows):
    [path] = reader.files()
    payload = reader.load(path, rows)
    np.testing.assert_array_equal(payload.columns["flux"], truth.flux[rows])
    np.testing.assert_array_equal(payload.columns["ivar"], np.where(truth.bad, 0, truth.ivar)[rows])
    np.testing.assert_array_equal(payload.columns["mask"], truth.bad[rows])
    assert [payload.columns[name].dtype for name in ("flux", "ivar", "mask")] == [np.float32, np.float32, np.uint32]
    assert payload.faults.tolist() == [""] * len(rows)


def test_the_hdf5_files_keep_desi_s_numbers_and_words(hdf5):
    columns = MmuSpectra(hdf5).index(hdf5).columns
    np.testing.assert_array_equal(columns["zwarn"], DESI_ZWARN)
    assert columns["spectype"].tolist() == ["GALAXY", "QSO"] * (N_ROWS // 2)


def test_zwarn_as_a_truth_value_says_the_opposite():
    np.testing.assert_array_equal(desi_zwarn(np.array([True, False])), [0, BAD_ZWARN])
    np.testing.assert_array_equal(desi_zwarn(np.array([True, False]), true_is_good=False), [BAD_ZWARN, 0])
    np.testing.assert_array_equal(desi_zwarn(np.array([0, 4], np.int16)), [0, 4])
    with pytest.raises(DataError, match="ZWARN has type float64"):
        desi_zwarn(np.array([0.0, np.nan]))


def test_a_copy_made_without_the_inversion(truth, tmp_path):
    path = tmp_path / "Npix=1.parquet"
    pq.write_table(truth.table(ZWARN=DESI_ZWARN != 0), path)
    columns = MmuSpectra(path, zwarn_true_is_good=False, snr=False).index(path).columns
    np.testing.assert_array_equal(columns["zwarn"] == 0, DESI_ZWARN == 0)


@pytest.mark.parametrize(
    "spelt",
    [
        lambda ids: ids.astype("S20"),
        lambda ids: [str(value) for value in ids],
        lambda ids: [f" {value}" for value in ids],
        lambda ids: [f"b'{value}'" for value in ids],
    ],
    ids=["bytes", "text", "padded", "printed bytes"],
)
def test_identifiers_however_spelt(truth, tmp_path, spelt):
    path = truth.write_hdf5(tmp_path / "a.hdf5", object_id=spelt(truth.target_id))
    index = MmuSpectra(path, snr=False).index(path)
    np.testing.assert_array_equal(index.columns["target_id"], truth.target_id)


def test_rows_that_cannot_be_used_are_counted(truth, tmp_path):
    ids, redshift, ra = truth.target_id.copy(), truth.redshift.copy(), truth.ra.copy()
    ids[4], redshift[5], ra[6] = -39_633, np.nan, np.nan
    path = truth.write_hdf5(tmp_path / "a.hdf5", object_id=ids, Z=redshift, ra=ra)
    index = MmuSpectra(path, snr=False).index(path)
    assert dict(index.dropped) == {"negative TARGETID": 1, "position not finite": 1, "redshift not finite": 1}
    assert index.columns["row"].tolist() == [row for row in range(N_ROWS) if row not in (4, 5, 6)]


def test_quality_cuts(hdf5, hats):
    index = MmuSpectra(hdf5, cuts="bright-galaxy", snr=False).index(hdf5)
    assert len(index) == 28
    assert index.dropped["ZWARN not 0"] == 14
    assert index.dropped["SPECTYPE not GALAXY"] == 28
    reader = MmuSpectra(hats, cuts="bright-galaxy", snr=False)
    with pytest.raises(
        DataError, match="no column 'spectype', which the cuts 'bright-galaxy' need; choose --cuts good-redshift"
    ):
        reader.index(reader.files()[0])
    with pytest.raises(DataError, match="cuts='bright'; expected one of none, bright-galaxy"):
        MmuSpectra(hdf5, cuts="bright")


def test_faults_are_named(truth, tmp_path):
    flux, ivar, mask = truth.flux.copy(), truth.ivar.copy(), truth.bad.copy()
    flux[0], flux[1, 9], ivar[2] = 0, np.nan, 0
    mask[3] = True
    path = truth.write_hdf5(tmp_path / "a.hdf5", spectrum_flux=flux, spectrum_ivar=ivar, spectrum_mask=mask)
    assert MmuSpectra(path).load(path, np.arange(5)).faults.tolist() == [
        "flux all zero",
        "flux or ivar not finite",
        "no pixel with positive ivar",
        "no pixel with positive ivar",
        "",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ZWARN": None}, "column 'zwarn' is missing"),
        ({"spectrum_lambda": None}, "key 'spectrum_lambda' is missing"),
        ({"spectrum_flux": np.ones((N_ROWS, 7782), np.float32)}, r"'spectrum_flux' has shape \(70, 7782\)"),
        (
            {"spectrum_lambda": np.tile(np.geomspace(3600, 9824, 7781), (N_ROWS, 1))},
            "wavelengths from 3600 to 9824 Angstrom; expected 7781 pixels of 0.8",
        ),
        ({"object_id": np.arange(N_ROWS) * 1.0}, "object_id has type double"),
        ({"object_id": [f"desi-{row}" for row in range(N_ROWS)]}, "object_id"),
    ],
)
def test_another_layout_is_refused(truth, tmp_path, changes, message):
    path = truth.write_hdf5(tmp_path / "a.hdf5", **changes)
    with pytest.raises(DataError, match=f"{path}.*{message}"):
        MmuSpectra(path).index(path)


def test_another_parquet_layout_is_refused(truth, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(truth.table().drop_columns("spectrum"), path)
    with pytest.raises(DataError, match=f"{path}: no spectrum.flux among _healpix_29, ra"):
        MmuSpectra(path).index(path)
    pq.write_table(truth.table(ZWARN=pa.array([None, *(DESI_ZWARN[1:] == 0).tolist()])), path)
    with pytest.raises(DataError, match="ZWARN has type float"):
        MmuSpectra(path, snr=False).index(path)


def test_a_truncated_file_is_named(hdf5, tmp_path):
    path = tmp_path / "001-of-001.hdf5"
    path.write_bytes(hdf5.read_bytes()[:1_000_000])
    with pytest.raises(DataError, match=f"{path}.*not a readable HDF5 file"):
        MmuSpectra(path).index(path)
