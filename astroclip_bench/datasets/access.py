"""From a name, a folder or a Hub repository to an opened data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from astroclip_bench.datasets.manifest import MANIFEST_NAME
from astroclip_bench.datasets.verify import Verify, open_folder
from astroclip_bench.datasets.views import BenchDataset
from astroclip_bench.errors import DataError
from astroclip_bench.files import cache_dir
from astroclip_bench.plugins import load_plugin, plugin_names, suggest
from astroclip_bench.progress import Progress

PLUGIN_GROUP = "datasets"
HUB_SCHEME = "hf://"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class NamedDataset(Protocol):
    """A data set that can be made on this machine: what an entry point of `astroclip_bench.datasets` names.

    An attribute `version`, where there is one, keeps generations of it apart in the cache.
    """

    name: str

    def build(self, out: Path, *, workers: int = 1, progress: Progress | None = None) -> object:
        """Write the data set folder `out`, or complete it."""
        ...


def open_dataset(
    source: str | Path,
    *,
    revision: str | None = None,
    verify: Verify = "digests",
    workers: int = 1,
    progress: Progress | None = None,
) -> BenchDataset:
    """Open a data set.

    Parameters
    ----------
    source
        The name of an installed data set (generated once, into the cache), a folder, or a Hub repository
        (``org/name``, ``hf://org/name``, ``hf://org/name@revision``). A name comes before a folder of the same name;
        write ``./name`` for the folder.
    revision
        Branch, tag or commit of a Hub repository.
    verify
        ``"digests"`` compares every file's SHA-256 (once for an unchanged file), ``"sizes"`` its size alone.
    workers, progress
        Processes to generate a named data set with, and what to call with the rows done and their total.

    Raises
    ------
    DataError
        If there is no such data set, or it does not hold what its manifest says.
    """
    text = str(source)
    if isinstance(source, str) and source in dataset_names():
        _refuse_revision(text, revision)
        return open_folder(_generated(source, workers, progress), verify)
    if Path(text).expanduser().exists() and not text.startswith(HUB_SCHEME):
        _refuse_revision(text, revision)
        return open_folder(Path(text), verify)
    if isinstance(source, str):
        repository, at = _hub_repository(text)
        if repository is not None:
            return open_folder(_downloaded(repository, revision or at), verify)
        if "/" not in text and "\\" not in text:
            raise _unknown_name(text)
    return open_folder(Path(text), verify)


def dataset_names() -> list[str]:
    """Return the names of the installed data sets."""
    return plugin_names(PLUGIN_GROUP)


def _unknown_name(name: str) -> DataError:
    return DataError(
        f"no data set or folder {name!r}",
        "an installed data set, a folder, or a Hub id org/name",
        suggest(name, dataset_names()),
    )


def _refuse_revision(source: str, revision: str | None) -> None:
    if revision is not None:
        raise DataError(f"revision {revision!r} for {source}, which is not on the Hub", todo="leave the revision out")


def _generated(name: str, workers: int, progress: Progress | None) -> Path:
    """Return the folder of a named data set in the cache, generating it first if it is not there."""
    from filelock import FileLock

    named: NamedDataset = load_plugin(PLUGIN_GROUP, name)
    version = getattr(named, "version", None)
    folder = cache_dir("datasets") / (f"{name}-{version}" if version else name)
    if (folder / MANIFEST_NAME).is_file():
        return folder
    # A second process waits here for the first, and then finds the data set made.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not (folder / MANIFEST_NAME).is_file():
            named.build(folder, workers=workers, progress=progress)
    return folder


def _hub_repository(text: str) -> tuple[str | None, str | None]:
    """Return the repository and revision that a Hub id names, or None for anything else."""
    name, _, revision = text.removeprefix(HUB_SCHEME).removeprefix("datasets/").partition("@")
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return name, revision or None
    if text.startswith(HUB_SCHEME):
        raise DataError(f"{text!r} is not a Hub id", "hf://org/name or hf://org/name@revision")
    return None, None


def _downloaded(repository: str, revision: str | None) -> Path:
    """Return the folder of a Hub repository in the local Hub cache, fetching what is missing.

    Raises
    ------
    DataError
        If the repository or revision does not exist, is not open to this user, or cannot be reached.
    """
    from huggingface_hub import errors, snapshot_download

    named = f"{repository}@{revision}" if revision else repository
    try:
        folder = snapshot_download(
            repository,
            repo_type="dataset",
            revision=revision,
            allow_patterns=[MANIFEST_NAME, "README.md", "*.parquet"],
        )
    except errors.GatedRepoError as error:
        raise DataError(
            f"the Hub data set {named} asks for permission", todo="accept its terms, then hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataError(f"the Hub data set {repository} has no revision {revision!r}", todo="check it") from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            f"no data set {named} on the Hub, nor a folder of that name", todo="check the spelling"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError, OSError) as error:
        raise DataError(
            f"the Hub data set {named} is not in the local cache and the Hub cannot be reached",
            todo="check the network and the variable HF_HUB_OFFLINE, or give a folder",
        ) from error
    return Path(folder)
