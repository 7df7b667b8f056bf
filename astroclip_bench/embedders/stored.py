"""Embeddings and predictions computed elsewhere, in a file keyed by object id.

Three spellings, each with the ids under ``object_id`` and one entry a modality, named like it:

* ``.parquet``: a string (or integer) column of ids, and (fixed-size) list columns of floats;
* ``.npz`` without pickle: a 1-d array of strings or integers, and 2-d float arrays;
* ``.safetensors``: an int64 tensor of ids, or the header entry ``object_id`` with a JSON list, and 2-d float tensors.

Predictions of labels stand beside embeddings or alone: an entry ``predicted_<target>_from_<modality>``, such as
``predicted_redshift_from_image``, holds one float an object, in the unit of the label. Objects
that are not scored need none (null or NaN): the test split is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.protocol import Arrays, EmbedderInfo, Vectors
from astroclip_bench.embedders.stored_files import ID_KEY, PREDICTION, PREDICTION_NAME, READERS
from astroclip_bench.embedders.weights import FORMAT, require_file
from astroclip_bench.errors import EmbedderError
from astroclip_bench.files import sha256_file

N_SHOWN = 3


class StoredEmbeddings:
    """Vectors and predictions looked up by object id.

    Parameters
    ----------
    object_ids
        Unique, in the order of the rows.
    arrays
        Modality -> vectors (n, d), finite, of one length; and ``predicted_<target>_from_<modality>`` -> (n,), NaN
        where there is no prediction.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        object_ids: Sequence[str],
        arrays: Mapping[str, npt.NDArray[Any]],
        where: str | None = None,
    ) -> None:
        where = where or name
        self._row = _row_by_id(object_ids, where)
        self._vectors: dict[str, Vectors] = {}
        self._predictions: dict[tuple[str, str], Vectors] = {}
        for entry, array in sorted(arrays.items()):
            if match := PREDICTION.fullmatch(entry):
                key = (match["modality"], match["target"])
                self._predictions[key] = _checked_predictions(array, entry, object_ids, where)
            else:
                self._vectors[entry] = _checked(array, entry, object_ids, where)
        if not arrays:
            raise EmbedderError(
                f"{where} has no embeddings",
                f"one entry a modality, named like it, or predictions named {PREDICTION_NAME}, beside object_id",
            )
        dimensions = {array.shape[1] for array in self._vectors.values()}
        if len(dimensions) > 1:
            found = ", ".join(f"{modality} {array.shape[1]}" for modality, array in self._vectors.items())
            raise EmbedderError(
                f"{where}: the modalities' vectors have different lengths: {found}",
                "one length",
                "write modalities that share no space into files of their own",
            )
        self.info = EmbedderInfo(
            name=name,
            digest=digest,
            dimension=dimensions.pop() if dimensions else 0,
            modalities=tuple(self._vectors),
            preprocessing="computed elsewhere",
            details={"source": Path(where).name, "objects": len(self._row)},
            targets={
                modality: tuple(target for other, target in self._predictions if other == modality)
                for modality, _ in self._predictions
            },
        )

    def lookup(self, object_ids: Sequence[str], modality: str) -> Vectors:
        """Return the vectors (n, d) of these objects, in this order.

        Raises
        ------
        EmbedderError
            If the modality is not in the file, or objects are missing (how many, and the first three).
        """
        if modality not in self._vectors:
            raise EmbedderError(f"{self.info.name!r} has no modality {modality!r}", ", ".join(self._vectors))
        missing = [name for name in object_ids if name not in self._row]
        if missing:
            raise EmbedderError(
                f"{self.info.name!r} has no vectors for {len(missing)} of {len(object_ids)} objects: {_some(missing)}",
                "the ids of the data set it is scored on",
                "compute the embeddings of every object, in all splits",
            )
        return self._vectors[modality][[self._row[name] for name in object_ids]]

    def lookup_prediction(self, object_ids: Sequence[str], modality: str, target: str) -> Vectors:
        """Return the predictions (n,) of a target from a modality for these objects, in this order.

        Raises
        ------
        EmbedderError
            If there are none, or objects lack one (how many, and the first three).
        """
        what = f"prediction of {target!r} from {modality!r}"
        if (modality, target) not in self._predictions:
            raise EmbedderError(f"{self.info.name!r} has no {what}", f"an entry {PREDICTION_NAME}")
        values = self._predictions[modality, target]
        missing = [name for name in object_ids if name not in self._row or np.isnan(values[self._row[name]])]
        if missing:
            raise EmbedderError(
                f"{self.info.name!r} has no {what} for {len(missing)} of {len(object_ids)} objects: {_some(missing)}",
                "one for every object of the test split",
            )
        return values[[self._row[name] for name in object_ids]]

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Refuse: stored vectors belong to ids, not to inputs.

        Raises
        ------
        EmbedderError
            Always; `lookup` is the way to these vectors.
        """
        raise EmbedderError(f"{self.info.name!r} holds precomputed embeddings and cannot embed new objects")

    def predict(self, batch: Arrays, modality: str) -> Mapping[str, Vectors]:
        """Refuse: stored predictions belong to ids, not to inputs.

        Raises
        ------
        EmbedderError
            Always; `lookup_prediction` is the way to them.
        """
        raise EmbedderError(f"{self.info.name!r} holds precomputed predictions and cannot make new ones")


def read_stored(path: Path | str, name: str | None = None) -> StoredEmbeddings:
    """Read precomputed embeddings from ``.parquet``, ``.npz`` or ``.safetensors``.

    Raises
    ------
    EmbedderError
        If the file is missing, damaged or carries a pickle; ids are duplicated or no strings or integers; embeddings
        are not a 2-d array of finite floats, or predictions not a 1-d array of floats, with one row an id.
    """
    path = Path(path)
    require_file(path)
    if path.suffix not in READERS:
        raise EmbedderError(f"{path}: suffix {path.suffix!r}", ", ".join(READERS))
    ids, arrays = READERS[path.suffix](path)
    if ids is None:
        raise EmbedderError(
            f"{path} has no {ID_KEY!r}", f"the objects' ids under {ID_KEY!r}; it has {_some(list(arrays)) or 'nothing'}"
        )
    return StoredEmbeddings(name or path.stem, sha256_file(path), _id_strings(ids, path), arrays, str(path))


def holds_stored(path: Path) -> bool:
    """Say whether a readable ``.safetensors`` file holds precomputed embeddings rather than a model."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            return metadata.get("format") != FORMAT and (ID_KEY in metadata or ID_KEY in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        return False


def _id_strings(ids: npt.NDArray[Any], path: Path) -> list[str]:
    if ids.ndim != 1 or ids.dtype.kind not in "iuU":
        raise EmbedderError(
            f"{path}: {ID_KEY} is a {ids.ndim}-d array of {ids.dtype}", "a 1-d array of strings or integers"
        )
    return [str(name) for name in ids.tolist()]


def _row_by_id(object_ids: Sequence[str], where: str) -> dict[str, int]:
    rows = {name: row for row, name in enumerate(object_ids)}
    if len(rows) < len(object_ids):
        repeated = [name for name, count in Counter(object_ids).items() if count > 1]
        raise EmbedderError(
            f"{where}: {len(repeated)} object ids occur more than once: {_some(repeated)}", "each id once"
        )
    return rows


def _checked(array: npt.NDArray[Any], modality: str, object_ids: Sequence[str], where: str) -> Vectors:
    """Return one modality's vectors as float32 (n, d)."""
    if array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] == 0:
        raise EmbedderError(
            f"{where}: {modality!r} is a {array.ndim}-d array of {array.dtype}, shape {array.shape}",
            "a 2-d array of floats",
        )
    if len(array) != len(object_ids):
        raise EmbedderError(f"{where}: {modality!r} has {len(array)} rows", f"{len(object_ids)}, one an object id")
    with np.errstate(over="ignore"):  # shows as infinity below
        vectors: Vectors = np.asarray(array, np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        names = _some([object_ids[row] for row in bad[:N_SHOWN]], len(bad))
        raise EmbedderError(
            f"{where}: {modality!r} has NaN or infinity (as float32) for {len(bad)} objects: {names}", "finite values"
        )
    return vectors


def _checked_predictions(array: npt.NDArray[Any], entry: str, object_ids: Sequence[str], where: str) -> Vectors:
    """Return predictions as float32 (n,); NaN stays."""
    if array.shape != (len(object_ids),) or array.dtype.kind != "f":
        raise EmbedderError(
            f"{where}: {entry!r} is an array of {array.dtype}, shape {array.shape}",
            f"floats of shape ({len(object_ids)},), one an object id",
        )
    with np.errstate(over="ignore"):
        values: Vectors = np.asarray(array, np.float32)
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        names = _some([object_ids[row] for row in bad[:N_SHOWN]], len(bad))
        raise EmbedderError(f"{where}: {entry!r} is infinite (as float32) for {len(bad)} objects: {names}")
    if np.isnan(values).all():
        raise EmbedderError(f"{where}: {entry!r} holds no prediction", "one float an object")
    return values


def _some(names: Sequence[str], count: int | None = None) -> str:
    more = (len(names) if count is None else count) > N_SHOWN
    return ", ".join(names[:N_SHOWN]) + (", ..." if more else "")
