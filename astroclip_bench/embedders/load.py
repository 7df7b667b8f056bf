"""From what a user types to an embedder."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from astroclip_bench.embedders.builtin import BUILTIN
from astroclip_bench.embedders.protocol import Embedder, require_embedder
from astroclip_bench.embedders.stored import holds_stored, read_stored
from astroclip_bench.embedders.torch_embedder import DTYPES, load_torch_model
from astroclip_bench.embedders.weights import TORCH_SUFFIXES
from astroclip_bench.errors import BenchError, EmbedderError
from astroclip_bench.plugins import load_plugin, plugin_names, suggest

MODELS_GROUP = "models"
SCHEMES_GROUP = "schemes"
"""Entry points of prefixes: ``prefix:rest`` is what the registered function makes of ``rest``, `device` and `dtype`."""

STORED_SUFFIXES = (".parquet", ".npz")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors", ".onnx", *STORED_SUFFIXES)
HUB_FILES = ("model.safetensors", "model.pt")

_HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_WAYS = f"a file ({' '.join(SUFFIXES)}), hf://organisation/name@revision, module:factory of your own code, or one of the names"


def embedder_names() -> list[str]:
    """Return the names `load_embedder` knows: bundled models and built-in embedders."""
    return sorted({*BUILTIN, *plugin_names(MODELS_GROUP)})


def load_embedder(spec: str, *, device: str = "cpu", dtype: str = "float32") -> Embedder:
    """Return the embedder that `spec` stands for.

    Parameters
    ----------
    spec
        A model file (``.pt``, ``.safetensors``, ``.onnx``) or a file of precomputed embeddings (``.parquet``,
        ``.npz``, ``.safetensors``); ``hf://org/name@revision``, optionally with ``/file``; ``module:factory``, which is
        imported and called (code of your own: the only way that runs any); a registered prefix and what it makes
        models of (``timm:resnet18``); or a name of `embedder_names`. A file that exists goes before a name.
    device
        What torch calls it: ``cpu``, ``cuda``, ``cuda:1``.
    dtype
        ``float32`` or ``bf16``: the arithmetic of torch models. The others have one of their own.

    Raises
    ------
    EmbedderError
        If it cannot be found, read safely, or breaks the protocol.
    MissingExtraError
        If it needs a package that is not installed.
    """
    if dtype not in DTYPES:
        raise EmbedderError(f"dtype {dtype!r}", " or ".join(DTYPES))
    path = Path(spec).expanduser()
    if path.is_file():
        return _load_file(path, _file_name(path), device, dtype)
    if spec in BUILTIN:
        return BUILTIN[spec]()
    if spec in plugin_names(MODELS_GROUP):
        return _load_bundled(spec, device, dtype)
    prefix, colon, rest = spec.partition(":")
    if colon and prefix in plugin_names(SCHEMES_GROUP):
        factory = load_plugin(SCHEMES_GROUP, prefix)
        return _call_factory(partial(factory, rest), spec, device, dtype)
    if spec.startswith("hf://"):
        return _load_file(_download(spec), spec, device, dtype)
    if _FACTORY.fullmatch(spec):
        return _load_factory(spec, device, dtype)
    if path.is_dir():
        raise EmbedderError(f"{path} is a folder", "a model file", "name the file inside it")
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise EmbedderError(f"{path}: no such file", todo="check the path")
    raise EmbedderError(
        f"unknown model {spec!r}", f"{_WAYS} {', '.join(embedder_names())}", suggest(spec, embedder_names())
    )


def _load_file(path: Path, name: str, device: str, dtype: str) -> Embedder:
    suffix = path.suffix.lower()
    if suffix in STORED_SUFFIXES or (suffix == ".safetensors" and holds_stored(path)):
        return read_stored(path, name)
    if suffix in TORCH_SUFFIXES or suffix == ".safetensors":
        return load_torch_model(path, name, device, dtype)
    if suffix == ".onnx":
        from astroclip_bench.embedders.onnx import load_onnx

        if dtype != "float32":
            raise EmbedderError(
                f"{path}: dtype {dtype!r} does not apply to ONNX", "float32, the precision of the graph"
            )
        return load_onnx(path, name, device)
    raise EmbedderError(f"{path}: suffix {path.suffix!r}", " ".join(SUFFIXES))


def _file_name(path: Path) -> str:
    """Return what to call a model file: its stem, or its folder where the stem says nothing."""
    return path.resolve().parent.name or path.stem if path.stem == "model" else path.stem


def _load_bundled(name: str, device: str, dtype: str) -> Embedder:
    found = load_plugin(MODELS_GROUP, name)
    if isinstance(found, str | Path):
        return _load_file(Path(found), name, device, dtype)
    return _call_factory(found, f"model {name!r}", device, dtype)


def _load_factory(spec: str, device: str, dtype: str) -> Embedder:
    module_name, _, path = spec.partition(":")
    try:
        with _working_folder_importable():
            found: Any = importlib.import_module(module_name)
    except Exception as error:  # somebody else's code
        raise EmbedderError(
            f"{spec}: module {module_name!r} cannot be imported: {type(error).__name__}: {error}",
            todo="check its name, and that it is installed or in the working folder",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")]
            raise EmbedderError(f"{spec}: {module_name!r} has no {path!r}", todo=suggest(part, names))
        found = getattr(found, part)
    return _call_factory(found, spec, device, dtype)


def _call_factory(factory: Any, where: str, device: str, dtype: str) -> Embedder:
    """Call a factory with those of `device` and `dtype` it accepts, and check what it gives."""
    if not callable(factory):
        raise EmbedderError(
            f"{where} is of type {type(factory).__name__}", "a function or class that returns an embedder"
        )
    try:
        made = factory(**_accepted(factory, device=device, dtype=dtype))
    except BenchError:
        raise
    except Exception as error:  # somebody else's code
        raise EmbedderError(f"{where} raised {type(error).__name__}: {error}", "an embedder") from error
    return require_embedder(made, where)


def _accepted(factory: Callable[..., Any], **options: str) -> dict[str, str]:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some callables written in C have no signature
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Let the user's own modules be imported from the working folder, as ``python -m`` does."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _download(spec: str) -> Path:
    """Return the local copy of a model file on the Hugging Face Hub."""
    from huggingface_hub import errors, hf_hub_download

    match = _HUB.fullmatch(spec)
    if match is None:
        raise EmbedderError(
            f"{spec!r} is no address of a model", "hf://organisation/name@revision, optionally with /file"
        )
    repo, revision = match["repo"], unquote(match["revision"]) if match["revision"] else None
    files = (match["file"],) if match["file"] else HUB_FILES
    for file in files:
        try:
            return Path(hf_hub_download(repo, file, revision=revision))
        except errors.LocalEntryNotFoundError as error:
            raise _offline(spec, error) from error
        except errors.EntryNotFoundError:
            continue
        except errors.RevisionNotFoundError as error:
            raise EmbedderError(f"{spec}: {repo} has no revision {revision!r}", "a commit, tag or branch") from error
        except errors.GatedRepoError as error:
            raise EmbedderError(
                f"{spec}: access is gated", todo=f"ask for it at https://huggingface.co/{repo}, then run: hf auth login"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise EmbedderError(
                f"{spec}: no such repository, or a private one", todo="check the name, or run: hf auth login"
            ) from error
        except errors.HFValidationError as error:
            raise EmbedderError(f"{spec}: {error}", "hf://organisation/name@revision") from error
        except (OSError, errors.HfHubHTTPError) as error:
            raise _offline(spec, error) from error
    raise EmbedderError(
        f"{spec}: no file {' or '.join(files)} there", todo="name the file: hf://organisation/name@revision/file"
    )


def _offline(spec: str, error: Exception) -> EmbedderError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return EmbedderError(
        f"{spec} cannot be fetched: {reason}", todo="check the network (and HF_HUB_OFFLINE), or name a file you have"
    )
