"""Each check catches the defect it is there for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclip_bench.embedders import EmbedderInfo, check_embedder, describe_inputs, input_format, load_embedder
from astroclip_bench.embedders.check import CHECKS
from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import image_modality, photometry_modality


class _Honest:
    """Embeds the mean of each half of the image, until a subclass spoils it."""

    def __init__(self):
        self.info = EmbedderInfo("test", "0" * 32, 2, ("image",), "halves")

    def embed(self, batch, modality):
        image = batch["image"].reshape(len(batch["image"]), 2, -1)
        return image.mean(axis=2).astype(np.float32) + np.float32(1)


class _Random(_Honest):
    def embed(self, batch, modality):
        return super().embed(batch, modality) + np.random.default_rng().normal(size=(1, 2)).astype(np.float32)


class _BatchStatistics(_Honest):
    def embed(self, batch, modality):
        vectors = super().embed(batch, modality)
        return vectors - vectors.mean(axis=0)


class _PlaceInBatch(_Honest):
    def embed(self, batch, modality):
        vectors = super().embed(batch, modality)
        return vectors + np.arange(len(vectors), dtype=np.float32)[:, None]


class _CrashesOnOne(_Honest):
    def embed(self, batch, modality):
        if len(batch["image"]) == 1:
            raise IndexError("squeezed away")
        return super().embed(batch, modality)


class _WritesInput(_Honest):
    def embed(self, batch, modality):
        vectors = super().embed(batch, modality)
        if batch["image"].flags.writeable:
            batch["image"][:] = 0
        return vectors


class _ReadsLabel(_Honest):
    def embed(self, batch, modality):
        return super().embed(batch, modality) / (1 + batch["redshift"])


class _RemembersLabel(_Honest):
    """Finds the labels by a way around the batch: the stack of its caller."""

    def embed(self, batch, modality):
        import inspect

        frame = inspect.currentframe()
        while frame is not None and "redshift" not in frame.f_locals.get("arrays", {}):
            frame = frame.f_back
        vectors = super().embed(batch, modality)
        return vectors if frame is None else vectors + frame.f_locals["arrays"]["redshift"][:, None].astype(np.float32)


class _NotFinite(_Honest):
    def embed(self, batch, modality):
        vectors = super().embed(batch, modality)
        vectors[-1] = np.inf
        return vectors


class _Double(_Honest):
    def embed(self, batch, modality):
        return super().embed(batch, modality).astype(np.float64)


class _Narrow(_Honest):
    def embed(self, batch, modality):
        return super().embed(batch, modality)[:, :1]


class _Lists(_Honest):
    def embed(self, batch, modality):
        return super().embed(batch, modality).tolist()


class _Training(_Honest):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()).train()


def failures(embedder, dataset) -> set[str]:
    report = check_embedder(embedder, dataset, raise_on_failure=False)
    return {check.name for check in report.checks if not check.passed}


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        (_Random, "determinism", "a second pass changes vectors by"),
        (_BatchStatistics, "batch size", "batches of 1 changes vectors by"),
        (_PlaceInBatch, "order", "another order changes vectors by"),
        (_CrashesOnOne, "batch size", "IndexError: squeezed away"),
        (_WritesInput, "input unchanged", "changed its input 'image'"),
        (_ReadsLabel, "output", "KeyError: 'redshift'"),
        (_RemembersLabel, "label independence", "other labels changes vectors by"),
        (_NotFinite, "output", "NaN or infinity for 1 of 8 objects, first row 7"),
        (_Double, "output", "gave a float64 array; expected a float32"),
        (_Narrow, "output", r"shape \(8, 1\) for 8 objects; expected \(8, 2\)"),
        (_Lists, "output", "gave a list"),
        (_Training, "evaluation mode", "3 layers are in training mode, first 'network'; .*call .eval()"),
    ],
)
def test_each_defect_is_caught_by_its_check(dataset, kind, name, reason):
    assert name in failures(kind(), dataset)
    with pytest.raises(EmbedderError, match=f"{name}: .*{reason}"):
        check_embedder(kind(), dataset)


def test_an_honest_embedder_passes_everything(dataset):
    report = check_embedder(_Honest(), dataset)
    assert report.passed
    assert [check.name for check in report.checks] == list(CHECKS)
    assert not any(check.warning for check in report.checks)
    assert str(report).splitlines()[0] == "ok    evaluation mode"


def test_dropout_is_caught_twice(toy, dataset):
    embedder = load_embedder(str(toy()))
    assert failures(embedder, dataset) == set()
    embedder.module.train()
    assert {"evaluation mode", "determinism"} <= failures(embedder, dataset)


def test_bf16_passes_within_its_own_tolerance(toy, dataset):
    assert failures(load_embedder(str(toy()), dtype="bf16"), dataset) == set()


@pytest.mark.parametrize(("fault", "name"), [("nan", "output"), ("shape", "output"), ("raise", "output")])
def test_faulty_modules(toy, dataset, fault, name):
    assert name in failures(load_embedder(str(toy(fault=fault))), dataset)


def test_a_collapsed_embedder_is_a_warning():
    report = check_embedder(load_embedder("mean"))
    assert report.passed
    assert "warn  output: image: all vectors are equal" in str(report)


def test_without_a_data_set_inputs_are_made_up_and_always_the_same():
    seen = []

    class _Records(_Honest):
        def embed(self, batch, modality):
            seen.append(batch["image"].copy())
            return super().embed(batch, modality)

    check_embedder(_Records(), [image_modality(size=16)])
    first, seen[:] = list(seen), []
    check_embedder(_Records(), [image_modality(size=16)])
    assert seen[0].shape == (8, 3, 16, 16)
    for one, other in zip(first, seen, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_modality_in_common(dataset):
    with pytest.raises(EmbedderError, match="takes image; the data have photometry; expected a modality in common"):
        check_embedder(_Honest(), [photometry_modality("gr")])
    with pytest.raises(EmbedderError, match="expected spectrum in both"):
        check_embedder(_Honest(), dataset, modalities=["spectrum"])


def test_what_is_no_embedder(dataset):
    with pytest.raises(EmbedderError, match="type str is no embedder"):
        check_embedder("model.pt", dataset)


def test_the_input_format(dataset):
    formats = input_format(dataset)
    assert formats["spectrum"]["columns"] == {"flux": ["n", 12], "ivar": ["n", 12]}
    text = describe_inputs()
    for part in (
        "batch['image']  (n, 3, 152, 152), nmgy",
        "bands: g, r, z",
        "pixel scale arcsec: 0.262",
        "batch['flux_r']  (n,), nmgy",
    ):
        assert part in text
    assert "wavelength start angstrom: 3600.0" in text
