"""The contract of an embedder, as a list of named checks.

Each would have caught a defect of a published evaluation: dropout and batch statistics left on, random augmentation
while embedding, a batch of one that crashes, inputs normalised with the label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.embed import embed_arrays, predict_arrays
from astroclip_bench.embedders.protocol import Arrays, Embedder, Vectors, require_embedder
from astroclip_bench.embedders.samples import SAMPLE_ROWS, Inputs, Sample, list_modalities, take_samples
from astroclip_bench.embedders.stored import StoredEmbeddings
from astroclip_bench.errors import BenchError, EmbedderError

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = {"float32": 1e-4, "bf16": 2e-2}
"""Largest difference between two embeddings of one object, relative to the length of a vector, by arithmetic: what
another order of summation does to a deep network, and far below what dropout or augmentation do."""

REPEAT_TOLERANCE = {"float32": 1e-5, "bf16": 2e-3}
"""The same between two passes over the very same batch, where even the order of summation is the same on a CPU."""

ODD_BATCH = 3
LABEL_COLUMNS = ("redshift", "log_stellar_mass", "object_id", "ra", "dec", "split")


@dataclass(frozen=True)
class Check:
    """The outcome of one check; `warning` marks one that passed but deserves a look."""

    name: str
    passed: bool
    detail: str = ""
    warning: bool = False


@dataclass(frozen=True)
class CheckReport:
    """The outcome of all checks of one embedder."""

    embedder: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def raise_if_failed(self) -> None:
        """Raise `EmbedderError` naming the checks that failed and why."""
        failed = [check for check in self.checks if not check.passed]
        if failed:
            reasons = "; ".join(f"{check.name}: {check.detail}" for check in failed)
            raise EmbedderError(f"{self.embedder!r} fails {len(failed)} of {len(self.checks)} checks: {reasons}")

    def __str__(self) -> str:
        marks = {(True, False): "ok  ", (True, True): "warn", (False, False): "FAIL"}
        return "\n".join(
            f"{marks[check.passed, check.warning]}  {check.name}{': ' if check.detail else ''}{check.detail}"
            for check in self.checks
        )


def check_embedder(
    embedder: Embedder,
    dataset: Inputs = None,
    *,
    modalities: Sequence[str] | None = None,
    n: int = SAMPLE_ROWS,
    raise_on_failure: bool = True,
) -> CheckReport:
    """Check an embedder against the contract on a few objects.

    Parameters
    ----------
    dataset
        Where the objects come from: a data set (its first split with rows), or modalities to make synthetic inputs for, or
        None for synthetic inputs like the mock survey's.
    modalities
        Names of those to check; by default all that both sides have.
    n
        Number of objects; each is embedded (and its labels predicted, where the model does that) about six times a
        modality.
    raise_on_failure
        Raise on a breach; with False, read it from the report.

    Raises
    ------
    EmbedderError
        If a check fails (naming each), or embedder and data set share no modality.
    """
    require_embedder(embedder, "check_embedder")
    samples = list(take_samples(dataset, _shared(embedder, dataset, modalities), n))
    checks: list[Check] = []
    for name, check in checks_for(embedder):
        checks.append(_run(name, check, embedder, samples))
        if name == "output" and not checks[-1].passed:
            # What gives no vectors here fails every check that follows, with the same words.
            break
    report = CheckReport(embedder.info.name, tuple(checks))
    if raise_on_failure:
        report.raise_if_failed()
    return report


def checks_for(embedder: Embedder) -> list[tuple[str, CheckFunction]]:
    """Return the checks that apply: stored vectors have no evaluation mode, batches or inputs to check."""
    names = STORED_CHECKS if isinstance(embedder, StoredEmbeddings) else CHECKS
    return list(names.items())


CheckFunction = Callable[[Embedder, Sequence[Sample]], Iterator[str]]
"""Runs one check: raises `EmbedderError` on a breach, yields what deserves a look."""


def _run(name: str, check: CheckFunction, embedder: Embedder, samples: Sequence[Sample]) -> Check:
    try:
        notes = list(check(embedder, samples))
    except BenchError as error:
        return Check(name, False, str(error))
    except Exception as error:  # somebody else's code
        return Check(name, False, f"{type(error).__name__}: {error}")
    return Check(name, True, "; ".join(notes), warning=bool(notes))


def _shared(embedder: Embedder, dataset: Inputs, asked: Sequence[str] | None) -> list[str]:
    known = list_modalities(dataset)
    wanted = list(asked) if asked is not None else [name for name in known if embedder.info.takes(name)]
    strange = [name for name in wanted if name not in known or not embedder.info.takes(name)]
    if strange or not wanted:
        raise EmbedderError(
            f"{embedder.info.name!r} takes {', '.join(embedder.info.inputs)}; the data have {', '.join(known)}",
            f"{', '.join(strange)} in both" if strange else "a modality in common",
        )
    return wanted


def check_evaluation_mode(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require that no torch module of the embedder is in training mode."""
    for name, module in _modules(embedder):
        training = [part or name for part, layer in module.named_modules() if layer.training]
        if training:
            raise EmbedderError(
                f"{len(training)} layers are in training mode, first {training[0]!r}",
                "evaluation mode: no dropout, no batch statistics",
                "call .eval() on the module before embedding",
            )
    yield from ()


def check_output(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require what is promised for every modality, all finite: float32 vectors (n, dimension), floats (n,) a target.

    Equal answers deserve a look.
    """
    for sample in samples:
        for name, values in _answers(embedder, sample.arrays, sample).items():
            if _all_equal(values):
                yield f"{sample.modality.name}: all {name} are equal, whatever the object"


def check_determinism(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require that two passes over the same batch agree."""
    for sample in samples:
        first, second = (_answers(embedder, sample.arrays, sample) for _ in range(2))
        _require_close(embedder, sample, first, second, "a second pass", REPEAT_TOLERANCE)
    yield from ()


def check_batch_size(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require that what an object gets does not depend on how many others are in the batch, 0 included."""
    for sample in samples:
        whole, count = _answers(embedder, sample.arrays, sample), len(sample.object_ids)
        for size, rows in ((1, min(2, count)), (ODD_BATCH, count)):
            starts = range(0, rows, size)
            pieces = [_answers(embedder, _rows(sample, slice(start, start + size)), sample) for start in starts]
            found = {name: np.concatenate([piece[name] for piece in pieces]) for name in whole}
            wanted = {name: values[: len(found[name])] for name, values in whole.items()}
            _require_close(embedder, sample, wanted, found, f"batches of {size}", TOLERANCE)
    yield from ()


def check_order(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require that what an object gets does not depend on its place in the batch."""
    for sample in samples:
        order = np.roll(np.arange(len(sample.object_ids))[::-1], 1)
        shuffled = _answers(embedder, _rows(sample, order), sample)
        wanted = {name: values[order] for name, values in _answers(embedder, sample.arrays, sample).items()}
        _require_close(embedder, sample, wanted, shuffled, "another order", TOLERANCE)
    yield from ()


def check_input_unchanged(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require that the arrays handed over stay as they were, even where they can be written."""
    for sample in samples:
        arrays = {name: np.array(array) for name, array in sample.arrays.items()}
        _answers(embedder, arrays, sample)
        changed = [name for name, array in arrays.items() if not _equal(array, sample.arrays[name])]
        if changed:
            raise EmbedderError(
                f"{embedder.info.name!r} changed its input {changed[0]!r} of {sample.modality.name!r}",
                "a copy to be changed",
            )
    yield from ()


def check_label_independence(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require identical answers to rows with other labels, ids and positions, taken the way the harness takes them."""
    for sample in samples:
        one, other = (_answers(embedder, _labelled(sample, seed), sample) for seed in (1, 2))
        _require_close(embedder, sample, one, other, "other labels", {"float32": 0.0, "bf16": 0.0})
    yield from ()


CHECKS: Mapping[str, CheckFunction] = {
    "evaluation mode": check_evaluation_mode,
    "output": check_output,
    "determinism": check_determinism,
    "batch size": check_batch_size,
    "order": check_order,
    "input unchanged": check_input_unchanged,
    "label independence": check_label_independence,
}
"""Every check by name, in the order in which they run."""


def check_lookup(embedder: Embedder, samples: Sequence[Sample]) -> Iterator[str]:
    """Require that stored vectors are there for the data set's objects; equal vectors deserve a look."""
    if not isinstance(embedder, StoredEmbeddings):
        raise EmbedderError(f"{embedder.info.name!r} holds no stored vectors")
    for sample in samples:
        if not embedder.info.supports(sample.modality.name):  # it holds predictions: those of test objects do
            continue
        if _all_equal(embedder.lookup(sample.object_ids, sample.modality.name)):
            yield f"{sample.modality.name}: all vectors are equal, whatever the object"


STORED_CHECKS: Mapping[str, CheckFunction] = {"lookup": check_lookup}


def _answers(embedder: Embedder, arrays: Arrays, sample: Sample) -> dict[str, Vectors]:
    """Return all that the embedder makes of these arrays: its vectors, and its predictions of each target (n, 1)."""
    modality, answers = sample.modality, {}
    if embedder.info.supports(modality.name):
        answers["vectors"] = embed_arrays(embedder, arrays, modality).copy()
    targets = embedder.info.predicts(modality.name)
    if targets:
        values = predict_arrays(embedder, arrays, modality)
        answers |= {f"predictions of {target}": values[:, [place]] for place, target in enumerate(targets)}
    return answers


def _rows(sample: Sample, rows: slice | npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    return {name: array[rows] for name, array in sample.arrays.items()}


def _equal(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _all_equal(values: Vectors) -> bool:
    return len(values) > 1 and bool(np.all(values == values[0]))


def _labelled(sample: Sample, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Return the sample's columns among random labels."""
    labels = np.random.default_rng(seed).normal(size=(len(LABEL_COLUMNS), len(sample.object_ids)))
    return {**dict(zip(LABEL_COLUMNS, labels, strict=True)), **sample.arrays}


def _require_close(
    embedder: Embedder,
    sample: Sample,
    wanted: Mapping[str, Vectors],
    found: Mapping[str, Vectors],
    what: str,
    tolerances: Mapping[str, float],
) -> None:
    tolerance = tolerances.get(str(embedder.info.details.get("dtype", "float32")), tolerances["float32"])
    for name, values in wanted.items():
        length = np.linalg.norm(values, axis=1)
        scale = np.maximum(length, np.median(length)) + np.finfo(np.float32).tiny
        difference = float(np.max(np.linalg.norm(found[name].astype(np.float64) - values, axis=1) / scale))
        if difference > tolerance:
            raise EmbedderError(
                f"on modality {sample.modality.name!r} {what} changes {name} by {difference:.2g} of their length",
                f"at most {tolerance:g}",
                "look for dropout, batch statistics, augmentation or a random seed in it",
            )


def _modules(embedder: object) -> Iterator[tuple[str, nn.Module]]:
    """Yield the torch modules that an embedder is or holds."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None:  # then nobody can have made a module
        return
    held = [("embedder", embedder), *getattr(embedder, "__dict__", {}).items()]
    for name, value in held:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        yield from ((name, part) for part in parts if isinstance(part, torch.nn.Module))


def single_check(
    make: Callable[[], Embedder], name: str, dataset: Inputs, modalities: Sequence[str] | None, n: int
) -> None:
    """Run one check of `CHECKS` on what `make` returns; raise `EmbedderError` on a breach."""
    embedder = require_embedder(make(), "the factory")
    samples = list(take_samples(dataset, _shared(embedder, dataset, modalities), n))
    check = _run(name, CHECKS[name], embedder, samples)
    CheckReport(embedder.info.name, (check,)).raise_if_failed()


def named_checks(
    make: Callable[[], Embedder], dataset: Inputs, modalities: Sequence[str] | None, n: int
) -> list[tuple[str, Callable[[], None]]]:
    """Return (name, callable) of every check, for test suites that run one at a time."""
    return [(name, partial(single_check, make, name, dataset, modalities, n)) for name in CHECKS]
