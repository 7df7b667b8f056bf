"""Controls: what embeddings look like if they hold labels or identities that no galaxy's light told them.

Each control is a function from `Evidence` to checks. They see embeddings and labels of the train and the test split.
Thresholds stand in one place, `LIMITS`, with what honest models were measured to reach in ``verification.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leaderboard.checks import Check, Outcome

if TYPE_CHECKING:
    from astroclip_bench.tasks.protocols import Protocol

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """Where a control speaks. `known` is the least number of test objects with a label that it says anything about."""

    known: int = 100
    permuted_r2: float = 0.05
    nearest_label_ratio: float = 5.0
    dimension_flagged: float = 0.95
    dimension_failed: float = 0.99
    linear_flagged: float = 0.995
    linear_failed: float = 0.9999
    test_over_train: float = 0.1
    standard_errors: float = 5.0
    copied_share: float = 0.01
    recall_flagged: float = 0.9
    exact: float = 1e-5
    exact_share: float = 0.05


LIMITS = Limits()
SEED = 0
RANDOM_ERRORS = 4.0
"""Standard errors that chance is granted in the permuted control and in correlations."""


@dataclass(frozen=True)
class Part:
    """One split: vectors (n, d) by modality, labels (n,) by name with NaN where unknown, and HEALPix pixels (n,)."""

    vectors: Mapping[str, Float32]
    labels: Mapping[str, Float64]
    pixels: Int64


@dataclass(frozen=True)
class Evidence:
    """What the controls look at; `declared` says that the model was trained on labels, which it may then show."""

    train: Part
    test: Part
    declared: bool

    @cached_property
    def held_out(self) -> Mask:
        """Train objects of some pixels, about as many as there are test objects but no more than a third."""
        return held_out_pixels(self.train.pixels, min(len(self.test.pixels), len(self.train.pixels) // 3))

    @cached_property
    def neighbours(self) -> Mapping[str, tuple[Int64, Float64]]:
        """Of each modality: the nearest train objects of every test object (m, k), and their votes."""
        return {name: _search(self.train.vectors[name], found) for name, found in self.test.vectors.items()}


def run_controls(evidence: Evidence) -> Iterator[Check]:
    """Yield what every control says, one check or more for each."""
    for name, control in CONTROLS.items():
        found = list(control(evidence))
        yield from [Check(name, outcome, detail) for outcome, detail in found] or [Check(name, "passed")]


Found = Iterator[tuple[Outcome, str]]


def permuted_labels(evidence: Evidence) -> Found:
    """Give the neighbours labels that were dealt out again at random: nothing may be predicted then."""
    random = np.random.default_rng(SEED)
    for modality, (indices, weights) in evidence.neighbours.items():
        for name, train, test in _labels(evidence):
            known = np.flatnonzero(np.isfinite(train))
            dealt = train.copy()
            dealt[known] = train[random.permutation(known)]
            r2 = _r2(test, _vote(dealt, indices, weights))
            # Sixteen votes have a spread of a quarter of the labels'; what chance gives falls with the root of n.
            allowed = LIMITS.permuted_r2 + RANDOM_ERRORS / np.sqrt(np.isfinite(test).sum())
            if r2 > allowed:
                yield "failed", f"{name} from {modality}: R2 {r2:.3f} with permuted labels, where nothing can be known"


def nearest_labels(evidence: Evidence) -> Found:
    """Compare the label of the nearest neighbour with the nearest label there is."""
    for modality, (indices, _) in evidence.neighbours.items():
        for name, train, test in _labels(evidence):
            found = np.abs(train[indices[:, 0]] - test)
            ordered = np.sort(train[np.isfinite(train)])
            best = np.abs(ordered[_nearest(ordered, test)] - test)
            both = np.isfinite(found) & np.isfinite(best)
            if both.sum() < LIMITS.known:
                continue
            typical, least = (float(np.median(values[both])) for values in (found, best))
            if least > 0 and typical < LIMITS.nearest_label_ratio * least:
                yield (
                    "failed",
                    f"{name} from {modality}: the nearest neighbour's is off by {typical:.2g}, and no neighbour could do better "
                    f"than {least:.2g}",
                )


def single_dimensions(evidence: Evidence) -> Found:
    """Correlate the ranks of every dimension with those of every label, on the test and on the train split."""
    for modality, vectors in evidence.test.vectors.items():
        for labels in _alike(evidence):
            here = _rank_correlations(vectors, [test for _, _, test in labels])
            held_out = evidence.train.vectors[modality][evidence.held_out]
            there = _rank_correlations(held_out, [train[evidence.held_out] for _, train, _ in labels])
            for place, (name, _, test) in enumerate(labels):
                allowed = LIMITS.test_over_train + RANDOM_ERRORS / np.sqrt(np.isfinite(test).sum())
                yield from _one_dimension(
                    f"{modality} follows {name}", here[:, place], there[:, place], allowed, evidence
                )


def _one_dimension(what: str, here: Float64, there: Float64, allowed: float, evidence: Evidence) -> Found:
    """Look at the correlations (d,) of one label with all dimensions, on the test and on the train split."""
    most = int(here.argmax())
    text = f"dimension {most} of {what}: |Spearman| {here[most]:.4f} on the test split"
    if here[most] > LIMITS.dimension_failed and not evidence.declared:
        yield "failed", f"{text}, and no labels are declared"
    elif here[most] > LIMITS.dimension_flagged:
        yield "flagged", text
    gap = np.nan_to_num(here - there)
    most = int(gap.argmax())
    if gap[most] > allowed:
        yield (
            "failed",
            f"dimension {most} of {what} on the test split alone: |Spearman| {here[most]:.3f}, on the train split {there[most]:.3f}",
        )


def linear_readout(evidence: Evidence) -> Found:
    """Read every label off by a regression: a label hidden in a direction, not along one dimension, shows here."""
    from astroclip_bench.tasks.ridge import fit_ridge

    for modality, asked in [(modality, asked) for modality in evidence.test.vectors for asked in _alike(evidence)]:
        known = np.isfinite(asked[0][1])
        path = fit_ridge(
            evidence.train.vectors[modality][known], np.stack([train[known] for _, train, _ in asked], axis=1)
        )
        weakest = np.zeros(len(asked), np.int64)
        predicted = path.predict(evidence.test.vectors[modality], weakest)
        for place, (name, _, test) in enumerate(asked):
            r2 = _r2(test, predicted[:, place])
            text = f"{name} is linear in {modality}: R2 {r2:.5f} on the test split"
            if r2 > LIMITS.linear_failed and not evidence.declared:
                yield "failed", f"{text}, and no labels are declared"
            elif r2 > LIMITS.linear_flagged:
                yield "flagged", text


def test_over_train(evidence: Evidence) -> Found:
    """Predict train objects of held-out pixels from the other train objects: the test split cannot be far easier."""
    held_out = evidence.held_out
    for modality, (indices, weights) in evidence.neighbours.items():
        vectors = evidence.train.vectors[modality]
        inner_indices, inner_weights = _search(vectors[~held_out], vectors[held_out])
        for name, train, test in _labels(evidence):
            if np.isfinite(train[held_out]).sum() < LIMITS.known:
                continue
            here = _scored(test, _vote(train, indices, weights), evidence.test.pixels)
            prediction = _vote(train[~held_out], inner_indices, inner_weights)
            there = _scored(train[held_out], prediction, evidence.train.pixels[held_out])
            text = _far_above(here, there)
            if text:
                yield "failed", f"{name} from {modality}: R2 {text}"


def pairs_over_train(evidence: Evidence) -> Found:
    """Search the other modality: test pairs cannot be far easier to find than pairs that the model was trained on."""
    from astroclip_bench.tasks.retrieval import pools

    size = min(len(evidence.test.pixels), 1_000)
    names = list(evidence.test.vectors)
    for one, other in [(one, other) for one in names for other in names if one < other]:
        rates = []
        for part in (evidence.test, evidence.train):
            chosen = pools([str(row) for row in range(len(part.pixels))], size)[0]
            rates.append(_recall(part.vectors[one][chosen], part.vectors[other][chosen]))
        error = np.sqrt(sum(rate * (1 - rate) / size for rate in rates) + 1 / size**2)
        text = _far_above((rates[0], error), (rates[1], 0.0))
        if text:
            yield "failed", f"{one} to {other}: recall@1 {text}"
        elif rates[0] > LIMITS.recall_flagged and size >= LIMITS.known:
            text = f"{one} to {other}: recall@1 {rates[0]:.3f} among {size:,}; do the vectors hold identities?"
            yield "flagged", text


def copied_vectors(evidence: Evidence) -> Found:
    """Look for test vectors that are a train object's to the last bit, more than train vectors are one another's."""
    for modality, vectors in evidence.test.vectors.items():
        train = evidence.train.vectors[modality]
        known = {row.tobytes() for row in train}
        copied = float(np.mean([row.tobytes() in known for row in vectors]))
        repeated = 1 - len(known) / len(train)
        if copied > LIMITS.copied_share + 2 * repeated:
            yield "failed", f"{copied:.0%} of the test vectors of {modality} are those of train objects"
    names = list(evidence.test.vectors)
    for one, other in [(one, other) for one in names for other in names if one < other]:
        first, second = evidence.test.vectors[one], evidence.test.vectors[other]
        same = (first == second).all(axis=1)
        # A constant embedding is the same for every object, and tells nothing.
        if same.mean() > LIMITS.copied_share and len(np.unique(first[same], axis=0)) > 1:
            yield "failed", f"{one} and {other} of {same.mean():.0%} of the test objects have one vector"


CONTROLS: Mapping[str, Callable[[Evidence], Found]] = MappingProxyType(
    {
        "permuted labels": permuted_labels,
        "nearest labels": nearest_labels,
        "single dimensions": single_dimensions,
        "linear read-out": linear_readout,
        "test over train": test_over_train,
        "pairs over train": pairs_over_train,
        "copied vectors": copied_vectors,
    }
)
"""Name -> control, in the order in which they run."""


OWN_PREDICTIONS = "own predictions"


def own_predictions(predictions: Mapping[str, Float64], labels: Mapping[str, Float64]) -> list[Check]:
    """Look for labels that a model does not predict but knows: no measurement of light hits them to `LIMITS.exact`.

    Parameters
    ----------
    predictions
        What the model predicts of the test objects, (m,) by "label from modality".
    labels
        The test objects' labels, (m,) by name, NaN where unknown.
    """
    checks = []
    for name, values in predictions.items():
        label = labels.get(name.partition(" from ")[0])
        known = np.zeros(0, bool) if label is None else np.isfinite(label)
        if label is None or known.sum() < LIMITS.known:
            continue
        spread = label[known].std()
        share = float((np.abs(values - label)[known] <= LIMITS.exact * spread).mean())
        if spread > 0 and share > LIMITS.exact_share:
            detail = f"{name}: {share:.0%} are the label to {LIMITS.exact:g} of its spread"
            checks.append(Check(OWN_PREDICTIONS, "failed", detail))
    return checks or [Check(OWN_PREDICTIONS, "passed")]


def held_out_pixels(pixels: Int64, count: int) -> Mask:
    """Return the objects of pixels drawn at random until there are `count`; not of all pixels."""
    names, sizes = np.unique(pixels, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(names))
    wanted = int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1
    return np.isin(pixels, names[order[: min(wanted, len(names) - 1)]])


def _protocol() -> Protocol:
    from astroclip_bench.tasks.protocols import get_protocol

    return get_protocol("knn16")


def _search(reference: Float32, query: Float32) -> tuple[Int64, Float64]:
    from astroclip_bench.tasks.neighbours import nearest_neighbours
    from astroclip_bench.tasks.probes import inverse_distance_weights
    from astroclip_bench.tasks.protocols import scale

    scaled = scale(reference, query, _protocol())
    distances, indices = nearest_neighbours(*scaled, min(_protocol().k or 1, len(reference)))
    return indices, inverse_distance_weights(distances)


def _labels(evidence: Evidence) -> Iterator[tuple[str, Float64, Float64]]:
    """Yield the labels that enough objects have, with their train and test values."""
    for name, train in evidence.train.labels.items():
        test = evidence.test.labels[name]
        if min(np.isfinite(train).sum(), np.isfinite(test).sum()) >= LIMITS.known and np.nanstd(test) > 0:
            yield name, train, test


def _alike(evidence: Evidence) -> list[list[tuple[str, Float64, Float64]]]:
    """Return the labels in groups that are known of the same objects: what is made of vectors serves a whole group."""
    groups: dict[bytes, list[tuple[str, Float64, Float64]]] = {}
    for name, train, test in _labels(evidence):
        groups.setdefault(np.isfinite(np.concatenate([train, test])).tobytes(), []).append((name, train, test))
    return list(groups.values())


def _vote(labels: Float64, indices: Int64, weights: Float64) -> Float64:
    """Return the weighted mean of the neighbours' labels, of those that have one; NaN where none has."""
    values = labels[indices]
    known = np.where(np.isfinite(values), weights, 0.0)
    total = known.sum(axis=1)
    mean = (known * np.nan_to_num(values)).sum(axis=1) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.nan)


def _r2(label: Float64, prediction: Float64) -> float:
    known = np.isfinite(label) & np.isfinite(prediction)
    spread = float(((label[known] - label[known].mean()) ** 2).sum())
    return 1 - float(((label[known] - prediction[known]) ** 2).sum()) / spread


def _scored(label: Float64, prediction: Float64, pixels: Int64) -> tuple[float, float]:
    """Return R^2 and its standard error over pixels."""
    from astroclip_bench.tasks.metrics import Sample, score

    known = np.isfinite(label) & np.isfinite(prediction)
    estimate = score(["r2"], Sample(label[known], prediction[known]), pixels[known])["r2"]
    return estimate.value or 0.0, estimate.standard_error or 0.0


def _far_above(here: tuple[float, float], there: tuple[float, float]) -> str:
    """Return, if a score on the test split lies far above one on the train split, both in words."""
    error = float(np.hypot(here[1], there[1]))
    if here[0] - there[0] <= LIMITS.test_over_train + LIMITS.standard_errors * error:
        return ""
    return f"{here[0]:.3f} on the test split, {there[0]:.3f} within the train split"


def _recall(one: Float32, other: Float32) -> float:
    from astroclip_bench.tasks.protocols import get_protocol, scale
    from astroclip_bench.tasks.retrieval import query_scores, retrieval_counts

    counts = retrieval_counts(*scale(one, other, get_protocol("cosine"))).forward
    return float(query_scores(counts, len(one))["recall@1"].mean())


def _nearest(ordered: Float64, values: Float64) -> Int64:
    """Return the place in `ordered` of what is closest to each value."""
    right = np.clip(np.searchsorted(ordered, values), 1, len(ordered) - 1)
    return np.where(values - ordered[right - 1] <= ordered[right] - values, right - 1, right)


def _rank_correlations(vectors: Float32, labels: Sequence[Float64]) -> Float64:
    """Return |Spearman| of every dimension with every label, (d, labels); NaN where too few objects have the labels.

    The labels are known of the same objects.
    """
    from scipy.stats import rankdata

    known = np.isfinite(labels[0])
    if known.sum() < LIMITS.known:
        return np.full((vectors.shape[1], len(labels)), np.nan)
    dimensions = _standard(np.asarray(rankdata(vectors[known], axis=0)))
    targets = _standard(np.asarray(rankdata(np.stack(labels, axis=1)[known], axis=0)))
    return np.asarray(np.abs(np.matmul(dimensions.T, targets)))


def _standard(ranks: Float64) -> Float64:
    centred = ranks - ranks.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    return np.asarray(centred / np.where(length > 0, length, 1.0))
