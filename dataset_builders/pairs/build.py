"""From readers to a data set folder: index, plan and write, each going on where it was interrupted."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from astroclip_bench.datasets.arrays import array_shape
from astroclip_bench.datasets.digests import json_digest
from astroclip_bench.datasets.manifest import BUILD_FOLDER, MANIFEST_NAME, read_manifest
from astroclip_bench.errors import DataError, StorageError
from astroclip_bench.files import atomic_path, storage_errors, write_json
from astroclip_bench.progress import Progress
from astroclip_bench.records import (
    COLUMNS,
    Column,
    DatasetInfo,
    image_modality,
    photometry_modality,
    preview_column,
    record_schema,
    spectrum_modality,
)
from dataset_builders.pairs.card import HEADING, pairing_text
from dataset_builders.pairs.columns import LABELS, PAIR_PROPERTIES, PHOTOMETRY_BANDS
from dataset_builders.pairs.index import IndexedFiles, file_state, index_files
from dataset_builders.pairs.labels import LabelTables
from dataset_builders.pairs.partitions import HATS_FOLDER, PIECES_FOLDER, plan_partitions
from dataset_builders.pairs.plan import Plan, Planner, merge_plans
from dataset_builders.pairs.source import PairSource, Payloads
from dataset_builders.parquet import FINGERPRINT_NAME, build_dataset
from dataset_builders.source import Configuration
from dataset_builders.upstream.reader import PayloadReader, Reader, companions

log = logging.getLogger(__name__)

SHARD_ROWS = 1000
"""Pairs in a shard, 340 MB before compression; more where there would be over `MAX_SHARDS` of them."""
MAX_SHARDS = 2000
"""The Hub wants no folder of over 10,000 files, and a shard is up to three, in each configuration."""
MAX_RADIUS_ARCSEC = 30.0
"""Farther away the nearest object is another one by chance, and a catalogue has far too many candidates."""
REQUEST_NAME = "request.json"
PLAN_FOLDER = "plan"
PLAN_RECORD = "plan.json"

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Gives, for the name of a stage, what to call with the work done and its total."""


@dataclass(frozen=True)
class PairRequest:
    """What to build.

    Parameters
    ----------
    info, sections, responsible
        The data set's name and texts, the sections of its card, and its responsible-AI texts for Croissant.
    labels, votes
        Label catalogues joined by TARGETID, and by position.
    columns
        The columns that the label catalogues fill, besides the labels of the record.
    payload_columns
        Columns that the spectra's reader loads besides flux and ivar: mask, resolution.
    configurations
        Name -> selection of columns; one whose required column is not there is left out.
    radius_arcsec
        Largest separation of spectrum and image where they are matched on the sky.
    """

    info: DatasetInfo
    spectra: PayloadReader
    images: PayloadReader
    labels: tuple[Reader, ...] = ()
    votes: tuple[Reader, ...] = ()
    columns: tuple[Column, ...] = ()
    payload_columns: tuple[Column, ...] = ()
    configurations: Mapping[str, Configuration] = field(default_factory=dict)
    sections: Mapping[str, str] = field(default_factory=dict)
    responsible: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    radius_arcsec: float = 1.0
    preview: bool = True
    checksums: bool = True
    shard_rows: int = SHARD_ROWS

    @property
    def readers(self) -> dict[str, Reader]:
        """Every reader, by the name of its folder of index files."""
        catalogues = {f"labels-{number}": reader for number, reader in enumerate((*self.labels, *self.votes))}
        return {"spectra": self.spectra, "images": self.images, **catalogues}

    def light_columns(self) -> list[Column]:
        """Return the columns that a plan may carry, those of the position first, in the order of the record."""
        position = [COLUMNS[name] for name in ("object_id", "ra", "dec", "healpix", "split")]
        photometry = [COLUMNS[f"flux_{band}"] for band in PHOTOMETRY_BANDS]
        labels = [COLUMNS[name] for name in LABELS]
        columns = [*position, *photometry, *labels, *self.columns, *PAIR_PROPERTIES]
        return list({column.name: column for column in columns}.values())

    def digests(self) -> dict[str, str]:
        """Return the digests of what decides the data set: options, and the files by name, size and time of change."""
        files = {key: [_states(reader, path) for path in reader.files()] for key, reader in self.readers.items()}
        options = {key: [reader.name, dict(reader.options())] for key, reader in self.readers.items()}
        columns = [column.name for column in (*self.light_columns(), *self.payload_columns)]
        own = [self.info.name, self.info.version, self.radius_arcsec, self.preview, self.checksums, self.shard_rows]
        return {"options": json_digest([options, columns, own]), "files": json_digest(files)}


def build_pairs(
    request: PairRequest,
    out: Path | str,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    stage: Stage = lambda name: nullcontext(lambda done, total: None),
) -> Path:
    """Build the data set folder of a request, or complete one that was interrupted.

    Parameters
    ----------
    out
        A folder that is new, empty, or of an interrupted build of the same request. If files were mended, added or
        taken away meanwhile, what was made of the others' index is kept, and all that follows is made anew.
    workers
        Processes; the values are the same for any number.
    scheduler
        Address of a Dask scheduler. The index becomes HATS catalogues, matching runs partition by partition, and its
        workers write the shards; they need to see all files under the same paths.

    Raises
    ------
    DataError
        If an upstream file cannot be used, nothing matches, the radius is not between 0 and `MAX_RADIUS_ARCSEC`, or
        `out` holds something else.
    StorageError
        If the disk is full or not writable, or another process is building in the folder.
    """
    if not 0 < request.radius_arcsec <= MAX_RADIUS_ARCSEC:
        raise DataError(
            f"radius {request.radius_arcsec:g} arcsec",
            f"a positive number up to {MAX_RADIUS_ARCSEC:g}",
            "change --radius",
        )
    out = Path(out).expanduser().absolute()
    digests = request.digests()
    digest = json_digest(digests)
    if _is_finished(out, digest):
        return out
    with _work_folder(out, digests) as work:
        indexed = {}
        for key, reader in request.readers.items():
            with stage(f"indexing {reader.name}") as progress:
                indexed[key] = index_files(
                    reader,
                    work / "index" / key,
                    checksums=request.checksums,
                    workers=workers,
                    scheduler=scheduler,
                    progress=progress,
                )
            indexed[key].check_usable()
        with stage("matching") as progress:
            plan = _plan(request, indexed, work, scheduler, progress)
        source = _source(request, indexed, plan, digest)
        with stage("writing") as progress:
            return build_dataset(source, out, workers=workers, scheduler=scheduler, progress=progress)


def _states(reader: Reader, path: Path) -> list[Any]:
    return [[str(part), *file_state(part)] for part in (path, *companions(reader, path)) if part.is_file()]


@dataclass(frozen=True)
class _WrittenPlan:
    """The plan on disk, a file for each shard."""

    files: tuple[Path, ...]
    sizes: tuple[int, ...]
    schema: pa.Schema
    bands: tuple[str, ...]
    record: Mapping[str, Any]


def _plan(
    request: PairRequest, indexed: Mapping[str, IndexedFiles], work: Path, scheduler: str | None, progress: Progress
) -> _WrittenPlan:
    record_path = work / PLAN_RECORD
    if not record_path.is_file():
        planner = _planner(request, indexed)
        if scheduler is None:
            plan = planner(indexed["spectra"].read(), indexed["images"].read())
        else:
            plan = _plan_on_dask(planner, indexed, work, scheduler, progress)
        _write_plan(plan, work, request.shard_rows)
    with storage_errors(record_path):
        content = json.loads(record_path.read_bytes())
    files = tuple(work / PLAN_FOLDER / f"{number:05d}.parquet" for number in range(len(content["sizes"])))
    schema = pq.read_schema(files[0])
    return _WrittenPlan(files, tuple(content["sizes"]), schema, tuple(content["bands"]), content["record"])


def _planner(request: PairRequest, indexed: Mapping[str, IndexedFiles]) -> Planner:
    tables = [LabelTables.of(indexed[f"labels-{number}"]) for number in range(len(request.labels) + len(request.votes))]
    return Planner(
        columns=tuple(column.name for column in request.light_columns()),
        labels=tuple(tables[: len(request.labels)]),
        votes=tuple(tables[len(request.labels) :]),
        radius_arcsec=request.radius_arcsec,
    )


def _plan_on_dask(
    planner: Planner, indexed: Mapping[str, IndexedFiles], work: Path, scheduler: str, progress: Progress
) -> Plan:
    return merge_plans(*plan_partitions(planner, indexed["spectra"], indexed["images"], work, scheduler, progress))


def _write_plan(plan: Plan, work: Path, shard_rows: int) -> None:
    """Write the plan in pieces, and last the record that says it is whole."""
    if not plan.table.num_rows:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in plan.steps[-1]["dropped"].items() if count)
        raise DataError(f"no spectrum matches an image ({reasons})", todo="check that both cover the same sky")
    shard_rows = max(shard_rows, -(-plan.table.num_rows // MAX_SHARDS))
    starts = range(0, plan.table.num_rows, shard_rows)
    for number, start in enumerate(starts):
        with atomic_path(work / PLAN_FOLDER / f"{number:05d}.parquet") as temporary:
            pq.write_table(plan.table.slice(start, shard_rows), temporary, compression="zstd")
    sizes = [min(shard_rows, plan.table.num_rows - start) for start in starts]
    lacking = _rows_without_flux(plan.table)
    record = {**plan.record(), "bands_left_out": {band: rows for band, rows in lacking.items() if rows}}
    content = {"sizes": sizes, "bands": [band for band, rows in lacking.items() if not rows], "record": record}
    write_json(work / PLAN_RECORD, content)


def _rows_without_flux(table: pa.Table) -> dict[str, int]:
    """Return for each band how many pairs have no flux; a band that some lack is no modality, which no row may lack."""
    present = [band for band in PHOTOMETRY_BANDS if f"flux_{band}" in table.schema.names]
    return {band: table.num_rows - pc.sum(pc.is_finite(table[f"flux_{band}"]), min_count=0).as_py() for band in present}


def _source(request: PairRequest, indexed: Mapping[str, IndexedFiles], plan: _WrittenPlan, digest: str) -> PairSource:
    columns = _record_columns(request, plan)
    names = {column.name for column in columns}
    modalities = [image_modality(), spectrum_modality()]
    if plan.bands:
        modalities.append(photometry_modality(plan.bands))
    record = {
        "request": digest,
        "inputs": [entry for index in indexed.values() for entry in index.inputs()],
        "options": {
            **{reader.name: dict(reader.options()) for reader in request.readers.values()},
            "radius_arcsec": request.radius_arcsec,
        },
        **plan.record,
        "steps": [*(index.step() for index in indexed.values()), *plan.record["steps"]],
    }
    return PairSource(
        info=request.info,
        schema=record_schema(request.info, columns, modalities),
        plan=plan.files,
        sizes=plan.sizes,
        spectra=Payloads.of("spectrum", indexed["spectra"], request.spectra),
        images=Payloads.of("image", indexed["images"], request.images),
        record=record,
        sections={**request.sections, HEADING: pairing_text(record)},
        responsible=request.responsible,
        configurations={
            name: Configuration(
                tuple(column for column in entry.columns if column in names), entry.required, entry.description
            )
            for name, entry in request.configurations.items()
            if entry.required in names
        },
    )


def _record_columns(request: PairRequest, plan: _WrittenPlan) -> list[Column]:
    """Return the columns of the data set: position, picture, image and spectrum, then what the plan carries."""
    incomplete = {f"flux_{band}" for band in PHOTOMETRY_BANDS if band not in plan.bands}
    light = [
        _of_planned_type(column, plan.schema)
        for column in request.light_columns()
        if column.name in plan.schema.names and column.name not in incomplete
    ]
    position = [column for column in light if column.role in ("identifier", "position")]
    heavy = [COLUMNS[name] for name in ("image", "flux", "ivar")]
    preview = [preview_column()] if request.preview else []
    return [*position, *preview, *heavy, *request.payload_columns, *light[len(position) :]]


def _of_planned_type(column: Column, schema: pa.Schema) -> Column:
    """Check that a planned column can become the record's."""
    found = schema.field(column.name).type
    if array_shape(found) != array_shape(column.dtype):
        raise DataError(f"column {column.name!r} has type {found}", f"{column.dtype}")
    return column


def _is_finished(out: Path, digest: str) -> bool:
    if not (out / MANIFEST_NAME).is_file():
        return False
    manifest = read_manifest(out)
    if manifest.build.get("request") != digest:
        raise DataError(
            f"{out}: holds the data set {manifest.name} {manifest.version}, made from other files or with other options",
            todo="choose another --out, or remove the folder",
        )
    return True


@contextmanager
def _work_folder(out: Path, digests: Mapping[str, str]) -> Iterator[Path]:
    """Give the folder in which index and plan are kept until the data set is finished; for one process at a time."""
    from filelock import FileLock, Timeout

    work = out / BUILD_FOLDER
    with storage_errors(out):
        if out.exists() and not out.is_dir():
            raise DataError(f"{out}: a file", "a folder, new or empty", "choose another --out")
        if out.is_dir() and any(path.name != BUILD_FOLDER for path in out.iterdir()) and not work.is_dir():
            raise DataError(f"{out}: not empty, and no data set", "a new or empty folder", "choose another --out")
        work.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(work / "plan.lock").acquire(timeout=0)
        except Timeout as error:
            raise StorageError(f"{out}: another process is building here", todo="wait for it to end") from error
        with lock:
            note = work / REQUEST_NAME
            earlier = json.loads(note.read_bytes()) if note.is_file() else digests
            if earlier != digests:
                _start_anew(out, same_options=earlier["options"] == digests["options"])
            write_json(note, dict(digests))
            yield work


def _start_anew(out: Path, *, same_options: bool) -> None:
    """Remove what an interrupted build of another request made, but for the index: that is checked file by file."""
    work = out / BUILD_FOLDER
    shards = sorted(out.glob("*/*-of-*.parquet"))
    if shards and not same_options:
        raise DataError(
            f"{out}: an unfinished build with other options",
            todo="run its own command again, choose another --out, or remove the folder",
        )
    if (work / PLAN_RECORD).exists():
        log.warning("%s: input files or options changed since the interruption: matched and written anew", out)
    for path in (*work.glob("shard-*.json"), *shards, work / PLAN_RECORD):
        path.unlink(missing_ok=True)
    for folder in [path for path in out.iterdir() if path.name != BUILD_FOLDER]:
        folder.rmdir()
    (work / FINGERPRINT_NAME).unlink(missing_ok=True)
    for name in (PLAN_FOLDER, PIECES_FOLDER, HATS_FOLDER):
        shutil.rmtree(work / name, ignore_errors=True)
