"""The authors' published weights as model files of this project: ``astroclip-bench convert FILE --out model.pt``.

A file is read with ``weights_only=True`` alone. Every key of its state dict becomes a weight of ours, or is named as
unused with the reason; a key that is neither is an error, as is a weight of ours that no key gives.
"""

from __future__ import annotations

import re
import shlex
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.key_maps import HYPER_PARAMETERS, LAYOUTS, Layout, MissingKeyError

if TYPE_CHECKING:
    from torch import Tensor, nn

ENTRIES = ("state_dict", "teacher", "model")
"""Where training checkpoints keep their weights: Lightning, DINOv2's evaluation file, Spender."""
PLAIN_DICTIONARIES = (
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
"""Lightning's dictionaries of hyper-parameters. They are read as plain ones; Lightning is neither needed nor imported."""
RESAVE = (
    "import sys, torch; c = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    f"torch.save({{k: c[k] for k in {ENTRIES} if k in c}}, sys.argv[2])"
)
OWN_WEIGHTS = ("log_scale",)
"""Weights that follow from the configuration: the loss's scale, a constant in the published model."""
N_SHOWN = 3
SAMPLE_ROWS = 2


@dataclass(frozen=True)
class Conversion:
    """What became of a file.

    Parameters
    ----------
    kind
        One of `LAYOUTS`.
    used
        Their key -> ours.
    unused
        Their key -> why it was left out.
    entries
        What the file holds beside the weights and was not read (optimiser states, epochs).
    config
        Of the architecture that was written.
    notes
        Weights that were cut, and quirks of the published model that are kept.
    """

    kind: str
    path: Path
    used: Mapping[str, str]
    unused: Mapping[str, str]
    entries: tuple[str, ...]
    config: Mapping[str, Any]
    notes: tuple[str, ...]


def convert(path: Path | str, out: Path | str, kind: str | None = None) -> Conversion:
    """Write the model file of a published checkpoint.

    Parameters
    ----------
    path
        The authors' file.
    out
        The model file to write (``.pt`` or ``.safetensors``); written only if it loads and gives finite embeddings.
    kind
        One of `LAYOUTS`; guessed from the keys if None.

    Raises
    ------
    EmbedderError
        If the file is a pickle that asks for code, is of no known layout, or has a key, or lacks one, that its layout
        does not allow; the message names it.
    """
    path, out = Path(path), Path(out)
    if out.resolve() == path.resolve():
        raise EmbedderError(f"{out} is the authors' file itself", todo="name another --out")
    content = read_checkpoint(path)
    entry, weights = _weights(content, path)
    kind = _require_kind(kind, weights, path)
    layout = LAYOUTS[kind]
    used, unused = _sort_keys(weights, layout, path)
    state = {new: _float32(weights[old]) for old, new in used.items()}
    hyper = content.get(HYPER_PARAMETERS)
    try:
        cut = tuple(layout.trim(state))
        config = layout.configure(state, hyper if isinstance(hyper, Mapping) else {})
    except MissingKeyError as error:
        raise _missing([error.args[0]], layout, path) from error
    module = _fitting_module(config, state, layout, path)
    _write(module, layout.architecture, out)
    entries = tuple(str(name) for name in content if entry is not None and name not in (entry, HYPER_PARAMETERS))
    return Conversion(kind, out, used, unused, entries, config, (*cut, *layout.kept))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint without running anything it holds.

    Raises
    ------
    EmbedderError
        If it is missing or damaged, or a pickle that asks to import other than tensors and plain values: the message
        lists what it asks for, and gives the command that writes its weights again.
    """
    import pickle

    import torch

    from astroclip_bench.embedders.pickles import refused_globals
    from astroclip_bench.embedders.weights import require_file

    require_file(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    try:
        with torch.serialization.safe_globals([(OrderedDict, name) for name in PLAIN_DICTIONARIES]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = [name for name in refused_globals(path) if name not in PLAIN_DICTIONARIES]
        if not names:
            raise _unreadable(path, error) from error
        command = f"python -c {shlex.quote(RESAVE)} {shlex.quote(str(path))} plain.pt"
        raise EmbedderError(
            f"{path} is a pickle that asks to import {', '.join(names)}; it was not loaded",
            "tensors and plain values only",
            f"where you trust the file and have these packages, write its weights again ({command}) and convert plain.pt",
        ) from error
    except Exception as error:  # torch raises whatever a damaged file leads it to
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise EmbedderError(f"{path} holds a {type(content).__name__}", "a checkpoint: a dictionary")
    return content


def _unreadable(path: Path, error: Exception) -> EmbedderError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return EmbedderError(f"{path} is not a readable PyTorch file: {reason}", todo="copy or download it again")


def _weights(content: Mapping[str, Any], path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """Return the entry that holds the state dict (None if the file is one), and the state dict."""
    import torch

    entry = next((name for name in ENTRIES if name in content), None)
    found = content if entry is None else content[entry]
    if isinstance(found, list | tuple) and found:
        found = found[0]  # Spender's files of several models: its authors read the first
    if not isinstance(found, Mapping) or not found or not all(isinstance(x, torch.Tensor) for x in found.values()):
        where = "the file" if entry is None else f"its entry {entry!r}"
        raise EmbedderError(
            f"{path}: {where} is no state dict", f"tensors by name, or one of the entries {', '.join(ENTRIES)}"
        )
    return entry, {str(name): value for name, value in found.items()}


def _require_kind(kind: str | None, weights: Mapping[str, Tensor], path: Path) -> str:
    from astroclip_bench.plugins import suggest

    if kind is not None:
        if kind not in LAYOUTS:
            raise EmbedderError(f"unknown kind {kind!r}", todo=suggest(kind, LAYOUTS))
        return kind
    found = [name for name, layout in LAYOUTS.items() if any(re.fullmatch(layout.mark, key) for key in weights)]
    if len(found) != 1:
        raise EmbedderError(
            f"{path} has the keys of {' and '.join(found) or 'no published model known here'}: {_some(list(weights))}",
            f"the files of {', '.join(LAYOUTS)}",
            "name the model with --kind",
        )
    return found[0]


def _sort_keys(weights: Mapping[str, Tensor], layout: Layout, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return which keys are used (theirs -> ours) and which are not (theirs -> why)."""
    unused = {key: why for key in weights if (why := layout.why_unused(key))}
    used = {key: ours for key in weights if key not in unused and (ours := layout.ours(key))}
    sources: dict[str, str] = {}
    for key, ours in used.items():
        if sources.setdefault(ours, key) != key:
            raise EmbedderError(f"{path}: keys {sources[ours]!r} and {key!r} are the same weight", "one of them")
    unknown = [key for key in weights if key not in used and key not in unused]
    if unknown:
        raise EmbedderError(
            f"{path}: {len(unknown)} keys that {layout.title} does not have ({_some(unknown)})",
            "keys that are used, or known to be unused",
            "check --kind",
        )
    return used, unused


def _fitting_module(config: Mapping[str, Any], state: dict[str, Tensor], layout: Layout, path: Path) -> nn.Module:
    """Return the module of a configuration with these weights, every one of which it has and needs."""
    from astroclip_bench.embedders.weights import load_weights
    from baselines.astroclip import alignment, architecture

    build = {made.ARCHITECTURE: made.build for made in (alignment, architecture)}
    module: nn.Module = build[layout.architecture](config)
    own = module.state_dict()
    missing = [name for name in own if name not in state and name not in OWN_WEIGHTS]
    if missing:
        raise _missing(missing, layout, path)
    load_weights(module, {**{name: own[name] for name in OWN_WEIGHTS if name in own}, **state}, str(path))
    return module


def _write(module: nn.Module, architecture: str, out: Path) -> None:
    """Write the model file, once what was written gives finite embeddings."""
    from astroclip_bench.embedders.weights import save_model
    from astroclip_bench.files import storage_errors

    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            version, config = int(module.version), dict(module.config)  # type: ignore[arg-type]
            written = save_model(Path(folder) / out.name, architecture, version, config, module.state_dict())
            _require_finite(written)
            written.replace(out)


def _require_finite(path: Path) -> None:
    """Raise `EmbedderError` unless a model file loads and gives finite embeddings of made-up galaxies."""
    from astroclip_bench.embedders.embed import embed_arrays
    from astroclip_bench.embedders.load import load_embedder
    from astroclip_bench.embedders.samples import take_samples

    embedder = load_embedder(str(path))
    for sample in take_samples(None, embedder.info.modalities, SAMPLE_ROWS):
        embed_arrays(embedder, sample.arrays, sample.modality)


def _missing(names: Sequence[str], layout: Layout, path: Path) -> EmbedderError:
    return EmbedderError(
        f"{path} lacks {len(names)} keys of {layout.title} ({_some([layout.theirs(name) for name in names])})",
        "all its weights",
        "check --kind, and that the file is whole",
    )


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:N_SHOWN]) + (", ..." if len(names) > N_SHOWN else "")


def convert_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The authors' file (.ckpt, .pth, .pt, .safetensors).")],
    out: Annotated[Path, typer.Option(help="Model file to write: model.pt or model.safetensors.")],
    kind: Annotated[
        str | None, typer.Option(help=f"{', '.join(LAYOUTS)}; guessed from the keys if left out.", show_default=False)
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="List every key and what became of it.")] = False,
) -> None:
    """Convert published weights (AstroCLIP, SpecFormer, AstroDINO, Stein, Spender) to a model file.

    Nothing in the file is run. Every key is used, or named as unused.

    \b
    Examples:
      astroclip-bench convert astroclip.ckpt --out astroclip/model.pt
      astroclip-bench convert spender.desi-edr.galaxyae-b9bc8d12.pt --kind spender --out spender/model.pt --keys
      astroclip-bench evaluate astroclip/model.pt --data DIR
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    done = convert(file, out, kind)
    typer.echo(done.path)
    for line in describe(done, keys=keys):
        typer.echo(line, err=True)


def describe(done: Conversion, *, keys: bool = False) -> Iterator[str]:
    """Yield what became of a file, line by line; with `keys`, every one of them."""
    yield f"{LAYOUTS[done.kind].title}: {len(done.used)} keys used, {len(done.unused)} unused"
    for why in dict.fromkeys(done.unused.values()):
        names = [name for name, reason in done.unused.items() if reason == why]
        yield f"unused, {why}: {', '.join(names) if keys else f'{len(names)} keys ({_some(names)})'}"
    if done.entries:
        yield f"beside the weights, not read: {', '.join(done.entries)}"
    yield from (f"kept: {note}" for note in done.notes)
    if keys:
        yield from (f"{theirs} -> {ours}" for theirs, ours in done.used.items())
