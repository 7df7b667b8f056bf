"""A mock survey with its proposals, as a source of records."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import pyarrow as pa

from astroclip_bench.datasets import BenchDataset
from astroclip_bench.datasets.parquet import row_groups
from astroclip_bench.errors import DataError
from astroclip_bench.records import COLUMNS, Column, DatasetInfo, Role, record_schema, text_modality
from dataset_builders.mock_proposals import VERSION
from dataset_builders.mock_proposals.card import DESCRIPTION, sections
from dataset_builders.mock_proposals.grammar import caption, summary
from dataset_builders.mock_proposals.grouping import Group, make_groups
from dataset_builders.mock_proposals.themes import NEEDED, OBJECT_CLASSES, SCIENCE_CASES

BATCH_ROWS = 200


def _classes(name: str, what: str, classes: Collection[str]) -> Column:
    return Column(name, pa.string(), "", f"{what} (simulated), one of: {', '.join(classes)}", "label")


COLUMN_LIST = (
    replace(COLUMNS["caption"], description="Invented text of the proposal (simulated), the same for all its galaxies"),
    replace(COLUMNS["proposal_id"], description="Invented proposal (simulated), whose galaxies share one caption"),
    _classes("object_class", "What the proposal observes", OBJECT_CLASSES),
    _classes("science_case", "What the proposal is for", SCIENCE_CASES),
)


@dataclass(frozen=True)
class Proposal:
    """What one proposal adds to the rows of its galaxies."""

    proposal_id: str
    caption: str
    object_class: str
    science_case: str


class MockProposals:
    """The rows of a mock survey, unchanged, with the proposal that each galaxy belongs to.

    Parameters
    ----------
    survey
        An opened mock survey of any size; its light columns are read here, once.
    name
        Of the data set; ``<survey>-proposals`` if not given.

    Raises
    ------
    DataError
        If the data set is no mock survey.
    """

    def __init__(self, survey: BenchDataset, name: str = "") -> None:
        missing = [column for column in NEEDED if column not in survey.schema.names]
        if missing or not survey.info.simulated:
            found = (
                f"{survey.folder}: column {missing[0]!r} is missing" if missing else f"{survey.folder}: not simulated"
            )
            raise DataError(found, "a mock survey, as `astroclip-bench data build mock` makes it")
        self._folder = survey.folder
        self._files = survey.manifest.pairs
        self._survey = {"name": survey.info.name, "version": survey.info.version, "digest": survey.digest}
        self._columns = [_column(field) for field in survey.schema]
        self._modalities = [*survey.modalities.values(), text_modality()]
        self.proposals: dict[str, dict[str, Proposal]] = {}
        """Split -> identifier of a galaxy -> its proposal."""
        for split, view in survey.splits.items():
            columns = {column: view.column(column) for column in NEEDED}
            groups = make_groups(view.object_ids, columns)
            self.proposals[split] = {
                view.object_ids[row]: _proposal(group, columns) for group in groups for row in group.rows
            }
        self.info = DatasetInfo(
            name=name or f"{survey.info.name}-proposals",
            version=VERSION,
            title="Simulated galaxies with invented observing proposals",
            description=DESCRIPTION,
            license=survey.info.license,
            citation=survey.info.citation,
            simulated=True,
            provenance={**survey.info.provenance, "survey": self._survey},
            split_rule=survey.info.split_rule,
        )

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the rows: the survey's, then the proposals'."""
        return record_schema(self.info, [*self._columns, *COLUMN_LIST], self._modalities)

    @property
    def shards(self) -> range:
        """Numbers of the shards, one for each file of the survey."""
        return range(len(self._files))

    def shard_size(self, shard: int) -> int:
        """Return the number of rows in a shard."""
        return self._files[shard].rows

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file of the survey, with what their proposals add."""
        file = self._files[shard]
        if splits is not None and file.split not in splits:
            return
        names = [column.name for column in self._columns]
        for table in row_groups(self._folder / file.path, names):
            for batch in table.select(names).combine_chunks().to_batches(BATCH_ROWS):
                found = [self.proposals[file.split][name] for name in batch.column("object_id").to_pylist()]
                added = [pa.array([getattr(one, column.name) for one in found], pa.string()) for column in COLUMN_LIST]
                yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=self.schema)

    def build_record(self) -> Mapping[str, Any]:
        """Return the survey, and how many proposals each split has."""
        counts = {split: len({one.proposal_id for one in found.values()}) for split, found in self.proposals.items()}
        return {"survey": self._survey, "proposals": counts}

    def card(self) -> Mapping[str, str]:
        """Return the sections of the data set card."""
        return sections(self)


def _column(field: pa.Field) -> Column:
    metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
    role = cast(Role, metadata["role"])
    return Column(field.name, field.type, metadata["unit"], metadata["description"], role)


def _proposal(group: Group, columns: Mapping[str, Any]) -> Proposal:
    text = caption(group, summary(group, columns))
    return Proposal(group.proposal_id, text, group.theme.object_class, group.theme.science_case)
