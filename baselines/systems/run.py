"""One run of a system: timed, and recorded beside what it leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.errors import MissingExtraError, ResultError
from astroclip_bench.files import storage_errors, write_json
from baselines.systems.system import EXTRAS, Outcome, Scale, System

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset

RECORD = "system.json"


@dataclass(frozen=True)
class Run:
    """What is recorded of a run.

    Parameters
    ----------
    system, scale
        Name of the system, and how large it was built.
    data, simulated, data_digest
        Data set.
    seconds
        Wall time of the call that did most of it; from data to figures, unless it was interrupted.
    results
        Model, in words -> its result file, from the folder of the run.
    figures
        PNG files, likewise.
    scores
        Further figures by name.
    """

    system: str
    scale: Scale
    data: str
    simulated: bool
    data_digest: str
    seconds: float
    results: Mapping[str, str]
    figures: tuple[str, ...]
    scores: Mapping[str, float]

    @property
    def command(self) -> str:
        """What makes it."""
        scale = "" if self.scale == "mini" else f" --scale {self.scale}"
        return f"astroclip-bench reproduce {self.system} --data {self.data}{scale}"


def run_system(
    system: System, dataset: BenchDataset, out: Path, *, scale: Scale = "mini", device: str = "cpu", quiet: bool = False
) -> Run:
    """Run a system, or what is left of it, and record it in `out`.

    Raises
    ------
    UserError
        If an extra is not installed, `out` holds a damaged record, or as the system itself does.
    """
    require_extras(system)
    before = read_run(out) if (out / RECORD).exists() else None
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    outcome: Outcome = import_module(system.module).reproduce(dataset, out, scale=scale, device=device, quiet=quiet)
    run = Run(
        system.name,
        scale,
        dataset.info.name,
        dataset.info.simulated,
        dataset.digest,
        time.monotonic() - began,
        {what: str(path.relative_to(out)) for what, path in outcome.results.items()},
        tuple(str(path.relative_to(out)) for path in outcome.figures),
        dict(outcome.scores),
    )
    if before is not None and _same(before) == _same(run) and before.seconds > run.seconds:
        run = before  # nothing was left to do
    write_json(out / RECORD, asdict(run))
    return run


def require_extras(system: System) -> None:
    """Check that the extras of a system are installed: its figures, at the end of the work, need some too.

    Raises
    ------
    MissingExtraError
        Naming all that are missing.
    """
    missing = [extra for extra in system.extras if find_spec(EXTRAS[extra]) is None]
    if missing:
        raise MissingExtraError(EXTRAS[missing[0]], ",".join(missing))


def read_run(folder: Path) -> Run:
    """Return the record of a run.

    Raises
    ------
    ResultError
        If it is damaged, or no record of a run.
    StorageError
        If it cannot be read.
    """
    path = folder / RECORD
    with storage_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        values: dict[str, Any] = json.loads(text)
        return Run(**{**values, "figures": tuple(values["figures"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(
            f"{path}: no record of a run ({error})", todo="delete it, and run the system again: what is done is kept"
        ) from error


def _same(run: Run) -> dict[str, Any]:
    return {**asdict(run), "seconds": None}
