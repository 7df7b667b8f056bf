"""Zero-shot classification of the galaxies of `mock-proposals`: by object class, and by science case."""

from __future__ import annotations

from collections.abc import Mapping

from astroclip_bench.tasks.task import Task
from dataset_builders.mock_proposals.themes import OBJECT_CLASSES, SCIENCE_CASES


def _task(name: str, title: str, target: str, prompts: Mapping[str, str]) -> Task:
    return Task(
        name=name,
        version=1,
        title=title,
        description=f"{title} of the galaxy's invented proposal, found by the text that is closest: zero-shot.",
        probe="prompts",
        protocols=("prompts",),
        modality_pairs="cross",
        target=target,
        metrics=("balanced_accuracy", "accuracy", "weighted_f1", "macro_f1"),
        groups=("redshift", "mag_r"),
        citation="Radford et al. 2021, arXiv:2103.00020, section 3.1; Mishra-Sharma et al. 2024, arXiv:2403.08851",
        classes=tuple(prompts),
        prompts=tuple(prompts.values()),
        prompt_modality="text",
        core=False,
    )


OBJECT_CLASS = _task("mock-object-class", "Object class", "object_class", OBJECT_CLASSES)
SCIENCE_CASE = _task("mock-science-case", "Science case", "science_case", SCIENCE_CASES)
