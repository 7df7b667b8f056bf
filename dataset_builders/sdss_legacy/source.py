"""The listed pairs as a record source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.datasets.arrays import numpy_to_arrow, select_rows
from astroclip_bench.errors import DataError
from astroclip_bench.files import sha256_file
from astroclip_bench.records import (
    COLUMNS,
    Column,
    DatasetInfo,
    image_column,
    image_modality,
    preview_column,
    record_schema,
    spectrum_modality,
    uncertainty_column,
)
from dataset_builders.preview import preview_array
from dataset_builders.sdss_legacy.card import CITATION, DESCRIPTION, sections
from dataset_builders.sdss_legacy.images import IMAGE_PIXELS, load_image
from dataset_builders.sdss_legacy.pairs import MAX_SEPARATION_ARCSEC, Pair, read_pairs
from dataset_builders.splits import healpix_pixel, split_of_pixel
from dataset_builders.upstream.reader import GOOD
from dataset_builders.upstream.sdss_spectrum import SdssSpectra
from dataset_builders.validate import select_splits

SHARD_ROWS = 256
SPLIT_RULES = {"healpix": "healpix", "test": "as-in-files"}
"""How the rows can be split -> name of the rule: by sky, or the whole list as the test split."""
NAMES = {"healpix": "sdss-legacy", "test": "sdss-legacy-test"}


class SdssLegacy:
    """The pairs that `pairs.csv` of a folder lists, and that can be used.

    Parameters
    ----------
    folder
        See `read_pairs` for the list; the tables of the spectra and all checksums are read here, once.
    split
        ``healpix``, or ``test`` for all rows in the test split: nothing can be fitted then, and retrieval scored alone.
    max_separation_arcsec
        Pairs whose image centre and fibre are farther apart are left out.

    Raises
    ------
    DataError
        If the list or a spectrum cannot be read, no pair can be used, or there is no such split.
    """

    def __init__(
        self, folder: Path | str, split: str = "healpix", max_separation_arcsec: float = MAX_SEPARATION_ARCSEC
    ) -> None:
        if split not in SPLIT_RULES:
            raise DataError(f"split {split!r}", " or ".join(SPLIT_RULES), "choose one of them with --split")
        self._split = split
        self._list = read_pairs(folder, max_separation_arcsec)
        self._options = {
            "split": split,
            "max_separation_arcsec": max_separation_arcsec,
            "spectra": dict(SdssSpectra(Path(folder)).options()),
        }
        self._inputs = [_input(what, path, self._list.path.parent) for what, path in self._list.files]
        self.info = DatasetInfo(
            name=NAMES[split],
            version="1.0",
            title="SDSS spectra with Legacy Survey images",
            description=DESCRIPTION,
            license="CC-BY-4.0",
            citation=CITATION,
            simulated=False,
            provenance={"list": self._inputs[0]["sha256"], **self._options},
            split_rule=SPLIT_RULES[split],
        )
        described = "SDSS spectrum on the DESI grid, observed frame, vacuum wavelengths; ivar 0 beyond 3800 to 9200"
        self.schema = record_schema(
            self.info,
            COLUMN_LIST,
            [image_modality(size=IMAGE_PIXELS), replace(spectrum_modality(), description=described)],
        )
        self.shards = range(-(-len(self._list.pairs) // SHARD_ROWS))

    def rows(
        self, shard: int, splits: Collection[str] | None = None
    ) -> Generator[pa.RecordBatch, None, dict[str, int]]:
        """Yield the rows of one shard as one batch, and return how many had to be left out, by reason."""
        batch, faults = self._batch(self._list.pairs[shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS])
        good = faults == GOOD
        yield select_splits(select_rows(batch, good), splits)
        return dict(Counter(faults[~good].tolist()))

    def shard_size(self, shard: int) -> int:
        """Return the number of pairs in the shard, those whose pixels cannot be used included."""
        return min(SHARD_ROWS, len(self._list.pairs) - shard * SHARD_ROWS)

    def build_record(self) -> Mapping[str, Any]:
        """Return the input files, the options, and the rows at each step."""
        return {"inputs": self._inputs, "options": self._options, "steps": list(self._list.steps)}

    def card(self) -> Mapping[str, str]:
        """Return what the rows are, how good they are, and what is wrong with them."""
        return sections(self._split)

    def _batch(self, pairs: tuple[Pair, ...]) -> tuple[pa.RecordBatch, npt.NDArray[np.object_]]:
        """Return the rows of some pairs, and what is wrong with each."""
        images = [load_image(pair.image, pair.scale_arcsec) for pair in pairs]
        spectra = [SdssSpectra(pair.spectrum).load(pair.spectrum, np.zeros(1, np.int64)) for pair in pairs]
        faults = [image.fault or spectrum.faults[0] for image, spectrum in zip(images, spectra, strict=True)]
        image = np.stack([image.image for image in images])
        ra, dec = (np.array([getattr(pair, name) for pair in pairs]) for name in ("ra", "dec"))
        healpix = healpix_pixel(ra, dec)
        by_sky = self._split == "healpix"
        columns: dict[str, Any] = {
            "ra": ra % 360.0,
            "dec": dec,
            "healpix": healpix,
            "split": split_of_pixel(healpix).tolist() if by_sky else ["test"] * len(pairs),
            "image": numpy_to_arrow(image),
            "preview": preview_array(image),
            "image_origin": [image.origin for image in images],
            "image_clipped_pixels": [image.clipped_pixels for image in images],
            "match_separation": [pair.separation_arcsec for pair in pairs],
            **{
                name: numpy_to_arrow(np.concatenate([spectrum.columns[name] for spectrum in spectra]))
                for name in ("flux", "ivar")
            },
            **{name: [pair.found[source].item() for pair in pairs] for name, source in FROM_SPECTRUM.items()},
        }
        arrays = [
            columns[field.name]
            if isinstance(columns[field.name], pa.Array)
            else pa.array(columns[field.name], field.type)
            for field in self.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema), np.array(faults, object)


FROM_SPECTRUM = {
    "object_id": "object_id",
    "redshift": "redshift",
    "redshift_std": "redshift_err",
    "snr": "snr",
    "subclass": "subtype",
    "specobjid": "specobjid",
    "bestobjid": "bestobjid",
}
"""Column of the record -> column of the spectrum's index."""

COLUMN_LIST = (
    replace(COLUMNS["object_id"], description="sdss-PLATE-MJD-FIBER of the spectrum"),
    COLUMNS["ra"],
    COLUMNS["dec"],
    COLUMNS["healpix"],
    replace(COLUMNS["split"], description="train, validation or test, by the rule of this data set"),
    preview_column(),
    image_column(size=IMAGE_PIXELS),
    replace(COLUMNS["flux"], description="Flux density, resampled from the SDSS bins; 0 where ivar is 0"),
    replace(COLUMNS["ivar"], description="Inverse variance of flux; 0 where masked or not observed"),
    replace(COLUMNS["redshift"], description="Spectroscopic redshift of the SDSS pipeline (Z)"),
    replace(uncertainty_column("redshift"), description="Error of the redshift by the SDSS pipeline (Z_ERR)"),
    replace(COLUMNS["snr"], description="Median signal-to-noise ratio in the pixels of the SDSS file (SN_MEDIAN_ALL)"),
    Column("image_origin", pa.string(), "", "What the image was made from, and how", "property"),
    Column(
        "image_clipped_pixels",
        pa.int32(),
        "",
        "Number of pixels in which a colour of the picture was clipped: their fluxes are lower bounds",
        "property",
    ),
    Column(
        "match_separation", pa.float32(), "arcsec", "Distance of the fibre from the centre of the image", "property"
    ),
    Column("subclass", pa.string(), "", "Spectral subclass of the SDSS pipeline; empty for most galaxies", "property"),
    Column("specobjid", pa.string(), "", "SDSS identifier of the spectrum", "property"),
    Column("bestobjid", pa.string(), "", "SDSS identifier of the imaging object", "property"),
)


def _input(what: str, path: Path, root: Path) -> dict[str, Any]:
    """Return what the manifest keeps of an input file, named from the folder of the list on."""
    name = Path(os.path.relpath(path, root)).as_posix()
    return {"reader": what, "path": name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
