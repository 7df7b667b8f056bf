"""Models in ONNX, run by ONNX Runtime (extra ``[onnx]``).

The convention: one file; each graph input is named by the column it reads and takes float32 of shape (batch, *shape)
with the batch axis left free; each output is named ``<modality>_embedding`` and gives float32 (batch, d). A file with
several outputs says which inputs each modality needs in the metadata entry ``inputs``, as JSON:
``{"image": ["image"], "spectrum": ["flux", "ivar"]}``. The metadata entries ``name`` and ``preprocessing`` are taken
over if present. Weights must lie in the file itself, so that its digest covers them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.protocol import Arrays, EmbedderInfo, Vectors
from astroclip_bench.embedders.weights import require_file
from astroclip_bench.errors import EmbedderError, MissingExtraError
from astroclip_bench.files import sha256_file

OUTPUT_SUFFIX = "_embedding"
ERRORS_ONLY = 3


class OnnxEmbedder:
    """An ONNX Runtime session as an embedder; made by `load_onnx`."""

    def __init__(self, session: Any, info: EmbedderInfo, inputs: dict[str, list[str]]) -> None:
        self.info = info
        self._session = session
        self._inputs = inputs
        self._shapes = {entry.name: tuple(entry.shape[1:]) for entry in session.get_inputs()}

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Return the embeddings (n, d) of a batch.

        Raises
        ------
        EmbedderError
            If the modality or a column is missing, or a shape is not the graph's.
        """
        import onnxruntime

        if modality not in self._inputs:
            raise EmbedderError(f"{self.info.name!r} takes no modality {modality!r}", ", ".join(self._inputs))
        rows = len(next(iter(batch.values())))
        feeds = {}
        for name, shape in self._shapes.items():
            if name in self._inputs[modality]:
                feeds[name] = self._column(batch, name, shape)
            else:  # the runtime wants every input; those of other modalities are never computed with
                feeds[name] = np.zeros(
                    (rows, *(length if isinstance(length, int) else 1 for length in shape)), np.float32
                )
        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        try:
            (vectors,) = self._session.run([modality + OUTPUT_SUFFIX], feeds, options)
        except Exception as error:  # ONNX Runtime's exceptions share no base
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            raise EmbedderError(f"{self.info.name!r} cannot embed {modality!r} from {shapes}: {error}") from error
        return np.asarray(vectors)

    def _column(self, batch: Arrays, name: str, shape: tuple[Any, ...]) -> npt.NDArray[np.float32]:
        if name not in batch:
            raise EmbedderError(
                f"{self.info.name!r} reads column {name!r}", f"one of the modality's columns {', '.join(batch)}"
            )
        array = batch[name]
        fits = len(shape) == array.ndim - 1 and all(
            not isinstance(wanted, int) or wanted == found for wanted, found in zip(shape, array.shape[1:], strict=True)
        )
        if not fits:
            raise EmbedderError(
                f"column {name!r} has objects of shape {array.shape[1:]}", f"{shape}, which {self.info.name!r} declares"
            )
        return np.ascontiguousarray(array, np.float32)


def load_onnx(path: Path | str, name: str | None = None, device: str = "cpu") -> OnnxEmbedder:
    """Open an ONNX model that follows the convention above.

    Raises
    ------
    EmbedderError
        If the file is damaged, keeps weights in other files, or breaks the convention (naming the input or output).
    MissingExtraError
        If ONNX Runtime is not installed.
    """
    path = Path(path)
    require_file(path)
    session = _session(path, device)
    metadata = session.get_modelmeta().custom_metadata_map
    for entry in session.get_inputs():
        _require_free_batch(entry, path)
    modalities = _modalities(session, path)
    inputs = _inputs(session, modalities, metadata.get("inputs"), path)
    dimensions = {entry.shape[1] for entry in session.get_outputs()}
    if len(dimensions) != 1 or not isinstance(next(iter(dimensions)), int):
        raise EmbedderError(
            f"{path}: outputs have {dimensions} components", "one fixed number, the same for every output"
        )
    info = EmbedderInfo(
        name=name or metadata.get("name") or path.stem,
        digest=sha256_file(path),
        dimension=dimensions.pop(),
        modalities=tuple(modalities),
        preprocessing=metadata.get("preprocessing", "inside the ONNX graph"),
        details={"dtype": "float32", "source": path.name},
    )
    return OnnxEmbedder(session, info, inputs)


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    import torch

    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise EmbedderError(
            f"ONNX Runtime cannot use device {device!r} here", "cpu", "install onnxruntime-gpu, or use --device cpu"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY + 1
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as empty:
        # Weights in other files are looked for here, and so never found.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
        try:
            return onnxruntime.InferenceSession(path.read_bytes(), options, providers=[provider])
        except Exception as error:  # ONNX Runtime's exceptions share no base
            if "external" in str(error).lower():
                raise EmbedderError(
                    f"{path} keeps weights in other files",
                    "one file",
                    "save it with onnx.save(model, path), without external data",
                ) from error
            raise EmbedderError(
                f"{path} is not an ONNX model that can be run: {error}", todo="check it with onnx.checker"
            ) from error


def _require_free_batch(entry: Any, path: Path) -> None:
    if entry.type != "tensor(float)":
        raise EmbedderError(f"{path}: input {entry.name!r} takes {entry.type}", "tensor(float)")
    if not entry.shape or isinstance(entry.shape[0], int):
        raise EmbedderError(
            f"{path}: input {entry.name!r} has the fixed shape {entry.shape}",
            "a free first axis",
            "export it with a dynamic batch axis",
        )


def _modalities(session: Any, path: Path) -> list[str]:
    names = []
    for entry in session.get_outputs():
        if not entry.name.endswith(OUTPUT_SUFFIX) or entry.name == OUTPUT_SUFFIX:
            raise EmbedderError(f"{path}: output {entry.name!r}", f"names like 'image{OUTPUT_SUFFIX}'")
        if entry.type != "tensor(float)" or len(entry.shape) != 2:
            raise EmbedderError(
                f"{path}: output {entry.name!r} is {entry.type} of shape {entry.shape}", "tensor(float), (batch, d)"
            )
        names.append(entry.name.removesuffix(OUTPUT_SUFFIX))
    return names


def _inputs(session: Any, modalities: list[str], declared: str | None, path: Path) -> dict[str, list[str]]:
    """Return the graph inputs that each modality needs."""
    known = [entry.name for entry in session.get_inputs()]
    if declared is None:
        if len(modalities) == 1:
            return {modalities[0]: known}
        raise EmbedderError(
            f"{path} has outputs for {', '.join(modalities)}",
            "the metadata entry 'inputs': JSON, modality -> input names",
        )
    try:
        inputs = {name: [str(column) for column in json.loads(declared)[name]] for name in modalities}
    except (ValueError, KeyError, TypeError) as error:
        raise EmbedderError(
            f"{path}: the metadata entry 'inputs' is {declared!r}", f"JSON with the keys {modalities}"
        ) from error
    unknown = sorted({column for columns in inputs.values() for column in columns} - set(known))
    if unknown:
        raise EmbedderError(
            f"{path}: the metadata entry 'inputs' names {', '.join(unknown)}",
            f"inputs of the graph: {', '.join(known)}",
        )
    return inputs
