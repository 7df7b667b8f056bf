"""What a data set's builder has to offer: its rows, shard by shard."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from astroclip_bench.datasets.digests import json_digest, type_name
from astroclip_bench.errors import DataError
from astroclip_bench.records import SCHEMA_KEY, DatasetInfo, columns_of_role


class RecordSource(Protocol):
    """The rows of one data set, in shards that can each be made alone, in any order, in any process.

    A source is picklable: worker processes receive a copy of it. Making the same shard twice gives the same rows.
    """

    @property
    def info(self) -> DatasetInfo:
        """What the data set is called and where it comes from."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The schema of its rows, made by `astroclip_bench.records.record_schema`."""
        ...

    @property
    def shards(self) -> Sequence[int]:
        """The shard numbers 0, 1, ... n-1."""
        ...

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `shard` as batches of `schema`, in a fixed order; of those splits alone, if given.

        A generator may return, when it ends, how many rows it had to leave out: reason -> count.
        """
        ...

    def shard_size(self, shard: int) -> int:
        """Return the number of rows in `shard`, those that may yet be left out included; for progress."""
        ...

    def card(self) -> Mapping[str, str]:
        """Return extra sections of the data set card: heading -> Markdown body."""
        ...


@runtime_checkable
class SupportsBuildRecord(Protocol):
    """A source that has more to tell about how its rows come about than its info and schema say."""

    def build_record(self) -> Mapping[str, Any]:
        """Return plain JSON values for the manifest: options, versions, counts of rows dropped by reason.

        A build that was interrupted is only resumed by a source whose record is the same.
        """
        ...


@dataclass(frozen=True)
class Configuration:
    """A selection of the rows' columns, written once more for those who want no more, as the Hub offers it.

    Rows are those in which the column `required` is not null; identifier, position and split are always there.
    """

    columns: tuple[str, ...]
    required: str
    description: str


@runtime_checkable
class SupportsConfigurations(Protocol):
    """A source that offers configurations besides the rows themselves."""

    @property
    def configurations(self) -> Mapping[str, Configuration]:
        """Name -> what it selects; the name is that of a folder."""
        ...


def configurations(source: RecordSource) -> dict[str, Configuration]:
    """Return the configurations of a source, empty if it has the rows alone."""
    return dict(source.configurations) if isinstance(source, SupportsConfigurations) else {}


def configuration_schema(schema: pa.Schema, configuration: Configuration) -> pa.Schema:
    """Return the schema of a configuration: its columns, and the modalities that they make up.

    Raises
    ------
    DataError
        If the source has no such column.
    """
    wanted = {"object_id", "healpix", "split", configuration.required, *configuration.columns}
    wanted |= set(columns_of_role(schema, "position"))
    unknown = sorted(wanted - set(schema.names))
    if unknown:
        raise DataError(f"a configuration names the column {unknown[0]!r}", f"one of {', '.join(schema.names)}")
    fields = [field for field in schema if field.name in wanted]
    metadata = json.loads(schema.metadata[SCHEMA_KEY])
    metadata["modalities"] = {
        name: entry for name, entry in metadata["modalities"].items() if wanted.issuperset(entry["columns"])
    }
    return pa.schema(fields, metadata={SCHEMA_KEY: json.dumps(metadata, sort_keys=True)})


def build_record(source: RecordSource) -> dict[str, Any]:
    """Return the build record of a source, empty if it keeps none."""
    return dict(source.build_record()) if isinstance(source, SupportsBuildRecord) else {}


def source_fingerprint(source: RecordSource) -> str:
    """Return the digest of all that a source says about itself; equal sources make equal rows."""
    metadata: Mapping[bytes, bytes] = source.schema.metadata or {}
    return json_digest(
        {
            "source": f"{type(source).__module__}.{type(source).__qualname__}",
            "info": asdict(source.info),
            "columns": [[field.name, type_name(field.type), *_texts(field)] for field in source.schema],
            "metadata": metadata.get(SCHEMA_KEY, b"").decode(),
            "shards": [source.shard_size(shard) for shard in source.shards],
            "build": build_record(source),
            "configurations": {name: asdict(entry) for name, entry in configurations(source).items()},
        }
    )


def _texts(field: pa.Field) -> list[str]:
    metadata: Mapping[bytes, bytes] = field.metadata or {}
    return [f"{key.decode()}: {metadata[key].decode()}" for key in sorted(metadata)]
