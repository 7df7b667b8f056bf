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
from dataset_builders.parquet import build_dataset
from dataset_builders.splits import healpix_pixel, split_of_pixel
from dataset_builders.upstream.desi_coadd import DesiCoadds
from dataset_builders.upstream.legacy_cutout import read_cutout
from dataset_builders.validate import select_splits

pytest.importorskip("astropy.io.fits")

NAMES = ("object_id", "ra", "dec", "healpix", "split", "image", "flux", "ivar", "redshift")


class RealPairs:
    """Three real spectra beside the two real images (of other galaxies: only the passage is tested)."""

    shards = (0,)

    def __init__(self, folder: Path) -> None:
        self.info = DatasetInfo("real-pairs", "1", "Real pairs", "For a test.", "cc-by-4.0", "None.", False)
        self.schema = record_schema(
            self.info, [COLUMNS[name] for name in NAMES], [image_modality(), spectrum_modality()]
        )
        self.image = np.stack([read_cutout(folder / f"legacy/zoobot_example_{name}.fits").image for name in "aba"])
        reader = DesiCoadds(folder / "desi", redshifts="none")
        coadds = []
        for path in reversed(reader.files()):
            light = reader.index(path).columns
            coadds.append({**light, **reader.load(path, light["row"]).columns})
        names = ("target_id", "ra", "dec", "flux", "ivar")
        self.spectra = {name: np.concatenate([coadd[name] for coadd in coadds]) for name in names}

    def shard_size(self, shard: int) -> int:
        """Return the number of pairs."""
        return 3

    def card(self) -> dict[str, str]:
        """Return no sections."""
        return {}

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the pairs."""
        spectra = self.spectra
        healpix = healpix_pixel(spectra["ra"], spectra["dec"])
        columns = {
            "object_id": pa.array([str(target) for target in spectra["target_id"]]),
            "ra": pa.array(spectra["ra"]),
            "dec": pa.array(spectra["dec"]),
            "healpix": pa.array(healpix),
            "split": pa.array(split_of_pixel(healpix).tolist()),
            "image": numpy_to_arrow(self.image),
            "flux": numpy_to_arrow(spectra["flux"]),
            "ivar": numpy_to_arrow(spectra["ivar"]),
            "redshift": pa.array([0.1, None, 0.368744], pa.float32()),
        }
        yield select_splits(pa.record_batch(columns, schema=self.schema), splits)


def test_real_pairs_come_back_as_they_were(realdata, tmp_path):
    source = RealPairs(realdata)
    folder = build_dataset(source, tmp_path / "out")
    assert check_dataset(folder).rows == 3
    found = {}
    for split in open_dataset(folder).splits.values():
        redshifts = split.column("redshift")
        for batch in split.batches(["image", "flux", "ivar"], 8):
            for row, name in enumerate(batch.object_ids):
                found[name] = {**{key: array[row] for key, array in batch.arrays.items()}, "redshift": redshifts[row]}
    assert sorted(found) == ["39627866878511337", "39627866878514741", "39633345008634465"]
    for row, target in enumerate(source.spectra["target_id"]):
        galaxy = found[str(target)]
        np.testing.assert_array_equal(galaxy["image"], source.image[row])
        np.testing.assert_array_equal(galaxy["flux"], source.spectra["flux"][row])
        np.testing.assert_array_equal(galaxy["ivar"], source.spectra["ivar"][row])
        np.testing.assert_array_equal(galaxy["redshift"], np.float32([0.1, np.nan, 0.368744][row]))


@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_real_inputs_pass_through_model_and_cache(realdata, tmp_path, monkeypatch, modality):
    dataset = open_dataset(build_dataset(RealPairs(realdata), tmp_path / "out"))
    embedder = load_embedder("astroclip-mini")
    assert check_embedder(embedder, dataset.modalities.values()).passed
    monkeypatch.setenv("ASTROCLIP_BENCH_CACHE", str(tmp_path / "cache"))

    def embed():
        view = dataset.modalities[modality]
        parts = [
            embed_split(embedder, split, view, data_digest=dataset.digest)
            for split in dataset.splits.values()
            if split.rows
        ]
        return [name for part in parts for name in part.object_ids], np.concatenate([part.vectors for part in parts])

    names, vectors = embed()
    assert vectors.shape == (3, embedder.info.dimension)
    assert np.isfinite(vectors).all()
    assert not np.allclose(vectors[0], vectors[1])
    monkeypatch.setattr(type(embedder), "embed", lambda *arguments: pytest.fail("the cache was not used"))
    again = embed()
    assert again[0] == names
    np.testing.assert_array_equal(again[1], vectors)
