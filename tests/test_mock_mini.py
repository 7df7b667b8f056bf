"""The embedded default: the bundled model on the mock survey, against its floors."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.environment import usable_cores
from astroclip_bench.evaluation import DEFAULT_DATASET, DEFAULT_MODEL, evaluate


@pytest.fixture(scope="module")
def dataset():
    return open_dataset(DEFAULT_DATASET, workers=usable_cores())


@pytest.fixture(scope="module")
def result(dataset):
    return evaluate(load_embedder(DEFAULT_MODEL), dataset)


def test_the_result_is_complete_and_plainly_of_a_simulation(result, dataset):
    assert result.complete
    assert result.dataset["simulated"]
    assert result.not_applicable == {}
    assert sum(view.rows for view in dataset.splits.values()) == 4_000


def test_redshift_from_spectra_beats_the_floors(result):
    wanted = {"task": "redshift", "protocol": "knn16", "metric": "r2", "group": "all"}
    (score,) = result.find(**wanted, reference="spectrum", query="spectrum")
    for name in ("photometry", "random-projection"):
        floors = [
            row for row in result.floors[name] if all(getattr(row, key) == value for key, value in wanted.items())
        ]
        assert floors
        assert score.low > max(row.high for row in floors)


def test_cross_modal_recall_is_ten_times_chance(result):
    scores = result.find(task="retrieval", metric="recall@10", group="all")
    assert len(scores) == 2
    for score in scores:
        assert score.chance == pytest.approx(10 / score.n)
        assert score.low > 10 * score.chance


def test_shuffled_labels_cannot_be_predicted(dataset):
    """The labels of the train split in another order: what is left is chance."""
    from astroclip_bench.embedders import embed_split
    from astroclip_bench.tasks.metrics import Sample, score
    from astroclip_bench.tasks.probes import knn_regress
    from astroclip_bench.tasks.protocols import PROTOCOLS

    embedder = load_embedder(DEFAULT_MODEL)
    vectors = {
        name: embed_split(
            embedder, dataset.splits[name], dataset.modalities["spectrum"], data_digest=dataset.digest
        ).vectors
        for name in ("train", "test")
    }
    train, test = dataset.splits["train"], dataset.splits["test"]
    shuffled = np.random.default_rng(0).permutation(train.column("redshift"))
    for protocol in ("knn16", "knn64-std"):
        prediction = knn_regress(vectors["train"], shuffled, vectors["test"], PROTOCOLS[protocol])
        sample = Sample(test.column("redshift"), prediction.values[:, 0])
        assert score(["r2"], sample, test.column("healpix"))["r2"].value <= 0.02


def test_every_intermediate_scale_of_quality_is_there(result):
    """Images tell some redshift, spectra more; neither is perfect: the survey is a test, not a formality."""
    wanted = {"task": "redshift", "protocol": "knn16", "metric": "r2", "group": "all"}
    (image,) = result.find(**wanted, reference="image", query="image")
    (spectrum,) = result.find(**wanted, reference="spectrum", query="spectrum")
    assert 0.3 < image.value < spectrum.value < 0.999
