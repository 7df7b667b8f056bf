"""Read the volunteers' votes of Galaxy Zoo DECaLS, campaign GZD-5: morphology as most people saw it.

One file of Zenodo record 4573248, ``gz_decals_volunteers_5.csv`` or ``.parquet``, a row a galaxy (Walmsley et al. 2022,
MNRAS 509, 3966). For each question it has ``<question>_total-votes``, and for each of its answers a count, a fraction
``<question>_<answer>_fraction`` and a debiased fraction; the fractions are read, the debiased ones are not, since they
exist for few galaxies and are uncertain for a single one. Galaxies carry no DESI TARGETID and are matched on the sky;
AstroCLIP did so within 0.5 arcsec.

The campaigns before it (``gz_decals_volunteers_1_and_2``) offered other answers; such a file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors
from astroclip_bench.records import COLUMNS, MORPHOLOGY_QUESTIONS, Column, morphology_label
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.reader import Index, list_files

MIN_VOTES = 10
"""Of ten volunteers who agree by 7 to 3, the fraction is uncertain by 0.14. AstroCLIP tested on more than 34 votes."""
MIN_SHARE = 0.5
"""A question further down the decision tree is put to those alone whose answers led there; what the catalogue's authors
suggest as the share of all volunteers from which on it makes sense, and what AstroCLIP trained on."""
TIE_TOLERANCE = 1e-6
"""Fractions closer than this are equal: those of different counts differ by one vote of some 80 at least."""

NAME = "iauname"
SIZE_WARNING = "wrong_size_warning"
ROOT_QUESTION = next(iter(MORPHOLOGY_QUESTIONS))
VOTES_REQUIRED_COLUMN = f"{morphology_label(ROOT_QUESTION)}_votes"
"""A column that every galaxy with votes has: what makes a row of the configuration `galaxy_zoo`."""


def votes_column(question: str) -> str:
    """Return the column with the number of volunteers who answered a question."""
    return f"{morphology_label(question)}_votes"


def fraction_column(question: str, answer: str) -> str:
    """Return the column with the fraction of the volunteers who gave an answer."""
    return f"{morphology_label(question)}_fraction_{answer.replace('-', '_')}"


def morphology_columns() -> list[Column]:
    """Return the ten label columns."""
    return [COLUMNS[morphology_label(question)] for question in MORPHOLOGY_QUESTIONS]


def vote_columns() -> list[Column]:
    """Return the columns with the galaxy's name, and for each question with the number and fractions of votes."""
    columns = [Column("galaxy_zoo_name", pa.string(), "", "Name in the NASA-Sloan Atlas, v1_0_1", "property")]
    for question, answers in MORPHOLOGY_QUESTIONS.items():
        text = f"Number of volunteers who answered about {question}"
        columns.append(Column(votes_column(question), pa.int32(), "", text, "property"))
        for answer in answers:
            text = f"Fraction of them who answered {answer} about {question}"
            columns.append(Column(fraction_column(question, answer), pa.float32(), "", text, "property"))
    return columns


@dataclass(frozen=True)
class GalaxyZooDecals:
    """The GZD-5 votes as a label reader.

    The index has the columns of `morphology_columns` (object arrays of str, None where there is no label) and of
    `vote_columns`; it has no `target_id`. The label of a question is the answer with the most votes. There is none where
    two answers have equally many, where fewer than `min_votes` volunteers answered, or where less than `min_share` of
    the volunteers who saw the galaxy came to the question.

    Parameters
    ----------
    file
        The CSV or Parquet file, or a folder with one of them.
    min_votes
        Smallest number of answers to a question.
    min_share
        Smallest ratio of the number of answers to that of the first question.
    """

    file: Path | str
    min_votes: int = MIN_VOTES
    min_share: float = MIN_SHARE
    name = "Galaxy Zoo DECaLS"

    def files(self) -> list[Path]:
        """Return the one file."""
        found = list_files(self.file, "*volunteers_5*.parquet", "*volunteers_5*.csv", "*volunteers_5*.csv.gz")
        if len(found) > 1:
            raise DataError(f"{self.file}: {len(found)} files of votes", "one", "name the file")
        return found

    def options(self) -> Mapping[str, Any]:
        """Return what makes a label."""
        return {"min_votes": self.min_votes, "min_share": self.min_share}

    def index(self, path: Path) -> Index:
        """Return labels and votes of the galaxies with any vote.

        Galaxies whose picture was too large or too small for them are left out, as the catalogue's authors suggest.

        Raises
        ------
        DataError
            If the file is damaged, a column is missing or holds something else than numbers, or the file is of
            another campaign.
        """
        table = _read(path)
        columns: dict[str, npt.NDArray[Any]] = {name: _numbers(table, name) for name in ("ra", "dec")}
        columns["galaxy_zoo_name"] = np.array([*table[NAME].to_pylist(), None], object)[:-1]
        asked = _votes(table, ROOT_QUESTION)
        for question, answers in MORPHOLOGY_QUESTIONS.items():
            votes = _votes(table, question)
            fractions = np.stack([_numbers(table, f"{question}_{answer}_fraction") for answer in answers], axis=1)
            enough = (votes >= self.min_votes) & (votes >= self.min_share * asked)
            columns[morphology_label(question)] = majority_answer(fractions, answers, enough)
            columns[votes_column(question)] = votes
            for answer, fraction in zip(answers, fractions.T, strict=True):
                columns[fraction_column(question, answer)] = fraction.astype(np.float32)
        warned = np.asarray(table[SIZE_WARNING].fill_null(False).to_numpy(), bool)
        keep, dropped = drop_by_reason(
            {
                "position not finite": ~(np.isfinite(columns["ra"]) & np.isfinite(columns["dec"])),
                "no votes": asked == 0,
                "picture of the wrong size": warned,
            }
        )
        rows = np.flatnonzero(keep)
        return Index({"row": rows, **{name: values[rows] for name, values in columns.items()}}, len(keep), dropped)


def majority_answer(
    fractions: npt.NDArray[np.float64], answers: tuple[str, ...], enough: npt.NDArray[np.bool_]
) -> npt.NDArray[np.object_]:
    """Return the answer with the most votes; None where that is not one answer alone, or a fraction is missing.

    Parameters
    ----------
    fractions
        Fraction of the votes for each answer, (n, number of answers); NaN where nobody was asked.
    answers
        The answers, in the order of the fractions.
    enough
        Whether there are votes enough for a label, (n,).
    """
    most = fractions.max(axis=1, keepdims=True)
    alone = (fractions > most - TIE_TOLERANCE).sum(axis=1) == 1
    label: npt.NDArray[np.object_] = np.array(answers, object)[fractions.argmax(axis=1)]
    label[~(enough & alone)] = None
    return label


def _wanted() -> dict[str, pa.DataType]:
    """Return the columns read from the file, and their types."""
    numbers = ["ra", "dec"]
    for question, answers in MORPHOLOGY_QUESTIONS.items():
        numbers += [f"{question}_total-votes", *(f"{question}_{answer}_fraction" for answer in answers)]
    return {NAME: pa.string(), **dict.fromkeys(numbers, pa.float64()), SIZE_WARNING: pa.bool_()}


def _read(path: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.parquet as pq

    types = _wanted()
    try:
        with storage_errors(path):
            if path.suffix == ".parquet":
                with pq.ParquetFile(path) as file:
                    _require(file.schema_arrow.names, types, path)
                    return file.read(columns=list(types)).select(list(types)).cast(pa.schema(types.items()))
            _require(_header(path), types, path)
            convert = pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=types)
            return pyarrow.csv.read_csv(path, convert_options=convert)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable table of votes ({error})", todo="download the file again") from error


def _header(path: Path) -> list[str]:
    import pyarrow.csv

    with pyarrow.csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _require(found: list[str], wanted: Mapping[str, Any], path: Path) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{path}: column {missing[0]} is missing, and {len(missing) - 1} others",
            "the columns of gz_decals_volunteers_5; other campaigns offered other answers",
        )


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(), np.float64)


def _votes(table: pa.Table, question: str) -> npt.NDArray[np.int32]:
    """Return the number of answers to a question; 0 where the file has none."""
    return np.nan_to_num(_numbers(table, f"{question}_total-votes"), nan=0.0).astype(np.int32)
