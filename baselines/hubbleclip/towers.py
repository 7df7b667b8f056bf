"""Towers of CLIP models as open_clip builds them: a published model's by its name, or small ones by their sizes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from astroclip_bench.errors import EmbedderError
from astroclip_bench.plugins import suggest
from astroclip_bench.timm_compat import import_open_clip

PUBLISHED = "ViT-B-16-quickgelu"
"""ViT-B/16 with the activation of OpenAI's weights."""

Part = Literal["visual", "text"]
SIZES: Mapping[Part, str] = {"visual": "vision_cfg", "text": "text_cfg"}


def tower_sizes(part: Part, model: str, sizes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return open_clip's configuration of a tower: ``embed_dim``, ``quick_gelu`` and the part's own table.

    Parameters
    ----------
    model
        A name of open_clip's.
    sizes
        Replaces the configuration of that name where given.

    Raises
    ------
    EmbedderError
        If open_clip has no such model, or `sizes` lacks a key.
    """
    open_clip = import_open_clip()
    found = open_clip.get_model_config(model) if sizes is None else sizes
    if found is None:
        raise EmbedderError(f"open_clip has no model {model!r}", todo=suggest(model, open_clip.list_models()))
    for key in ("embed_dim", SIZES[part]):
        if key not in found:
            raise EmbedderError(f"the sizes of a CLIP tower lack {key!r}", f"embed_dim and {SIZES[part]}")
    return {
        "embed_dim": found["embed_dim"],
        "quick_gelu": found.get("quick_gelu", False),
        SIZES[part]: dict(found[SIZES[part]]),
    }


def clip_tower(part: Part, model: str, pretrained: str | bool, sizes: Mapping[str, Any] | None) -> Any:
    """Return one tower of a CLIP model, its projection to the shared space included.

    Parameters
    ----------
    part
        ``visual`` or ``text``.
    model, sizes
        As `tower_sizes` takes them.
    pretrained
        Tag of published weights (``openai``); fresh ones where empty.

    Raises
    ------
    EmbedderError
        If there is no such model, its sizes do not fit, or its weights cannot be had.
    """
    config = tower_sizes(part, model, sizes)
    if pretrained:
        return getattr(_published(model, str(pretrained)), part)
    source = import_open_clip().model
    build, kind = {
        "visual": (source._build_vision_tower, source.CLIPVisionCfg),
        "text": (source._build_text_tower, source.CLIPTextCfg),
    }[part]
    try:
        return build(config["embed_dim"], kind(**config[SIZES[part]]), config["quick_gelu"])
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # open_clip and timm check as they go
        raise EmbedderError(f"open_clip cannot make a {part} tower of {config}: {error}") from error


def _published(model: str, tag: str) -> Any:
    """Return a published CLIP model with a text tower of its own."""
    open_clip = import_open_clip()
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise EmbedderError(f"open_clip has no weights {tag!r} of {model!r}", todo=suggest(tag, tags))
    quick = bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu"))
    if quick != bool(open_clip.get_model_config(model).get("quick_gelu")):
        fitting = f"{model}-quickgelu" if quick else model.removesuffix("-quickgelu")
        raise EmbedderError(f"weights {tag!r} have another activation than {model!r}", f"model {fitting!r}")
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what it logs is said in the error
    try:
        return open_clip.create_model(model, pretrained=tag, force_custom_text=True)
    except Exception as error:  # of the network, the Hub's client or the file: there is no common kind
        reason = next(iter(str(error).splitlines()), type(error).__name__).partition(". ")[0]
        raise EmbedderError(
            f"weights {tag!r} of {model!r} cannot be had: {reason}",
            todo="fetch them once where there is a network (they stay in the cache), or set pretrained = false",
        ) from error
    finally:
        logging.disable(before)
