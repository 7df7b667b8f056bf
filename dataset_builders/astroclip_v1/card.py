"""What the card of the AstroCLIP pairs says besides what every card says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DESCRIPTION = (
    "Galaxies with a Legacy Survey DR9 image and a spectrum of DESI's Early Data Release, as paired by the authors of "
    "AstroCLIP, with spectroscopic redshifts: for comparison with results published on these pairs."
)

CITATION = (
    "Parker et al. (2024), MNRAS 531, 4990 (the pairs); DESI Collaboration (2024), AJ 168, 58 (spectra, CC BY 4.0); "
    "Dey et al. (2019), AJ 157, 168 (Legacy Surveys); Stein et al. (2021), arXiv:2110.13151 (image files)."
)
PROVABGS_CITATION = " Hahn et al. (2023), ApJ 945, 16 (PROVABGS)."

SOURCE = {
    "AstroCLIP pairs (HDF5)": (
        "The file `astroclip_desi.1.1.5.h5` of the AstroCLIP authors: ten groups, each with images, spectra, redshifts "
        "and TARGETIDs. Images have their planes moved to the front, and no value is changed. As published, the set "
        "has 158,380 rows to train on and 39,596 to test on."
    ),
    "AstroCLIP pairs (Parquet)": (
        "A Parquet copy of `astroclip_desi.1.1.5.h5` made by others. **Nobody has verified it against the original**, "
        "and its order is not the original's, so the original split cannot be had from it. The copy "
        "`mhsotoudeh/astroclip` has train, val and test of 70, 15 and 15 %; `EiffL/AstroCLIP` is train alone and "
        "incomplete."
    ),
}
COMPARISON = {
    "astroclip-v1": "Scores on this split compare with published ones; those on any other split do not.",
    "healpix": (
        "This is not the published split, and scores do not compare with published ones: it is made again by sky, so "
        "that a model cannot recognise the neighbourhood of what it is tested on."
    ),
    "as-in-files": "This is the copy's own split, and scores on it do not compare with the published ones.",
}
CLEANED = (
    " Rows without signal and redshifts outside 0 to 0.8 are left out here, so the published scores are of more rows."
)
LIMITS = (
    "* **No inverse variances.** The modality `spectrum` is the flux alone; a model that needs `ivar` cannot be scored "
    "on it, and none is made up.\n"
    "* **No positions.** `healpix` comes from the brick number in the TARGETID: the pixel of the brick's centre, at "
    "most 0.18 degrees away, so near a border it may be the neighbouring pixel. Targets from Gaia alone have a "
    "pixel of 1.8 degrees in its place.\n"
    "* Which version of DESI's pipeline combined the three arms is not on record."
)
DEFECTS = (
    "* **Ordered by brightness.** The groups follow image files sorted by flux: the first rows of a split are its "
    "bright end. Never subsample by head; `--limit` chooses by hash of the identifier.\n"
    "* **Shared sky.** The published split is by place in the file: neighbouring galaxies lie in train and test.\n"
    "* **No validation split** in the published one; whoever selects a model on test fits to it.\n"
    "* About 1,900 rows have a spectrum that is zero throughout, or a redshift outside 0 to 0.8 (stars among them). "
    "They are in the published scores, and stay unless the set is built with `--clean`, which counts them.\n"
    "* A TARGETID that occurs twice is kept where it comes first; the other row is counted below."
)


def citation(with_labels: bool) -> str:
    """Return what to cite."""
    return CITATION + (PROVABGS_CITATION if with_labels else "")


def sections(reader: str, split_rule: str, clean: bool, labels: Sequence[str]) -> Mapping[str, str]:
    """Return the card's sections: heading -> Markdown.

    Parameters
    ----------
    reader
        Name of the reader, a key of `SOURCE`.
    split_rule
        A key of `COMPARISON`.
    clean
        Whether rows without signal were left out.
    labels
        Names of the columns joined from PROVABGS.
    """
    names = ", ".join(f"`{name}`" for name in labels)
    joined = (
        f"{names}: from PROVABGS, joined by TARGETID with AstroCLIP's cuts (mass and g, r, z magnitudes positive); null "
        "where there is none. Stellar masses are best fits, not the first model parameter, which is the mass formed."
    )
    return {
        "Source": f"{SOURCE[reader]} `hemisphere` follows from the release in the TARGETID.",
        "What scores on it compare with": COMPARISON[split_rule] + (CLEANED if clean else ""),
        **({"Labels": joined} if labels else {}),
        "Limits": LIMITS,
        "Known defects": DEFECTS,
    }
