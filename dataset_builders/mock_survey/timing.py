"""What a simulated galaxy costs: CPU time by stage, galaxies a second, and the gain from a second process.

::

    python -m dataset_builders.mock_survey.timing
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, Any

import typer

STAGES = {
    "population": ("sample_galaxy", "stellar_content", "true_labels"),
    "spectral energy": ("galaxy_sed", "photometry"),
    "image": ("draw_observing", "draw_appearance", "render"),
    "image noise": ("add_noise", "add_defect", "quantise"),
    "spectrum": ("noiseless_spectrum", "_observed_spectrum"),
    "catalogue": ("morphology_labels", "structure", "observed_fluxes", "inferred_labels"),
}
"""Stage, and the functions of `galaxy` that it consists of."""
TIMING_SEED = 1


def make(first: int, count: int) -> tuple[float, float]:
    """Make galaxies in batches and return the CPU seconds and wall seconds spent."""
    from dataset_builders.mock_survey.source import MockSurvey

    survey = MockSurvey(first + count, seed=TIMING_SEED)
    next(survey.objects([0]))
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in survey.objects(range(first, first + count)):
        pass
    return time.process_time() - cpu, time.perf_counter() - wall


def stage_seconds(count: int) -> dict[str, float]:
    """Return the CPU seconds that each stage takes in making `count` galaxies."""
    from dataset_builders.mock_survey import galaxy

    spent: dict[str, float] = defaultdict(float)

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            result = function(*args, **options)
            spent[stage] += time.process_time() - start
            return result

        return call

    originals = {name: getattr(galaxy, name) for names in STAGES.values() for name in names}
    make(0, 1)
    try:
        for stage, names in STAGES.items():
            for name in names:
                setattr(galaxy, name, timed(stage, originals[name]))
        # The first object warms the caches of `make`; what it adds is taken off again.
        total, _ = make(1, count)
    finally:
        for name, function in originals.items():
            setattr(galaxy, name, function)
    scale = count / (count + 1)
    stages = {stage: spent[stage] * scale for stage in STAGES}
    return {**stages, "records and the rest": total - sum(stages.values())}


def main(
    objects: Annotated[int, typer.Option(min=10, help="Galaxies to make in each run.")] = 300,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the last run.")] = 2,
) -> None:
    """Print CPU milliseconds a galaxy by stage, and galaxies a second for one process and for several."""
    for stage, seconds in stage_seconds(objects).items():
        typer.echo(f"{stage:22s} {1e3 * seconds / objects:6.2f} ms CPU a galaxy")
    cpu, wall = make(0, objects)
    typer.echo(f"{'all':22s} {1e3 * cpu / objects:6.2f} ms CPU a galaxy, {objects / cpu:.0f} galaxies/s/core")
    typer.echo(f"{'one process':22s} {objects / wall:6.1f} galaxies/s")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(make, range(0, workers * objects, objects), [objects] * workers))
    rate = sum(objects / seconds for _, seconds in runs)
    typer.echo(f"{f'{workers} processes':22s} {rate:6.1f} galaxies/s, {rate * wall / objects:.2f} times one")
    typer.echo(f"{'':22s} {1e3 * sum(used for used, _ in runs) / (workers * objects):6.2f} ms CPU a galaxy")


if __name__ == "__main__":
    typer.run(main)
