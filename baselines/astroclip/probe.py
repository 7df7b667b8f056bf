"""The zero-shot score that a training is followed by: neighbours in the train split vote on validation galaxies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from astroclip_bench.datasets import Batch, BenchDataset, batches_from_hf
from astroclip_bench.errors import DataError
from astroclip_bench.tasks.probes import knn_regress
from astroclip_bench.tasks.protocols import get_protocol
from baselines.astroclip.config import ProbeSettings
from baselines.astroclip.data import open_arrow, to_tensors

if TYPE_CHECKING:
    import datasets

    from astroclip_bench.datasets import SplitView

BATCH_ROWS = {"cpu": 64, "cuda": 512}
REFERENCE_SPLIT, QUERY_SPLIT = "train", "validation"


@dataclass(frozen=True)
class Probe:
    """The galaxies that a score is made on; the test split is never among them."""

    dataset: BenchDataset
    settings: ProbeSettings
    reference: SplitView
    query: SplitView
    arrow: tuple[datasets.Dataset, datasets.Dataset] = field(repr=False)
    """The rows of both, memory-mapped."""

    @classmethod
    def open(cls, dataset: BenchDataset, settings: ProbeSettings) -> Probe:
        """Choose the galaxies.

        Raises
        ------
        DataError
            If the data set has no such label.
        """
        if settings.label not in dataset.labels:
            raise DataError(
                f"no label {settings.label!r} in {dataset.info.name}", f"one of {', '.join(dataset.labels)}"
            )
        reference = dataset.splits[REFERENCE_SPLIT].subsample(settings.reference)
        query = dataset.splits[QUERY_SPLIT].subsample(settings.queries)
        return cls(dataset, settings, reference, query, (open_arrow(reference), open_arrow(query)))

    def score(self, module: Any, device: torch.device) -> dict[str, float]:
        """Return the zero-shot R^2 of each pair of modalities, as ``label r2 reference>query``, and their mean.

        Parameters
        ----------
        module
            With `modalities` and `embed`, as the harness asks of an architecture; in evaluation mode.
        """
        from sklearn.metrics import r2_score

        label, modalities = self.settings.label, [name for name in module.modalities if name in self.dataset.modalities]
        truth, known = self.query.column(label), np.isfinite(self.query.column(label))
        reference_label, protocol = self.reference.column(label), get_protocol(self.settings.protocol)
        references = {name: self._embed(module, self.arrow[0], name, device) for name in modalities}
        queries = {name: self._embed(module, self.arrow[1], name, device)[known] for name in modalities}
        scores = {}
        for one, other in _pairs(modalities):
            if references[one].shape[1] == queries[other].shape[1]:
                prediction = knn_regress(references[one], reference_label, queries[other], protocol)
                scores[f"{label} r2 {one}>{other}"] = float(r2_score(truth[known], prediction.values[:, 0]))
        return {**scores, "probe": float(np.mean(list(scores.values())))}

    def _embed(
        self, module: Any, arrow: datasets.Dataset, modality: str, device: torch.device
    ) -> npt.NDArray[np.float32]:
        columns = self.dataset.modalities[modality].columns
        batches = batches_from_hf(arrow, columns, BATCH_ROWS.get(device.type, BATCH_ROWS["cpu"]))
        with torch.no_grad():
            parts = [module.embed(_inputs(batch, device), modality).float().cpu() for batch in batches]
        return np.asarray(torch.cat(parts).numpy())


def _inputs(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Return a batch as the harness hands it to a module: texts as lists, everything else as tensors on the device."""
    texts = {name: array.tolist() for name, array in batch.arrays.items() if array.dtype == object}
    numbers = {name: array for name, array in batch.arrays.items() if name not in texts}
    tensors = to_tensors(Batch(batch.object_ids, numbers))
    return {**texts, **{name: values.to(device) for name, values in tensors.items()}}


def _pairs(modalities: Iterable[str]) -> list[tuple[str, str]]:
    names = list(modalities)
    return [(one, other) for one in names for other in names]
