"""What an evaluation ran on: versions, processor, threads, device."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "astroclip-bench",
    "torch",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "datasets",
    "huggingface-hub",
    "safetensors",
    "astropy",
    "astropy-healpix",
    "GalSim",
    "speclite",
    "bagpipes",
    "onnxruntime",
    "matplotlib",
    "umap-learn",
)


def package_versions() -> dict[str, str | None]:
    """Return the installed version of each package that can change a number; None if it is absent."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_environment() -> dict[str, Any]:
    """Return the environment block of a result record."""
    import torch

    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "packages": {name: found for name, found in package_versions().items() if found is not None},
    }
