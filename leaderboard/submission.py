"""A submission: one folder with what a model's authors declare, its result, and the embeddings that prove it.

::

    NAME/
      submission.yaml         what the card declares, and digests of the other files (schema submission-v1)
      result.json             the harness's result record, version 1
      embeddings/train.parquet, test.parquet, and validation.parquet where a probe chose by it

The model's embeddings may lie on the Hub instead, at a commit, with their digests here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.files import sha256_file, storage_errors
from leaderboard.errors import SubmissionError
from leaderboard.texts import MAX_JSON_BYTES, MAX_YAML_BYTES, parse_json, parse_yaml, read_bytes, require_schema

if TYPE_CHECKING:
    from astroclip_bench.results.record import Result

SUBMISSION_VERSION = 1
SUBMISSION_FILE, RESULT_FILE, EMBEDDINGS_FOLDER = "submission.yaml", "result.json", "embeddings"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DEFAULT_FOLDER = Path("leaderboard/submissions")


@dataclass(frozen=True)
class VectorFile:
    """A file of embeddings: of which split, how large, its digest, and where it lies if not in the folder."""

    split: str
    bytes: int
    sha256: str
    address: str | None = None

    @property
    def path(self) -> str:
        """Where it lies in a submission's folder."""
        return f"{EMBEDDINGS_FOLDER}/{self.split}.parquet"


@dataclass(frozen=True)
class Submission:
    """What a folder holds, as its authors state it; nothing of it is verified but its form."""

    folder: Path
    card: dict[str, Any]
    result: Result
    files: dict[str, VectorFile]
    """By split."""
    created: str

    @property
    def name(self) -> str:
        """The folder's name, which identifies the submission."""
        return self.folder.name


def list_submissions(folder: Path | str) -> list[Path]:
    """Return the submissions' folders in `folder`, by name; `folder` itself where it is one.

    Raises
    ------
    SubmissionError
        If there is none.
    """
    folder = Path(folder)
    if (folder / SUBMISSION_FILE).exists():
        return [folder]
    with storage_errors(folder):
        found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise SubmissionError(f"{folder}: no submissions in it", f"folders with a {SUBMISSION_FILE}")
    return found


def read_submission(folder: Path | str) -> Submission:
    """Read a submission's texts and check their form.

    Raises
    ------
    SubmissionError
        If the folder holds anything but a submission, or one of its texts is damaged or not of its schema.
    ResultError
        If the result is of another version of the schema.
    """
    folder = Path(folder)
    check_folder(folder)
    where = folder / SUBMISSION_FILE
    content = parse_yaml(read_bytes(where, MAX_YAML_BYTES), str(where))
    require_schema(content, "submission-v1", str(where))
    files = {entry["split"]: VectorFile(**entry) for entry in content["embeddings"]}
    if len(files) < len(content["embeddings"]):
        raise SubmissionError(f"{where}: two files of embeddings of one split", "one a split")
    result = read_result_safely(folder / RESULT_FILE)
    found = sha256_file(folder / RESULT_FILE)
    if found != content["result"]["sha256"]:
        raise SubmissionError(
            f"{folder / RESULT_FILE}: SHA-256 {found[:16]}...",
            f"{content['result']['sha256'][:16]}..., as in {SUBMISSION_FILE}",
            "submit again: a result is never edited",
        )
    return Submission(folder, content["card"], result, files, content["created"])


def read_result_safely(path: Path) -> Result:
    """Return a result that anyone may have written.

    Raises
    ------
    SubmissionError
        If it is too large, too deep, or no JSON.
    ResultError
        If it is not of the schema, or of another version of it.
    """
    from astroclip_bench.results.record import read_result

    parse_json(read_bytes(path, MAX_JSON_BYTES), str(path))
    return read_result(path)


def check_folder(folder: Path) -> None:
    """Refuse a folder with anything in it that no submission has: links, other files, other folders.

    Raises
    ------
    SubmissionError
        Naming the first such thing.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError(f"{folder}: no such folder, or a link", "a submission's folder")
    if not NAME.fullmatch(folder.resolve().name):
        raise SubmissionError(f"{folder.name[:80]!r} is no name of a submission", "letters, digits, '.', '_' and '-'")
    allowed = {SUBMISSION_FILE, RESULT_FILE, EMBEDDINGS_FOLDER}
    vectors = {f"{split}.parquet" for split in ("train", "validation", "test")}
    with storage_errors(folder):
        for inside, names in ((folder, allowed), (folder / EMBEDDINGS_FOLDER, vectors)):
            for path in sorted(inside.iterdir()) if inside.exists() else ():
                plain = path.is_dir() if path.name == EMBEDDINGS_FOLDER else path.is_file()
                if path.name not in names or path.is_symlink() or not plain:
                    raise SubmissionError(
                        f"{folder.name}: {str(path.relative_to(folder))[:80]!r} does not belong there",
                        f"plain files: {SUBMISSION_FILE}, {RESULT_FILE}, {EMBEDDINGS_FOLDER}/SPLIT.parquet",
                    )


def fetch(submission: Submission, split: str, limit: int) -> Path:
    """Return the path of a split's embeddings, fetched from the Hub if they lie there, its digest compared.

    Raises
    ------
    SubmissionError
        If there is no such file, it is another one, or larger than `limit` bytes: that is said before it is fetched.
    """
    if split not in submission.files:
        raise SubmissionError(f"{submission.name}: no embeddings of the split {split}", f"the file of {split}")
    entry = submission.files[split]
    if entry.bytes > limit:
        raise SubmissionError(f"{submission.name}: {entry.path} has {entry.bytes:,} bytes", f"at most {limit:,}")
    path = submission.folder / entry.path if entry.address is None else _download(entry.address, entry.bytes)
    if entry.address is None and (path.is_symlink() or not path.is_file()):
        raise SubmissionError(f"{submission.name}: {entry.path} is missing", f"{entry.bytes:,} bytes")
    with storage_errors(path):
        size = path.stat().st_size
    if size != entry.bytes:
        raise SubmissionError(f"{submission.name}: {entry.path} has {size:,} bytes", f"{entry.bytes:,}")
    found = sha256_file(path)
    if found != entry.sha256:
        raise SubmissionError(f"{submission.name}: {entry.path}: SHA-256 {found[:16]}...", f"{entry.sha256[:16]}...")
    return path


def _download(address: str, size: int) -> Path:
    from huggingface_hub import HfApi, hf_hub_download

    from astroclip_bench.datasets.hub_errors import hub_errors

    repository, _, rest = address.removeprefix("hf://datasets/").partition("@")
    revision, _, file = rest.partition("/")
    with hub_errors(repository):
        found = HfApi().get_paths_info(repository, [file], repo_type="dataset", revision=revision)
        if not found or getattr(found[0], "size", None) != size:
            raise SubmissionError(f"{address}: not there, or of another size", f"a file of {size:,} bytes")
        return Path(hf_hub_download(repository, file, repo_type="dataset", revision=revision)).resolve()
