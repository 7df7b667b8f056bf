"""A record source as a `datasets` builder: prepared in parallel, or streamed, without files of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from astroclip_bench.records import CONFIG_NAME, SPLITS
from dataset_builders.shards import features
from dataset_builders.source import RecordSource, source_fingerprint

if TYPE_CHECKING:
    import datasets


def builder_class(source: RecordSource) -> type[datasets.ArrowBasedBuilder]:
    """Return a `datasets.ArrowBasedBuilder` over the rows of `source`.

    Its shards are the source's, so that ``download_and_prepare(num_proc=n)`` makes them in n processes and
    ``as_streaming_dataset()`` makes rows as they are asked for.
    """
    import datasets

    description, fingerprint = source.info, source_fingerprint(source)

    class RecordBuilder(datasets.ArrowBasedBuilder):  # type: ignore[misc]
        """Rows of a record source, split by split."""

        VERSION = datasets.Version(_three_numbers(description.version))
        BUILDER_CONFIGS = [  # noqa: RUF012 - the base class defines it so
            datasets.BuilderConfig(name=CONFIG_NAME, version=VERSION, description=description.title)
        ]

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Two sources of one name and version must not find each other's rows in the cache.
            super().__init__(*args, **{"hash": fingerprint, "dataset_name": description.name, **kwargs})

        def _info(self) -> datasets.DatasetInfo:
            return datasets.DatasetInfo(
                description=description.description,
                features=features(source.schema),
                license=description.license,
                citation=description.citation,
            )

        def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
            shards = list(source.shards)
            return [
                datasets.SplitGenerator(name=split, gen_kwargs={"shards": shards, "split": split}) for split in SPLITS
            ]

        def _generate_tables(self, shards: list[int], split: str) -> Iterator[tuple[tuple[int, int], pa.Table]]:
            for shard in shards:
                for number, batch in enumerate(source.rows(shard, splits={split})):
                    if batch.num_rows:
                        yield (shard, number), pa.Table.from_batches([batch])

    RecordBuilder.__name__ = RecordBuilder.__qualname__ = _class_name(description.name)
    return RecordBuilder


def _three_numbers(version: str) -> str:
    """Return a version as `datasets` wants it: major.minor.patch."""
    parts = [*version.split("."), "0", "0"][:3]
    return ".".join(part if part.isdigit() else "0" for part in parts)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.replace("_", "-").split("-"))
