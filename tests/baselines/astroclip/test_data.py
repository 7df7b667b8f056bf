"""The loader: every galaxy once an epoch, the same for any number of processes, from any step on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_stage import tiny_data

from astroclip_bench.errors import DataError
from baselines.astroclip.config import DataSettings
from baselines.astroclip.data import Loader, open_split, validation_batches

CPU = torch.device("cpu")
CACHES = [{"cache": "none"}, {"cache": "memory"}, {"cache": "device", "cache_dtype": "float16"}]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("tiny") / "data")[0]


def take(loader, first, number):
    batches = loader.batches(first)
    taken = [next(batches) for _ in range(number)]
    batches.close()
    return taken


@pytest.mark.parametrize("options", CACHES)
def test_an_epoch_holds_each_usable_galaxy_at_most_once(dataset, options):
    split = open_split(dataset, "train", ("image", "redshift"), DataSettings(**options), CPU)
    wanted = dataset.splits["train"].column("redshift")
    wanted = wanted[np.isfinite(wanted)]
    assert 0 < len(split) == len(wanted) < dataset.splits["train"].rows
    loader = Loader(split, 8, 1, CPU)
    batches = take(loader, 0, loader.batches_an_epoch)
    images = np.concatenate([batch["image"].flatten(1) for batch in batches])
    assert len(images) == len(wanted) // 8 * 8
    assert len(np.unique(images, axis=0)) == len(images)
    exact = wanted.astype(np.float32)  # in every cache: labels are never halved
    assert all(np.isin(batch["redshift"].numpy(), exact).all() for batch in batches)


@pytest.mark.parametrize("options", CACHES)
def test_goes_on_at_any_step(dataset, options):
    split = open_split(dataset, "train", ("image",), DataSettings(**options), CPU)
    loader = Loader(split, 16, 5, CPU)
    whole = take(loader, 0, 3 * loader.batches_an_epoch)
    for first in (1, loader.batches_an_epoch, 2 * loader.batches_an_epoch + 1):
        for batch, again in zip(whole[first:], take(loader, first, len(whole) - first), strict=True):
            assert torch.equal(batch["image"], again["image"])
    first, second = (torch.cat([b["image"] for b in whole[i : i + 1]]) for i in (0, loader.batches_an_epoch))
    assert not torch.equal(first, second)


def test_processes_share_out_the_batch_of_one(dataset):
    split = open_split(dataset, "train", ("image",), DataSettings(), CPU)
    alone = take(Loader(split, 8, 2, CPU), 3, 4)
    shares = [take(Loader(split, 8, 2, CPU, process, 2), 3, 4) for process in range(2)]
    for batch, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(batch["image"], torch.cat([part["image"] for part in parts]))


def test_caches_hold_what_the_file_holds(dataset):
    plain, kept, half = (open_split(dataset, "train", ("image",), DataSettings(**options), CPU) for options in CACHES)
    order = np.array([5, 0, 7])
    batches = [next(split.batches(order, 3))["image"] for split in (plain, kept, half)]
    assert torch.equal(batches[0], batches[1])
    torch.testing.assert_close(batches[0], batches[2], rtol=1e-3, atol=1e-6)
    wanted = dataset.splits["train"].column("image")[order]
    assert np.array_equal(batches[0].numpy(), wanted)


def test_validation_goes_through_the_split_in_order(dataset):
    split = open_split(dataset, "validation", ("image",), DataSettings(), CPU)
    wanted = dataset.splits["validation"].column("image")
    found = torch.cat([batch["image"] for batch in validation_batches(split, 8, CPU)]).numpy()
    assert np.array_equal(found, wanted[: len(wanted) // 8 * 8])
    shares = [list(validation_batches(split, 8, CPU, process, 2)) for process in range(2)]
    joined = np.concatenate([part["image"] for pair in zip(*shares, strict=True) for part in pair])
    assert np.array_equal(found, joined)


def test_limit_takes_a_subsample(dataset):
    split = open_split(dataset, "train", ("image",), DataSettings(limit=10), CPU)
    assert len(split) == 10
    wanted = dataset.splits["train"].subsample(10).column("image")
    assert np.array_equal(next(split.batches(np.arange(10), 10))["image"].numpy(), wanted)


def test_failures_of_the_reading_thread_reach_the_training(dataset, monkeypatch):
    split = open_split(dataset, "train", ("image",), DataSettings(), CPU)
    monkeypatch.setattr("baselines.astroclip.data.to_tensors", lambda batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(Loader(split, 8, 2, CPU).batches())


def test_misfits_are_named(dataset):
    split = open_split(dataset, "train", ("image",), DataSettings(), CPU)
    for arguments, said in (((len(split) + 1,), "at least one batch"), ((9,), "a multiple of the 2 processes")):
        with pytest.raises(DataError, match=said):
            Loader(split, *arguments, 0, CPU, 0, 2 if said.startswith("a mult") else 1)
    with pytest.raises(DataError, match="no column 'flux'"):
        open_split(dataset, "train", ("flux",), DataSettings(), CPU)
    with pytest.raises(DataError, match="no split 'dev'"):
        open_split(dataset, "dev", ("image",), DataSettings(), CPU)
