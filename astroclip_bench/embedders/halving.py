"""Batches that shrink until they fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from astroclip_bench.embedders.protocol import Arrays, Embedder, Vectors
from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import Modality

log = logging.getLogger(__name__)

Ask = Callable[[Embedder, Arrays, Modality, list[str] | None], Vectors]
"""What is asked of a model for a batch: `embed_arrays` or `predict_arrays`."""


class Halving:
    """Asks a model about a batch, in pieces that are halved whenever memory runs out.

    Parameters
    ----------
    ask
        What is asked.
    size
        Objects of a piece at first.
    """

    def __init__(self, ask: Ask, embedder: Embedder, size: int) -> None:
        self.ask, self.embedder, self.size = ask, embedder, size

    def __call__(self, arrays: Arrays, modality: Modality, object_ids: list[str]) -> Vectors:
        """Return the answers (n, d) for n objects.

        Raises
        ------
        EmbedderError
            If memory runs out with a single object.
        """
        pieces: list[Vectors] = []
        start = 0
        while start < len(object_ids):
            rows = slice(start, start + self.size)
            piece = {name: array[rows] for name, array in arrays.items()}
            try:
                pieces.append(self.ask(self.embedder, piece, modality, object_ids[rows]))
                start += self.size
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                self._halve(error)
        return np.concatenate(pieces)

    def _halve(self, error: Exception) -> None:
        if self.size == 1:
            raise EmbedderError(
                f"{self.embedder.info.name!r} runs out of memory with a single object",
                todo="use a smaller model or another --device",
            ) from error
        self.size //= 2
        log.warning("out of memory; the batch size is now %d", self.size)
        if "cuda" in str(getattr(self.embedder, "device", "")):
            import torch

            torch.cuda.empty_cache()


def _out_of_memory(error: Exception) -> bool:
    """Say whether it is numpy's, torch's (a RuntimeError), or CUDA's way to run out of memory."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
