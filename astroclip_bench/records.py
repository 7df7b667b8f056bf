"""The record of one galaxy: its columns, modalities and Arrow schema.

A data set is a table with one row per galaxy. Which columns it has is free, within these rules: a column known here
by name has the type, unit and meaning given here; every column carries its unit and description; what belongs to the
data set and not to the row (wavelength grid, bands, pixel scale, name, version, provenance) lives in the schema
metadata under the key ``astroclip_bench``. A *modality* is an entry of that metadata naming the columns it reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from astroclip_bench.errors import DataError

RECORD_VERSION = 1
SCHEMA_KEY = b"astroclip_bench"
CONFIG_NAME = "pairs"
SPLITS = ("train", "validation", "test")

HEALPIX_NSIDE = 64
"""Resolution of the `healpix` column: 0.84 square degrees a pixel, NESTED, as DESI groups its spectra."""

IMAGE_BANDS = ("g", "r", "z")
IMAGE_SIZE = 152
PIXEL_SCALE_ARCSEC = 0.262
WAVELENGTH_START_ANGSTROM = 3600.0
WAVELENGTH_STEP_ANGSTROM = 0.8
N_WAVELENGTH = 7781

DTYPES = ("float32", "string")
"""Types of a modality's values."""

Role = Literal["identifier", "position", "modality", "label", "property", "preview"]


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, unit (astropy's spelling; empty for a pure number) and meaning.

    `role` says who may see it: embedders see `modality` columns alone; `label` columns are what tasks predict;
    `property` columns describe the object or its observation (signal-to-noise, hemisphere) and form groups;
    a `preview` is a small picture made from a modality for the eye alone, and no part of the data digest.
    """

    name: str
    dtype: pa.DataType
    unit: str
    description: str
    role: Role

    @property
    def nullable(self) -> bool:
        """Labels, properties and previews may be missing (null); everything else is there in every row."""
        return self.role in ("label", "property", "preview")

    def field(self) -> pa.Field:
        """Return the Arrow field, with unit, description and role as its metadata."""
        metadata = {"unit": self.unit, "description": self.description, "role": self.role}
        return pa.field(self.name, self.dtype, nullable=self.nullable, metadata=metadata)


@dataclass(frozen=True)
class Modality:
    """One view of the galaxy that an embedder may be handed.

    Parameters
    ----------
    columns
        What it reads; nothing else reaches the embedder. Arrays of these names make up its batch.
    shape
        Shape of one object's array (of each column, where there are several of equal shape).
    unit
        Unit of the values of the first column.
    axes
        What the axes mean: bands, pixel scale, wavelength grid. Plain JSON values.
    dtype
        Type of the values: ``float32``, or ``string`` for texts (of shape ()).
    shared_by
        Column by whose value objects have this view in common, as the images of one proposal share its abstract: in
        searches with it such objects are no rivals of each other. Empty where every object has its own.
    """

    name: str
    columns: tuple[str, ...]
    shape: tuple[int, ...]
    unit: str
    description: str
    axes: Mapping[str, Any] = field(default_factory=dict)
    dtype: Literal["float32", "string"] = "float32"
    shared_by: str = ""

    @property
    def arrow_type(self) -> pa.DataType:
        """Arrow type of each of its columns."""
        return nested_list(self.shape, pa.string() if self.dtype == "string" else pa.float32())


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is called and where it comes from.

    `simulated` decides how scores are labelled: a mock figure is never shown as a real one. `split_rule` names the
    rule of the split; under any but ``healpix`` a pixel of the sky may lie in two splits.
    """

    name: str
    version: str
    title: str
    description: str
    license: str
    citation: str
    simulated: bool
    provenance: Mapping[str, Any] = field(default_factory=dict)
    split_rule: str = "healpix"


def nested_list(shape: Sequence[int], value: pa.DataType | None = None) -> pa.DataType:
    """Return the nested fixed-size list type of an array of `shape` (float32 unless told)."""
    dtype = value or pa.float32()
    for length in reversed(shape):
        dtype = pa.list_(dtype, length)
    return dtype


def image_column(bands: int = 3, size: int = IMAGE_SIZE) -> Column:
    """Return the `image` column: (bands, size, size) float32, nanomaggies a pixel."""
    return Column("image", nested_list((bands, size, size)), "nmgy", "Calibrated flux in each pixel", "modality")


def _scalar(name: str, unit: str, description: str, role: Role, dtype: pa.DataType | None = None) -> Column:
    return Column(name, dtype or pa.float32(), unit, description, role)


_FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"

MORPHOLOGY_QUESTIONS: dict[str, tuple[str, ...]] = {
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on": ("yes", "no"),
    "has-spiral-arms": ("yes", "no"),
    "bar": ("strong", "weak", "no"),
    "bulge-size": ("dominant", "large", "moderate", "small", "none"),
    "how-rounded": ("round", "in-between", "cigar-shaped"),
    "edge-on-bulge": ("boxy", "none", "rounded"),
    "spiral-winding": ("tight", "medium", "loose"),
    "spiral-arm-count": ("1", "2", "3", "4", "more-than-4", "cant-tell"),
    "merging": ("none", "minor-disturbance", "major-disturbance", "merger"),
}
"""Question -> answers of Galaxy Zoo DECaLS as volunteers saw them in GZD-5 (Walmsley et al. 2022, MNRAS 509, 3966)."""


def morphology_label(question: str) -> str:
    """Return the label column of a morphology question: ``morphology_has_spiral_arms`` of ``has-spiral-arms``."""
    return f"morphology_{question.replace('-', '_')}"


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        _scalar(
            "object_id",
            "",
            "Identifier, unique in the data set (a TARGETID as its decimal digits)",
            "identifier",
            pa.string(),
        ),
        _scalar("ra", "deg", "Right ascension, ICRS", "position", pa.float64()),
        _scalar("dec", "deg", "Declination, ICRS", "position", pa.float64()),
        _scalar("healpix", "", f"HEALPix pixel, nside {HEALPIX_NSIDE}, NESTED", "position", pa.int64()),
        _scalar("split", "", "train, validation or test, by hash of the HEALPix pixel", "position", pa.string()),
        image_column(),
        Column(
            "flux",
            nested_list((N_WAVELENGTH,)),
            _FLUX_UNIT,
            "Flux density of the three DESI arms, combined",
            "modality",
        ),
        Column(
            "ivar",
            nested_list((N_WAVELENGTH,)),
            "1e34 s2 cm4 Angstrom2 / erg2",
            "Inverse variance of flux; 0 where masked",
            "modality",
        ),
        *(
            _scalar(f"flux_{band}", "nmgy", f"Total flux in the {band} band", "modality")
            for band in ("u", "g", "r", "i", "z", "W1", "W2")
        ),
        _scalar("caption", "", "What is said about the object, in English", "modality", pa.string()),
        _scalar("redshift", "", "Spectroscopic redshift", "label"),
        _scalar("log_stellar_mass", "dex(Msun)", "log10 of the stellar mass (living stars and remnants)", "label"),
        _scalar("age", "Gyr", "Mass-weighted stellar age", "label"),
        _scalar("metallicity", "", "Mass-weighted stellar metallicity Z_MW (mass fraction of metals)", "label"),
        _scalar("log_ssfr", "dex(1 / yr)", "log10 SFR - log10 stellar mass", "label"),
        *(
            _scalar(
                morphology_label(question),
                "",
                f"What most volunteers answered about {question}: {', '.join(answers)}",
                "label",
                pa.string(),
            )
            for question, answers in MORPHOLOGY_QUESTIONS.items()
        ),
        _scalar("mag_r", "mag(AB)", "Total r magnitude, as observed", "property"),
        _scalar("snr", "", "Median signal-to-noise ratio of the spectrum, per pixel", "property"),
        _scalar("hemisphere", "", "Imaging survey: north (BASS, MzLS) or south (DECam)", "property", pa.string()),
        _scalar("ebv", "mag", "Galactic reddening E(B-V)", "property"),
        _scalar("proposal_id", "", "Observing proposal, whose objects share one caption", "property", pa.string()),
    )
}
"""The columns with a fixed meaning. A data set may add others; `label_std` and `label_true` derive from a label."""


ANY_SIZE = ("image",)
"""Columns whose arrays may have another shape than in `COLUMNS`."""


def preview_column() -> Column:
    """Return the `preview` column: an encoded colour picture of the image, as the Hub's viewer shows it."""
    dtype = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return Column("preview", dtype, "", "Colour picture of the image, for the eye alone", "preview")


def samples_column(label: str, n_samples: int) -> Column:
    """Return the `<label>_samples` column: `n_samples` draws from the label's posterior."""
    base = COLUMNS[label]
    dtype = nested_list((n_samples,))
    return Column(f"{label}_samples", dtype, base.unit, f"Posterior samples of {label}", "property")


def uncertainty_column(label: str) -> Column:
    """Return the `<label>_std` column: the standard deviation of the label's posterior."""
    base = COLUMNS[label]
    return _scalar(f"{label}_std", base.unit, f"Standard deviation of {label}", "property")


def truth_column(label: str) -> Column:
    """Return the `<label>_true` column: what a simulation knows and no survey does."""
    base = COLUMNS[label]
    return _scalar(f"{label}_true", base.unit, f"{base.description} (simulation truth)", "label")


def image_modality(bands: Sequence[str] = IMAGE_BANDS, size: int = IMAGE_SIZE) -> Modality:
    """Return the image modality at the native Legacy Survey pixel scale."""
    return Modality(
        "image",
        ("image",),
        (len(bands), size, size),
        "nmgy",
        "Legacy Survey image, one plane a band",
        {"bands": list(bands), "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC},
    )


def spectrum_modality() -> Modality:
    """Return the spectrum modality on the DESI grid: 7781 pixels of 0.8 angstrom from 3600 to 9824 (vacuum)."""
    return Modality(
        "spectrum",
        ("flux", "ivar"),
        (N_WAVELENGTH,),
        _FLUX_UNIT,
        "DESI spectrum, observed frame, vacuum wavelengths",
        {
            "wavelength_start_angstrom": WAVELENGTH_START_ANGSTROM,
            "wavelength_step_angstrom": WAVELENGTH_STEP_ANGSTROM,
            "n_wavelength": N_WAVELENGTH,
        },
    )


def photometry_modality(bands: Sequence[str]) -> Modality:
    """Return the photometry modality: one scalar column `flux_<band>` a band, nanomaggies."""
    columns = tuple(f"flux_{band}" for band in bands)
    return Modality("photometry", columns, (), "nmgy", "Total fluxes, one column a band", {"bands": list(bands)})


def text_modality(shared_by: str = "proposal_id") -> Modality:
    """Return the text modality: one caption an object, which those of equal `shared_by` have in common."""
    return Modality(
        "text", ("caption",), (), "", "Text about the object", {"language": "en"}, dtype="string", shared_by=shared_by
    )


def wavelength_angstrom(modality: Modality) -> np.ndarray:
    """Return the wavelength grid (n_wavelength,) in vacuum angstrom that a spectrum modality declares."""
    axes = modality.axes
    step = axes["wavelength_step_angstrom"] * np.arange(axes["n_wavelength"])
    return np.asarray(axes["wavelength_start_angstrom"] + step)


def record_schema(info: DatasetInfo, columns: Iterable[Column], modalities: Iterable[Modality]) -> pa.Schema:
    """Return the Arrow schema of a data set.

    Raises
    ------
    DataError
        If `object_id`, `healpix` or `split` is missing, a modality names an absent column, or a known column is
        given another type or unit.
    """
    fields = [column.field() for column in columns]
    metadata = {
        "record_version": RECORD_VERSION,
        "dataset": asdict(info),
        "modalities": {modality.name: modality_entry(modality) for modality in modalities},
    }
    schema = pa.schema(fields, metadata={SCHEMA_KEY: json.dumps(metadata, sort_keys=True)})
    read_schema(schema)
    return schema


def modality_entry(modality: Modality) -> dict[str, Any]:
    """Return a modality as plain JSON values; what was added to the record later is left out where it says nothing."""
    values = asdict(modality)
    return {name: value for name, value in values.items() if name not in _LATER or value != _LATER[name]}


_LATER = {"dtype": "float32", "shared_by": ""}


def read_schema(schema: pa.Schema, where: str = "schema") -> tuple[DatasetInfo, dict[str, Modality]]:
    """Check a schema against the record and return what its metadata declares.

    Raises
    ------
    DataError
        Naming `where`, the column or key at fault, and what was expected.
    """
    try:
        metadata = json.loads((schema.metadata or {})[SCHEMA_KEY])
        version = metadata["record_version"]
        info = DatasetInfo(**metadata["dataset"])
        modalities = {
            name: Modality(**{**entry, "columns": tuple(entry["columns"]), "shape": tuple(entry["shape"])})
            for name, entry in metadata["modalities"].items()
        }
        unknown = [modality.dtype for modality in modalities.values() if modality.dtype not in DTYPES]
        if unknown:
            raise ValueError(f"dtype {unknown[0]!r}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{where}: no readable {SCHEMA_KEY.decode()!r} entry in the schema metadata",
            "a data set written by astroclip-bench data build",
        ) from error
    if version != RECORD_VERSION:
        raise DataError(f"{where}: record version {version}", f"version {RECORD_VERSION}", "build the data set again")
    for name in ("object_id", "healpix", "split"):
        if name not in schema.names:
            raise DataError(f"{where}: column {name!r} is missing", "it in every data set", "build the data set again")
    for found in schema:
        known = COLUMNS.get(found.name)
        if known is not None and found.name not in ANY_SIZE and found.type != known.dtype:
            raise DataError(f"{where}: column {found.name!r} has type {found.type}", f"{known.dtype}")
    for modality in modalities.values():
        for name in modality.columns:
            if name not in schema.names:
                raise DataError(f"{where}: modality {modality.name!r} reads column {name!r}, which is missing")
            if schema.field(name).type != modality.arrow_type:
                raise DataError(
                    f"{where}: column {name!r} has type {schema.field(name).type}",
                    f"{modality.dtype} of shape {modality.shape}, as modality {modality.name!r} declares",
                )
        if modality.shared_by and modality.shared_by not in schema.names:
            raise DataError(
                f"{where}: modality {modality.name!r} is shared by column {modality.shared_by!r}, which is missing"
            )
    return info, modalities


def digest_columns(schema: pa.Schema) -> list[pa.Field]:
    """Return the fields that the data digest covers: all but previews, which are made from the others."""
    previews = columns_of_role(schema, "preview")
    return [field for field in schema if field.name not in previews]


def columns_of_role(schema: pa.Schema, role: Role) -> list[str]:
    """Return the names of the columns whose field metadata carries `role`."""
    return [field.name for field in schema if (field.metadata or {}).get(b"role") == role.encode()]
