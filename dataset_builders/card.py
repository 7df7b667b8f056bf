"""The data set card: front matter for the Hub, then what a reader needs to know."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from astroclip_bench.datasets.digests import type_name
from astroclip_bench.datasets.manifest import Manifest
from astroclip_bench.records import CONFIG_NAME, SPLITS, DatasetInfo, Modality, read_schema
from dataset_builders.shards import config_folder
from dataset_builders.source import RecordSource, configurations
from dataset_builders.splits import SPLIT_RULES

CARD_NAME = "README.md"
SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def dataset_card(source: RecordSource, manifest: Manifest) -> str:
    """Return the text of the card: front matter, description, columns, counts, how to load, the source's sections."""
    info, modalities = read_schema(source.schema)
    sections = {
        "Columns": _columns_table(source.schema),
        "Modalities": _modalities_table(modalities),
        "Splits": _splits_table(info, manifest),
        **_optional("Configurations", _configurations_table(source, manifest)),
        "How to load": _loading(info, manifest.configs),
        **source.card(),
        **_optional("How it was built", _build_text(manifest)),
        "Licence and citation": f"Licence: {info.license}.\n\n{info.citation}",
    }
    body = "\n\n".join(f"## {heading}\n\n{text.strip()}" for heading, text in sections.items())
    return f"{_front_matter(info, manifest, modalities)}\n{_opening(info)}\n\n{body}\n"


def _front_matter(info: DatasetInfo, manifest: Manifest, modalities: dict[str, Modality]) -> str:
    """Return the YAML block; strings are written as JSON, which is YAML."""
    total = sum(manifest.counts.values())
    size = next((name for bound, name in SIZE_CATEGORIES if total < bound), "n>10M")
    tags = ["astronomy", "galaxies", *(["simulation"] if info.simulated else []), *modalities]
    values: dict[str, Any] = {
        "pretty_name": info.title,
        "license": info.license.lower(),
        "tags": tags,
        "size_categories": [size],
        "configs": [_config_entry(config, manifest) for config in manifest.configs],
    }
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()) + "---\n"


def _config_entry(config: str, manifest: Manifest) -> dict[str, Any]:
    """Return what the Hub needs to know of one configuration: the files of each split.

    The digest in the description is for `datasets`, which tells cached tables of local folders apart by the name of the
    folder and by these entries, and not by the files: without it, another build in a folder of the same name would be
    read as the first.
    """
    splits = [split for split in SPLITS if any((file.config, file.split) == (config, split) for file in manifest.files)]
    folder = config_folder(config)
    files = [{"split": split, "path": f"{folder}/{split}-*.parquet"} for split in splits]
    return {
        "config_name": config,
        **({"default": True} if config == CONFIG_NAME else {}),
        "description": f"Data digest {manifest.digest}",
        "data_files": files,
    }


def _opening(info: DatasetInfo) -> str:
    notice = "**This data set is a simulation; no row of it was observed.**\n\n" if info.simulated else ""
    return f"{notice}# {info.title}\n\n{info.description.strip()}\n\nName `{info.name}`, version {info.version}."


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _columns_table(schema: pa.Schema) -> str:
    rows = []
    for field in schema:
        metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
        dtype = type_name(field.type) + (" or null" if field.nullable else "")
        rows.append([f"`{field.name}`", dtype, metadata["unit"] or "-", metadata["role"], metadata["description"]])
    return _table(["column", "type", "unit", "role", "meaning"], rows)


def _modalities_table(modalities: dict[str, Modality]) -> str:
    rows = [
        [name, ", ".join(f"`{column}`" for column in entry.columns), str(entry.shape), json.dumps(dict(entry.axes))]
        for name, entry in modalities.items()
    ]
    return _table(["modality", "columns", "shape of each", "axes"], rows)


def _splits_table(info: DatasetInfo, manifest: Manifest) -> str:
    table = _table(["split", "rows"], [[split, f"{rows:,}"] for split, rows in manifest.counts.items()])
    digest = f"Data digest `{manifest.digest}`: it changes with the values, not with how they are stored."
    return f"{table}\n\nBy {SPLIT_RULES[info.split_rule]}.\n\n{digest}"


def _optional(heading: str, text: str) -> dict[str, str]:
    return {heading: text} if text else {}


def _configurations_table(source: RecordSource, manifest: Manifest) -> str:
    """Return the table of configurations, or nothing where there are the rows alone."""
    selections = configurations(source)
    if not selections:
        return ""
    rows = [[f"`{CONFIG_NAME}` (default)", f"{sum(manifest.counts.values()):,}", "Every column of every row"]]
    for name, selection in selections.items():
        count = sum(file.rows for file in manifest.files if file.config == name)
        rows.append([f"`{name}`", f"{count:,}", selection.description])
    return _table(["configuration", "rows", "what"], rows)


def _build_text(manifest: Manifest) -> str:
    """Return the counts at each step and the input files, as far as the build keeps them."""
    parts = []
    steps: list[dict[str, Any]] = list(manifest.build.get("steps", []))
    loaded: dict[str, int] = manifest.build.get("dropped_while_loading", {})
    if steps:
        kept = sum(manifest.counts.values())
        steps.append({"step": "loaded", "read": kept + sum(loaded.values()), "kept": kept, "dropped": loaded})
        rows = [
            [
                step["step"],
                f"{step['read']:,}",
                f"{step['kept']:,}",
                "; ".join(f"{count:,} {reason}" for reason, count in step["dropped"].items() if count) or "-",
            ]
            for step in steps
        ]
        parts.append("Rows at each step, a row left out counting under the first reason that holds:")
        parts.append(_table(["step", "rows in", "rows out", "left out"], rows))
    lacking: dict[str, int] = manifest.build.get("bands_left_out", {})
    if lacking:
        counts = ", ".join(f"{band} ({rows:,} rows)" for band, rows in lacking.items())
        parts.append(f"Fluxes left out because some rows have none: {counts}.")
    inputs = manifest.build.get("inputs", [])
    if inputs:
        size = sum(entry["bytes"] for entry in inputs)
        parts.append(
            f"Made from {len(inputs):,} file{'s' if len(inputs) > 1 else ''} of {_size_text(size)} in all; `manifest.json` lists each with its size "
            "and SHA-256, with the versions of the software and the options."
        )
    return "\n\n".join(parts)


def _size_text(size: int) -> str:
    from rich.filesize import decimal

    return decimal(size)


def _loading(info: DatasetInfo, configs: list[str]) -> str:
    others = "".join(
        f'{name} = load_dataset("FOLDER_OR_HUB_ID", "{name}")\n' for name in configs if name != CONFIG_NAME
    )
    return (
        "```python\n"
        "from datasets import load_dataset\n\n"
        'rows = load_dataset("FOLDER_OR_HUB_ID", split="test", streaming=True)\n'
        f"{others}```\n\n"
        "Verified, and in batches of numpy arrays without copies:\n\n"
        "```python\n"
        "from astroclip_bench.datasets import open_dataset\n\n"
        f'data = open_dataset("FOLDER_OR_HUB_ID")  # {info.name} {info.version}\n'
        "```\n\n"
        "Score a model on it: `astroclip-bench evaluate MODEL --data FOLDER_OR_HUB_ID`."
    )
