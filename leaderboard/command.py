"""`astroclip-bench submit` and `astroclip-bench leaderboard`."""

from __future__ import annotations

import enum
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from astroclip_bench.errors import UserError
from leaderboard.board_command import build_command, serve_command
from leaderboard.submission import DEFAULT_FOLDER

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from leaderboard.submit import Prepared

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Verify submissions, and make the board of them.",
)
DATA = "mock-mini"
EVAL_RESULTS = Path(".eval_results")


class Format(enum.StrEnum):
    """What is written to standard output."""

    table = "table"
    json = "json"


app.command("build")(build_command)
app.command("serve")(serve_command)


def submit_command(
    result: Annotated[Path, typer.Argument(help="Result file of evaluate.", show_default=False)],
    model_card: Annotated[
        Path,
        typer.Option(
            "--model-card",
            help="What you declare of the model: YAML, or a Markdown card with it in the front matter "
            "(leaderboard/schemas/README.md).",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="Name, folder, or Hub id of the data set; the result's name if left out.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model or its stored embeddings, where the cache no longer has its vectors."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the submission; MODEL--DATA if left out.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of submissions to write to.")] = DEFAULT_FOLDER,
    hub: Annotated[
        str | None, typer.Option(metavar="ORG/DATASET", help="Open a pull request there instead.", show_default=False)
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/DATASET",
            help="Lay the embeddings there, in a repository of yours, and submit their addresses.",
            show_default=False,
        ),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/DATASET",
            help="The data set's Hub id, for .eval_results; --data if it is one.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending to the Hub.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show; write and send nothing.")] = False,
) -> None:
    """Check a result and submit it to the leaderboard.

    The embeddings are rounded to float16, scored again, and verified as the board will verify them. Shows what will be
    sent, then writes the folder into --out, or opens a pull request with --hub. Embeddings too large for either go to
    a repository of your own with --embeddings. Where the data set is on the Hub, the entry for the model's own
    repository is written to .eval_results in the working folder.

    \b
    Examples:
      astroclip-bench submit results/my-model--mock-mini.json --model-card card.yaml
      astroclip-bench submit result.json --model-card README.md --model embeddings.parquet --dry-run
      astroclip-bench submit result.json --model-card README.md --hub org/leaderboard --embeddings me/my-vectors
    """  # noqa: D301 - typer reads the backslash
    from astroclip_bench.cli.common import say, slug
    from leaderboard.card import read_card
    from leaderboard.eval_results import is_hub_id, write_eval_results
    from leaderboard.submission import read_result_safely
    from leaderboard.verify import require_submittable

    card = read_card(model_card)
    stated = read_result_safely(result)
    require_submittable(stated)
    chosen = name or f"{slug(card['name'])}--{slug(stated.dataset['name'])}"

    from leaderboard.hub import propose, publish_embeddings
    from leaderboard.submit import keep, prepare, refuse_existing

    if hub is None:
        refuse_existing(out / chosen)
    embedder = None
    if model is not None:
        from astroclip_bench.embedders import load_embedder

        embedder = load_embedder(model, dtype=str(stated.options.get("dtype", "float32")))
    near = Path.cwd() if hub or dry_run else _on_the_way(out)
    with prepare(stated, card, _open(data or stated.dataset["name"]), near, name=chosen, embedder=embedder) as prepared:
        typer.echo(_shown(prepared))
        if prepared.verdict.failures:
            worst = prepared.verdict.failures[0]
            raise UserError(f"this submission would be refused: {worst.name}: {worst.detail}", todo="nothing was sent")
        if dry_run:
            say("a dry run: nothing was written or sent")
            return
        if (hub or embeddings) and not yes:
            ways = [f"send the embeddings to {embeddings}"] * bool(embeddings) + [
                f"open a pull request on {hub}"
            ] * bool(hub)
            typer.confirm(f"Shall I {' and '.join(ways)}?", abort=True, err=True)
        if embeddings is not None:
            say(f"embeddings: {publish_embeddings(prepared, embeddings)}")
        if hub is None:
            say(f"written: {keep(prepared, out)}; next: astroclip-bench leaderboard verify {out / chosen}")
            address = None
        else:
            address = propose(prepared, hub, f"Submission: {card['name']} on {stated.dataset['name']}")
            say(f"pull request: {address}")
        known = benchmark or (data if data and is_hub_id(data) else None)
        if known is None:
            say("no .eval_results entry: name the data set's repository on the Hub with --benchmark ORG/DATASET")
            return
        assert prepared.verdict.result is not None
        path = write_eval_results(EVAL_RESULTS / f"{chosen}.yaml", prepared.verdict.result, known, address)
        say(f"written: {path}, for the model's own repository on the Hub")


@app.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="A submission, or a folder of them.")] = DEFAULT_FOLDER,
    data: Annotated[
        list[str], typer.Option(help="Name, folder, or Hub id of a data set; may be given several times.")
    ] = [DATA],  # noqa: B006 - typer reads it and changes nothing
    output: Annotated[Format, typer.Option("--format", help="What standard output gets.")] = Format.table,
    out: Annotated[
        Path | None,
        typer.Option(help="File of the verdicts, as JSON, written after each submission.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Keep the verdicts in --out on what has not changed since, or verify all anew.")
    ] = True,
    workers: Annotated[int, typer.Option(help="Processes to verify in, about 1 GB each.")] = 1,
) -> None:
    """Recompute every score of submissions from their embeddings.

    Compares scores to 1e-4; checks ids, duplicates, finite values and digests of data and labels; runs the controls
    for labels hidden in embeddings; and reckons how much of the test sky was seen in training. No code of a submission
    runs. Exit code 2 if one does not pass.

    \b
    Examples:
      astroclip-bench leaderboard verify
      astroclip-bench leaderboard verify leaderboard/submissions/my-model--mock-mini
      astroclip-bench leaderboard verify DIR --data mock-mini --data ./desi_legacy --out verdicts.json
      astroclip-bench leaderboard verify DIR --out verdicts.json --workers 4
    """  # noqa: D301 - typer reads the backslash
    from leaderboard.submission import list_submissions

    folders = list_submissions(folder)

    from astroclip_bench.cli.common import say
    from astroclip_bench.progress import progress_bar
    from leaderboard.many import verify_all
    from leaderboard.verify import open_for_many

    datasets = [open_for_many(_open(name)) for name in data]
    with progress_bar("verifying", unit="submissions") as report:
        verdicts = verify_all(folders, datasets, out=out, resume=resume, workers=workers, progress=report, say=say)
    typer.echo(json.dumps(verdicts, indent=2) if output is Format.json else _table(verdicts))
    refused = [verdict for verdict in verdicts if not verdict["passed"]]
    if refused:
        worst = next(check for check in refused[0]["checks"] if check["outcome"] == "failed")
        raise UserError(
            f"{len(refused)} of {len(verdicts)} submissions did not pass, first {refused[0]['name']}: "
            f"{worst['name']}: {worst['detail']}"
        )


def _open(name: str) -> BenchDataset:
    from astroclip_bench.cli.common import open_with_progress

    return open_with_progress(name)


def _on_the_way(out: Path) -> Path:
    """Return the last folder that there is on the way to `out`: a refused submission makes none."""
    from astroclip_bench.files import storage_errors

    found = next(path for path in (out, *out.absolute().parents) if path.exists())
    with storage_errors(out):
        if not found.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(found))
        if not os.access(found, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(found))
    return found


def _row(verdict: dict[str, Any]) -> list[str]:
    checks = sorted(verdict["checks"], key=lambda check: check["outcome"] != "failed")
    said = [f"{check['name']}: {check['detail']}" for check in checks if check["outcome"] in ("failed", "flagged")]
    seen = "-" if verdict["overlap"] is None else f"{verdict['overlap']['share']:.1%}"
    data = "-" if verdict["dataset"] is None else _data(verdict["dataset"])
    outcome = "passed" if verdict["passed"] else "REFUSED"
    return [verdict["name"], data, outcome, seen, f"{verdict['seconds']:.1f}", "\n".join(said)]


def _table(verdicts: list[dict[str, Any]]) -> str:
    from tabulate import tabulate

    headers = ["submission", "data", "verdict", "test sky seen", "seconds", "failures and flags"]
    rows = [_row(verdict) for verdict in verdicts]
    return tabulate(rows, headers=headers, tablefmt="simple", maxcolwidths=[None, None, None, None, None, 80])


def _data(dataset: Mapping[str, Any]) -> str:
    return f"{dataset['name']} {dataset['version']}{' (SIMULATED)' if dataset['simulated'] else ''}"


def _shown(prepared: Prepared) -> str:
    """Return what will be sent, in words: files, primary scores and what the checks say."""
    from tabulate import tabulate

    from leaderboard.eval_results import primary_scores

    files = [
        [path.relative_to(prepared.folder.parent).as_posix(), f"{path.stat().st_size:,} bytes"]
        for path in prepared.files()
    ]
    parts = ["What will be sent:", tabulate(files, tablefmt="plain"), ""]
    result = prepared.verdict.result
    if result is not None:
        scores = [
            [score.task, score.protocol, score.metric, f"{score.reference} -> {score.query}", f"{score.value:.4f}"]
            for score in primary_scores(result)
            if score.value is not None
        ]
        headers = ["task", "protocol", "metric", "reference -> query", _data(result.dataset)]
        parts += [tabulate(scores, headers=headers, tablefmt="simple", disable_numparse=True), ""]
        parts.append(f"Rounding to float16 moved primary scores by at most {prepared.shift:.2g}.")
    if prepared.verdict.overlap is not None:
        seen = prepared.verdict.overlap
        parts.append(f"Declared training sky: {seen.objects:,} of {seen.of_objects:,} test objects lie in it.")
    parts += [f"{check.name} {check.outcome.upper()}: {check.detail}" for check in prepared.verdict.flags]
    return "\n".join(parts)
