"""A data set folder to the Hub: checked first, in one commit, and never over something else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from astroclip_bench.datasets.digests import type_name
from astroclip_bench.datasets.hub_errors import hub_errors
from astroclip_bench.datasets.manifest import MANIFEST_NAME, MANIFEST_VERSION, Manifest
from astroclip_bench.datasets.verify import open_folder
from astroclip_bench.errors import DataError
from astroclip_bench.progress import Progress
from astroclip_bench.records import SCHEMA_KEY

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

    from astroclip_bench.datasets.views import BenchDataset

CARD_NAME, CROISSANT_NAME, EVAL_NAME = "README.md", "croissant.json", "eval.yaml"
HARMLESS_FILES = frozenset({".gitattributes", ".gitignore", CARD_NAME, "LICENSE", "LICENSE.md"})
"""Files that a repository may hold before its first data set."""
BATCH_FILES = 20
"""Files uploaded at a time; a batch that is through need not be sent again after an interruption."""
ANOTHER_PLACE = "push to another repository, or to a branch of this one with --revision"


@dataclass(frozen=True)
class Remote:
    """What a repository holds: its files with their SHA-256 (None for small ones), and its data set, if any."""

    commit: str | None
    files: dict[str, str | None] = field(default_factory=dict)
    manifest: dict[str, Any] | None = None
    schema: pa.Schema | None = None


def push_dataset(
    folder: Path | str,
    repository: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    benchmark: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> str:
    """Put a data set folder on the Hub in one commit, and return the address of the commit or pull request.

    The files of the manifest go up, with card, manifest and Croissant metadata; files of an earlier version that no
    longer belong are removed in the same commit. Files that the Hub has already are not sent again, so a push that
    was interrupted goes on from there.

    Parameters
    ----------
    repository
        ``org/name``; made if there is none.
    private
        Whether a repository that is made is private.
    create_pr
        Propose the commit as a pull request.
    revision
        Branch to commit to; made from the main one if there is none.
    benchmark
        Take `eval.yaml` along, which the Hub refuses unless the framework that it names is on the Hub's list.
    say
        Called with what is found on the Hub and what is done.
    progress
        Called with the megabytes sent and their total.

    Raises
    ------
    DataError
        If the folder is not whole, the repository holds another data set, a newer version or another schema, or the
        Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if repository.count("/") != 1:
        raise DataError(f"{repository!r} is no name of a repository", "org/name", "check the spelling")
    dataset = open_folder(Path(folder))
    api = HfApi()
    with hub_errors(repository):
        remote = _prepare(api, repository, private, create_pr, revision)
        say(check_replaceable(dataset, remote, repository))
        manifest = dataset.manifest
        unchanged = {entry.path for entry in manifest.files if remote.files.get(entry.path) == entry.sha256}
        additions = [
            CommitOperationAdd(path, dataset.folder / path)
            for path in wanted_files(dataset, benchmark)
            if path not in unchanged
        ]
        stale = stale_files(manifest, remote, dataset.folder)
        say(f"{len(additions)} files to send, {len(unchanged)} already there, {len(stale)} to remove")
        _upload(api, repository, additions, create_pr, revision, progress)
        commit = api.create_commit(
            repository,
            [*additions, *(CommitOperationDelete(path) for path in stale)],
            commit_message=f"{manifest.name} {manifest.version} (data digest {manifest.digest})",
            repo_type="dataset",
            revision=revision,
            create_pr=create_pr,
            parent_commit=remote.commit,
        )
    return str(commit.pr_url or commit.commit_url)


def wanted_files(dataset: BenchDataset, benchmark: bool) -> list[str]:
    """Return the paths that go to the Hub, below the folder."""
    beside = [CARD_NAME, MANIFEST_NAME, CROISSANT_NAME, *([EVAL_NAME] if benchmark else [])]
    if benchmark and not (dataset.folder / EVAL_NAME).is_file():
        raise DataError(f"{dataset.folder}: no {EVAL_NAME}", todo="leave --benchmark out, or build the data set again")
    return [entry.path for entry in dataset.manifest.files] + [
        name for name in beside if (dataset.folder / name).is_file()
    ]


def stale_files(manifest: Manifest, remote: Remote, folder: Path) -> list[str]:
    """Return the files of an earlier version in the repository that this one has no more."""
    mine = {entry.path for entry in manifest.files}
    folders = {path.partition("/")[0] for path in mine}
    earlier = {entry["path"] for entry in (remote.manifest or {}).get("files", ())}
    if not (folder / CROISSANT_NAME).is_file():
        earlier.add(CROISSANT_NAME)
    return sorted(
        path
        for path in remote.files
        if path not in mine and (path in earlier or (path.endswith(".parquet") and path.partition("/")[0] in folders))
    )


def check_replaceable(dataset: BenchDataset, remote: Remote, repository: str) -> str:
    """Say what the push does to what is there, or refuse.

    Raises
    ------
    DataError
        If the repository holds something else, another schema version, or a newer version of the data set.
    """
    mine, theirs = dataset.manifest, remote.manifest
    if theirs is None:
        foreign = sorted(set(remote.files) - HARMLESS_FILES)
        if foreign:
            raise DataError(
                f"{repository} holds files of something else, such as {foreign[0]!r}",
                "a new or empty repository, or one with this data set",
                ANOTHER_PLACE,
            )
        return f"{repository}: new"
    if theirs.get("name") != mine.name:
        raise DataError(f"{repository} holds the data set {theirs.get('name')!r}", repr(mine.name), ANOTHER_PLACE)
    if theirs.get("manifest_version") != MANIFEST_VERSION:
        raise DataError(
            f"{repository} has manifest version {theirs.get('manifest_version')}", f"{MANIFEST_VERSION}", ANOTHER_PLACE
        )
    version = str(theirs.get("version"))
    if remote.schema is not None:
        _check_schema(dataset, remote.schema, version, repository)
    if _version_key(version) > _version_key(mine.version):
        raise DataError(f"{repository} has version {version}", f"{mine.version} or older", ANOTHER_PLACE)
    if theirs.get("digest") == mine.digest:
        return f"{repository}: version {version}, with the same data"
    return f"{repository}: replaces version {version} (data digest {theirs.get('digest')}) by {mine.version}"


def _check_schema(dataset: BenchDataset, theirs: pa.Schema, version: str, repository: str) -> None:
    """Refuse another record version, and other columns under the same version of the data set."""
    found, expected = (
        json.loads((schema.metadata or {}).get(SCHEMA_KEY, b"{}")).get("record_version")
        for schema in (theirs, dataset.schema)
    )
    if found != expected:
        raise DataError(f"{repository} has record version {found}", f"{expected}", ANOTHER_PLACE)
    if version == dataset.manifest.version:
        there, here = ({(item.name, type_name(item.type)) for item in schema} for schema in (theirs, dataset.schema))
        if there != here:
            name = min(there ^ here)[0]
            raise DataError(
                f"{repository} has version {version} with other columns; {name!r} differs",
                "the same columns under the same version",
                f"give the data set another version, or {ANOTHER_PLACE}",
            )


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _prepare(api: HfApi, repository: str, private: bool, create_pr: bool, revision: str | None) -> Remote:
    """Return what the repository holds, making it, or the branch, where there is none."""
    from huggingface_hub import errors

    try:
        api.repo_info(repository, repo_type="dataset")
    except errors.RepositoryNotFoundError as error:
        if create_pr:
            raise DataError(
                f"there is no data set {repository} on the Hub, or it is not open to you",
                todo="check the spelling and hf auth whoami; leave --create-pr out to make it",
            ) from error
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
    if revision is not None and not create_pr:
        api.create_branch(repository, branch=revision, repo_type="dataset", exist_ok=True)
    return _read_remote(api, repository, revision)


def _read_remote(api: HfApi, repository: str, revision: str | None) -> Remote:
    from huggingface_hub import HfFileSystem
    from huggingface_hub.hf_api import RepoFile

    commit = api.repo_info(repository, repo_type="dataset", revision=revision).sha
    tree = api.list_repo_tree(repository, recursive=True, repo_type="dataset", revision=commit)
    files = {item.path: item.lfs.sha256 if item.lfs else None for item in tree if isinstance(item, RepoFile)}
    if MANIFEST_NAME not in files:
        return Remote(commit, files)
    system = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    root = f"datasets/{repository}@{commit}"
    try:
        manifest = json.loads(system.read_bytes(f"{root}/{MANIFEST_NAME}"))
        first = next((entry["path"] for entry in manifest["files"] if entry["path"] in files), None)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{repository}: its {MANIFEST_NAME} cannot be read", "a data set", ANOTHER_PLACE) from error
    return Remote(commit, files, manifest, _remote_schema(system, f"{root}/{first}") if first else None)


def _remote_schema(system: Any, path: str) -> pa.Schema:
    """Return the schema of a Parquet file on the Hub; its footer alone is read."""
    import pyarrow.parquet as pq

    try:
        with system.open(path, block_size=2**16) as handle:
            return pq.read_schema(handle)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file", "a data set", ANOTHER_PLACE) from error


def _upload(
    api: HfApi,
    repository: str,
    additions: list[CommitOperationAdd],
    create_pr: bool,
    revision: str | None,
    progress: Progress | None,
) -> None:
    """Send the contents of the files, batch by batch; the commit comes later and needs their names alone."""
    total, sent = sum(addition.upload_info.size for addition in additions), 0
    with _quiet_bars():
        for start in range(0, len(additions), BATCH_FILES):
            batch = additions[start : start + BATCH_FILES]
            api.preupload_lfs_files(
                repository,
                batch,
                repo_type="dataset",
                revision=revision,
                create_pr=create_pr,
                free_memory=False,
            )
            sent += sum(addition.upload_info.size for addition in batch)
            if progress:
                progress(sent // 10**6, total // 10**6)


@contextmanager
def _quiet_bars() -> Iterator[None]:
    """Keep the Hub's own progress bars off the terminal, which shows this package's."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not disabled:
            enable_progress_bars()
