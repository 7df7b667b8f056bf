"""Preview pictures with the captions of their proposals, as a source of records."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.errors import DataError
from astroclip_bench.files import sha256_file
from astroclip_bench.records import (
    COLUMNS,
    Column,
    DatasetInfo,
    Modality,
    nested_list,
    preview_column,
    record_schema,
    text_modality,
)
from dataset_builders.hubble_proposals.card import CITATION, DESCRIPTION, sections
from dataset_builders.hubble_proposals.catalogue import Proposal, read_catalogue
from dataset_builders.hubble_proposals.pictures import MAX_IMAGES, PictureFile, list_pictures, load_picture
from dataset_builders.hubble_proposals.summary import MAX_WORDS, Extractive, Summariser
from dataset_builders.preview import encode_pictures
from dataset_builders.splits import split_of_proposal
from dataset_builders.upstream.reader import GOOD
from dataset_builders.validate import select_splits

SIZE = 224
"""Side of the pictures: what CLIP takes. With 512, as in the paper, crops can be drawn from them."""
SMALLEST_SIZE, LARGEST_SIZE = 32, 1024
SHARD_ROWS = 512
BATCH_ROWS = 32
NO_PLACE = -1
"""In the place of a HEALPix pixel: the name of a preview does not tell where on the sky it is."""
NO_CAPTION, TOO_LONG = "no valid summary", f"caption of more than {MAX_WORDS} words"


@dataclass(frozen=True)
class Captioned:
    """A proposal with its caption."""

    proposal: Proposal
    caption: str


class HubbleProposals:
    """The usable pictures of a folder whose proposals are in a catalogue of abstracts.

    Parameters
    ----------
    catalogue
        See `read_catalogue`.
    pictures
        Folder; see `list_pictures`.
    summariser
        Makes the caption of each proposal that has pictures; all are made here.
    size
        Side of the pictures.
    max_images
        Pictures of one proposal at most.
    progress
        Called with the captions made so far and their total.

    Raises
    ------
    DataError
        If no row is left, or a size cannot be.
    """

    def __init__(
        self,
        catalogue: Path | str,
        pictures: Path | str,
        summariser: Summariser | None = None,
        size: int = SIZE,
        max_images: int = MAX_IMAGES,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if not (SMALLEST_SIZE <= size <= LARGEST_SIZE and max_images >= 1):
            raise DataError(
                f"--size {size} --max-images {max_images}", f"{SMALLEST_SIZE} to {LARGEST_SIZE}; at least 1"
            )
        summariser = summariser or Extractive()
        listed = read_catalogue(catalogue)
        files, picture_step = list_pictures(pictures, listed.proposals, max_images)
        wanted = sorted({file.proposal_id for file in files}, key=int)
        self._captioned, caption_step = _captions([listed.proposals[name] for name in wanted], summariser, progress)
        self._files = [file for file in files if file.proposal_id in self._captioned]
        if not self._files:
            raise DataError(f"{listed.path}: no proposal with pictures has a caption", todo="see --captions")
        self._size = size
        self._steps = [dict(listed.step), picture_step, caption_step]
        self._options = {**summariser.options, "size": size, "max_images": max_images}
        self._inputs = [_input(listed.path), _inputs_of(self._files, Path(pictures).expanduser())]
        self.info = DatasetInfo(
            name="hubble-proposals",
            version="1.0",
            title="Hubble preview pictures with captions from the proposals' abstracts",
            description=DESCRIPTION,
            license="other",
            citation=CITATION,
            simulated=False,
            provenance={"catalogue": self._inputs[0]["sha256"], **self._options},
            split_rule="proposal",
        )
        self.schema = record_schema(self.info, column_list(size), [picture_modality(size), text_modality()])
        self.shards = range(-(-len(self._files) // SHARD_ROWS))

    @property
    def captions(self) -> dict[str, str]:
        """Proposal number -> caption."""
        return {name: entry.caption for name, entry in self._captioned.items()}

    def rows(
        self, shard: int, splits: Collection[str] | None = None
    ) -> Generator[pa.RecordBatch, None, dict[str, int]]:
        """Yield the rows of one shard, and return how many pictures had to be left out, by reason."""
        files = self._files[shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS]
        faults: Counter[str] = Counter()
        for start in range(0, len(files), BATCH_ROWS):
            part = files[start : start + BATCH_ROWS]
            loaded = [load_picture(file.path, self._size) for file in part]
            faults.update(fault for _, fault in loaded if fault != GOOD)
            good = [(file, image) for file, (image, fault) in zip(part, loaded, strict=True) if fault == GOOD]
            if good:
                yield select_splits(
                    self._batch([file for file, _ in good], np.stack([image for _, image in good])), splits
                )
        return dict(faults)

    def shard_size(self, shard: int) -> int:
        """Return the number of pictures in the shard, those that cannot be used included."""
        return min(SHARD_ROWS, len(self._files) - shard * SHARD_ROWS)

    def build_record(self) -> Mapping[str, Any]:
        """Return the input files, the options, and the counts at each step."""
        return {"inputs": self._inputs, "options": self._options, "steps": self._steps}

    def card(self) -> Mapping[str, str]:
        """Return what the rows are, how the captions were made, and what is wrong with them."""
        examples = list(self._captioned.values())
        return sections(self._options, [(entry.proposal, entry.caption) for entry in examples])

    def _batch(self, files: list[PictureFile], image: np.ndarray) -> pa.RecordBatch:
        """Return the rows of some pictures, image (n, 3, size, size)."""
        entries = [self._captioned[file.proposal_id] for file in files]
        proposals = [entry.proposal for entry in entries]
        columns: dict[str, Any] = {
            "object_id": [file.object_id for file in files],
            "healpix": [NO_PLACE] * len(files),
            "split": split_of_proposal([int(file.proposal_id) for file in files]).tolist(),
            "preview": encode_pictures(np.moveaxis(image, 1, -1)),
            "image": numpy_to_arrow(image),
            "caption": [entry.caption for entry in entries],
            "proposal_id": [file.proposal_id for file in files],
            "instrument": [file.instrument for file in files],
            "detector": [file.detector for file in files],
            "cycle": [proposal.cycle for proposal in proposals],
            "proposal_type": [proposal.kind or None for proposal in proposals],
            "category": [proposal.category or None for proposal in proposals],
            "title": [proposal.title or None for proposal in proposals],
            "abstract": [proposal.abstract for proposal in proposals],
        }
        arrays = [
            values if isinstance(values, pa.Array) else pa.array(values, self.schema.field(name).type)
            for name, values in ((name, columns[name]) for name in self.schema.names)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def picture_modality(size: int) -> Modality:
    """Return the modality of display pictures: without unit, bands or pixel scale, so nothing takes them for fluxes."""
    return Modality(
        "image",
        ("image",),
        (3, size, size),
        "",
        "Preview picture for display, no fluxes: 0 (black) to 1, red, green and blue, first row on top, padded with black",
        {"colours": ["red", "green", "blue"]},
    )


def column_list(size: int) -> list[Column]:
    """Return the columns of the data set, in order."""

    def words(name: str, text: str, *, label: bool = False) -> Column:
        return Column(name, pa.string(), "", text, "label" if label else "property")

    return [
        replace(COLUMNS["object_id"], description="Name of the preview picture, without its ending"),
        replace(COLUMNS["healpix"], description=f"{NO_PLACE}: the place on the sky is not known"),
        replace(COLUMNS["split"], description="train, validation or test, by hash of the proposal's number"),
        preview_column(),
        Column("image", nested_list((3, size, size)), "", "Picture for display, 0 (black) to 1; no fluxes", "modality"),
        replace(COLUMNS["caption"], description="What the proposal's abstract says, shortened"),
        replace(
            COLUMNS["proposal_id"], description="Number of the observing proposal, whose pictures share one caption"
        ),
        words("instrument", "Instrument, from the name of the picture"),
        words("detector", "Detector, from the name of the picture"),
        Column("cycle", pa.int32(), "", "Observing cycle", "property"),
        words("proposal_type", "Type of the proposal, such as GO or SNAP"),
        words("category", "Science category as proposed, in lower case; the names changed over the years", label=True),
        words("title", "Title of the proposal"),
        words("abstract", "Abstract of the proposal, without mark-up"),
    ]


def _captions(
    proposals: list[Proposal], summariser: Summariser, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, Captioned], dict[str, Any]]:
    """Return the proposals with a caption by number, and the counts of this step."""
    kept: dict[str, Captioned] = {}
    dropped: Counter[str] = Counter({NO_CAPTION: 0, TOO_LONG: 0})
    for done, proposal in enumerate(proposals, start=1):
        caption = summariser(proposal)
        if not caption:
            dropped[NO_CAPTION] += 1
        elif len(caption.split()) > MAX_WORDS:
            dropped[TOO_LONG] += 1
        else:
            kept[proposal.proposal_id] = Captioned(proposal, caption)
        if progress:
            progress(done, len(proposals))
    step = {"step": "captions of proposals with pictures", "read": len(proposals), "kept": len(kept)}
    return kept, {**step, "dropped": dict(dropped)}


def _input(path: Path) -> dict[str, Any]:
    return {"path": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _inputs_of(files: list[PictureFile], folder: Path) -> dict[str, Any]:
    """Return one entry for all pictures: their total size, and a digest over names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path.relative_to(folder).as_posix()}\0{sha256_file(file.path)}\n".encode())
    size = sum(file.path.stat().st_size for file in files)
    return {"path": f"{folder.name}/ ({len(files):,} pictures)", "bytes": size, "sha256": digest.hexdigest()}
