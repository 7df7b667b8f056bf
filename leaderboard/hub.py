"""What a submission sends to the Hub: a pull request with it, and embeddings that are too large for one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from astroclip_bench.datasets.hub_errors import hub_errors
from leaderboard.errors import SubmissionError
from leaderboard.submission import EMBEDDINGS_FOLDER, SUBMISSION_FILE, VectorFile
from leaderboard.texts import MAX_YAML_BYTES, dump_yaml, parse_yaml, read_bytes, require_schema

if TYPE_CHECKING:
    from leaderboard.submit import Prepared

HUB_FOLDER = "submissions"


def publish_embeddings(prepared: Prepared, repository: str) -> str:
    """Send the embeddings of a prepared submission to a data set repository, and leave their addresses in its folder.

    The repository is made if there is none. The addresses name the commit, so that nothing that happens there later
    changes what was submitted.

    Returns
    -------
    str
        The address of the folder on the Hub.

    Raises
    ------
    DataError
        If the Hub refuses or cannot be reached; the folder is then as it was.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    where = prepared.folder / SUBMISSION_FILE
    content = parse_yaml(read_bytes(where, MAX_YAML_BYTES), str(where))
    with hub_errors(repository):
        api.create_repo(repository, repo_type="dataset", exist_ok=True)
        commit = api.create_commit(
            repository,
            [
                CommitOperationAdd(
                    f"{prepared.name}/{entry['split']}.parquet", prepared.folder / VectorFile(**entry).path
                )
                for entry in content["embeddings"]
            ],
            commit_message=f"Embeddings of {prepared.name}",
            repo_type="dataset",
        )
    folder = f"hf://datasets/{repository}@{commit.oid}/{prepared.name}"
    content["embeddings"] = [
        {**entry, "address": f"{folder}/{entry['split']}.parquet"} for entry in content["embeddings"]
    ]
    require_schema(content, "submission-v1", SUBMISSION_FILE)
    where.write_text(dump_yaml(content), encoding="utf-8")
    shutil.rmtree(prepared.folder / EMBEDDINGS_FOLDER)
    return folder


def propose(prepared: Prepared, repository: str, title: str) -> str:
    """Open a pull request with a prepared submission on a data set repository of the Hub, and return its address.

    Raises
    ------
    DataError
        If the Hub refuses or cannot be reached.
    SubmissionError
        If the repository has a submission of that name.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, root = HfApi(), f"{HUB_FOLDER}/{prepared.name}"
    with hub_errors(repository):
        if api.get_paths_info(repository, [f"{root}/{SUBMISSION_FILE}"], repo_type="dataset"):
            raise SubmissionError(
                f"{repository} has a submission {prepared.name!r}", todo="give this one another name with --name"
            )
        commit = api.create_commit(
            repository,
            [
                CommitOperationAdd(f"{root}/{path.relative_to(prepared.folder).as_posix()}", path)
                for path in prepared.files()
            ],
            commit_message=title,
            repo_type="dataset",
            create_pr=True,
        )
    return str(commit.pr_url or commit.commit_url)
