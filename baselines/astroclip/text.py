"""The text encoder: open_clip's tokenizer and text transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from torch import Tensor

from astroclip_bench.timm_compat import import_open_clip
from baselines.astroclip.encoders import Encoder
from baselines.hubbleclip.towers import PUBLISHED, clip_tower, tower_sizes

CAPTION = "caption"


class TextEncoder(Encoder):
    """A text tower of open_clip's with its projection; the defaults are those of CLIP ViT-B/16 (Radford et al. 2021).

    ``caption`` is a list of n texts, or their tokens (n, context) as `tokenise` gives them. What goes beyond the
    context is cut off.

    Parameters
    ----------
    model
        A name of open_clip's.
    pretrained
        Tag of published weights to start from.
    sizes
        open_clip's own ``embed_dim`` and ``text_cfg``, instead of those of `model`.
    """

    modality = "text"
    columns = (CAPTION,)
    tower: Any

    def __init__(
        self, *, model: str = PUBLISHED, pretrained: str | bool = False, sizes: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        config = tower_sizes("text", model, sizes)
        self.tower = clip_tower("text", model, pretrained, sizes)
        self.tower.output_tokens = True
        self.width, self.dimension = int(self.tower.width), int(config["embed_dim"])
        self.context = int(self.tower.context_length)
        self.strings = {CAPTION: self.tokenise}
        self.preprocessing = f"byte pairs of CLIP, {self.context} tokens"

    def tokenise(self, texts: Sequence[str]) -> Tensor:
        """Return int64 tokens (n, context) of n texts, on the CPU."""
        tokens: Tensor = _tokenizer()(list(texts), context_length=self.context)
        return tokens

    def tokens(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the tokens (n, context, width) of ``caption``; those after the end of a text see all of it."""
        _, tokens = self._run(batch)
        return tokens

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the projected last token (n, dimension) of ``caption``."""
        vectors, _ = self._run(batch)
        return vectors

    def _run(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        captions = batch[CAPTION]
        numbers = captions if isinstance(captions, Tensor) else self.tokenise(captions)
        vectors, tokens = self.tower(numbers.to(self.tower.positional_embedding.device))
        return vectors, tokens


@cache
def _tokenizer() -> Any:
    return import_open_clip().SimpleTokenizer()
