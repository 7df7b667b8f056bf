"""Open data sets, verify them, and read their splits in batches."""

from __future__ import annotations

from astroclip_bench.datasets.access import dataset_names, open_dataset
from astroclip_bench.datasets.arrays import arrow_to_numpy, numpy_to_arrow
from astroclip_bench.datasets.hf import batches_from_hf
from astroclip_bench.datasets.manifest import index_folder
from astroclip_bench.datasets.verify import DatasetReport, check_dataset
from astroclip_bench.datasets.views import Batch, BenchDataset, SplitView

__all__ = [
    "Batch",
    "BenchDataset",
    "DatasetReport",
    "SplitView",
    "arrow_to_numpy",
    "batches_from_hf",
    "check_dataset",
    "dataset_names",
    "index_folder",
    "numpy_to_arrow",
    "open_dataset",
]
