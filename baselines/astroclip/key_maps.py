"""What the authors' files are called inside: their key names beside ours, what of them is unused, and the sizes.

One `Layout` a published model. A rename is a pair of templates: ``{n}`` stands for a number, ``{p}`` for weight or
bias, ``{rest}`` for anything, and ``{chunk}``, ``{nest}`` and ``{wrap}`` for parts of a name that files may have or lack.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from astroclip_bench.errors import EmbedderError

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
Rename = tuple[str, str]

HYPER_PARAMETERS = "hyper_parameters"
"""Entry of a Lightning checkpoint beside its weights."""

FIELDS = {
    "n": r"\d+",
    "p": "weight|bias",
    "rest": ".+",
    "chunk": r"(?:\d+\.)?",
    "nest": r"(?:mlp\.)?",
    "wrap": r"(?:module\.)?(?:backbone\.)?",
}
OPTIONAL = {"chunk": "", "nest": "", "wrap": ""}

SPECFORMER_HEAD_WIDTH = 128
"""Width of one attention head where a file does not tell: 768 in 6 heads."""
DINO_HEAD_WIDTH = 64
"""Of every DINOv2 transformer: 1024 in 16 heads."""
RESNETS: Mapping[tuple[int, ...], str] = {
    (2, 2, 2, 2): "resnet26",
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
}
"""Bottlenecks in the four stages -> timm's name."""
PUBLISHED_RESNET = "resnet50"
"""What a file of other stages is compared with, and refused by its keys."""

DINO: tuple[Rename, ...] = (
    ("cls_token", "cls_token"),
    ("pos_embed", "pos_embed"),
    ("patch_embed.proj.{p}", "patch_embed.proj.{p}"),
    ("blocks.{chunk}{n}.norm1.{p}", "blocks.{n}.norm1.{p}"),
    ("blocks.{chunk}{n}.attn.qkv.{p}", "blocks.{n}.attn.qkv.{p}"),
    ("blocks.{chunk}{n}.attn.proj.{p}", "blocks.{n}.attn.proj.{p}"),
    ("blocks.{chunk}{n}.ls1.gamma", "blocks.{n}.ls1.gamma"),
    ("blocks.{chunk}{n}.norm2.{p}", "blocks.{n}.norm2.{p}"),
    ("blocks.{chunk}{n}.mlp.fc1.{p}", "blocks.{n}.mlp.fc1.{p}"),
    ("blocks.{chunk}{n}.mlp.fc2.{p}", "blocks.{n}.mlp.fc2.{p}"),
    ("blocks.{chunk}{n}.ls2.gamma", "blocks.{n}.ls2.gamma"),
    ("norm.{p}", "norm.{p}"),
)
SPECFORMER: tuple[Rename, ...] = (
    ("data_embed.{p}", "embed.{p}"),
    ("position_embed.weight", "position"),
    ("blocks.{n}.layernorm1.{p}", "blocks.{n}.norm1.{p}"),
    ("blocks.{n}.attention.attention.{p}", "blocks.{n}.attn.qkv.{p}"),
    ("blocks.{n}.attention.projection.{p}", "blocks.{n}.attn.proj.{p}"),
    ("blocks.{n}.layernorm2.{p}", "blocks.{n}.norm2.{p}"),
    ("blocks.{n}.mlp.encoder.{p}", "blocks.{n}.mlp.fc1.{p}"),
    ("blocks.{n}.mlp.decoder.{p}", "blocks.{n}.mlp.fc2.{p}"),
    ("final_layernorm.{p}", "norm.{p}"),
    ("head.{p}", "head.{p}"),
)
HEAD: tuple[Rename, ...] = (
    ("cross_attention.query", "query"),
    ("cross_attention.multihead_attn.{rest}", "attention.{rest}"),
    ("cross_attention.layernorm.{p}", "norm.{p}"),
    ("mlp.encoder.{p}", "mlp.0.{p}"),
    ("mlp.decoder.{p}", "mlp.2.{p}"),
)
SPENDER: tuple[Rename, ...] = (
    ("conv1.{n}.{p}", "convolutions.0.{n}.{p}"),
    ("conv2.{n}.{p}", "convolutions.1.{n}.{p}"),
    ("conv3.{n}.{p}", "convolutions.2.{n}.{p}"),
    ("mlp.{nest}{n}.{p}", "mlp.{n}.{p}"),
)
STEIN: tuple[Rename, ...] = (
    ("conv1.weight", "conv1.weight"),
    ("bn1.{rest}", "bn1.{rest}"),
    ("layer{n}.{rest}", "layer{n}.{rest}"),
)


def _within(theirs: str, ours: str, renames: tuple[Rename, ...]) -> tuple[Rename, ...]:
    """Return the renames with a prefix on either side."""
    return tuple((theirs + old, ours + new) for old, new in renames)


class MissingKeyError(KeyError):
    """A weight, by our name, that a model's sizes are read off and that the file does not have."""


@dataclass(frozen=True)
class Layout:
    """How the file of one published model is laid out.

    Parameters
    ----------
    title
        The model and its reference.
    mark
        Regular expression of a key that this model's files alone have.
    architecture
        Registered name of what is written.
    renames
        Their key -> ours.
    unused
        (regular expression of keys that are left out, why).
    configure
        From our state dict and the file's hyper-parameters to the configuration.
    kept
        Quirks of the published model that the configuration keeps.
    trim
        From our state dict to the one that fits, with a word on each weight cut.
    """

    title: str
    mark: str
    architecture: str
    renames: tuple[Rename, ...]
    unused: tuple[tuple[str, str], ...]
    configure: Callable[[State, Mapping[str, Any]], dict[str, Any]]
    kept: tuple[str, ...] = ()
    trim: Callable[[dict[str, Tensor]], Iterator[str]] = lambda _: iter(())

    def ours(self, key: str) -> str | None:
        """Return our name of one of their keys."""
        return next((ours for old, new in self.renames if (ours := _translate(key, old, new))), None)

    def theirs(self, key: str) -> str:
        """Return their name of one of our keys (ours again if there is none)."""
        return next((theirs for old, new in self.renames if (theirs := _translate(key, new, old))), key)

    def why_unused(self, key: str) -> str | None:
        """Return why a key of theirs is left out."""
        return next((why for pattern, why in self.unused if re.fullmatch(pattern, key)), None)


def _translate(key: str, source: str, target: str) -> str | None:
    """Return `key` in the spelling of `target` if it is of the template `source`."""
    pieces = re.split(r"\{(\w+)\}", source)
    pattern = "".join(
        f"(?P<{piece}>{FIELDS[piece]})" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)
    )
    match = re.fullmatch(pattern, key)
    return target.format(**OPTIONAL | match.groupdict()) if match else None


def _shape(state: State, name: str) -> tuple[int, ...]:
    if name not in state:
        raise MissingKeyError(name)
    return tuple(state[name].shape)


def _count(state: State, pattern: str) -> int:
    """Return one more than the largest number that the pattern's group has in any key."""
    return 1 + max((int(match[1]) for name in state if (match := re.match(pattern, name))), default=-1)


def _heads(width: int, head_width: int) -> int:
    """Return the number of attention heads of the published width, which no weight tells."""
    if width % head_width:
        raise EmbedderError(
            f"the file does not tell how many attention heads share its width of {width}",
            f"heads of {head_width}, as published, or a checkpoint whose {HYPER_PARAMETERS} hold num_heads",
        )
    return width // head_width


def _specformer(state: State, prefix: str, hyper: Mapping[str, Any]) -> dict[str, Any]:
    width, values = _shape(state, f"{prefix}embed.weight")
    told = {name: value for name, value in hyper.items() if isinstance(value, int)}
    length = told.get("slice_section_length", values - 2)
    return {
        "name": "specformer",
        "width": width,
        "depth": _count(state, re.escape(prefix) + r"blocks\.(\d+)\."),
        "heads": told.get("num_heads") or _heads(width, SPECFORMER_HEAD_WIDTH),
        "length": length,
        "overlap": told.get("slice_overlap", length // 2),
        "positions": _shape(state, f"{prefix}position")[0],
    }


def _dino(state: State, prefix: str, *, aligned: bool) -> dict[str, Any]:
    width, _, _, patch = _shape(state, f"{prefix}patch_embed.proj.weight")
    patches = math.isqrt(_shape(state, f"{prefix}pos_embed")[1] - 1)
    return {
        "name": "vit",
        "backbone": "vit_large_patch14_dinov2",
        "patch": patch,
        "width": width,
        "depth": _count(state, re.escape(prefix) + r"blocks\.(\d+)\."),
        "heads": _heads(width, DINO_HEAD_WIDTH),
        "crop": patch * patches,
        "transform": "dr2_rgb",
        "layer_scale": 1e-5 if f"{prefix}blocks.0.ls1.gamma" in state else None,
        "bare_tokens": aligned,
        "swap_axes": aligned,
    }


def _astroclip(state: State, hyper: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dimension": _shape(state, "heads.image.query")[2],
        "encoders": {
            "image": _dino(state, "encoders.image.backbone.", aligned=True),
            "spectrum": _specformer(state, "encoders.spectrum.", {}),
        },
        "heads": {
            "image": {"name": "cross-attention", "residual": False},
            "spectrum": {"name": "cross-attention", "residual": True},
        },
        "frozen": ["image", "spectrum"],
    }


def _stein(state: State, hyper: Mapping[str, Any]) -> dict[str, Any]:
    blocks = tuple(_count(state, rf"encoder\.backbone\.layer{stage}\.(\d+)\.") for stage in range(1, 5))
    return {"encoder": {"name": "stein", "backbone": RESNETS.get(blocks, PUBLISHED_RESNET)}}


def _spender(state: State, hyper: Mapping[str, Any]) -> dict[str, Any]:
    convolutions = [_shape(state, f"encoder.convolutions.{layer}.0.weight") for layer in range(3)]
    sizes = [_shape(state, f"encoder.mlp.{layer}.weight")[0] for layer in (0, 3, 6, 9)]
    kernels = [shape[2] for shape in convolutions]
    return {
        "encoder": {
            "name": "spender",
            "latents": sizes[-1],
            "channels": [shape[0] for shape in convolutions],
            "kernels": kernels,
            "pools": kernels[:-1],
            "hidden": sizes[:-1],
        }
    }


def _drop_redshift(state: dict[str, Tensor]) -> Iterator[str]:
    name = "encoder.mlp.0.weight"
    features = _shape(state, "encoder.convolutions.2.0.weight")[0] // 2
    if _shape(state, name)[1] == features + 1:
        state[name] = state[name][:, :features]
        yield f"input {features + 1} of the first MLP layer (the redshift) dropped"


_MASK_TOKEN = "stands for masked patches in pre-training"

LAYOUTS: Mapping[str, Layout] = {
    "astroclip": Layout(
        title="AstroCLIP (Parker et al. 2024)",
        mark=r"image_encoder\.cross_attention\.query",
        architecture="astroclip",
        renames=(
            *_within("image_encoder.backbone.", "encoders.image.backbone.", DINO),
            *_within("image_encoder.", "heads.image.", HEAD),
            *_within("spectrum_encoder.backbone.", "encoders.spectrum.", SPECFORMER),
            *_within("spectrum_encoder.", "heads.spectrum.", HEAD),
        ),
        unused=(
            (r"image_encoder\.backbone\.mask_token", _MASK_TOKEN),
            (r"logit_scale", "not read by the authors' loss, whose scale is the constant 15.5"),
        ),
        configure=_astroclip,
        kept=(
            "images pass patch embedding, blocks and norm without class token and positions",
            "the image head's MLP has no residual connection, the spectrum head's has one",
            "rows and columns of images are exchanged",
            "images are shown by dr2_rgb and then cropped",
            "attention heads are as wide as the published ones: 64 (image), 128 (spectrum), and 4 in each head",
        ),
    ),
    "specformer": Layout(
        title="SpecFormer (Parker et al. 2024)",
        mark=r"data_embed\.weight",
        architecture="astroclip-encoder",
        renames=_within("", "encoder.", SPECFORMER),
        unused=(),
        configure=lambda state, hyper: {"encoder": _specformer(state, "encoder.", hyper)},
        kept=("the embedding is the mean over all tokens, the statistics among them",),
    ),
    "astrodino": Layout(
        title="AstroDINO (Parker et al. 2024)",
        mark=r"(module\.)?(backbone\.)?patch_embed\.proj\.weight",
        architecture="astroclip-encoder",
        renames=_within("{wrap}", "encoder.backbone.", DINO),
        unused=(
            (r"(module\.)?(backbone\.)?mask_token", _MASK_TOKEN),
            (r"(module\.)?(dino_head|ibot_head)\..+", "head of the self-supervised loss"),
        ),
        configure=lambda state, hyper: {"encoder": _dino(state, "encoder.backbone.", aligned=False)},
        kept=("the embedding is the class token", "attention heads are 64 wide, as in every DINOv2 transformer"),
    ),
    "stein": Layout(
        title="Stein et al. (2021)",
        mark=r"encoder_q\.conv1\.weight",
        architecture="astroclip-encoder",
        renames=_within("encoder_q.", "encoder.backbone.", STEIN),
        unused=(
            (r"encoder_q\.fc\..+", "projection of the contrastive loss: the embedding is its input"),
            (r"encoder_k\..+", "momentum copy of the encoder"),
            (r"(val_)?queue(_ptr)?", "queue of negatives"),
        ),
        configure=_stein,
        kept=("the embedding is the pooled output, before fc",),
    ),
    "spender": Layout(
        title="Spender (Melchior et al. 2023)",
        mark=r"encoder\.conv1\.0\.weight",
        architecture="astroclip-encoder",
        renames=_within("encoder.", "encoder.", SPENDER),
        unused=(
            (r"decoder\..+", "decoder"),
            (r"(encoder\.)?instrument\..+", "instrument: wavelengths, sky lines, line spread"),
            (r"encoder\.conv[123]w\..+", "weights branch, which the authors' encoder leaves out without weights"),
        ),
        configure=_spender,
        trim=_drop_redshift,
    ),
}
"""Kind -> layout."""
