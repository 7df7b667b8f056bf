"""The volunteers' votes of Galaxy Zoo DECaLS (Walmsley et al. 2022, MNRAS 509, 3966), from Zenodo."""

from __future__ import annotations

from typing import Annotated

import typer

from astroclip_bench.fetch import FileList, RemoteFile
from dataset_builders.downloads.options import join

ZENODO_URL = "https://zenodo.org"
RECORD = "4573248"
VOTES_FILE = "gz_decals_volunteers_5.csv"


def votes(base_url: Annotated[str, typer.Option(help="Address of Zenodo.")] = ZENODO_URL) -> FileList:
    """Fetch the votes of the Galaxy Zoo DECaLS volunteers, campaign 5 (GZD-5).

    \b
    Examples:
      astroclip-bench data download galaxy-zoo --out galaxy-zoo
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    url = join(base_url, "records", RECORD, "files", f"{VOTES_FILE}?download=1")
    file = RemoteFile(url, VOTES_FILE, join(base_url, "api", "records", RECORD))
    return FileList((file,), f"Galaxy Zoo DECaLS votes, https://doi.org/10.5281/zenodo.{RECORD} (CC BY 4.0)")
