"""Model files: a state dict, a registered architecture's name and version, and its configuration. Nothing else.

Two spellings of one content. ``model.pt`` is ``torch.save`` of a dictionary of plain values and tensors, read with
``weights_only=True`` alone. ``model.safetensors`` holds the tensors, with the rest in its header: `format` and
`architecture` verbatim, `format_version`, `architecture_version` and `config` as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.embedders.pickles import refused_globals
from astroclip_bench.errors import EmbedderError
from astroclip_bench.files import atomic_path, storage_errors

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = "astroclip-bench/model"
FORMAT_VERSION = 1
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt")
CONVERT = (
    "load it where you trust it, then write it again with astroclip_bench.embedders.save_model("
    "'model.pt', architecture, architecture_version, config, model.state_dict())"
)
N_SHOWN = 3


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file; `digest` is the same for both spellings."""

    path: Path
    architecture: str
    architecture_version: int
    config: dict[str, Any]
    state_dict: dict[str, Tensor]
    digest: str


def save_model(
    path: Path | str,
    architecture: str,
    architecture_version: int,
    config: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
) -> Path:
    """Write a model file, atomically, in the spelling its suffix names (``.pt`` or ``.safetensors``).

    Parameters
    ----------
    architecture, architecture_version
        Name registered under the entry point group ``astroclip_bench.architectures``, and the version its module has.
    config
        Plain JSON values from which the architecture rebuilds the module; tuples become lists.
    state_dict
        Dense tensors; stored on the CPU, each without what it shares memory with.

    Raises
    ------
    EmbedderError
        If the suffix is unknown, `config` is not plain, or an entry of `state_dict` is no dense tensor.
    StorageError
        If it cannot be written.
    """
    path = Path(path)
    plain = json.loads(_config_json(config, str(path)))
    tensors = {
        name: _plain_tensor(name, value, str(path)).cpu().contiguous().clone() for name, value in state_dict.items()
    }
    header = {"format": FORMAT, "format_version": FORMAT_VERSION}
    header |= {"architecture": architecture, "architecture_version": architecture_version, "config": plain}
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in header.items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    elif path.suffix in TORCH_SUFFIXES:
        import torch

        with atomic_path(path) as temporary:
            torch.save({**header, "state_dict": tensors}, temporary)
    else:
        raise EmbedderError(f"{path}: suffix {path.suffix!r}", ".pt or .safetensors")
    return path


def read_model(path: Path | str) -> ModelFile:
    """Read a model file without running anything it holds.

    Raises
    ------
    EmbedderError
        If it is missing, damaged, of another format, or a pickle that asks for code.
    """
    path = Path(path)
    require_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _checked(path, content)


def require_file(path: Path) -> None:
    """Raise `EmbedderError` unless `path` is a file with something in it, and not a Git LFS pointer to one."""
    if path.is_dir():
        raise EmbedderError(f"{path} is a folder", "a model file", "name the file inside it")
    if not path.exists():
        raise EmbedderError(f"{path}: no such file", todo="check the path")
    with storage_errors(path), path.open("rb") as handle:
        start = handle.read(64)
    if not start:
        raise EmbedderError(f"{path} is empty", "a model file", "copy or download it again")
    if start.startswith(b"version https://git-lfs"):
        raise EmbedderError(f"{path} is a Git LFS pointer, not the file itself", todo="run: git lfs pull")


def weights_digest(architecture: str, version: int, config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a model's content: architecture, version, configuration, and each tensor in name order.

    Independent of the file's spelling, compression, device and of the order of the keys.
    """
    import torch

    digest = hashlib.sha256()
    digest.update(json.dumps([architecture, version, config], sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_weights(module: nn.Module, state_dict: Mapping[str, Tensor], where: str) -> None:
    """Copy a state dict into a module; every key must match, in name and shape.

    Raises
    ------
    EmbedderError
        Naming the first missing, unexpected and ill-shaped keys, and how many there are.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state_dict.items()}
    shapes = [
        f"{name} {found[name]} instead of {wanted[name]}"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    groups = (
        ("missing", sorted(wanted.keys() - found.keys())),
        ("unexpected", sorted(found.keys() - wanted.keys())),
        ("of another shape", shapes),
    )
    faults = [
        f"{len(names)} {kind} ({', '.join(names[:N_SHOWN])}{', ...' if len(names) > N_SHOWN else ''})"
        for kind, names in groups
        if names
    ]
    if faults:
        raise EmbedderError(
            f"{where}: the state dict does not fit the architecture: keys {', '.join(faults)}",
            "the keys and shapes that the architecture makes of the stored configuration",
            "check that config and architecture version are those the weights were trained with",
        )
    module.load_state_dict(dict(state_dict), strict=True)


def _checked(path: Path, content: Mapping[str, Any]) -> ModelFile:
    """Check each entry of a model file's dictionary."""
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise EmbedderError(f"{path}: model format version {version!r}", f"{FORMAT_VERSION}", "upgrade astroclip-bench")
    kinds = {"architecture": str, "architecture_version": int, "config": dict, "state_dict": dict}
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise EmbedderError(f"{path}: entry {key!r} is {_kind(content.get(key))}", f"a {kind.__name__}", CONVERT)
    config = json.loads(_config_json(content["config"], str(path)))
    tensors = {str(name): _plain_tensor(name, value, str(path)) for name, value in content["state_dict"].items()}
    architecture, number = content["architecture"], content["architecture_version"]
    return ModelFile(path, architecture, number, config, tensors, weights_digest(architecture, number, config, tensors))


def _config_json(config: Mapping[str, Any], where: str) -> str:
    try:
        return json.dumps(dict(config), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EmbedderError(f"{where}: config is not made of plain values: {error}", "what JSON can hold") from error


def _plain_tensor(name: object, value: object, where: str) -> Tensor:
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise EmbedderError(f"{where}: entry {name!r} of the state dict is {_kind(value)}", "a dense tensor", CONVERT)
    return value.detach()


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise EmbedderError(
            f"{path} is not a readable safetensors file: {error}", todo="copy or download it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise EmbedderError(
            f"{path} holds {len(tensors)} tensors but not what they belong to",
            f"the header entries of {FORMAT!r} (architecture, architecture_version, config)",
            CONVERT,
        )
    try:
        values = {key: json.loads(metadata[key]) for key in ("format_version", "architecture_version", "config")}
    except (KeyError, ValueError) as error:
        raise EmbedderError(
            f"{path}: its header lacks a readable {error}", f"the header of {FORMAT!r}", CONVERT
        ) from error
    return {"architecture": metadata.get("architecture"), "state_dict": tensors, **values}


def _read_torch(path: Path) -> dict[str, Any]:
    import pickle
    import warnings

    import torch

    _refuse_archives(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols: what matters is raised
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if names := refused_globals(path):
            raise EmbedderError(
                f"{path} is a pickle that asks to import {', '.join(names)}; it was not loaded",
                "tensors and plain values only",
                CONVERT,
            ) from error
        raise _unreadable(path, error) from error
    except Exception as error:  # torch raises whatever a damaged file leads it to
        raise _unreadable(path, error) from error
    if isinstance(content, dict) and content.get("format") == FORMAT:
        return content
    raise EmbedderError(f"{path} holds {_describe(content)}", f"the format {FORMAT!r}", CONVERT)


def _unreadable(path: Path, error: Exception) -> EmbedderError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return EmbedderError(f"{path} is not a readable PyTorch file: {reason}", todo="copy or download it again")


def _refuse_archives(path: Path) -> None:
    """Name the other things that are spelt like a PyTorch file."""
    import zipfile

    with storage_errors(path), path.open("rb") as handle:
        start = handle.read(16)
    if start[8:9] == b"{":
        raise EmbedderError(f"{path} is a safetensors file", todo="rename it to end in .safetensors")
    if not start.startswith(b"PK"):
        return
    if not zipfile.is_zipfile(path):
        raise EmbedderError(f"{path} is cut short: the end of its archive is missing", todo="copy or download it again")
    with zipfile.ZipFile(path) as archive:
        names = [name.split("/", 1)[-1] for name in archive.namelist()]
    if "constants.pkl" in names:
        raise EmbedderError(
            f"{path} is a TorchScript archive, which carries code", "a state dict and its config", CONVERT
        )
    if "archive_format" in names or any(
        name.endswith(("exported_program.json", "models/model.json")) for name in names
    ):
        raise EmbedderError(
            f"{path} is a torch.export archive, which can carry pickles", "a state dict and its config", CONVERT
        )
    if "data.pkl" not in names:
        raise EmbedderError(f"{path} is an archive of something else than a model", "what torch.save writes", CONVERT)


def _describe(content: object) -> str:
    """Say what was found in a file that is safe to read but not of our format."""
    import torch

    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    if content and all(isinstance(value, torch.Tensor) for value in content.values()):
        return f"a bare state dict of {len(content)} tensors, without the architecture they belong to"
    if "pytorch-lightning_version" in content:
        return "a Lightning checkpoint"
    if "state_dict" in content or "model" in content:
        return f"a training checkpoint with the entries {', '.join(sorted(map(str, content))[:6])}"
    return f"a dictionary of {len(content)} entries and no entry 'format'"
