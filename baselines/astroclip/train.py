"""The command that runs a recipe: ``astroclip-bench train``, or ``torchrun -m baselines.astroclip.train``.

Each stage has a folder in --out with its checkpoints, log and ``model.pt``; the last one's model is that of the run.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from astroclip_bench.errors import UserError
from astroclip_bench.files import atomic_path, digest_strings, write_json

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset, SplitView
    from baselines.astroclip.config import Recipe, StageSettings
    from baselines.astroclip.engine import Stage

MODEL, DONE = "model.pt", "done.json"


@dataclass(frozen=True)
class Kind:
    """Where a kind of stage lives: a module, the settings and the class in it, and what the class takes beside them."""

    module: str
    settings: str
    stage: str
    takes: tuple[Literal["models", "steps", "galaxies"], ...] = ()


KINDS = {
    "align": Kind("baselines.astroclip.align", "AlignSettings", "AlignStage", ("models",)),
    "align-text": Kind("baselines.hubbleclip.stage", "AlignTextSettings", "AlignTextStage", ("models",)),
    "autoencoder": Kind("baselines.spender.stage", "AutoencoderSettings", "AutoencoderStage", ("steps",)),
    "dino": Kind("baselines.astroclip.dino", "DinoSettings", "DinoStage", ("steps",)),
    "masked": Kind("baselines.astroclip.masked", "MaskedSettings", "MaskedStage"),
    "moco": Kind("baselines.astroclip.moco", "MocoSettings", "MocoStage"),
    "next-slice": Kind("baselines.astroclip_v1.stage", "NextSliceSettings", "NextSliceStage"),
    "supervised": Kind("baselines.supervised.stage", "SupervisedSettings", "SupervisedStage", ("galaxies", "models")),
}


def train_command(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a recipe, or a TOML file.", show_default=False)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="SECTION.KEY=VALUE", help="Values that replace the recipe's.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Name, folder, or Hub id of a data set; the recipe's if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, logs and model.pt.")] = Path("run"),
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Then score every stage's model, as `evaluate` does, on the same data.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on from the checkpoints in --out, or start anew.")
    ] = True,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if left out.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Train a model from a recipe, stage by stage, up to a model.pt that `evaluate` scores.

    Reads the train split, and the validation split to follow it; never the test split. Killed or interrupted, the
    same command goes on where it was. For several processes or machines, start it with torchrun.

    \b
    Examples:
      astroclip-bench train mini --evaluate
      astroclip-bench train mini --data ./desi_legacy --out run
      astroclip-bench train mini --out run stages.align.train.steps=100 seed=1
      torchrun --nproc-per-node 8 -m baselines.astroclip.train astroclip --data ./desi_legacy --out run
    """  # noqa: D301 - typer reads the backslash
    from baselines.astroclip.config import read_recipe

    chosen = read_recipe(recipe, overrides or [])

    import torch

    from astroclip_bench.cli.common import open_with_progress, say

    if threads is not None:
        torch.set_num_threads(threads)
    dataset = open_with_progress(data or chosen.data.name)
    began = time.monotonic()
    models = run_recipe(chosen, dataset, out, resume=resume, quiet=quiet)
    trained = time.monotonic()
    if models and evaluate:
        _evaluate(models, dataset, quiet)
        say(f"training took {trained - began:,.0f} s, evaluation {time.monotonic() - trained:,.0f} s")
    if models:
        typer.echo(out / MODEL)


def _evaluate(models: Mapping[str, Path], dataset: BenchDataset, quiet: bool) -> None:
    """Score the model of each stage, beside it, and print what the stages reach and all scores of the last one."""
    from functools import partial

    from astroclip_bench.progress import progress_bar
    from astroclip_bench.results.table import render
    from baselines.astroclip.parallel import process_state
    from baselines.astroclip.scored import RESULT, score_model, stage_table

    show, device = partial(progress_bar, quiet=quiet), str(process_state().device)
    results = {
        stage: score_model(path, dataset, path.with_name(RESULT), device=device, show_progress=show)
        for stage, path in models.items()
    }
    typer.echo(render(list(results.values())[-1]))
    typer.echo(f"\nStages, on {dataset.info.name}{' (SIMULATED)' if dataset.info.simulated else ''}:\n")
    typer.echo(stage_table(results))


def run_recipe(
    recipe: Recipe,
    dataset: BenchDataset,
    out: Path,
    *,
    resume: bool = True,
    quiet: bool = False,
    shared: Path | None = None,
) -> dict[str, Path]:
    """Run the stages of a recipe in order, those done before left out.

    Parameters
    ----------
    shared
        Folder of stages that several runs have in common: each is trained once, whichever run comes first. In `out`
        itself if left out.

    Returns
    -------
    models
        Stage -> model file, in order; nothing in all processes but the first.

    Raises
    ------
    UserError
        If a stage is of an unknown kind, or its settings, its data or a checkpoint do not fit.
    """
    from baselines.astroclip.parallel import process_state

    state = process_state()
    models: dict[str, Path] = {}
    for number, settings in enumerate(recipe.stages):
        identity = {"recipe": recipe.digest(settings.name), "data": dataset.digest}
        folder = out / settings.name
        if shared is not None:
            folder = shared / f"{settings.name}-{digest_strings(list(identity.values()))[:12]}"
        if not (resume and _is_done(folder, identity)):
            galaxies = dataset.splits["train"].subsample(recipe.data.limit or sys.maxsize)
            stage = make_stage(settings, models, recipe.seed + number, galaxies)
            _run_stage(recipe, settings, stage, dataset, folder, resume, quiet or not state.is_main_process)
            if state.is_main_process:
                write_json(folder / DONE, identity)
            state.wait_for_everyone()
        models[settings.name] = folder / MODEL
    if not state.is_main_process:
        return {}
    with atomic_path(out / MODEL) as temporary:
        shutil.copyfile(models[recipe.stages[-1].name], temporary)
    return models


def make_stage(settings: StageSettings, models: Mapping[str, Path], seed: int, galaxies: SplitView) -> Stage:
    """Return a stage with fresh weights, or with those of earlier stages where it starts from them.

    Parameters
    ----------
    models
        Name of an earlier stage -> its model file.
    galaxies
        Those to train on: some schedules need their number, some losses the spread of their labels.

    Raises
    ------
    UserError
        If the kind is unknown or a key does not belong to it.
    """
    from importlib import import_module

    import torch

    torch.manual_seed(seed)
    own, kind = kind_settings(settings), KINDS[settings.kind]
    known = {"models": models, "steps": settings.train.length(galaxies.rows), "galaxies": galaxies}
    stage: Stage = getattr(import_module(kind.module), kind.stage)(own, *(known[name] for name in kind.takes))
    return stage


def kind_settings(settings: StageSettings) -> object:
    """Return the keys of a stage that belong to its kind, checked.

    Raises
    ------
    UserError
        If the kind is unknown or a key does not belong to it.
    """
    from importlib import import_module

    from astroclip_bench.plugins import suggest
    from baselines.astroclip.config import settings_from

    where = f"stages.{settings.name}"
    if settings.kind not in KINDS:
        raise UserError(f"{where}.kind = {settings.kind!r}", todo=suggest(settings.kind, KINDS))
    kind = KINDS[settings.kind]
    return settings_from(getattr(import_module(kind.module), kind.settings), settings.own, where)


def _run_stage(
    recipe: Recipe,
    settings: StageSettings,
    stage: Stage,
    dataset: BenchDataset,
    folder: Path,
    resume: bool,
    quiet: bool,
) -> None:
    """Train one stage and write its model file."""
    from astroclip_bench.embedders.weights import save_model
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.data import open_split
    from baselines.astroclip.engine import StageData, train
    from baselines.astroclip.parallel import process_state
    from baselines.astroclip.probe import Probe

    state = process_state()

    splits = []
    strings = getattr(stage, "strings", {})
    for name in ("train", "validation"):
        with progress_bar(f"reading {name}", quiet=quiet or recipe.data.cache == "none") as report:
            splits.append(open_split(dataset, name, stage.columns, recipe.data, state.device, report, strings))
    if prepare := getattr(stage, "prepare", None):
        with progress_bar(f"preparing {settings.name}", quiet=quiet) as report:
            splits = [prepare(split, state.device, report) for split in splits]
    probe = Probe.open(dataset, settings.probe) if settings.probe.every else None
    with progress_bar(settings.name, quiet=quiet) as report:
        train(
            stage,
            StageData(splits[0], splits[1], probe, dataset.digest, recipe.data.ahead),
            settings.train,
            folder,
            seed=recipe.seed,
            recipe_digest=recipe.digest(settings.name),
            probe_every=settings.probe.every,
            resume=resume,
            progress=report,
        )
    architecture, version, config, weights = stage.export()
    whole = {name: _whole(value) for name, value in weights.items()}  # a collective, in every process
    if state.is_main_process:
        save_model(folder / MODEL, architecture, version, config, whole)


def _whole(tensor: Any) -> Any:
    """Return a tensor that fully sharded training has spread over the processes in one piece."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _is_done(folder: Path, identity: Mapping[str, str]) -> bool:
    path = folder / DONE
    return path.exists() and (folder / MODEL).exists() and json.loads(path.read_text()) == dict(identity)


def main() -> None:
    """Run the command line without the name of the command: what torchrun starts."""
    from astroclip_bench.cli.main import main as run

    sys.argv.insert(1, "train")
    run()


if __name__ == "__main__":
    main()
