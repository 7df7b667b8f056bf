"""What a report is made from: results, and the files that other commands leave beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.errors import ResultError
from astroclip_bench.files import storage_errors
from astroclip_bench.plugins import load_plugin, plugin_names
from astroclip_bench.results.outcomes import outcomes_path, read_outcomes, reason_against
from astroclip_bench.results.record import Result, read_result

if TYPE_CHECKING:
    import pandas as pd

ROWS_GROUP = "reference_rows"
"""Entry points of the baselines' scores on a data set: name -> path of a JSON file as `baselines run` writes it."""


@dataclass(frozen=True)
class Found:
    """A file that a section needs: its path, what it holds, and the reason why it cannot be used, if there is one."""

    path: Path
    content: Any = None
    reason: str = ""


@dataclass(frozen=True)
class Material:
    """All that a report shows.

    Parameters
    ----------
    paths, results
        Of the results, in the order asked for; the first is the one that the report is about.
    outcomes
        The path of the first result's outcomes of single objects, if they can be used.
    analysis
        What ``analysis.json`` holds; `path` is the folder.
    robustness
        What ``robustness.json`` holds.
    sweep
        The results of a sweep, by embedding dimension.
    baselines
        Scores of baselines on the same data, as `baselines run` writes them.
    """

    paths: Sequence[Path]
    results: Sequence[Result]
    outcomes: Found
    analysis: Found
    robustness: Found
    sweep: Found
    baselines: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def result(self) -> Result:
        """The result that the report is about."""
        return self.results[0]

    @property
    def names(self) -> list[str]:
        """The results' models by name, with the file's name where two are called the same."""
        names = [result.embedder["name"] for result in self.results]
        return [
            name if names.count(name) == 1 else f"{name} ({path.stem})"
            for name, path in zip(names, self.paths, strict=True)
        ]

    def read_outcomes(self, columns: Sequence[str], **equal: str) -> pd.DataFrame:
        """Return the named columns of the outcomes of some cells; no rows if there are no outcomes to use."""
        import pandas as pd

        if self.outcomes.reason:
            return pd.DataFrame(columns=list(columns))
        return read_outcomes(self.outcomes.path, columns, **equal)


def gather(
    paths: Sequence[Path], analysis: Path | None = None, robustness: Path | None = None, sweep: Path | None = None
) -> Material:
    """Read results, and what belongs to the first of them.

    Parameters
    ----------
    paths
        Of results on one data set.
    analysis, robustness
        Folder and file; ``RESULT-analysis`` and ``RESULT-robustness.json`` beside the first result by default.
    sweep
        Folder of a sweep, or a file in it.

    Raises
    ------
    ResultError
        If a result is of other data than the first, or a file that was named belongs to another model or data set.
    StorageError
        If a file that was named cannot be read.
    """
    results = [read_result(path) for path in paths]
    first = results[0]
    for path, other in zip(paths, results, strict=True):
        if other.dataset["digest"] != first.dataset["digest"]:
            raise ResultError(
                f"{path} is of {other.dataset['name']}, digest {other.dataset['digest'][:12]}",
                f"the data of {paths[0]}, digest {first.dataset['digest'][:12]}",
                "make a report for each data set",
            )
    stem = outcomes_path(paths[0]).with_suffix("")
    outcomes = outcomes_path(paths[0])
    folder = analysis or stem.with_name(f"{stem.name}-analysis")
    record = robustness or stem.with_name(f"{stem.name}-robustness.json")
    return Material(
        paths=paths,
        results=results,
        outcomes=Found(outcomes, reason=reason_against(outcomes, first) or ""),
        analysis=_belonging(folder, folder / "analysis.json", first, named=analysis is not None),
        robustness=_belonging(record, record, first, named=robustness is not None),
        sweep=_read_sweep(sweep),
        baselines=_read_baselines(first),
    )


@cache
def published() -> dict[str, Any]:
    """Return the published figures that ship with the package."""
    text = files("astroclip_bench.report").joinpath("published.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def _belonging(path: Path, file: Path, result: Result, *, named: bool) -> Found:
    """Return what a file holds, or why it is not of the result's model and data; fail if the user named it."""
    if not named and not file.exists():
        return Found(path, reason="missing")
    content = _read_json(file)
    for what, digest in (("dataset", result.dataset["digest"]), ("embedder", result.embedder["digest"])):
        found = content.get(what)
        if not isinstance(found, dict) or found.get("digest") != digest:
            reason = f"{path} is of another {what} than the result"
            if named:
                raise ResultError(reason, f"digest {digest[:12]}", "name the one that was made of this model and data")
            return Found(path, reason=reason)
    return Found(path, content)


def _read_json(path: Path) -> dict[str, Any]:
    with storage_errors(path):
        raw = path.read_bytes()
    try:
        content = json.loads(raw)
    except ValueError as error:
        raise ResultError(f"{path}: not JSON ({error})", todo="make it again") from error
    if not isinstance(content, dict):
        raise ResultError(f"{path}: holds a {type(content).__name__}", "a JSON object", "make it again")
    return content


def _read_sweep(path: Path | None) -> Found:
    """Return the results of a sweep in the order of their embedding dimensions."""
    if path is None:
        return Found(Path("sweep"), reason="missing")
    folder = path if path.is_dir() else path.parent
    results = [read_result(file) for file in sorted(folder.glob("*/result.json"))]
    by_dimension = {result.embedder["dimension"]: result for result in results}
    if len(by_dimension) < 2 or len(by_dimension) < len(results):
        raise ResultError(
            f"{folder} holds {len(results)} results of {len(by_dimension)} dimensions",
            "one for each of several embedding dimensions",
            "name the folder of a sweep over stages.align.dimension",
        )
    return Found(folder, dict(sorted(by_dimension.items())))


def _read_baselines(result: Result) -> list[Mapping[str, Any]]:
    """Return the scores of the registered baselines on the data of a result."""
    rows: list[Mapping[str, Any]] = []
    for name in plugin_names(ROWS_GROUP):
        content = _read_json(Path(load_plugin(ROWS_GROUP, name)))
        if content["dataset"]["digest"] == result.dataset["digest"]:
            rows += content["figures"]
    return rows
