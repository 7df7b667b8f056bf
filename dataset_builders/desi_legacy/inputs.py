"""Which reader reads what the user points at, told by the names of the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from astroclip_bench.errors import DataError
from astroclip_bench.records import Column, uncertainty_column
from dataset_builders.upstream.desi_coadd import DesiCoadds
from dataset_builders.upstream.fastspecfit import FastSpecFit
from dataset_builders.upstream.galaxy_zoo import GalaxyZooDecals, morphology_columns, vote_columns
from dataset_builders.upstream.legacy_cutout import LegacyCutouts
from dataset_builders.upstream.legacy_mmu import MmuLegacyImages
from dataset_builders.upstream.legacy_stein import SteinImages
from dataset_builders.upstream.multimodal_universe import MmuSpectra
from dataset_builders.upstream.provabgs import Provabgs, provabgs_columns
from dataset_builders.upstream.provabgs_multimodal import ProvabgsMultimodal, multimodal_columns

HUBBLE = 0.7
"""H0 / (100 km/s/Mpc) of stellar masses in solar masses; FastSpecFit publishes them for 1."""

SPECTRA: Mapping[str, Any] = {"coadd-*.fits": DesiCoadds, "*.hdf5": MmuSpectra, "*.parquet": MmuSpectra}
IMAGES: Mapping[str, Any] = {
    "images_npix152_*.h5": SteinImages,
    "*.hdf5": MmuLegacyImages,
    "*.parquet": MmuLegacyImages,
    "*.fits": LegacyCutouts,
}
LABELS: Mapping[str, Any] = {
    "*provabgs*.hdf5": Provabgs,
    "*.fits": partial(FastSpecFit, hubble=HUBBLE),
    "*.hdf5": ProvabgsMultimodal,
    "*.parquet": ProvabgsMultimodal,
}
"""Pattern of file names -> the reader; the first pattern that some file below the folder has decides."""

LABEL_COLUMNS: Mapping[type, Callable[[], list[Column]]] = {
    Provabgs: provabgs_columns,
    ProvabgsMultimodal: multimodal_columns,
    FastSpecFit: lambda: [uncertainty_column("log_stellar_mass")],
    GalaxyZooDecals: lambda: [*morphology_columns(), *vote_columns()],
}
"""Reader -> the columns it fills besides the labels of `dataset_builders.pairs.columns.LABELS`."""


def reader_for(place: Path, readers: Mapping[str, Any], what: str) -> Any:
    """Return the reader class for a file or folder.

    Raises
    ------
    DataError
        If there is no such place, or no file in it that a reader knows.
    """
    place = place.expanduser()
    if not place.exists():
        raise DataError(f"{place}: no such file or folder", f"the {what}", "check the path")
    for pattern, reader in readers.items():
        if place.match(pattern) if place.is_file() else next(place.rglob(pattern), None):
            return reader
    raise DataError(f"{place}: no {what} in it or below", f"files {', '.join(readers)}", "check the path")


def check_places(out: Path, *places: Path | None) -> None:
    """Check that the output lies in no folder of the input, where its own files would be taken for input.

    Raises
    ------
    DataError
        If it does.
    """
    for place in places:
        if place is not None and out.expanduser().resolve().is_relative_to(place.expanduser().resolve()):
            raise DataError(f"{out} lies in {place}, which is input", "a folder outside", "choose another --out")


def label_columns(readers: list[Any]) -> tuple[Column, ...]:
    """Return the columns that label readers fill, each once, in the order of the readers."""
    columns = [column for reader in readers for column in LABEL_COLUMNS[type(reader)]()]
    return tuple({column.name: column for column in columns}.values())
