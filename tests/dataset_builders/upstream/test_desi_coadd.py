"""DESI coadds, real and in miniature: which rows are read, what they hold, and how the arms are combined."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from desi_files import ARMS, fibermap, random_arms, redshift_table, write_coadd, write_table

from astroclip_bench.errors import DataError, StorageError
from dataset_builders.upstream import desi_layout
from dataset_builders.upstream.desi_coadd import CUTS, DesiCoadds

fits = pytest.importorskip("astropy.io.fits")

WAVELENGTH = 3600 + 0.8 * np.arange(7781)
NAME = "coadd-sv3-bright-10016.fits"
TARGETS = 39633345008634465 + np.arange(5)


def only(reader):
    """Return the index and the payload of the reader's one file."""
    (path,) = reader.files()
    index = reader.index(path)
    return index, reader.load(path, index.columns["row"])


def test_two_targets_of_the_real_dark_file_carry_signal(realdata):
    index, payload = only(DesiCoadds(realdata / "desi/coadd-sv3-dark-26065.fits", redshifts="none"))
    assert index.columns["target_id"].tolist() == [39627866878511337, 39627866878514741]
    assert index.columns["row"].tolist() == [2, 4]
    assert index.read == 5
    assert {reason: count for reason, count in index.dropped.items() if count} == {
        "negative TARGETID": 2,
        "sky fibre": 1,
    }
    assert index.columns["ra"][0] == pytest.approx(216.90419697)
    assert (index.columns["survey"][0], index.columns["program"][0]) == ("sv3", "dark")
    assert index.columns["desi_healpix"].tolist() == [26065, 26065]
    assert index.columns["morphtype"].tolist() == ["DEV", "EXP"]
    assert "fibre on no target (OBJTYPE not TGT)" in index.dropped
    assert payload.faults.tolist() == ["", ""]
    assert {name: (array.dtype, array.shape) for name, array in payload.columns.items()} == {
        "flux": (np.float32, (2, 7781)),
        "ivar": (np.float32, (2, 7781)),
        "mask": (np.uint32, (2, 7781)),
    }
    assert (payload.columns["mask"] > 0).sum(axis=1).tolist() == [35, 0]


def test_a_redrock_file_is_no_coadd(realdata):
    path = realdata / "desi/redrock-4-80613-thru20210324.fits"
    with pytest.raises(
        DataError, match=r"redrock-.*: HDU B_WAVELENGTH is missing; expected it among PRIMARY, REDSHIFTS"
    ):
        DesiCoadds(path, redshifts="none").index(path)


def test_rows_of_the_real_dark_file_without_signal_are_faulty(realdata):
    reader = DesiCoadds(realdata / "desi/coadd-sv3-dark-26065.fits", redshifts="none")
    faults = reader.load(reader.files()[0], np.arange(5)).faults
    assert faults.tolist() == [
        "no pixel with positive ivar",
        "no pixel with positive ivar",
        "",
        "no pixel with positive ivar",
        "",
    ]


def test_real_bright_galaxy(realdata):
    path = realdata / "desi/coadd-4-80613-thru20210324.fits"
    index, payload = only(DesiCoadds(path, cuts="bright-galaxy"))
    assert index.columns["target_id"].tolist() == [39633345008634465]
    assert index.columns["redshift"][0] == pytest.approx(0.368744, abs=1e-6)
    assert (index.columns["zwarn"][0], index.columns["spectype"][0]) == (0, "GALAXY")
    np.testing.assert_allclose([index.columns[f"flux_{band}"][0] for band in "grz"], [3.24, 5.95, 8.34], atol=0.01)
    assert (index.columns["survey"][0], index.columns["desi_healpix"][0]) == ("unknown", -1)
    flux, ivar = payload.columns["flux"][0], payload.columns["ivar"][0]
    assert 4 < np.median(flux * np.sqrt(ivar)) < 7
    with fits.open(path) as hdus:
        stored = {
            name: [np.array(hdus[f"{name}_{kind}"].data) for kind in ("WAVELENGTH", "FLUX", "IVAR")] for name in ARMS
        }
    here = {name: np.abs(WAVELENGTH[:, None] - wave).min(axis=1) < 0.1 for name, (wave, _, _) in stored.items()}
    covering = sum(flags.astype(int) for flags in here.values())
    assert np.bincount(covering).tolist() == [0, 7781 - 177, 177]
    for name, (_, arm_flux, arm_ivar) in stored.items():
        alone = here[name] & (covering == 1)
        np.testing.assert_array_equal(flux[alone], arm_flux[0, covering[here[name]] == 1])
        np.testing.assert_array_equal(ivar[alone], arm_ivar[0, covering[here[name]] == 1])
    for left, right in (("B", "R"), ("R", "Z")):
        both = here[left] & here[right]
        parts = [(stored[name][1][0, both[here[name]]], stored[name][2][0, both[here[name]]]) for name in (left, right)]
        total = parts[0][1].astype(float) + parts[1][1]
        mean = sum(one.astype(float) * weight for one, weight in parts) / total
        np.testing.assert_allclose(ivar[both], total, rtol=1e-6)
        np.testing.assert_allclose(flux[both], mean, rtol=1e-6, atol=1e-7)


def combined_slowly(images, row, rule):
    """Combine the arms of one spectrum pixel by pixel, as the rules are written down."""
    flux, ivar, mask, matrix = (np.zeros(7781), np.zeros(7781), np.zeros(7781, np.uint32), np.zeros((11, 7781)))
    for pixel in range(7781):
        seen = []
        for arm, (start, width) in ARMS.items():
            at = pixel - round((start - 3600) / 0.8)
            if 0 <= at < width:
                seen.append((arm, at, *(images[f"{arm}_{kind}"][row, at] for kind in ("FLUX", "IVAR", "MASK"))))
        ivars = [float(one[3]) if rule == "desispec-0.70" or one[4] == 0 else 0.0 for one in seen]
        ivar[pixel] = sum(ivars)
        if len(seen) == 1:
            (arm, at, value, _, bits), mask[pixel] = seen[0], seen[0][4]
            flux[pixel] = value if rule == "desispec-0.70" or ivars[0] > 0 else 0.0
            matrix[:, pixel] = images[f"{arm}_RESOLUTION"][row, :, at]
        else:
            if ivar[pixel] > 0:
                flux[pixel] = sum(weight * one[2] for weight, one in zip(ivars, seen, strict=True)) / ivar[pixel]
            bits = [int(one[4]) for one in seen]
            mask[pixel] = bits[0] | bits[1] if rule == "desispec-0.70" else bits[0] & bits[1]
            matrix[:, pixel] = matrix_slowly(images, row, seen)
        if rule == "desispec-0.70" and ivar[pixel] > 0:
            mask[pixel] = 0
    return flux, ivar, mask, matrix


def matrix_slowly(images, row, seen):
    """Return the 11 elements of the resolution at a pixel that two arms see."""
    column = np.zeros(11)
    for diagonal in range(11):
        total = 0.0
        for arm, at, *_ in seen:
            weights = images[f"{arm}_IVAR"][row]
            weight = float(weights[(at + diagonal - 5) % len(weights)])
            column[diagonal] += weight * images[f"{arm}_RESOLUTION"][row, diagonal, at]
            total += weight
        column[diagonal] = column[diagonal] / total if total > 0 else 0.0
    return column


@pytest.mark.parametrize("rule", ["desispec-0.70", "desispec-edr"])
def test_arms_are_combined_by_the_rule(tmp_path, rule):
    images = random_arms(2, resolution=True)
    path = write_coadd(tmp_path / NAME, fibermap(TARGETS[:2]), images)
    reader = DesiCoadds(path, redshifts="none", coadd_rule=rule, resolution=True)
    found = reader.load(path, np.array([1, 0])).columns
    for place, row in enumerate((1, 0)):
        flux, ivar, mask, matrix = combined_slowly(images, row, rule)
        np.testing.assert_allclose(found["flux"][place], flux, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["ivar"][place], ivar, rtol=1e-6)
        np.testing.assert_array_equal(found["mask"][place], mask)
        np.testing.assert_allclose(found["resolution"][place], matrix, rtol=1e-5, atol=1e-6)
    assert found["resolution"].dtype == np.float32
    assert found["mask"].max() > 2**31
    assert reader.options()["coadd_rule"] == rule


def test_both_stored_forms_of_the_mask_mean_the_same(tmp_path):
    images = random_arms(1)
    signed = {name: image.view(np.int32) if name.endswith("MASK") else image for name, image in images.items()}
    masks = []
    for name, stored in (("coadd-sv3-bright-1.fits", images), ("coadd-sv3-bright-2.fits", signed)):
        path = write_coadd(tmp_path / name, fibermap(TARGETS[:1]), stored)
        with fits.open(path) as hdus:
            assert ("BZERO" in hdus["B_MASK"].header) == (stored is images)
        masks.append(DesiCoadds(path, redshifts="none").load(path, np.array([0])).columns["mask"])
    np.testing.assert_array_equal(*masks)


def test_hdus_are_found_in_any_order(tmp_path):
    images, table = random_arms(5), fibermap(TARGETS)
    forwards = only(DesiCoadds(write_coadd(tmp_path / "a" / NAME, table, images), redshifts="none"))
    backwards = only(DesiCoadds(write_coadd(tmp_path / "b" / NAME, table, images, backwards=True), redshifts="none"))
    np.testing.assert_equal(dict(forwards[0].columns), dict(backwards[0].columns))
    np.testing.assert_equal(dict(forwards[1].columns), dict(backwards[1].columns))


def test_rows_are_loaded_in_the_order_asked_for(tmp_path):
    count = 70
    path = write_coadd(tmp_path / NAME, fibermap(TARGETS[0] + np.arange(count)), random_arms(count))
    reader = DesiCoadds(path, redshifts="none")
    whole = reader.load(path, np.arange(count)).columns
    for rows in (np.array([69, 3, 40, 4, 0]), np.array([5, 3, 3]), np.array([8, 9, 10])):
        for name, values in reader.load(path, rows).columns.items():
            np.testing.assert_array_equal(values, whole[name][rows])
    none = reader.load(path, np.array([], np.int64))
    assert none.columns["flux"].shape == (0, 7781)
    assert none.faults.shape == (0,)


def test_unusable_fibres_are_counted(tmp_path):
    table = fibermap(
        [-1, *TARGETS, TARGETS[1], TARGETS[2], 7],
        OBJTYPE=["TGT", "SKY", *["TGT"] * 7],
        COADD_FIBERSTATUS=np.array([0, 0, 0, 8, 0, 0, 0, 0, 0], np.int32),
        TARGET_DEC=[*np.arange(8.0), np.nan],
    )
    path = write_coadd(tmp_path / NAME, table, random_arms(9))
    index = DesiCoadds(path, redshifts="none").index(path)
    assert index.dropped == {
        "negative TARGETID": 1,
        "sky fibre": 1,
        "fibre on no target (OBJTYPE not TGT)": 0,
        "bad fibre (COADD_FIBERSTATUS not 0)": 1,
        "position not finite": 1,
        "duplicate target in the file": 1,
    }
    # The first row of the third target is a bad fibre, so that its second one is no duplicate.
    assert index.columns["target_id"].tolist() == [TARGETS[1], TARGETS[3], TARGETS[4], TARGETS[2]]
    assert index.columns["row"].tolist() == [2, 4, 5, 7]
    # The files tell it for a square root of an angstrom, the index for a pixel of 0.8.
    np.testing.assert_allclose(index.columns["snr"], np.array([2, 4, 5, 7]) * np.sqrt(0.8), rtol=1e-6)
    assert np.isnan(index.columns["tsnr2_lrg"]).all()


def test_fibres_of_other_kinds_and_reddening_that_nobody_looked_up(tmp_path):
    table = fibermap(
        TARGETS, OBJTYPE=["TGT", "BAD", "TGT", "", "TGT"], EBV=np.array([0.03, 0.1, 0, 0.1, 0.2], np.float32)
    )
    path = write_coadd(tmp_path / NAME, table, random_arms(5))
    index = DesiCoadds(path, redshifts="none").index(path)
    assert index.dropped["fibre on no target (OBJTYPE not TGT)"] == 2
    np.testing.assert_array_equal(index.columns["ebv"], np.array([0.03, np.nan, 0.2], np.float32))


def test_columns_have_one_type_whatever_the_release(tmp_path):
    wide = fibermap(TARGETS, MASKBITS=np.arange(5, dtype=np.int32), EBV=np.full(5, 0.02))
    narrow = fibermap(TARGETS, MASKBITS=np.arange(5, dtype=np.int16), EBV=np.full(5, 0.02, np.float32))
    found = []
    for name, table in (("wide", wide), ("narrow", narrow)):
        path = write_coadd(tmp_path / name / NAME, table, random_arms(5))
        columns = DesiCoadds(path, redshifts="none").index(path).columns
        found.append({column: values.dtype for column, values in columns.items()})
    assert found[0] == found[1]
    assert (found[0]["maskbits"], found[0]["ebv"]) == (np.int64, np.float32)


def test_spectra_without_signal_are_faulty(tmp_path):
    images = random_arms(4)
    for arm in ARMS:
        images[f"{arm}_IVAR"][0] = 0
        images[f"{arm}_FLUX"][1] = 0
    images["Z_FLUX"][2, 2000] = np.nan
    path = write_coadd(tmp_path / NAME, fibermap(TARGETS[:4]), images)
    faults = DesiCoadds(path, redshifts="none").load(path, np.array([3, 2, 1, 0])).faults
    assert faults.tolist() == ["", "flux or ivar not finite", "flux all zero", "no pixel with positive ivar"]


@pytest.fixture
def survey(tmp_path):
    """Return the folder of a healpix tree with one coadd of five targets, and the path of its redrock file."""
    folder = tmp_path / "healpix/sv3/bright/100/10016"
    write_coadd(folder / NAME, fibermap(TARGETS), random_arms(5))
    return tmp_path, folder / NAME.replace("coadd", "redrock")


def test_redshifts_are_joined_by_target(survey):
    folder, redrock = survey
    write_table(redrock, redshift_table(TARGETS[[4, 0, 2, 3]]), "REDSHIFTS")
    (path,) = DesiCoadds(folder).files()
    index = DesiCoadds(folder).index(path)
    assert index.columns["target_id"].tolist() == TARGETS[[0, 2, 3, 4]].tolist()
    np.testing.assert_allclose(index.columns["redshift"], [0.101, 0.102, 0.103, 0.1])
    assert index.dropped["absent from the redshift file"] == 1
    assert set(index.columns["survey"]) == {"sv3"}
    assert set(index.columns["program"]) == {"bright"}


@pytest.mark.parametrize(
    ("reason", "column", "good", "bad"),
    [
        ("ZWARN not 0", "ZWARN", 0, 4),
        ("SPECTYPE not GALAXY", "SPECTYPE", "GALAXY", "QSO"),
        ("DELTACHI2 not above 40", "DELTACHI2", 40.1, 40.0),
        ("ZERR not below 0.0005 (1 + z)", "ZERR", 0.00054, 0.00056),
        ("redshift not between 0 and 0.6", "Z", 0.59, 0.6),
        ("redshift not between 0 and 0.6", "Z", 0.001, 0.0),
        ("redshift not between 0 and 0.6", "Z", 0.001, np.nan),
    ],
)
def test_each_bright_galaxy_cut(survey, reason, column, good, bad):
    folder, redrock = survey
    table = redshift_table(TARGETS, **{column: np.array([good, bad, good, good, bad])})
    write_table(redrock, table, "REDSHIFTS")
    reader = DesiCoadds(folder, cuts="bright-galaxy")
    index = reader.index(reader.files()[0])
    if bad is not np.nan:
        assert {name: count for name, count in index.dropped.items() if count} == {reason: 2}
    assert index.columns["target_id"].tolist() == TARGETS[[0, 2, 3]].tolist()
    assert len(DesiCoadds(folder).index(reader.files()[0])) == 5
    assert reader.options()["cut_reasons"] == list(CUTS["bright-galaxy"])


def test_catalogue_in_place_of_redrock(survey):
    folder, _ = survey
    ours = redshift_table(TARGETS[1:], SURVEY=["sv3"] * 4, PROGRAM=["bright"] * 4, HEALPIX=np.full(4, 10016))
    ours["Z"][1] = 0.25
    path = write_table(folder / "zall-pix-edr-vac.fits", ours, "ZCATALOG")
    reader = DesiCoadds(folder, zcatalog=path, cuts="bright-galaxy")
    index = reader.index(reader.files()[0])
    assert index.columns["target_id"].tolist() == TARGETS[1:].tolist()
    np.testing.assert_allclose(index.columns["redshift"], [0.1, 0.25, 0.102, 0.103])
    assert index.dropped["absent from the redshift file"] == 1
    assert reader.options()["redshifts"] == "zall-pix-edr-vac.fits"


def test_catalogue_cannot_serve_a_file_of_unknown_group(tmp_path):
    path = write_coadd(tmp_path / "coadd-4-80613-thru20210324.fits", fibermap(TARGETS), random_arms(5))
    with pytest.raises(DataError, match=r"coadd-4-.*neither header nor file name tells survey"):
        DesiCoadds(path, zcatalog=tmp_path / "zall-pix-fuji.fits").index(path)


def test_header_tells_the_group_whatever_the_name(tmp_path):
    header = {"SURVEY": "main", "PROGRAM": "dark", "HPXPIXEL": 12}
    path = write_coadd(tmp_path / "coadd-renamed.fits", fibermap(TARGETS), random_arms(5), header=header)
    columns = DesiCoadds(path, redshifts="none").index(path).columns
    assert (columns["survey"][0], columns["program"][0], columns["desi_healpix"][0]) == ("main", "dark", 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": ["FIBERMAP"]}, "HDU FIBERMAP is missing"),
        ({"without": ["R_IVAR"]}, "HDU R_IVAR is missing; expected it among PRIMARY, FIBERMAP"),
        ({"without": ["Z_WAVELENGTH"]}, "HDU Z_WAVELENGTH is missing"),
        ({"offset_angstrom": 0.3}, "B_WAVELENGTH runs from 3600.3 to 5800.3 angstrom in 2751 pixels"),
        ({"offset_angstrom": -0.8}, "B_WAVELENGTH runs from 3599.2"),
        ({"offset_angstrom": np.nan}, "B_WAVELENGTH is empty or not finite"),
        ({"units": {"FLUX": "erg/(s cm2 Angstrom)"}}, "B_FLUX is in erg/.* expected 1e-17 erg"),
        ({"units": {"IVAR": "no unit"}}, "B_IVAR is in no unit"),
    ],
)
def test_files_of_another_layout_are_refused(tmp_path, change, message):
    path = write_coadd(tmp_path / NAME, fibermap(TARGETS), random_arms(5), **change)
    reader = DesiCoadds(path, redshifts="none")
    with pytest.raises(DataError, match=rf"{NAME}: {message}"):
        reader.index(path)
    with pytest.raises(DataError, match=rf"{NAME}: {message}"):
        reader.load(path, np.arange(5))


@pytest.mark.parametrize("column", ["TARGETID", "TARGET_RA", "OBJTYPE", "COADD_FIBERSTATUS"])
def test_missing_columns_are_named(tmp_path, column):
    table = fibermap(TARGETS)
    images = random_arms(5)
    path = write_coadd(tmp_path / NAME, table, images)
    with fits.open(path) as hdus:
        hdus["FIBERMAP"].columns.del_col(column)
        hdus.writeto(tmp_path / "coadd-less.fits")
    with pytest.raises(DataError, match=rf"coadd-less.fits: column {column} is missing from HDU FIBERMAP"):
        DesiCoadds(tmp_path, redshifts="none").index(tmp_path / "coadd-less.fits")


def test_arms_that_leave_a_gap_are_refused(tmp_path):
    path = write_coadd(tmp_path / NAME, fibermap(TARGETS[:1]), random_arms(1))
    with fits.open(path) as hdus:
        hdus["B_WAVELENGTH"].data = hdus["B_WAVELENGTH"].data[:2699]
        for kind in ("FLUX", "IVAR", "MASK", "RESOLUTION"):
            if f"B_{kind}" in hdus:
                hdus[f"B_{kind}"].data = hdus[f"B_{kind}"].data[..., :2699]
        hdus.writeto(tmp_path / "coadd-gap.fits")
    with pytest.raises(DataError, match=r"B pixels 0 to 2698, R pixels 2700 .*expected every pixel from 0 to 7780"):
        DesiCoadds(tmp_path, redshifts="none").index(tmp_path / "coadd-gap.fits")


def test_images_of_other_shape_or_scale_are_refused(tmp_path):
    images = random_arms(5)
    path = write_coadd(tmp_path / "a" / NAME, fibermap(TARGETS), images | {"R_FLUX": images["R_FLUX"][:4]})
    with pytest.raises(DataError, match=r"R_FLUX has shape \(4, 2326\); expected \(5, 2326\)"):
        DesiCoadds(path, redshifts="none").index(path)
    path = write_coadd(tmp_path / "b" / NAME, fibermap(TARGETS), images | {"R_FLUX": np.ones((5, 2326), np.uint16)})
    with pytest.raises(DataError, match=r"R_FLUX is scaled \(BSCALE 1, BZERO 32768\)"):
        DesiCoadds(path, redshifts="none").index(path)


def test_damaged_and_absent_files_are_refused(tmp_path):
    path = write_coadd(tmp_path / NAME, fibermap(TARGETS), random_arms(5))
    with pytest.raises(DataError, match=r"no redshifts beside it; expected the file redrock-sv3-bright-10016.fits"):
        DesiCoadds(path).index(path)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(DataError, match=rf"{NAME}: (truncated|not a readable FITS file)"):
        DesiCoadds(path, redshifts="none").index(path)
    path.rename(tmp_path / "coadd-sv3-bright-10016.fits.gz")
    with pytest.raises(DataError, match=r"no file coadd-\*.fits in it or below"):
        DesiCoadds(tmp_path).files()


def test_a_file_that_changed_is_read_anew(tmp_path):
    """Headers are remembered between the batches of a build, but not those of another file in the same place."""
    path = write_coadd(tmp_path / NAME, fibermap(TARGETS), random_arms(5))
    reader = DesiCoadds(path, redshifts="none")
    before = reader.load(path, np.arange(5)).columns["flux"]
    path.unlink()
    write_coadd(path, fibermap([*TARGETS, 7]), random_arms(6, seed=1), backwards=True)
    after = reader.load(path, np.arange(6)).columns["flux"]
    assert after.shape == (6, 7781)
    assert not np.array_equal(after[:5], before)
    desi_layout.forget()
    np.testing.assert_array_equal(after, DesiCoadds(path, redshifts="none").load(path, np.arange(6)).columns["flux"])
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(DataError, match=rf"{NAME}: (truncated|not a readable FITS file)"):
        reader.load(path, np.arange(5))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"{NAME}: not a readable FITS file"):
        reader.load(path, np.arange(5))
    path.unlink()
    with pytest.raises(StorageError, match=NAME):
        reader.load(path, np.arange(5))


def test_compressed_files_are_refused(tmp_path):
    path = write_coadd(tmp_path / f"{NAME}.gz", fibermap(TARGETS), random_arms(5))
    with pytest.raises(DataError, match=rf"{NAME}.gz: compressed, or no FITS file; .*decompress it first"):
        DesiCoadds(path, redshifts="none").index(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cuts": "bright"}, "cuts='bright'; expected one of none, bright-galaxy"),
        ({"coadd_rule": "new"}, "coadd_rule='new'; expected one of desispec-0.70, desispec-edr"),
        ({"redshifts": "zbest"}, "redshifts='zbest'"),
        ({"redshifts": "none", "cuts": "bright-galaxy"}, "redshifts='none' with a zcatalog or with cuts"),
    ],
)
def test_options_are_checked(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        DesiCoadds(tmp_path, **options)


def test_reader_survives_pickling(tmp_path):
    reader = DesiCoadds(tmp_path, cuts="bright-galaxy")
    assert pickle.loads(pickle.dumps(reader)) == reader
