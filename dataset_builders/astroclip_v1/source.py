"""The AstroCLIP pairs, from the original file or a Parquet copy of it, as a record source."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.errors import DataError
from astroclip_bench.files import sha256_file, storage_errors
from astroclip_bench.records import (
    COLUMNS,
    Column,
    DatasetInfo,
    Modality,
    image_modality,
    preview_column,
    record_schema,
    spectrum_modality,
    uncertainty_column,
)
from dataset_builders.astroclip_v1.card import DESCRIPTION, citation, sections
from dataset_builders.astroclip_v1.rows import Table, contiguous_parts, label_reader, labels_of, select
from dataset_builders.preview import preview_array
from dataset_builders.upstream.astroclip_hdf5 import DAMAGED, AstroClipHdf5
from dataset_builders.upstream.astroclip_parquet import AstroClipParquet
from dataset_builders.upstream.desi_targets import decode_target_id
from dataset_builders.upstream.legacy_image import HEMISPHERE_OF_RELEASE
from dataset_builders.upstream.reader import GOOD, list_files

NAMES = {"astroclip-v1": "astroclip-v1", "healpix": "astroclip-v1-healpix", "as-in-files": "astroclip-v1-copy"}
"""Split rule -> name of the data set: scores of different splits never share a column."""

SPLITS_OF = {
    AstroClipHdf5: {"original": ("astroclip-v1", "original_split"), "healpix": ("healpix", None)},
    AstroClipParquet: {"as-in-files": ("as-in-files", "file_split"), "healpix": ("healpix", None)},
}
"""Reader -> split that may be asked for -> split rule, and the column of the index that holds it."""

SHARD_ROWS = 2_000
BATCH_ROWS = 256
"""Rows loaded at a time: 80 MB."""


class AstroClipV1:
    """The pairs in the order of the files, one row a TARGETID.

    Parameters
    ----------
    pairs
        ``astroclip_desi.1.1.5.h5``, or a Parquet file or folder of a copy.
    split
        ``original`` (the published one; from the HDF5 file alone), ``as-in-files`` (a Parquet copy's own), or
        ``healpix`` (this project's rule).
    clean
        Leave out spectra without flux, images without a band, and redshifts outside 0 to 0.8, all of which the
        published set contains.
    labels
        The PROVABGS catalogue, or its Multimodal Universe variant, for stellar masses and, with the latter, ages,
        metallicities and star formation rates.

    Raises
    ------
    DataError
        If a file cannot be used, does not tell the split asked for, or no row is left.
    """

    def __init__(
        self, pairs: Path | str, split: str = "original", clean: bool = False, labels: Path | str | None = None
    ) -> None:
        self.reader = _reader(Path(pairs).expanduser())
        self.clean = clean
        rule, split_column = _split(self.reader, split)
        self._paths = self.reader.files()
        self._inputs = [_input(path, self.reader.path) for path in self._paths]
        selection = select([self.reader.index(path) for path in self._paths], split_column, clean)
        self._table, self._steps = selection.table, selection.steps
        self._labels: Table = {}
        if labels is not None:
            catalogue = label_reader(labels, clean)
            self._labels = labels_of(catalogue, self._table["target_id"])
            self._inputs += [_input(path, Path(labels).expanduser()) for path in catalogue.files()]
        self.info = DatasetInfo(
            name=NAMES[rule] + ("-clean" if clean else ""),
            version="1.0",
            title="AstroCLIP pairs",
            description=DESCRIPTION,
            license="CC-BY-4.0",
            citation=citation(with_labels=labels is not None),
            simulated=False,
            provenance={"reader": self.reader.name, "split": split, "clean": clean},
            split_rule=rule,
        )
        self.schema = record_schema(self.info, _columns(list(self._labels)), [image_modality(), flux_modality()])
        self._parts = contiguous_parts(self._table["file"], SHARD_ROWS)
        self.shards = range(len(self._parts))

    def rows(
        self, shard: int, splits: Collection[str] | None = None
    ) -> Generator[pa.RecordBatch, None, dict[str, int]]:
        """Yield the rows of one shard, and return how many had to be left out, by reason."""
        part = self._parts[shard]
        dropped: dict[str, int] = {}
        for start in range(part.start, part.stop, BATCH_ROWS):
            place = np.arange(start, min(start + BATCH_ROWS, part.stop))
            if splits is not None:
                place = place[np.isin(self._table["split"][place], list(splits))]
            if not len(place):
                continue
            path = self._paths[self._table["file"][place[0]]]
            payload = self.reader.load(path, self._table["row"][place])
            good = np.ones(len(place), bool)
            for number, fault in enumerate(payload.faults):
                if fault in DAMAGED or (self.clean and fault != GOOD):
                    good[number] = False
                    dropped[fault] = dropped.get(fault, 0) + 1
            if good.any():
                yield self._batch(place[good], {name: values[good] for name, values in payload.columns.items()})
        return dropped

    def shard_size(self, shard: int) -> int:
        """Return the number of rows of the shard, damaged ones included."""
        return len(self._parts[shard])

    def build_record(self) -> Mapping[str, Any]:
        """Return the input files, the options, and the rows at each step."""
        return {"inputs": self._inputs, "options": dict(self.info.provenance), "steps": self._steps}

    def card(self) -> Mapping[str, str]:
        """Return where the rows come from and what is wrong with them."""
        return sections(self.reader.name, self.info.split_rule, self.clean, list(self._labels))

    def _batch(self, place: npt.NDArray[np.int64], payload: Mapping[str, npt.NDArray[Any]]) -> pa.RecordBatch:
        light = {name: values[place] for name, values in self._table.items()}
        release = decode_target_id(light["target_id"]).release
        labels = {name: values[place] for name, values in self._labels.items()}
        columns: dict[str, pa.Array] = {
            "object_id": pa.array(light["target_id"].astype(str).tolist()),
            "healpix": pa.array(light["healpix"]),
            "split": pa.array(light["split"].tolist()),
            "redshift": pa.array(light["redshift"], pa.float32()),
            "hemisphere": pa.array([HEMISPHERE_OF_RELEASE.get(number) for number in release.tolist()], pa.string()),
            "preview": preview_array(payload["image"]),
            **{name: numpy_to_arrow(values, self.schema.field(name).type) for name, values in payload.items()},
            **{name: pa.array(values, pa.float32(), mask=np.isnan(values)) for name, values in labels.items()},
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)


def flux_modality() -> Modality:
    """Return the spectrum modality of flux alone: the pairs were published without inverse variances."""
    described = "DESI spectrum, observed frame, vacuum wavelengths; flux alone"
    return replace(spectrum_modality(), columns=("flux",), description=described)


def _columns(labels: list[str]) -> list[Column]:
    pixel = "the pixel of the brick's centre, from the TARGETID"
    known = {**COLUMNS, "log_stellar_mass_std": uncertainty_column("log_stellar_mass")}
    return [
        COLUMNS["object_id"],
        replace(COLUMNS["healpix"], description=f"{COLUMNS['healpix'].description}: {pixel}"),
        replace(COLUMNS["split"], description="train, validation or test, by the rule of this data set"),
        preview_column(),
        COLUMNS["image"],
        COLUMNS["flux"],
        COLUMNS["redshift"],
        *(known[name] for name in labels),
        COLUMNS["hemisphere"],
    ]


def _reader(pairs: Path) -> AstroClipHdf5 | AstroClipParquet:
    kinds = {path.suffix for path in list_files(pairs, "*.h5", "*.hdf5", "*.parquet")}
    if kinds == {".parquet"}:
        return AstroClipParquet(pairs)
    if ".parquet" not in kinds:
        return AstroClipHdf5(pairs)
    raise DataError(f"{pairs}: HDF5 and Parquet files", "one kind", "name the file, or a folder with one kind")


def _split(reader: AstroClipHdf5 | AstroClipParquet, split: str) -> tuple[str, str | None]:
    """Return the rule of a split that was asked for, and the column of the index that holds it."""
    options = SPLITS_OF[type(reader)]
    if split not in options:
        raise DataError(
            f"split {split!r} cannot be had from {reader.name}", " or ".join(options), "choose one of them with --split"
        )
    return options[split]


def _input(path: Path, root: Path) -> dict[str, Any]:
    """Return what the manifest keeps of an input file, named from the folder `root` on."""
    name = path.name if path == root else path.relative_to(root).as_posix()
    with storage_errors(path):
        return {"path": name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
