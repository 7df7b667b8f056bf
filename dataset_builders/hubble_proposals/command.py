"""`astroclip-bench data build hubble-proposals`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dataset_builders.hubble_proposals.summary import Summariser


class CaptionsOption(StrEnum):
    """Values of ``--captions``."""

    extractive = "extractive"
    chunks = "chunks"
    endpoint = "endpoint"


def build(
    catalogue: Annotated[Path, typer.Option(help="abstracts.cat of STScI.")],
    pictures: Annotated[Path, typer.Option(help="Folder of preview JPEGs, hst_<proposal>_..._total_....jpg.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an interrupted build.")],
    captions: Annotated[
        CaptionsOption, typer.Option(help="From the abstract's words, its sentences, or a language model.")
    ] = CaptionsOption.extractive,
    endpoint: Annotated[
        str, typer.Option(help="For --captions endpoint: OpenAI-compatible address, as http://localhost:8000/v1.")
    ] = "",
    model: Annotated[str, typer.Option(help="For --captions endpoint: the model's name there.")] = "",
    seed: Annotated[int, typer.Option(help="For --captions chunks: draws the sentences.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the pictures, pixels.")] = 224,
    max_images: Annotated[int, typer.Option(help="Pictures of one proposal at most.")] = 20,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the rows are the same for any number.")] = 1,
) -> None:
    """Build a data set of Hubble preview pictures with captions from the proposals' abstracts.

    The key of an endpoint that wants one is read from the variable ASTROCLIP_BENCH_SUMMARY_KEY.

    \b
    Examples:
      astroclip-bench data build hubble-proposals --catalogue abstracts.cat --pictures previews --out hubble
      astroclip-bench data build hubble-proposals --catalogue abstracts.cat --pictures previews --captions chunks \\
        --size 512 --out hubble-chunks
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    from astroclip_bench.datasets.manifest import read_manifest
    from astroclip_bench.progress import progress_bar
    from dataset_builders.hubble_proposals.source import HubbleProposals
    from dataset_builders.parquet import build_dataset

    summariser = _summariser(captions, endpoint, model, seed)
    with progress_bar("making captions") as report:
        source = HubbleProposals(catalogue, pictures, summariser, size, max_images, report)
    with progress_bar(f"building {source.info.name}") as report:
        folder = build_dataset(source, out, workers=workers, progress=report)
    typer.echo(folder)
    manifest = read_manifest(folder)
    loaded = {
        "step": "loaded",
        "kept": sum(manifest.counts.values()),
        "dropped": manifest.build["dropped_while_loading"],
    }
    loaded["read"] = loaded["kept"] + sum(loaded["dropped"].values())
    for step in [*source.build_record()["steps"], loaded]:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in step["dropped"].items() if count)
        typer.echo(f"{step['step']}: {step['kept']:,} of {step['read']:,}; left out: {reasons or 'none'}", err=True)
    typer.echo("; ".join(f"{rows:,} {name}" for name, rows in manifest.counts.items()), err=True)


def _summariser(captions: CaptionsOption, endpoint: str, model: str, seed: int) -> Summariser:
    from astroclip_bench.errors import UserError
    from dataset_builders.hubble_proposals.endpoint import Endpoint
    from dataset_builders.hubble_proposals.summary import Extractive, SentenceChunks

    if captions is CaptionsOption.endpoint:
        return Endpoint(endpoint, model)
    if endpoint or model:
        raise UserError(f"--endpoint or --model with --captions {captions.value}", todo="add --captions endpoint")
    return SentenceChunks(seed) if captions is CaptionsOption.chunks else Extractive()
