"""Catalogues too large for memory: HATS partitions of the sky with margins, worked on piece by piece on Dask."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.errors import DataError, MissingExtraError
from astroclip_bench.files import atomic_path, storage_errors, write_json
from dataset_builders.dask_run import connect, run_on_dask
from dataset_builders.matching import (
    AMBIGUOUS,
    OUTCOMES,
    RIGHT_UNMATCHED,
    Positions,
    count_outcomes,
    match,
    reach_arcsec,
)

if TYPE_CHECKING:
    from hats import HealpixPixel

Result = TypeVar("Result")

CORE_COLUMN = "core"
INDEX_COLUMN, INDEX_ORDER = "_healpix_29", 29
"""The HEALPix pixel that holds a row, by which HATS sorts."""
COLLECTION_FILE = "collection.properties"
LEAST_MARGIN_ARCSEC = 30.0
"""hats-import lists the pixels of every margin in one table, which narrow margins, made of small pixels, swell."""
READ_ROWS = 500_000
"""Rows that one task of an import holds in memory."""
MATCH_FILE = "match.json"
COUNTS_KEY = b"counts"


@dataclass(frozen=True, order=True)
class Pixel:
    """A piece of the sky: a HEALPix pixel (NESTED) of nside 2**order."""

    order: int
    number: int


PartitionFunction = Callable[[pa.Table, pa.Table, Pixel], Result]
"""Takes the left rows in and around a pixel, the right rows in and around it, and the pixel."""


def import_catalog(
    files: Sequence[Path],
    out: Path,
    *,
    scheduler: str,
    margin_arcsec: float,
    pixel_threshold: int = 1_000_000,
    highest_order: int = 7,
) -> Path:
    """Write Parquet files as a HATS catalogue with its margin, which LSDB opens too; return its folder.

    Runs on Dask in bounded memory. An import that was interrupted goes on where it stopped; a finished catalogue of
    as many rows is left as it is.

    Parameters
    ----------
    files
        Parquet files of one schema, with the columns ``ra`` and ``dec`` (degrees, ICRS). Integers stay exact.
    out
        The catalogue's folder; its name is the catalogue's name.
    margin_arcsec
        Least width of the margin kept with every partition.
    pixel_threshold
        Largest number of rows in a partition, unless a pixel of `highest_order` holds more, which is refused.
    highest_order
        Order of the smallest partitions: 6 is 55 arcmin wide, 7 is 27 arcmin.

    Raises
    ------
    DataError
        If a file has no positions, `out` holds another catalogue, or the import fails.
    UserError
        If the cluster fails; see `dataset_builders.dask_run.connect`.
    MissingExtraError
        If hats-import is not installed.
    """
    try:
        from hats_import import CollectionArguments, pipeline_with_client
        from hats_import.catalog.file_readers.parquet import ParquetPyarrowReader
    except ImportError as error:
        raise MissingExtraError("hats-import", "dask") from error
    rows = sum(_rows_with_positions(path) for path in files)
    if (out / COLLECTION_FILE).is_file():
        found = _open(out, margin_arcsec).rows
        if found != rows:
            raise DataError(f"{out} holds {found} rows, the files {rows}", todo="remove it, or choose another folder")
        return out
    # It finds the collection that it has just made, and warns of that.
    logging.getLogger().addFilter(_is_no_remark_of_hats)
    # hats-import says on stdout, which is for data, that it goes on with an earlier import.
    with connect(scheduler) as client, client.as_current(), redirect_stdout(sys.stderr):
        try:
            arguments = CollectionArguments(output_path=out.parent, output_artifact_name=out.name, progress_bar=False)
            arguments.catalog(
                input_file_list=[str(path) for path in files],
                file_reader=ParquetPyarrowReader(chunksize=READ_ROWS),
                pixel_threshold=pixel_threshold,
                highest_healpix_order=highest_order,
                expected_total_rows=rows,
            )
            arguments.add_margin(margin_threshold=max(margin_arcsec, LEAST_MARGIN_ARCSEC), is_default=True)
            pipeline_with_client(arguments, client)
        except (ValueError, RuntimeError) as error:
            raise DataError(
                f"{out}: the catalogue could not be made ({error})", todo="see the logs of the Dask workers"
            ) from error
    return out


def map_partitions(
    function: PartitionFunction[Result],
    left: Path,
    right: Path,
    *,
    scheduler: str,
    margin_arcsec: float,
    skip: Collection[Pixel] = (),
    on_done: Callable[[Pixel], None] | None = None,
) -> Iterator[Result]:
    """Yield `function(left_rows, right_rows, pixel)` for every pixel of `aligned_pixels`, as it finishes, on Dask.

    Both tables hold the rows inside the pixel and at least those within `margin_arcsec` around it, in no fixed order,
    with the boolean column ``core``: whether the row lies inside. Each row of the left catalogue is core once.
    Memory per task is bounded by the largest partitions of the two catalogues.

    Parameters
    ----------
    function
        Picklable, and safe to run twice for a pixel.
    left, right
        Folders made by `import_catalog`.
    margin_arcsec
        At most the margin of either catalogue.
    skip
        Pixels that need no work.
    on_done
        Called here with each pixel whose result has come.

    Raises
    ------
    DataError
        If a folder is no such catalogue, or its margin is narrower.
    UserError
        If the cluster fails; see `dataset_builders.dask_run.run_on_dask`.
    MissingExtraError
        If hats is not installed.
    """
    catalogs = _open(left, margin_arcsec), _open(right, margin_arcsec)
    wanted = [piece for piece in _pieces(*catalogs) if piece.pixel not in skip]
    work = _Work(function, catalogs[0].schema, catalogs[1].schema, margin_arcsec)
    report = None if on_done is None else lambda piece: on_done(piece.pixel)
    yield from run_on_dask(work, wanted, scheduler, report)


def aligned_pixels(left: Path, right: Path, margin_arcsec: float) -> list[Pixel]:
    """Return the pixels that cover the left catalogue, none larger than a partition of either catalogue there.

    Raises
    ------
    DataError
        If a folder is no catalogue made by `import_catalog`, or its margin is narrower.
    MissingExtraError
        If hats is not installed.
    """
    return [piece.pixel for piece in _pieces(_open(left, margin_arcsec), _open(right, margin_arcsec))]


def match_catalogs(
    left: Path,
    right: Path,
    out: Path,
    *,
    scheduler: str,
    radius_arcsec: float = 1.0,
    on_done: Callable[[Pixel], None] | None = None,
) -> dict[str, int]:
    """Match two catalogues as `dataset_builders.matching.match` does, one Parquet file of pairs a piece of sky.

    A file holds the columns of both sides (``left_...``, ``right_...``), ``separation_arcsec``, ``method`` and
    ``ambiguous``, by increasing position on the sky; pieces that are finished are not done again.

    Parameters
    ----------
    left, right
        Folders made by `import_catalog` with margins of at least ``reach_arcsec(radius_arcsec)``. Rows without a
        column ``target_id``, or with none in it, are matched by position.
    out
        Folder for the pairs.

    Returns
    -------
    dict
        What `dataset_builders.matching.Matches.counts` holds, for the catalogues as a whole.

    Raises
    ------
    DataError
        As `map_partitions` and `match`; or if `out` holds the pairs of other catalogues or another radius.
    UserError
        As `map_partitions`.
    MissingExtraError
        If Dask or hats is not installed.
    """
    margin = reach_arcsec(radius_arcsec)
    rows = {side: _open(path, margin).rows for side, path in (("left", left), ("right", right))}
    _claim(out, {"left": str(left), "right": str(right), "rows": rows, "radius_arcsec": radius_arcsec})
    files = {pixel: _pairs_file(out, pixel) for pixel in aligned_pixels(left, right, margin)}
    done = {pixel for pixel, file in files.items() if file.is_file()}
    work = _MatchPiece(out, radius_arcsec)
    for _ in map_partitions(work, left, right, scheduler=scheduler, margin_arcsec=margin, skip=done, on_done=on_done):
        pass
    counts = dict.fromkeys((*OUTCOMES, AMBIGUOUS), 0)
    pairs = 0
    for file in files.values():
        with pq.ParquetFile(file) as opened:
            pairs += opened.metadata.num_rows
            for name, number in json.loads(opened.schema_arrow.metadata[COUNTS_KEY]).items():
                counts[name] += number
    return {**counts, RIGHT_UNMATCHED: rows["right"] - pairs}


@dataclass(frozen=True)
class _MatchPiece:
    out: Path
    radius_arcsec: float

    def __call__(self, left: pa.Table, right: pa.Table, pixel: Pixel) -> None:
        """Write the pairs whose left row lies inside the pixel."""
        matches = match(_positions(left), _positions(right), self.radius_arcsec)
        core = left[CORE_COLUMN].to_numpy()
        keep = np.flatnonzero(core[matches.left])
        columns = {
            **_side("left", left, matches.left[keep]),
            **_side("right", right, matches.right[keep]),
            "separation_arcsec": matches.separation_arcsec[keep],
            "method": pa.array(matches.method[keep], pa.string()),
            "ambiguous": matches.ambiguous[keep],
        }
        counts = count_outcomes(matches.outcome[core], matches.ambiguous[keep])
        table = pa.table(columns).replace_schema_metadata({COUNTS_KEY: json.dumps(counts)})
        with atomic_path(_pairs_file(self.out, pixel)) as temporary:
            pq.write_table(table, temporary, compression="zstd")


def _pairs_file(out: Path, pixel: Pixel) -> Path:
    return out / f"pairs-{pixel.order}-{pixel.number}.parquet"


def _side(name: str, table: pa.Table, rows: npt.NDArray[np.int64]) -> dict[str, pa.ChunkedArray]:
    chosen = table.drop_columns([CORE_COLUMN, INDEX_COLUMN]).take(rows)
    return {f"{name}_{column}": chosen[column] for column in chosen.column_names}


def _positions(table: pa.Table) -> Positions:
    if "target_id" in table.column_names:
        target_id = table["target_id"].fill_null(-1).to_numpy()
    else:
        target_id = np.full(len(table), -1, np.int64)
    return Positions(table["ra"].to_numpy(), table["dec"].to_numpy(), target_id)


def _claim(out: Path, what: Mapping[str, Any]) -> None:
    """Make the folder this match's own, or find that it is."""
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        if not (out / MATCH_FILE).is_file():
            write_json(out / MATCH_FILE, what)
        if json.loads((out / MATCH_FILE).read_text(encoding="utf-8")) != what:
            raise DataError(f"{out} holds the pairs of another match (see {MATCH_FILE})", todo="choose another folder")


@dataclass(frozen=True)
class _Piece:
    pixel: Pixel
    left: tuple[str, ...]
    right: tuple[str, ...]


@dataclass(frozen=True)
class _Work(Generic[Result]):
    function: PartitionFunction[Result]
    left_schema: pa.Schema
    right_schema: pa.Schema
    margin_arcsec: float

    def __call__(self, piece: _Piece) -> Result:
        left = self._rows_around(piece.pixel, piece.left, self.left_schema)
        right = self._rows_around(piece.pixel, piece.right, self.right_schema)
        return self.function(left, right, piece.pixel)

    def _rows_around(self, pixel: Pixel, files: tuple[str, ...], schema: pa.Schema) -> pa.Table:
        from hats.pixel_math import get_margin
        from hats.pixel_math.healpix_shim import margin2order

        table = pa.concat_tables([schema.empty_table(), *(pq.read_table(file, partitioning=None) for file in files)])
        index = table[INDEX_COLUMN].to_numpy()
        # The smallest pixels that are wider than the margin: those that touch this one hold it.
        order = int(margin2order(self.margin_arcsec / 60))
        ring = get_margin(pixel.order, pixel.number, order - pixel.order)
        core = index >> 2 * (INDEX_ORDER - pixel.order) == pixel.number
        near = core | np.isin(index >> 2 * (INDEX_ORDER - order), ring)
        return table.filter(pa.array(near)).append_column(CORE_COLUMN, pa.array(core[near]))


@dataclass(frozen=True)
class _Catalog:
    main: Any
    margin: Any

    @property
    def rows(self) -> int:
        return int(self.main.catalog_info.total_rows)

    @property
    def schema(self) -> pa.Schema:
        return self.main.schema

    @cached_property
    def parts(self) -> list[tuple[Any, set[HealpixPixel]]]:
        """The rows and the rows around them, each with the partitions that have some."""
        return [(part, set(part.get_healpix_pixels())) for part in (self.main, self.margin)]

    def files(self, partition: HealpixPixel) -> tuple[str, ...]:
        from hats.io import pixel_catalog_file

        return tuple(
            str(pixel_catalog_file(part.catalog_base_dir, partition)) for part, held in self.parts if partition in held
        )


def _is_no_remark_of_hats(record: logging.LogRecord) -> bool:
    return record.msg != "Looking for catalog - found collection."


def _open(path: Path, margin_arcsec: float) -> _Catalog:
    try:
        import hats
    except ImportError as error:
        raise MissingExtraError("hats", "dask") from error
    if not (path / COLLECTION_FILE).is_file():
        raise DataError(f"{path} is no HATS catalogue with a margin", f"a folder with {COLLECTION_FILE}")
    collection = hats.read_hats(path)
    catalog = _Catalog(collection.main_catalog, hats.read_hats(collection.default_margin_catalog_dir))
    width = catalog.margin.catalog_info.margin_threshold
    if width < margin_arcsec:
        raise DataError(f"{path}: a margin of {width} arcsec", f"at least {margin_arcsec}", "import it again")
    return catalog


def _pieces(left: _Catalog, right: _Catalog) -> list[_Piece]:
    from hats import HealpixPixel
    from hats.pixel_tree import PixelAlignmentType, align_trees

    # Where the right catalogue is empty, its margin may still hold rows from beyond the border.
    right_tree = align_trees(right.main.pixel_tree, right.margin.pixel_tree, PixelAlignmentType.OUTER).pixel_tree
    mapping = align_trees(left.main.pixel_tree, right_tree, PixelAlignmentType.LEFT).pixel_mapping
    return [
        _Piece(
            pixel=Pixel(int(row.aligned_Norder), int(row.aligned_Npix)),
            left=left.files(HealpixPixel(int(row.primary_Norder), int(row.primary_Npix))),
            right=() if row.join_Npix is None else right.files(HealpixPixel(int(row.join_Norder), int(row.join_Npix))),
        )
        for row in mapping.itertuples()
    ]


def _rows_with_positions(path: Path) -> int:
    with storage_errors(path):
        try:
            metadata = pq.read_metadata(path)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} is no Parquet file ({error})") from error
    missing = {"ra", "dec"} - set(metadata.schema.names)
    if missing:
        raise DataError(f"{path}: no column {' or '.join(sorted(missing))}", "columns ra and dec, in degrees")
    return int(metadata.num_rows)
