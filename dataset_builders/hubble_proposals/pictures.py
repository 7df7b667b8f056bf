"""The archive's preview pictures: which there are, of which proposals, and their pixels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.datasets.views import lowest_hashes
from astroclip_bench.errors import DataError, MissingExtraError
from astroclip_bench.files import storage_errors
from dataset_builders.upstream.reader import GOOD

SUFFIXES = (".jpg", ".jpeg")
MAX_IMAGES = 20
"""Of one proposal, so that no survey outweighs the others."""
NO_PROPOSAL, NOT_TOTAL, COLOUR = "name without a proposal number", "not a total product", "colour composite"
NAMED_BEFORE, NOT_LISTED = "file name met before", "proposal without a usable abstract"
DAMAGED, OTHER_MODE, BLANK = "not a readable JPEG", "neither grey nor red, green and blue", "all pixels equal"
SMALLEST_SIDE = 16
TOO_SMALL = f"a side shorter than {SMALLEST_SIDE} pixels"

_NAME = re.compile(r"hst_(\d{1,6})_([^_]+)_([^_]+)_([^_]+)_.*", re.IGNORECASE)


@dataclass(frozen=True)
class PictureFile:
    """One preview picture: its file, and what the name tells of it (see `list_pictures`)."""

    path: Path
    object_id: str
    proposal_id: str
    instrument: str
    detector: str


def list_pictures(
    folder: Path | str, known: Collection[str], max_images: int = MAX_IMAGES
) -> tuple[list[PictureFile], dict[str, Any]]:
    """Return the pictures of a folder and its subfolders that can be used, in order of their names, and the counts.

    The names are those of the archive's total products, ``hst_<proposal>_<visit>_<instrument>_<detector>_total_...jpg``;
    composites in colour (``color`` in the name) are left out. Of the pictures of a proposal those whose names hash lowest
    are kept.

    Parameters
    ----------
    known
        Numbers of the proposals that have an abstract.
    max_images
        Pictures of one proposal at most.

    Raises
    ------
    DataError
        If there is no such folder, or no picture in it can be used.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "the folder of the preview pictures")
    too_many = f"beyond {max_images} of its proposal"
    dropped: Counter[str] = Counter(
        dict.fromkeys((NO_PROPOSAL, NOT_TOTAL, COLOUR, NAMED_BEFORE, NOT_LISTED, too_many), 0)
    )
    paths = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES), key=lambda path: (path.name, path)
    )
    by_proposal: defaultdict[str, dict[str, PictureFile]] = defaultdict(dict)
    for path in paths:
        picture = _from_name(path)
        reason = _reason_against(path, picture, by_proposal, known)
        if reason or picture is None:
            dropped[reason] += 1
        else:
            by_proposal[picture.proposal_id][picture.object_id] = picture
    kept: list[PictureFile] = []
    for pictures in by_proposal.values():
        names = list(pictures)
        chosen = lowest_hashes(names, max_images)
        dropped[too_many] += len(names) - len(chosen)
        kept += [pictures[names[place]] for place in chosen]
    if not kept:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
        raise DataError(f"{folder}: none of its {len(paths):,} pictures can be used ({reasons or 'no JPEG files'})")
    step = {"step": "pictures", "read": len(paths), "kept": len(kept), "dropped": dict(dropped)}
    return sorted(kept, key=lambda picture: picture.object_id), step


def _from_name(path: Path) -> PictureFile | None:
    match = _NAME.fullmatch(path.stem)
    if match is None or not match[1].isascii():
        return None
    number, _, instrument, detector = match.groups()
    return PictureFile(path, path.stem.lower(), str(int(number)), instrument.lower(), detector.lower())


def _reason_against(
    path: Path,
    picture: PictureFile | None,
    seen: Mapping[str, Mapping[str, PictureFile]],
    known: Collection[str],
) -> str:
    if picture is None:
        return NO_PROPOSAL
    reasons = {
        NOT_TOTAL: "total" not in picture.object_id,
        COLOUR: "color" in picture.object_id,
        NOT_LISTED: picture.proposal_id not in known,
        NAMED_BEFORE: picture.object_id in seen.get(picture.proposal_id, ()),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def load_picture(path: Path, size: int) -> tuple[npt.NDArray[np.float32], str]:
    """Return the pixels of a picture, (3, size, size) from 0 to 1, and what is wrong with it, or `GOOD`.

    The longer side becomes `size`, the shorter one is padded with black on both sides; grey pictures have three equal
    planes. The first row is the top of the picture. Nothing here is a flux: the archive stretched and clipped each
    picture in its own way.

    Raises
    ------
    StorageError
        If the file cannot be opened.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtraError("pillow", "surveys") from error
    nothing = np.zeros((3, size, size), np.float32)
    with storage_errors(path), path.open("rb") as handle:
        try:
            with Image.open(handle, formats=["JPEG"]) as picture:
                if picture.mode not in ("L", "RGB"):
                    return nothing, OTHER_MODE
                if min(picture.size) < SMALLEST_SIDE:
                    return nothing, TOO_SMALL
                # Decoded at a fraction of its size, where that is still larger than what is wanted.
                picture.draft(picture.mode, (size, size))
                colours = picture.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return nothing, DAMAGED
    if not np.ptp(np.asarray(colours), axis=(0, 1)).any():
        return nothing, BLANK
    square = np.asarray(ImageOps.pad(colours, (size, size), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(np.moveaxis(square, -1, 0), np.float32) / np.float32(255), GOOD
