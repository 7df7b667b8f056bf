"""The plan made piece by piece of the sky on a Dask cluster, for catalogues that do not fit into memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.files import atomic_path
from astroclip_bench.progress import Progress
from dataset_builders.hats_catalogs import Pixel, aligned_pixels, import_catalog, map_partitions
from dataset_builders.matching import reach_arcsec
from dataset_builders.pairs.index import IndexedFiles
from dataset_builders.pairs.plan import Planner

RECORD_KEY = b"plan"
HATS_FOLDER = "hats"
PIECES_FOLDER = "pieces"


def plan_partitions(
    planner: Planner, spectra: IndexedFiles, images: IndexedFiles, work: Path, scheduler: str, progress: Progress
) -> tuple[list[pa.Table], list[dict[str, Any]]]:
    """Turn both indexes into HATS catalogues, and plan each piece of the sky on the workers of a Dask cluster.

    Pieces that were finished before an interruption are not planned again.

    Returns
    -------
    tables, records
        For each piece its plan, and what `Plan.record` gives.
    """
    # Around a spectrum: what decides about its image, and beyond that what decides about the image's votes.
    margin = reach_arcsec(planner.radius_arcsec) + 2 * planner.votes_radius_arcsec
    left, right = (
        import_catalog(
            _of_one_schema(indexed, work / "index" / f"{name}-uniform"),
            work / HATS_FOLDER / name,
            scheduler=scheduler,
            margin_arcsec=margin,
        )
        for name, indexed in (("spectra", spectra), ("images", images))
    )
    piece = _PlanPiece(planner, work / PIECES_FOLDER)
    files = {pixel: piece.path(pixel) for pixel in aligned_pixels(left, right, margin)}
    finished = {pixel for pixel, file in files.items() if file.is_file()}
    done = len(finished)
    for _ in map_partitions(piece, left, right, scheduler=scheduler, margin_arcsec=margin, skip=finished):
        done += 1
        progress(done, len(files))
    tables = [pq.read_table(file, partitioning=None) for file in files.values()]
    return tables, [json.loads(table.schema.metadata[RECORD_KEY]) for table in tables]


@dataclass(frozen=True)
class _PlanPiece:
    planner: Planner
    folder: Path

    def __call__(self, spectra: pa.Table, images: pa.Table, pixel: Pixel) -> None:
        plan = self.planner(spectra, images)
        table = plan.table.replace_schema_metadata({RECORD_KEY: json.dumps(plan.record())})
        with atomic_path(self.path(pixel)) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def path(self, pixel: Pixel) -> Path:
        return self.folder / f"{pixel.order}-{pixel.number}.parquet"


def _of_one_schema(indexed: IndexedFiles, folder: Path) -> list[Path]:
    """Return the index files, written once more where a column is missing from some: a catalogue has one schema."""
    schemas = [pq.read_schema(path) for path in indexed.tables]
    common = pa.unify_schemas(schemas, promote_options="default")
    files = []
    for path, schema in zip(indexed.tables, schemas, strict=True):
        if schema.names != common.names:
            table = pa.concat_tables(
                [common.empty_table(), pq.read_table(path, partitioning=None)], promote_options="default"
            )
            path = folder / path.name
            with atomic_path(path) as temporary:
                pq.write_table(table, temporary, compression="zstd")
        files.append(path)
    return files
