"""The miniature survey itself, read with astropy and h5py alone: its layout, its traps, and that its truth is true."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import astropy.units as u
import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from mini_survey import PLAIN, TRAPS, Truth
from mini_survey.geometry import NSIDE, pixel, split
from mini_survey.objects import INDEX, LOAD, MATCH, ONE_IMAGE, ONE_SPECTRUM
from mini_survey.survey import make_sky

COADD_HDUS = {"PRIMARY", "FIBERMAP", "EXP_FIBERMAP", "SCORES"} | {
    f"{arm}_{kind}" for arm in "BRZ" for kind in ("WAVELENGTH", "FLUX", "IVAR", "MASK")
}
RESOLUTION_HDUS = {f"{arm}_RESOLUTION" for arm in "BRZ"}
IMAGE_KEYS = {
    *("images", "ra", "dec", "release", "brickid", "objid", "inds", "ebv", "flux", "fiberflux", "psfsize", "psfdepth"),
    *("maskbits", "nobs", "fracin", "transmission", "source_type", "z_spec", "z_training"),
    *(f"z_phot_{name}" for name in ("mean", "median", "std", "l68", "u68", "l95", "u95")),
}


def coadd_files(truth: Truth) -> list[Path]:
    return sorted(truth.files.spectra.rglob("coadd-*.fits"))


def image_files(truth: Truth, hemisphere: str) -> list[Path]:
    return sorted((truth.files.images / hemisphere).glob("images_npix152_*.h5"))


@pytest.fixture(scope="module")
def spectra(mini_survey: Truth) -> pd.DataFrame:
    """Return fibermap and redrock of all files, in the order of files and rows."""
    parts = []
    for path in coadd_files(mini_survey):
        columns = ["TARGETID", "TARGET_RA", "TARGET_DEC", "COADD_FIBERSTATUS", "OBJTYPE", "RELEASE"]
        fibermap = Table.read(path, hdu="FIBERMAP")[columns].to_pandas()
        redrock = path.with_name(path.name.replace("coadd", "redrock"))
        found = Table.read(redrock, hdu="REDSHIFTS")["TARGETID", "Z", "ZERR", "ZWARN", "SPECTYPE", "DELTACHI2"]
        parts.append(fibermap.merge(found.to_pandas(), on="TARGETID", validate="one_to_one"))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(**{name: table[name].str.decode("ascii").str.strip() for name in ("SPECTYPE", "OBJTYPE")})


@pytest.fixture(scope="module")
def images(mini_survey: Truth) -> pd.DataFrame:
    """Return key and position of all images, in the order of files and rows."""
    parts = []
    for hemisphere in ("north", "south"):
        for path in image_files(mini_survey, hemisphere):
            with h5py.File(path) as file:
                columns = {name: file[name][:] for name in ("release", "brickid", "objid", "ra", "dec")}
            parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True).astype({"release": "int64", "brickid": "int64", "objid": "int64"})
    return table.assign(key=table["release"] * 2**42 + table["brickid"] * 2**22 + table["objid"])


def good_spectra(spectra: pd.DataFrame) -> pd.DataFrame:
    good = (
        (spectra["TARGETID"] > 0)
        & (spectra["OBJTYPE"] == "TGT")
        & (spectra["COADD_FIBERSTATUS"] == 0)
        & (spectra["ZWARN"] == 0)
        & (spectra["SPECTYPE"] == "GALAXY")
        & (spectra["DELTACHI2"] > 40)
        & (spectra["ZERR"] < 0.0005 * (1 + spectra["Z"]))
        & spectra["Z"].between(0, 0.6, inclusive="neither")
    )
    return spectra[good]


def best_spectra(spectra: pd.DataFrame) -> pd.DataFrame:
    best_first = good_spectra(spectra).sort_values("DELTACHI2", ascending=False, kind="stable")
    return best_first.drop_duplicates("TARGETID").reset_index(drop=True)


def places(table: pd.DataFrame, ra: str, dec: str) -> SkyCoord:
    return SkyCoord(table[ra].to_numpy() * u.deg, table[dec].to_numpy() * u.deg)


def pairs_by_the_rules(spectra: pd.DataFrame, images: pd.DataFrame) -> dict[int, tuple[int, str, bool]]:
    """Match one by one, as the rules say: TARGETID -> image's key, method, ambiguous."""
    spectra_at, images_at = places(spectra, "TARGET_RA", "TARGET_DEC"), places(images, "ra", "dec")
    by_key = spectra.reset_index().merge(images.reset_index(), left_on="TARGETID", right_on="key")
    apart = spectra_at[by_key["index_x"]].separation(images_at[by_key["index_y"]])
    by_key = by_key[apart <= 5 * u.arcsec]
    pairs = {row.TARGETID: (row.key, "target_id", False) for row in by_key.itertuples()}
    taken_spectra, taken_images = set(by_key["index_x"]), set(by_key["index_y"])
    candidates = []
    for i, j, distance, _ in zip(*images_at.search_around_sky(spectra_at, 1 * u.arcsec), strict=True):
        free = i not in taken_spectra and j not in taken_images
        if free and spectra["RELEASE"][i] != images["release"][j]:
            candidates.append((i, j, distance.arcsec))
    for i, j, distance in candidates:
        rivals = [other for other in candidates if (other[0] == i) != (other[1] == j)]
        if all(distance < other[2] for other in rivals):
            pairs[spectra["TARGETID"][i]] = (images["key"][j], "sky", bool(rivals))
    return pairs


def test_pairs_are_those_that_the_rules_give(mini_survey: Truth, spectra: pd.DataFrame, images: pd.DataFrame) -> None:
    unusable = {spectrum.target_id for spectrum in mini_survey.sky.spectra if spectrum.content != "good"}
    dark = {(row.release << 42) + (row.brick << 22) + row.number for row in mini_survey.sky.images
            if row.content != "good"}  # fmt: skip
    found = pairs_by_the_rules(best_spectra(spectra), images.drop_duplicates("key").reset_index(drop=True))
    found = {target: pair for target, pair in found.items() if target not in unusable and pair[0] not in dark}
    expected = {
        pair.spectrum.target_id: (
            (pair.image.release << 42) + (pair.image.brick << 22) + pair.image.number,
            pair.method,
            pair.ambiguous,
        )
        for pair in mini_survey.sky.pairs
    }
    assert found == expected


def test_recorded_spectrum_is_the_best_one(mini_survey: Truth, spectra: pd.DataFrame) -> None:
    best = best_spectra(spectra).astype({"TARGETID": str}).set_index("TARGETID")
    table = mini_survey.table
    for name, column in (("redshift", "Z"), ("deltachi2", "DELTACHI2"), ("ra", "TARGET_RA"), ("dec", "TARGET_DEC")):
        np.testing.assert_array_equal(table[name], best.loc[table.index, column], err_msg=name)


def test_counts_of_dropped_rows_add_up(mini_survey: Truth, spectra: pd.DataFrame, images: pd.DataFrame) -> None:
    at = {step: sum(mini_survey.dropped_at(step).values()) for step in (INDEX, ONE_SPECTRUM, ONE_IMAGE, MATCH, LOAD)}
    good = good_spectra(spectra)
    assert len(spectra) == mini_survey.read["spectra"] == len(good) + at[INDEX]
    assert len(good) - good["TARGETID"].nunique() == at[ONE_SPECTRUM]
    assert len(images) == mini_survey.read["images"] == images["key"].nunique() + at[ONE_IMAGE]
    assert good["TARGETID"].nunique() - at[MATCH] - at[LOAD] == len(mini_survey.table)


def test_every_trap_is_set_and_has_an_outcome(mini_survey: Truth) -> None:
    table = mini_survey.table
    assert len(table) >= 2000
    names = [trap.name for trap in TRAPS]
    assert len(set(names)) == len(names)
    for name, count in Counter(table["trap"]).items():
        [least] = [trap.count for trap in TRAPS if trap.name == name] or [1]
        assert count >= least, name
    assert sum(trap.count * trap.spectra for trap in TRAPS) + (table["trap"] == PLAIN).sum() == len(
        mini_survey.sky.spectra
    )
    assert set(table["split"]) == {"train", "validation", "test"}


def test_survey_is_the_same_for_the_same_seed() -> None:
    first, second, other = make_sky(600, 1), make_sky(600, 1), make_sky(600, 2)
    assert (first.spectra, first.images, first.labels) == (second.spectra, second.images, second.labels)
    assert first.spectra != other.spectra


def test_coadds_have_the_layout_of_desi(mini_survey: Truth) -> None:
    orders, whole = set(), 0
    for path in coadd_files(mini_survey):
        survey, program, number = path.stem.removeprefix("coadd-").split("-")
        folder = Path("healpix") / survey / program / str(int(number) // 100) / number
        assert path.relative_to(mini_survey.files.spectra).parent == folder
        with fits.open(path) as hdus:
            names = [hdu.name for hdu in hdus]
            assert set(names) - RESOLUTION_HDUS == COADD_HDUS
            whole += set(names) >= RESOLUTION_HDUS
            orders.add(tuple(name for name in names if name not in RESOLUTION_HDUS))
            for arm, start, length in (("B", 3600, 2751), ("R", 5760, 2326), ("Z", 7520, 2881)):
                np.testing.assert_allclose(hdus[f"{arm}_WAVELENGTH"].data, start + 0.8 * np.arange(length))
                assert hdus[f"{arm}_FLUX"].data.shape == (len(hdus["FIBERMAP"].data), length)
                assert hdus[f"{arm}_FLUX"].data.dtype == ">f4"
                assert hdus[f"{arm}_MASK"].header["BITPIX"] == 32
                assert hdus[f"{arm}_MASK"].header["BZERO"] == 2147483648
            positions = hdus["FIBERMAP"].data["TARGET_RA"], hdus["FIBERMAP"].data["TARGET_DEC"]
            assert {pixel(place) for place in zip(*positions, strict=True)} == {int(number)}
    assert whole >= 1
    assert len(orders) > 2
    assert {path.parts[-4] for path in coadd_files(mini_survey)} == {"bright", "dark"}


def test_redrock_files_have_the_rows_of_their_coadds_in_another_order(mini_survey: Truth) -> None:
    same = []
    for path in coadd_files(mini_survey):
        here = fits.getdata(path, "FIBERMAP")["TARGETID"]
        there = fits.getdata(path.with_name(path.name.replace("coadd", "redrock")), "REDSHIFTS")["TARGETID"]
        assert sorted(here) == sorted(there)
        same.append(np.array_equal(here, there))
    assert True in same
    assert False in same


def test_images_have_the_layout_of_stein(mini_survey: Truth) -> None:
    for hemisphere, release in (("north", 9011), ("south", 9010)):
        files = image_files(mini_survey, hemisphere)
        assert len(files) >= 2
        stop, faintest = 0, np.inf
        for path in files:
            with h5py.File(path) as file:
                assert set(file) == IMAGE_KEYS
                rows = len(file["images"])
                assert path.name == f"images_npix152_{stop:09d}_{stop + rows:09d}.h5"
                assert file["images"].shape[1:] == (3, 152, 152)
                assert file["images"].dtype == np.float32
                z_flux = file["flux"][:, 2]
                assert set(file["release"][:]) == {release}
            assert (np.diff(z_flux, prepend=faintest) <= 0).all()
            stop, faintest = stop + rows, z_flux[-1]


def test_arrays_of_the_truth_are_those_in_the_files(mini_survey: Truth) -> None:
    """Outside the overlaps; inside, the weighted mean of the arms."""
    arms = (("B", 0, 2751), ("R", 2700, 2326), ("Z", 4900, 2881))
    path = next(path for path in coadd_files(mini_survey) if "dark" in path.name)
    checked = 0
    with fits.open(path) as hdus:
        for row, target in enumerate(hdus["FIBERMAP"].data["TARGETID"]):
            if mini_survey.table.get("program").get(str(target)) != "dark":
                continue
            checked += 1
            flux, ivar, mask = mini_survey.expected_spectrum(str(target))
            total, weight, copied, count = (np.zeros(7781) for _ in range(4))
            for arm, start, length in arms:
                pixels = slice(start, start + length)
                arm_flux, arm_ivar = (hdus[f"{arm}_{kind}"].data[row].astype(float) for kind in ("FLUX", "IVAR"))
                total[pixels] += arm_flux * arm_ivar
                weight[pixels] += arm_ivar
                copied[pixels] = arm_flux
                count[pixels] += 1
            mean = np.divide(total, weight, out=np.zeros(7781), where=weight > 0)
            np.testing.assert_array_equal(flux[count == 1], copied[count == 1].astype(np.float32))
            np.testing.assert_allclose(flux, np.where(count == 1, copied, mean), rtol=1e-6)
            np.testing.assert_allclose(ivar, weight, rtol=1e-6)
            assert (count == 2).sum() == 51 + 126
            assert (mask[ivar > 0] == 0).all()
            assert (mask == 1 << 31).sum() == 3
            assert ((count == 2) & (mask > 0)).sum() == 2
    assert checked > 0
    for pair in mini_survey.sky.pairs[::200]:
        with h5py.File(mini_survey.files.images / mini_survey.image_files[pair.image.serial]) as file:
            [row] = np.flatnonzero((file["objid"][:] == pair.image.number) & (file["brickid"][:] == pair.image.brick))
            expected = mini_survey.expected_image(str(pair.spectrum.target_id))
            np.testing.assert_array_equal(file["images"][row], expected)
            assert not np.array_equal(expected, expected[:, ::-1])
            assert not np.array_equal(expected, expected.transpose(0, 2, 1))


def test_traps_are_what_they_say(mini_survey: Truth) -> None:
    pairs = {trap.name: [pair for pair in mini_survey.sky.pairs if pair.trap == trap.name] for trap in TRAPS}
    for name in ("border, with key", "border, without key"):
        for pair in pairs[name]:
            here, there = pixel(pair.spectrum.place), pixel(pair.image.place)
            assert split(here) != split(there)
            assert mini_survey.table.loc[str(pair.spectrum.target_id), "match_separation"] < 1.0
    for name in ("zero of right ascension, with key", "zero of right ascension, without key"):
        assert all(pair.spectrum.place[0] > 359 and pair.image.place[0] < 1 for pair in pairs[name])
    twins = [pair.spectrum.target_id for pair in pairs["twins in double precision"]]
    assert len(set(twins)) == 2 * len(set(map(float, twins)))
    copies = Counter(mini_survey.image_files[row.serial] for row in mini_survey.sky.images)
    assert sum(copies.values()) == mini_survey.read["images"]
    files = [
        {mini_survey.image_files[row.serial] for row in mini_survey.sky.images if row.brick == pair.image.brick
         and row.number == pair.image.number and row.release == pair.image.release}
        for pair in pairs["image in two files"]
    ]  # fmt: skip
    assert all(len(names) == 2 for names in files)


def test_labels_have_the_layout_of_provabgs(mini_survey: Truth) -> None:
    with h5py.File(mini_survey.files.provabgs) as file:
        assert list(file) == ["__astropy_table__"]
    table = Table.read(mini_survey.files.provabgs, path="__astropy_table__")
    assert table["TARGETID"].dtype == np.int64
    assert table["PROVABGS_MCMC"].shape == (len(table), 100, 13)
    assert table["PROVABGS_LOGMSTAR"].shape == (len(table), 100)
    assert (table["PROVABGS_LOGMSTAR_BF"] == -999).sum() == 12
    assert (table["MAG_G"] == -999).sum() == 6
    kept = (table["PROVABGS_LOGMSTAR_BF"] > 0) & (table["PROVABGS_LOGMSTAR_BF"] < 12.2) & (table["MAG_G"] > 0)
    mass = dict(zip(map(str, table["TARGETID"][kept]), table["PROVABGS_LOGMSTAR_BF"][kept], strict=True))
    expected = mini_survey.table["log_stellar_mass"]
    assert expected.dropna().to_dict() == {name: mass[name] for name in mass if name in expected.index}
    variant = list(mini_survey.files.provabgs_multimodal.glob("healpix=*/001-of-001.hdf5"))
    identifiers = np.concatenate([h5py.File(path)["object_id"][:] for path in variant])
    assert len(variant) >= 2
    assert set(expected.index[mini_survey.table["age"].notna()]) <= set(map(str, identifiers))


def test_votes_name_the_expected_answer(mini_survey: Truth) -> None:
    votes = pd.read_csv(mini_survey.files.votes)
    assert len(votes) == mini_survey.read["votes"]
    table = mini_survey.table
    nearest, apart, _ = places(table, "ra", "dec").match_to_catalog_sky(places(votes, "ra", "dec"))
    has_votes = apart <= 0.5 * u.arcsec
    np.testing.assert_array_equal(has_votes, table["morphology_merging"].notna())
    fractions = votes[[name for name in votes if name.startswith("merging_") and name.endswith("_fraction")]]
    winners = fractions.idxmax(axis=1).str.removeprefix("merging_").str.removesuffix("_fraction")
    assert list(winners.iloc[nearest[has_votes]]) == list(table["morphology_merging"][has_votes])
    assert table["morphology_spiral_winding"].nunique() == 3


def test_multimodal_spectra_have_zwarn_turned_round(mini_survey: Truth) -> None:
    files = sorted(mini_survey.files.multimodal_inverted.glob("healpix=*/001-of-001.hdf5"))
    flags, numbers = {}, {}
    for path in files:
        with h5py.File(path) as inverted, h5py.File(
            mini_survey.files.multimodal_original / path.parent.name / path.name
        ) as original:  # fmt: skip
            assert inverted["ZWARN"].dtype == bool
            assert inverted["spectrum_flux"].shape[1] == 7781
            identifiers = [int(name) for name in inverted["object_id"][:]]
            flags.update(zip(identifiers, inverted["ZWARN"][:].tolist(), strict=True))
            numbers.update(zip(identifiers, original["ZWARN"][:].tolist(), strict=True))
    assert numbers == mini_survey.multimodal_zwarn
    assert flags == {target: zwarn == 0 for target, zwarn in numbers.items()}
    assert set(flags.values()) == {True, False}


def test_catalogue_has_one_primary_row_a_target(mini_survey: Truth, spectra: pd.DataFrame) -> None:
    catalogue = Table.read(mini_survey.files.catalogue, hdu="ZCATALOG").to_pandas()
    assert len(catalogue) == len(spectra)
    primary = catalogue[catalogue["SV_PRIMARY"]]
    assert primary["TARGETID"].is_unique
    assert set(primary["TARGETID"]) == set(spectra["TARGETID"])
    recorded = primary.astype({"TARGETID": str}).set_index("TARGETID").loc[mini_survey.table.index]
    np.testing.assert_array_equal(recorded["Z"], mini_survey.table["redshift"])
    assert set(primary["HEALPIX"]) < set(range(12 * NSIDE**2))
