"""Embeddings kept between runs: one folder a key, in parts that are each written whole.

A part is a safetensors file named by the rows it covers. Its header carries digests of the ids and of the vectors, so
that a damaged or foreign part is noticed and made again instead of being used.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astroclip_bench.embedders.protocol import Embedder, EmbedderInfo, Vectors
from astroclip_bench.files import atomic_path, cache_dir, digest_strings, write_json
from astroclip_bench.records import Modality, modality_entry

CACHE_VERSION = 1
FOLDER = "embeddings"
KEY_FILE = "key.json"

log = logging.getLogger(__name__)

_PART = re.compile(r"part-(\d+)-(\d+)\.safetensors")


def cache_key(
    embedder: Embedder,
    modality: Modality,
    *,
    data_digest: str,
    split: str,
    object_ids: Sequence[str],
    dtype: str,
    predicted: Sequence[str] = (),
) -> dict[str, object]:
    """Return everything that decides the vectors: weights, preprocessing, code, arithmetic, data, objects, modality.

    The embedder's name is not among it: two models may share one. `predicted` names the targets where the vectors are
    the model's own predictions.
    """
    identity: dict[str, Any] = {"data_digest": data_digest, "split": split, "dtype": dtype, "predicted": predicted}
    return described_key(embedder.info, code_digest(embedder), modality, object_ids=object_ids, **identity)


def described_key(
    info: EmbedderInfo,
    code: str,
    modality: Modality,
    *,
    data_digest: str,
    split: str,
    object_ids: Sequence[str],
    dtype: str,
    predicted: Sequence[str] = (),
) -> dict[str, object]:
    """Return the same of an embedder that is known by its description and the digest of its code alone."""
    key: dict[str, object] = {
        "cache_version": CACHE_VERSION,
        "embedder": {
            "digest": info.digest,
            "architecture": info.architecture,
            "preprocessing": info.preprocessing,
            "dimension": info.dimension,
            "details": dict(info.details),
            "code": code,
        },
        "dtype": dtype,
        "data": data_digest,
        "split": split,
        "objects": len(object_ids),
        "object_ids": digest_strings(list(object_ids)),
        "modality": modality_entry(modality),
    }
    return {**key, "predicted": list(predicted)} if predicted else key


def code_digest(embedder: Embedder) -> str:
    """Return a digest of the source files that define the embedder and its torch module.

    That is the file of its class and, where that lies in a package, the files beside it. Users change their own code
    more often than the digest they state for their weights.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (embedder, getattr(embedder, "module", None)):
        for file in _source_files(type(part)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _source_files(kind: type) -> list[Path]:
    try:
        file = Path(inspect.getsourcefile(kind) or "")
    except TypeError:  # built in, or defined in an interactive session
        return []
    if (file.parent / "__init__.py").is_file():
        return sorted(file.parent.glob("*.py"))
    return [file] if file.is_file() else []


class PartStore:
    """The parts of one key.

    Parameters
    ----------
    key
        From `cache_key`; its digest names the folder, and it is written there for the reader.
    object_ids
        Ids of all rows, in order.
    """

    def __init__(self, key: dict[str, object], object_ids: Sequence[str]) -> None:
        text = json.dumps(key, sort_keys=True, default=str)
        self._object_ids = object_ids
        self.folder = cache_dir(FOLDER, hashlib.sha256(text.encode()).hexdigest()[:32])
        if not (self.folder / KEY_FILE).exists():
            write_json(self.folder / KEY_FILE, json.loads(text))

    def load_into(self, vectors: Vectors, done: np.ndarray) -> None:
        """Fill the rows of `vectors` (n, d) that sound parts cover, and mark them in `done` (n,)."""
        for path in sorted(self.folder.glob("part-*.safetensors")):
            match = _PART.fullmatch(path.name)
            part = self._read(path, int(match[1]), int(match[2]), vectors.shape[1]) if match else None
            if part is None:
                log.warning("cached embeddings %s are damaged; they are made again", path)
                path.unlink(missing_ok=True)
            elif match:
                rows = slice(int(match[1]), int(match[2]))
                vectors[rows], done[rows] = part, True

    def write(self, start: int, vectors: Vectors) -> None:
        """Write the part that begins at row `start`, atomically."""
        from safetensors.numpy import save_file

        stop = start + len(vectors)
        metadata = {"object_ids": self._ids_digest(start, stop), "vectors": _checksum(vectors)}
        with atomic_path(self.folder / f"part-{start:09d}-{stop:09d}.safetensors") as temporary:
            save_file({"vectors": np.ascontiguousarray(vectors)}, temporary, metadata=metadata)

    def _read(self, path: Path, start: int, stop: int, dimension: int) -> Vectors | None:
        """Return a part's vectors, or None if anything about them is not as it was written."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                metadata, vectors = file.metadata() or {}, np.asarray(file.get_tensor("vectors"))
        except (SafetensorError, OSError, ValueError):
            return None
        sound = (
            start < stop <= len(self._object_ids)
            and vectors.shape == (stop - start, dimension)
            and vectors.dtype == np.float32
            and metadata.get("object_ids") == self._ids_digest(start, stop)
            and metadata.get("vectors") == _checksum(vectors)
        )
        return vectors if sound else None

    def _ids_digest(self, start: int, stop: int) -> str:
        return digest_strings(list(self._object_ids[start:stop]))


def _checksum(vectors: Vectors) -> str:
    return hashlib.blake2b(np.ascontiguousarray(vectors).data, digest_size=16).hexdigest()
