"""Reading scattered rows of upstream Parquet files, of HATS catalogues too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors

BATCH_ROWS = 64
THUMBNAIL = "data_thumbnail.parquet"
PROPERTIES = "hats.properties"


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file.

    Raises
    ------
    DataError
        If it is no Parquet file or damaged, here or while data are read within the block.
    """
    try:
        with storage_errors(path), pq.ParquetFile(path) as file:
            yield file
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file ({error})", todo="download the file again") from error


def row_batches(
    file: pq.ParquetFile, rows: npt.NDArray[np.int64], columns: Sequence[str]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], pa.RecordBatch]]:
    """Yield the batches that hold any of `rows`; row groups without one are not read.

    Yields
    ------
    places
        Where in `rows` the rows of this batch stand.
    within
        Their numbers within the batch, in the same order.
    batch
        At most `BATCH_ROWS` rows of the columns; a dotted name selects one field of a struct.
    """
    rows = np.asarray(rows, np.int64)
    start = 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        if ((rows >= start) & (rows < end)).any():
            first = start
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns)):
                places = np.flatnonzero((rows >= first) & (rows < first + batch.num_rows))
                if len(places):
                    yield places, rows[places] - first, batch
                first += batch.num_rows
        start = end


def data_files(paths: Iterable[Path]) -> list[Path]:
    """Return the paths without the thumbnails and margins of HATS catalogues, which repeat rows of other files."""
    return [path for path in paths if path.name != THUMBNAIL and not _of_margin(path)]


def _of_margin(path: Path) -> bool:
    properties = next((folder / PROPERTIES for folder in path.parents if (folder / PROPERTIES).is_file()), None)
    return properties is not None and "dataproduct_type=margin" in properties.read_text("utf-8").replace(" ", "")
