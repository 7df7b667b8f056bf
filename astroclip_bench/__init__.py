"""Score any embedder of galaxy images, spectra and photometry.

The names below are imported when they are first used, so that ``import astroclip_bench`` costs nothing.

>>> from astroclip_bench import evaluate, load_embedder, open_dataset
>>> result = evaluate(load_embedder("model.pt"), open_dataset("mock-mini"))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astroclip_bench.datasets import open_dataset
    from astroclip_bench.embedders import (
        Embedder,
        EmbedderInfo,
        check_embedder,
        embed_split,
        load_embedder,
        save_model,
    )
    from astroclip_bench.evaluation import evaluate
    from astroclip_bench.results.record import Result, Score, read_result, write_result
    from astroclip_bench.tasks.task import Task

__version__ = "0.1.0"

__all__ = [
    "Embedder",
    "EmbedderInfo",
    "Result",
    "Score",
    "Task",
    "check_embedder",
    "embed_split",
    "evaluate",
    "load_embedder",
    "open_dataset",
    "read_result",
    "save_model",
    "write_result",
]

_HOMES = {
    "datasets": ("open_dataset",),
    "embedders": ("Embedder", "EmbedderInfo", "check_embedder", "embed_split", "load_embedder", "save_model"),
    "evaluation": ("evaluate",),
    "results.record": ("Result", "Score", "read_result", "write_result"),
    "tasks.task": ("Task",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"astroclip_bench.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
