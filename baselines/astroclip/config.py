"""A recipe: one TOML file that says what is trained, on what, in which stages.

The sections ``[data]`` and ``[stages.NAME]`` (in the order in which they run) become nested frozen dataclasses. A
stage names its `kind`; its sections ``train`` and ``probe`` are the same for all kinds, and every other key belongs to
the kind, which checks it. ``stages.NAME.train.steps=100`` on the command line replaces one value.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from astroclip_bench.errors import UserError
from astroclip_bench.files import storage_errors
from astroclip_bench.plugins import suggest

RECIPES = tuple(
    Path(__file__).parents[1] / package / "recipes"
    for package in (
        "astroclip",
        "astroclip_v1",
        "frozen_heads",
        "hubbleclip",
        "spender",
        "stein",
        "supervised",
        "three_modalities",
        "unfrozen_convnets",
    )
)
"""Folders of the recipes that come with the package; no name occurs in two of them."""

OPTIMISER_BETAS = {"adam": 2, "adamw": 2, "sgd": 1}
"""Optimiser -> how many moving averages it keeps."""

Settings = TypeVar("Settings")


class RecipeError(UserError):
    """A recipe is missing, unreadable, or holds what it cannot hold."""


@dataclass(frozen=True)
class DataSettings:
    """What is read, and how.

    Parameters
    ----------
    name
        Data set that the recipe is meant for; another may be given.
    cache
        Where the whole split is kept: not at all (``none``: rows are read from the memory-mapped file), in ``memory``,
        or on the ``device``.
    cache_dtype
        ``float16`` halves the cache, at 11 bits a value.
    ahead
        Batches prepared before they are needed.
    limit
        Use that many galaxies of each split, chosen by hash of their ids; all of them if None.
    """

    name: str = "mock-mini"
    cache: Literal["none", "memory", "device"] = "none"
    cache_dtype: Literal["float32", "float16"] = "float32"
    ahead: int = 3
    limit: int | None = None


@dataclass(frozen=True)
class TrainSettings:
    """What the engine needs of a stage; the same keys for every kind.

    Parameters
    ----------
    steps, epochs
        Length of the stage, in optimiser steps or in passes over the train split: one of the two.
    batch_size
        Galaxies of one forward pass, over all processes together.
    accumulate
        Batches whose gradients make one optimiser step.
    optimiser
        ``adamw`` takes weight decay apart from the gradient, ``adam`` and ``sgd`` as a part of it.
    schedule
        ``cosine``: a linear rise and a cosine after it. ``plateau``: constant, and multiplied by `plateau_factor`
        whenever more than `plateau_patience` validations in a row have not brought the loss down.
    warm_up, cosine
        Length of the linear rise and of the cosine after it: steps, or a share of the stage where it is not above 1.
    final_rate
        Where the cosine ends, as a share of `learning_rate`.
    betas
        The two of Adam and AdamW, or the momentum of SGD alone.
    gradient_norm
        Longest gradient taken; longer ones are scaled down to it.
    compile
        Compile the repeated blocks of the networks.
    parallel
        ``ddp`` keeps the whole model in every process, ``fsdp`` a share of it (GPUs only).
    log_every, validate_every, checkpoint_every
        In optimiser steps; 0 for at the end alone.
    best
        What the exported weights minimise or maximise on the validation split: its ``loss``, the zero-shot score
        (``probe``), or nothing: the ``last`` ones.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 256
    accumulate: int = 1
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "plateau"] = "cosine"
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    warm_up: float = 0.05
    cosine: float = 1.0
    final_rate: float = 0.0
    weight_decay: float = 0.05
    betas: tuple[float, ...] = (0.9, 0.95)
    gradient_norm: float = 1.0
    precision: Literal["float32", "bf16"] = "bf16"
    compile: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    log_every: int = 20
    validate_every: int = 0
    checkpoint_every: int = 0
    best: Literal["loss", "probe", "last"] = "last"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise RecipeError("a stage's train section", "one of steps and epochs", "give the other no value")
        for name in ("batch_size", "accumulate", "learning_rate", "gradient_norm"):
            if getattr(self, name) <= 0:
                raise RecipeError(f"{name} = {getattr(self, name)}", "a number above 0")
        if len(self.betas) != (wanted := OPTIMISER_BETAS[self.optimiser]):
            raise RecipeError(f"{len(self.betas)} betas with optimiser {self.optimiser!r}", f"{wanted}")
        if self.schedule == "plateau" and not self.validate_every:
            raise RecipeError("schedule = 'plateau' without validations", "validate_every above 0")
        if not 0 < self.plateau_factor < 1:
            raise RecipeError(f"plateau_factor = {self.plateau_factor}", "a number between 0 and 1")

    def length(self, rows: int) -> int:
        """Return the number of optimiser steps on a split of so many rows."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.floor(self.epochs * rows / (self.batch_size * self.accumulate)))


@dataclass(frozen=True)
class ProbeSettings:
    """The zero-shot score followed during training: neighbours in the train split vote on validation galaxies.

    Parameters
    ----------
    every
        Optimiser steps between scores; 0 for never.
    label
        Label that is predicted.
    protocol
        Name of a k-NN protocol of the benchmark.
    reference, queries
        Galaxies of the train and of the validation split, chosen by hash of their ids.
    """

    every: int = 0
    label: str = "redshift"
    protocol: str = "knn16"
    reference: int = 2000
    queries: int = 1000


@dataclass(frozen=True)
class StageSettings:
    """One stage: its kind, what the engine needs, and the keys that belong to its kind."""

    name: str
    kind: str
    train: TrainSettings
    probe: ProbeSettings
    own: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What one call of ``astroclip-bench train`` does."""

    name: str
    description: str
    seed: int
    data: DataSettings
    stages: tuple[StageSettings, ...]

    def digest(self, stage: str) -> str:
        """Return a digest of all that the weights of a stage depend on, but for the rows: their own digest tells them."""
        number = [settings.name for settings in self.stages].index(stage)
        content = [
            self.seed,
            {**asdict(self.data), "name": ""},
            *(asdict(settings) for settings in self.stages[: number + 1]),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Sections:
    """The top level of a recipe's file."""

    stages: dict[str, Any]
    seed: int = 42
    description: str = ""
    data: DataSettings = field(default_factory=DataSettings)


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(_packaged())


def read_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe.

    Parameters
    ----------
    name
        Name of a recipe that comes with the package, or a TOML file.
    overrides
        ``section.key=value``, the value spelt as in TOML; text needs no quotes.

    Raises
    ------
    RecipeError
        If there is no such recipe, or a key or value does not belong; the message names it.
    """
    path = Path(name)
    if path.suffix != ".toml":
        packaged = _packaged()
        if str(name) not in packaged:
            raise RecipeError(f"no recipe {str(name)!r}", "a TOML file, or a name", suggest(str(name), packaged))
        path = packaged[str(name)]
    with storage_errors(path):
        text = path.read_text(encoding="utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _replace(table, override)
    return _recipe(table, path.stem)


def _packaged() -> dict[str, Path]:
    """Return the files of the recipes that come with the package by name."""
    return {path.stem: path for folder in RECIPES for path in folder.glob("*.toml")}


def settings_from(kind: type[Settings], table: Mapping[str, Any], where: str) -> Settings:
    """Return a dataclass made of a table of plain values.

    Raises
    ------
    RecipeError
        Naming the unknown (with the nearest known), missing, or ill-typed key of `where`.
    """
    assert is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind)}
    for key in table:
        if key not in known:
            raise RecipeError(f"{where} has no key {key!r}", todo=suggest(key, known))
    for key, entry in known.items():
        if key not in table and entry.default is MISSING and entry.default_factory is MISSING:
            raise RecipeError(f"{where} lacks the key {key!r}", _described(hints[key]))
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    return typing.cast(Settings, kind(**values))


def _recipe(table: dict[str, Any], name: str) -> Recipe:
    top = settings_from(_Sections, table, f"recipe {name}")
    stages = []
    for stage, section in top.stages.items():
        where = f"stages.{stage}"
        section = dict(_value(dict, section, where))
        try:
            parts = {key: section.pop(key) for key in ("kind", "train")}
        except KeyError as error:
            raise RecipeError(f"{where} lacks the key {error}") from error
        train = settings_from(TrainSettings, _value(dict, parts["train"], f"{where}.train"), f"{where}.train")
        probe = settings_from(ProbeSettings, section.pop("probe", {}), f"{where}.probe")
        stages.append(StageSettings(stage, _value(str, parts["kind"], f"{where}.kind"), train, probe, section))
    if not stages:
        raise RecipeError(f"recipe {name} has no stages", "a section [stages.NAME]")
    return Recipe(name, top.description, top.seed, top.data, tuple(stages))


def _replace(table: dict[str, Any], override: str) -> None:
    """Put one ``section.key=value`` into the table of a recipe."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"{override!r}", "section.key=value, e.g. stages.align.train.steps=100")
    for number, key in enumerate(keys[:-1]):
        # A section with defaults alone need not be written in the file: its keys are checked all the same.
        if key not in table and number == 1 and keys[0] == "stages":
            raise RecipeError(f"{override!r}: no stage {key!r}", todo=suggest(key, table))
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise RecipeError(f"{override!r}: {'.'.join(keys[: number + 1])} is a value", "a section")
    try:
        table[keys[-1]] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[keys[-1]] = text.strip()


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the type asks for, or raise `RecipeError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        kinds = [kind for kind in arguments if kind is not type(None)]
        return _value(kinds[0], value, where)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, where) for item in value)
    if is_dataclass(hint) and isinstance(value, dict):
        return settings_from(typing.cast(type, hint), value, where)
    plain = origin or hint
    if plain is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if plain in (int, str, bool) and type(value) is plain:
        return value
    if plain in (dict, Mapping) and isinstance(value, dict):
        return value
    raise RecipeError(f"{where} = {value!r}", _described(hint))


def _described(hint: Any) -> str:
    """Return in words what a type asks for."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", tuple: "a list"}
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _described(typing.get_args(hint)[0])
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    return names.get(origin or hint, "a section")
