"""What the data set is called, and what its card says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from astroclip_bench.records import Column, DatasetInfo
from dataset_builders.source import Configuration
from dataset_builders.upstream.galaxy_zoo import VOTES_REQUIRED_COLUMN, morphology_columns, vote_columns
from dataset_builders.upstream.provabgs import provabgs_columns
from dataset_builders.upstream.provabgs_multimodal import multimodal_columns

VERSION = "1.0"

INFO = DatasetInfo(
    name="desi-legacy",
    version=VERSION,
    title="DESI spectra and Legacy Survey images of the same galaxies",
    description=(
        "Optical spectra of the Dark Energy Spectroscopic Instrument, three arms on one grid with inverse variance, "
        "beside g, r, z images of the DESI Legacy Imaging Surveys, with redshifts and, where a catalogue of the galaxy "
        "was given, stellar masses with their posteriors, ages, metallicities, star-formation rates and morphology."
    ),
    license="CC-BY-4.0",
    citation=(
        "Spectra and redshifts: DESI Collaboration et al. (2024), AJ 168, 58 (Early Data Release), or DESI Collaboration "
        "et al. (2025), arXiv:2503.14745 (Data Release 1). Images: Dey et al. (2019), AJ 157, 168; Stein et al. (2021), "
        "arXiv:2110.13151, where their files were used. Labels: Hahn et al. (2023), ApJ 945, 16 (PROVABGS); Walmsley et "
        "al. (2022), MNRAS 509, 3966 (Galaxy Zoo DECaLS); Moustakas et al. (2023), ASCL 2308.005 (FastSpecFit). The "
        "pairing follows AstroCLIP: Parker, Lanusse et al. (2024), MNRAS 531, 4990."
    ),
    simulated=False,
)

SECTIONS: Mapping[str, str] = {
    "What a row is": (
        "One galaxy that has both a spectrum and an image. `object_id` is its TARGETID. `ra` and `dec` are those of the "
        "spectrum's target, and `healpix` and `split` follow from them. Of a target observed in several surveys or "
        "programmes one spectrum is kept, as DESI chooses its primary ones: without a redshift warning, then the deepest "
        "(TSNR2_LRG), or, where the files do not tell that, the one with the largest `deltachi2`. Since this is chosen "
        "among the spectra given, and after the cuts, it need not be the one flagged ZCAT_PRIMARY or SV_PRIMARY. Of an "
        "object that is in several image files the first is kept.\n\n"
        "A spectrum and an image belong together if the TARGETID, which encodes imaging release, brick and object, is "
        "the same on both sides and the positions agree within 5 arcsec; where one side carries none, or one of another "
        "release, if each is the other's nearest on the sky within the radius of the build. `match_method`, "
        "`match_separation` and `match_ambiguous` tell how each pair came about.\n\n"
        "Labels of stellar populations are joined by TARGETID, and left out where they were fitted at a redshift more than "
        "1,000 km/s from the spectrum's; of several fits that of the spectrum's own survey and programme is taken. Galaxy "
        "Zoo's votes are joined by the position of the spectrum's target, within 0.5 arcsec."
    ),
    "Licences": (
        "DESI public data and the Legacy Surveys' images are under CC BY 4.0; PROVABGS and FastSpecFit are value-added "
        "catalogues of DESI under the same licence; the Galaxy Zoo DECaLS votes are under CC BY 4.0. Whoever "
        "redistributes a build gives credit to each, in the words that the surveys' own pages ask for."
    ),
    "Limits": (
        "* The galaxies are those that the given cuts, catalogues and images have in common. That is no volume- or "
        "flux-limited sample: the completeness of fibre assignment varies over the sky, and PROVABGS covers the Bright "
        "Galaxy Survey alone.\n"
        "* Stellar masses, ages, metallicities and star-formation rates are the outcome of models fitted to the same "
        "photometry and spectra that an embedder sees. A model can learn the fit's habits, not only the galaxies.\n"
        "* A fibre covers 1.5 arcsec of a galaxy; spectra are not scaled to the whole galaxy's flux. DESI calibrates them "
        "as for point sources, so they are brighter than the light in the fibre (FIBERFLUX), by 1.3 for a fibre well "
        "centred.\n"
        "* Spectra, images, fluxes and `mag_r` are as observed, not corrected for dust in the Galaxy; `ebv` is E(B-V) of "
        "Schlegel, Finkbeiner and Davis (1998), as DESI gives it.\n"
        "* `snr` is that of the R arm; in the other arms it differs. A spectrum with an arm without data is kept: `ivar` "
        "is 0 there.\n"
        "* Galaxy Zoo votes cover bright, nearby galaxies of the south, and say what volunteers saw.\n"
        "* `train`, `validation` and `test` never share a HEALPix pixel, but a large galaxy or a cluster can lie "
        "across the border of two pixels."
    ),
    "Known defects": (
        "* PROVABGS rows with log stellar mass above 12.2, which its author warns of, are left out. Its W1 magnitude and "
        "its colour for the survey's cut were de-reddened with a wrong factor and are not taken over.\n"
        "* FastSpecFit publishes masses for a Hubble constant of 100 km/s/Mpc; here they are those for 70, 0.31 dex larger. "
        "PROVABGS's are for the cosmology of Planck (2013), 67.8 km/s/Mpc, which alone makes them 0.03 dex larger.\n"
        "* The camera coadd follows one rule of desispec, named in `manifest.json`: spectra differ from files coadded "
        "with another version in the two overlaps of the arms (5760 to 5800 and 7520 to 7620 angstrom).\n"
        "* W1 and W2 fluxes, and g, r and z fluxes where the images come without, are those of the spectra's files: exactly 0 "
        "for targets that come from no imaging catalogue.\n"
        "* Images keep stars, neighbours and artefacts. At the edge of the survey up to half of a band may be empty. Those with a band that is missing or not finite are left out, "
        "and counted below."
    ),
}

RESPONSIBLE_AI: Mapping[str, str | Sequence[str]] = {
    "dataCollection": (
        "Spectra were taken with the DESI instrument on the Mayall telescope at Kitt Peak; images with the Dark Energy "
        "Camera (Cerro Tololo), 90Prime (Bok) and Mosaic-3 (Mayall). Catalogues were matched by identifier and position."
    ),
    "dataCollectionType": ["Physical data collection", "Experiments"],
    "dataBiases": [
        "Targets of a spectroscopic survey: bright or of chosen colours, so that faint, diffuse and dusty galaxies are rare.",
        "Fibre assignment leaves out close pairs, more in crowded fields.",
        "Morphology labels say what volunteers saw in pictures, and exist for bright, nearby galaxies alone.",
    ],
    "dataLimitations": [
        "Labels other than the redshift come from models fitted to the same light that the inputs hold.",
        "No statement on populations (densities, mass functions) without the surveys' own weights.",
    ],
    "dataUseCases": [
        "Comparing embeddings of galaxy images and spectra: zero-shot properties, retrieval between modalities.",
        "Training of such embeddings on the train split.",
    ],
    "machineAnnotationTools": ["redrock", "PROVABGS", "FastSpecFit"],
    "personalSensitiveInformation": "None: the data are of galaxies. Votes are counts, without the volunteers' names.",
}

LABELS_OF_PROVABGS, LABELS_OF_SEVERAL = "provabgs", "labels"

CONFIGURATIONS: Mapping[str, Configuration] = {
    LABELS_OF_PROVABGS: Configuration(
        (
            "redshift",
            "ebv",
            "label_catalogues",
            *(column.name for column in (*provabgs_columns(), *multimodal_columns())),
        ),
        "log_stellar_mass",
        "Labels of the rows with a stellar mass, posterior samples included; no images or spectra",
    ),
    "galaxy_zoo": Configuration(
        ("redshift", "mag_r", *(column.name for column in (*morphology_columns(), *vote_columns()))),
        VOTES_REQUIRED_COLUMN,
        "Morphology labels, vote counts and fractions of the rows with votes; no images or spectra",
    ),
}


def configurations(provabgs_alone: bool) -> Mapping[str, Configuration]:
    """Return the configurations, that of the labels named after their catalogue if it is one."""
    names = {LABELS_OF_PROVABGS: LABELS_OF_PROVABGS if provabgs_alone else LABELS_OF_SEVERAL}
    return {names.get(name, name): entry for name, entry in CONFIGURATIONS.items()}


def payload_columns(mask: bool, resolution: bool) -> Sequence[Column]:
    """Return the columns that come with a spectrum if they are asked for."""
    import pyarrow as pa

    from astroclip_bench.records import N_WAVELENGTH, nested_list
    from dataset_builders.upstream.desi_arms import N_DIAGONALS

    columns = {
        "mask": (mask, nested_list((N_WAVELENGTH,), pa.uint32()), "Bits of desispec's specmask; 0 is good"),
        "resolution": (resolution, nested_list((N_DIAGONALS, N_WAVELENGTH)), "Diagonals of the resolution matrix"),
    }
    return [Column(name, dtype, "", text, "modality") for name, (wanted, dtype, text) in columns.items() if wanted]
