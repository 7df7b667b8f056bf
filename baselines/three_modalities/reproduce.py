"""Image, spectrum and text in one space, from data to the scores of all nine directions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.systems.system import Outcome, Scale

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset

RECIPES: Mapping[Scale, str] = {"mini": "three-modalities", "published": "three-modalities-large"}


def reproduce(dataset: BenchDataset, out: Path, *, scale: Scale, device: str = "cpu", quiet: bool = False) -> Outcome:
    """Train the model, score it beside the one of two modalities that it starts from, and draw it; see `Outcome`."""
    from astroclip_bench.figure_style import save_figure
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip import BUNDLED
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.scored import RESULT, score_model
    from baselines.astroclip.train import MODEL, run_recipe
    from baselines.three_modalities.figures import draw_directions

    show = partial(progress_bar, quiet=quiet)
    run_recipe(read_recipe(RECIPES[scale]), dataset, out, quiet=quiet)
    before = out / "astroclip-mini" / RESULT
    before.parent.mkdir(parents=True, exist_ok=True)
    result = score_model(out / MODEL, dataset, out / RESULT, device=device, show_progress=show)
    score_model(BUNDLED, dataset, before, device=device, show_progress=show, floors=False)
    (out / "figures").mkdir(exist_ok=True)
    figure = save_figure(draw_directions(result), out / "figures" / "figure-1")[0]
    return Outcome({"three modalities": out / RESULT, "image and spectrum alone": before}, (figure,))
