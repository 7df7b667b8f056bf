"""The build of the miniature survey by the readers; as a script, so that a test can kill it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mini_survey import Files

from dataset_builders.desi_legacy import inputs, texts
from dataset_builders.pairs.build import PairRequest, build_pairs
from dataset_builders.upstream.desi_coadd import DesiCoadds
from dataset_builders.upstream.galaxy_zoo import GalaxyZooDecals
from dataset_builders.upstream.legacy_stein import SteinImages
from dataset_builders.upstream.provabgs import Provabgs
from dataset_builders.upstream.provabgs_multimodal import ProvabgsMultimodal

READY = "ready"
"""What the script prints when all is imported and the build begins."""


def mini_request(files: Files, **changes: Any) -> PairRequest:
    """Return what `astroclip-bench data build desi-legacy` makes of the survey's files."""
    labels = (Provabgs(files.provabgs), ProvabgsMultimodal(files.provabgs_multimodal))
    votes = (GalaxyZooDecals(files.votes),)
    request: dict[str, Any] = {
        "info": texts.INFO,
        "spectra": DesiCoadds(files.spectra, cuts="bright-galaxy"),
        "images": SteinImages(files.images),
        "labels": labels,
        "votes": votes,
        "columns": inputs.label_columns([*labels, *votes]),
        "configurations": texts.CONFIGURATIONS,
        "sections": texts.SECTIONS,
        "preview": False,
    }
    return PairRequest(**{**request, **changes})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("survey", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shard-rows", type=int)
    arguments = parser.parse_args()
    print(READY, flush=True)  # noqa: T201 - for the test that waits for it
    build_pairs(
        mini_request(Files(arguments.survey), shard_rows=arguments.shard_rows), arguments.out, workers=arguments.workers
    )
