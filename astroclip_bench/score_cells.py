"""Scores of one embedder on the cells of an evaluation: what each is scored with, and in which order it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from astroclip_bench.inputs import QUERY_SPLIT, REFERENCE_SPLIT, SELECTION_SPLIT, Inputs
from astroclip_bench.results.outcomes import Keep, discard
from astroclip_bench.results.record import Score
from astroclip_bench.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astroclip_bench.cells import Cell
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.tasks.rows import Side
    from astroclip_bench.tasks.searches import RankCounts
    from astroclip_bench.tasks.suites import Suite


def score_cells(
    embedder: Embedder,
    inputs: Inputs,
    tasks: Sequence[Task],
    suite: Suite,
    done: set[Any] | None = None,
    keep: Keep = discard,
) -> list[Score]:
    """Score the tasks by every protocol on every modality or pair of them, but for the cells that are done."""
    from astroclip_bench import cells as possible

    todo = {
        use: [cell for cell in cells if cell.identity not in (done or ())]
        for use, cells in possible.find_cells(tasks, embedder, inputs, suite).items()
    }
    side = cache(partial(inputs.embed, embedder))
    zero_shot, few_shot = (
        [cell for cell in todo["embeddings"] if cell.is_few_shot == is_few_shot] for is_few_shot in (False, True)
    )
    scores = _score_embeddings(embedder, inputs, zero_shot, side, keep)
    scores += _score_few_shot(embedder, inputs, few_shot, side, keep)
    scores += _score_prompts(embedder, inputs, todo["prompts"], side, keep)
    return scores + _score_predictions(embedder, inputs, todo["predictions"], keep)


def _score_embeddings(
    embedder: Embedder, inputs: Inputs, cells: Sequence[Cell], side: Callable[[str, str], Side], keep: Keep
) -> list[Score]:
    """Score embeddings, pair by pair of modalities: what one pair needs is made once."""
    from astroclip_bench.tasks.scoring import score_pair

    modalities = inputs.modalities(embedder)
    ranked: RankCounts = {}
    scores: list[Score] = []
    for pair in [(one, other) for one in modalities for other in modalities]:
        reference, query = pair
        todo = [(cell.task, cell.protocol) for cell in cells if (cell.reference, cell.query) == pair]
        if not todo:
            continue
        train, test = side(REFERENCE_SPLIT, reference), side(QUERY_SPLIT, query)
        searched = side(QUERY_SPLIT, reference)
        with inputs.timed(f"score {embedder.info.name}"):
            scores += score_pair(todo, train, test, searched, ranked, keep)
    return scores


def _score_few_shot(
    embedder: Embedder, inputs: Inputs, cells: Sequence[Cell], side: Callable[[str, str], Side], keep: Keep
) -> list[Score]:
    """Score probes trained on embeddings, reference by reference: what is trained on one is asked about every query."""
    from astroclip_bench.tasks.fewshot import score_reference

    scores: list[Score] = []
    for reference in dict.fromkeys(cell.reference for cell in cells):
        asked = [cell for cell in cells if cell.reference == reference]
        train = side(REFERENCE_SPLIT, reference)
        names = list(dict.fromkeys(cell.query for cell in asked))
        queries = {name: side(QUERY_SPLIT, name) for name in names}
        chooses = SELECTION_SPLIT in inputs.splits and any(cell.uses_validation for cell in asked)
        selection = {name: side(SELECTION_SPLIT, name) for name in names} if chooses else {}
        what = f"few-shot {embedder.info.name} {reference}"
        with inputs.timed(what), inputs.show_progress(what) as report:
            scores += score_reference(asked, train, queries, selection, report, keep)
    return scores


def _score_prompts(
    embedder: Embedder, inputs: Inputs, cells: Sequence[Cell], side: Callable[[str, str], Side], keep: Keep
) -> list[Score]:
    """Score classes found by the texts that describe them."""
    from astroclip_bench.tasks.scoring import score_prompts

    scores: list[Score] = []
    for cell in cells:
        prompts, test = inputs.embed_prompts(embedder, cell.task), side(QUERY_SPLIT, cell.query)
        with inputs.timed(f"score {embedder.info.name}"):
            labels = inputs.columns[REFERENCE_SPLIT]
            scores += score_prompts(cell.task, cell.protocol, prompts, test, labels, keep)
    return scores


def _score_predictions(embedder: Embedder, inputs: Inputs, cells: Sequence[Cell], keep: Keep) -> list[Score]:
    """Score what the model itself predicts, from one modality after the other."""
    from astroclip_bench.tasks.scoring import score_prediction

    predicted: dict[str, dict[str, NDArray[np.float32]]] = {}
    scores: list[Score] = []
    for task, protocol, modality, *_ in cells:
        assert task.target is not None
        if modality not in predicted:
            predicted[modality] = inputs.predict(embedder, QUERY_SPLIT, modality)
        columns = (inputs.columns[REFERENCE_SPLIT], inputs.columns[QUERY_SPLIT])
        with inputs.timed(f"score {embedder.info.name}"):
            scores += score_prediction(task, protocol, modality, predicted[modality][task.target], *columns, keep=keep)
    return scores
