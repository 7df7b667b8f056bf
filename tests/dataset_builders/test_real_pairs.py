"""Real cut-outs and spectra pass through record, files and batches unchanged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from astroclip_bench.datasets import check_dataset, numpy_to_arrow, open_dataset
from astroclip_bench.embedders import check_embedder, embed_split, load_embedder
from astroclip_bench.records import COLUMNS, DatasetInfo, image_modality, record_schema, spectrum_modality
from dataset_builders.desi_legacy.coadd import read_coadd
from dataset_builders.desi_legacy.cutout import read_cutout
from dataset_builders.parquet import build_dataset
from dataset_builders.splits import healpix_pixel, split_of_pixel
from dataset_builders.validate import select_splits

pytest.importorskip("astropy.io.fits")

NAMES = ("object_id", "ra", "dec", "healpix", "split", "image", "flux", "ivar", "redshift")


class RealPairs:
    """Two real images beside two real spectra (of other galaxies: only the passage is tested)."""

    shards = (0,)

    def __init__(self, folder: Path) -> None:
        self.info = DatasetInfo("real-pairs", "1", "Real pairs", "For a test.", "cc-by-4.0", "None.", False)
        self.schema = record_schema(
            self.info, [COLUMNS[name] for name in NAMES], [image_modality(), spectrum_modality()]
        )
        self.cutouts = [read_cutout(folder / f"legacy/zoobot_example_{name}.fits") for name in "ab"]
        self.coadd = read_coadd(folder / "desi/coadd-sv3-dark-26065.fits")

    def shard_size(self, shard: int) -> int:
        """Return the number of pairs."""
        return 2

    def card(self) -> dict[str, str]:
        """Return no sections."""
        return {}

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the two pairs."""
        healpix = healpix_pixel(self.coadd.ra, self.coadd.dec)
        columns = {
            "object_id": pa.array([str(target) for target in self.coadd.target_id]),
            "ra": pa.array(self.coadd.ra),
            "dec": pa.array(self.coadd.dec),
            "healpix": pa.array(healpix),
            "split": pa.array(split_of_pixel(healpix).tolist()),
            "image": numpy_to_arrow(np.stack([cutout.image for cutout in self.cutouts])),
            "flux": numpy_to_arrow(self.coadd.flux),
            "ivar": numpy_to_arrow(self.coadd.ivar),
            "redshift": pa.array([0.1, None], pa.float32()),
        }
        yield select_splits(pa.record_batch(columns, schema=self.schema), splits)


def test_real_pairs_come_back_as_they_were(realdata, tmp_path):
    source = RealPairs(realdata)
    folder = build_dataset(source, tmp_path / "out")
    assert check_dataset(folder).rows == 2
    test = open_dataset(folder).splits["test"]
    (batch,) = test.batches(["image", "flux", "ivar"], 8)
    assert batch.object_ids == ["39627866878511337", "39627866878514741"]
    np.testing.assert_array_equal(batch.arrays["image"], np.stack([cutout.image for cutout in source.cutouts]))
    np.testing.assert_array_equal(batch.arrays["flux"], source.coadd.flux)
    np.testing.assert_array_equal(batch.arrays["ivar"], source.coadd.ivar)
    np.testing.assert_array_equal(test.column("redshift"), np.array([np.float32(0.1), np.nan]))


@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_real_inputs_pass_through_model_and_cache(realdata, tmp_path, monkeypatch, modality):
    dataset = open_dataset(build_dataset(RealPairs(realdata), tmp_path / "out"))
    embedder = load_embedder("contrastive-mini")
    assert check_embedder(embedder, dataset.modalities.values()).passed
    monkeypatch.setenv("ASTROCLIP_BENCH_CACHE", str(tmp_path / "cache"))

    def embed():
        view = dataset.modalities[modality]
        return embed_split(embedder, dataset.splits["test"], view, data_digest=dataset.digest)

    first = embed()
    assert first.vectors.shape == (2, embedder.info.dimension)
    assert np.isfinite(first.vectors).all()
    assert not np.allclose(first.vectors[0], first.vectors[1])
    monkeypatch.setattr(type(embedder), "embed", lambda *arguments: pytest.fail("the cache was not used"))
    again = embed()
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert again.object_ids == first.object_ids
