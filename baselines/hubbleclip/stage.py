"""Alignment with text: what a caption shared by several galaxies asks of the loss, and the controls of HubbleCLIP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from astroclip_bench.embedders.weights import load_weights, read_model
from astroclip_bench.plugins import load_plugin, plugin_names
from baselines.astroclip.align import AlignSettings, AlignStage
from baselines.astroclip.config import RecipeError
from baselines.astroclip.contrastive import contrastive_loss, sigmoid_loss
from baselines.astroclip.data import Tensors, group_numbers
from baselines.astroclip.text import CAPTION
from baselines.hubbleclip.plain import CAPTIONS, PLAIN, plain_captions

MODELS_GROUP = "models"


@dataclass(frozen=True)
class AlignTextSettings(AlignSettings):
    """What a stage of kind ``align-text`` takes beside the keys of ``align``.

    Parameters
    ----------
    together
        Modality -> column of text: galaxies of the same value share this modality, and are not held against each
        other in it. The captions of a proposal are one caption.
    shuffled
        Modalities whose rows are exchanged within each batch: the control that can learn nothing.
    bias
        Start value of a learned bias: the sigmoid loss (Zhai et al. 2023) is taken with it, InfoNCE without.
    plain
        Train on plain captions made of labels (`baselines.hubbleclip.plain`) instead of the data set's.
    start_heads
        Modalities of `start` whose head is started from as well: an aligned model stays aligned.
    """

    together: dict[str, Any] = field(default_factory=dict)
    shuffled: tuple[str, ...] = ()
    bias: float | None = None
    plain: bool = False
    start_heads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk or self.features_once:
            raise RecipeError("gradient caching (chunk) or features_once in a stage with text", "neither")


class AlignTextStage(AlignStage):
    """Alignment with text as the engine runs it."""

    settings: AlignTextSettings

    def __init__(self, settings: AlignTextSettings, models: Mapping[str, Path]) -> None:
        known = {**_bundled(settings.start.values()), **models}
        super().__init__(settings, known)
        self._start_heads(known)
        for key, names in {"together": settings.together, "shuffled": settings.shuffled}.items():
            if strange := sorted(set(names) - set(self.model.modalities)):
                raise RecipeError(f"{key} names {strange}", f"modalities among {', '.join(self.model.modalities)}")
        if settings.bias is not None:  # of the loss alone: the exported model does without it
            self.model.register_parameter("bias", nn.Parameter(torch.tensor(settings.bias)))
        self.strings |= dict.fromkeys(settings.together.values(), group_numbers)
        read = {*self.columns, *settings.together.values()}
        if settings.plain:
            self.plain = self.model.encoders["text"].tokenise(CAPTIONS)  # type: ignore[operator]
            read = (read - {CAPTION}) | set(PLAIN)
        self.columns = tuple(sorted(read))

    def _start_heads(self, models: Mapping[str, Path]) -> None:
        """Load the heads that are started from."""
        for name in self.settings.start_heads:
            if name not in self.settings.start:
                raise RecipeError(
                    f"start_heads names {name!r}", f"modalities of start: {', '.join(self.settings.start)}"
                )
            model = read_model(models.get(self.settings.start[name], Path(self.settings.start[name])))
            prefix = f"heads.{name}."
            weights = {
                key.removeprefix(prefix): value for key, value in model.state_dict.items() if key.startswith(prefix)
            }
            load_weights(self.model.heads[name], weights, f"{model.path}, head of {name!r}")

    def step(
        self, batch: Tensors, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Caption or shuffle as the settings say; then augment, embed, contrast."""
        return super().step(self._shuffled(self._captioned(batch, generator), generator), backward, step, generator)

    def validation_loss(self, batch: Tensors, generator: Generator) -> Tensor:
        """Return the loss between the modalities of one batch as it is, without augmentation."""
        return super().validation_loss(self._captioned(batch, generator), generator)

    def contrast(self, batch: Tensors, modalities: Sequence[str], embeddings: Sequence[Tensor]) -> Tensor:
        """Return the loss between embeddings (n, d), those that share a view of a modality held apart by no other."""
        columns = [self.settings.together.get(name) for name in modalities]
        groups = [None if column is None else batch[column] for column in columns]
        if self.settings.bias is None:
            return contrastive_loss(embeddings, self.model.scale, groups)
        assert isinstance(self.model.bias, Tensor)
        return sigmoid_loss(embeddings, self.model.scale, self.model.bias, groups)

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the model as a model file."""
        architecture, version, config, weights = super().export()
        return architecture, version, config, {name: value for name, value in weights.items() if name != "bias"}

    def _captioned(self, batch: Tensors, generator: Generator) -> Tensors:
        """Return a batch with plain captions, where they are asked for; galaxies of the same one share it."""
        if not self.settings.plain:
            return batch
        places = plain_captions(batch, generator)
        groups = dict.fromkeys(self.settings.together.values(), places)
        return {**batch, **groups, CAPTION: self.plain.to(places.device)[places]}

    def _shuffled(self, batch: Tensors, generator: Generator) -> Tensors:
        """Return a batch in which the rows of some modalities belong to other galaxies."""
        changed = dict(batch)
        for name in self.settings.shuffled:
            order = torch.randperm(len(next(iter(batch.values()))), generator=generator)
            columns = [*self.model.encoders[name].columns, *filter(None, [self.settings.together.get(name)])]  # type: ignore[misc]
            changed |= {column: batch[column][order.to(batch[column].device)] for column in columns}
        return changed


def _bundled(names: Iterable[str]) -> dict[str, Path]:
    """Return the model files among the names that come with a package."""
    found = {name: load_plugin(MODELS_GROUP, name) for name in set(names) & set(plugin_names(MODELS_GROUP))}
    return {name: Path(path) for name, path in found.items() if isinstance(path, str | Path)}
