"""Croissant metadata (`croissant.json`): what the data set is, its files, its columns, and its limits.

Croissant 1.1 (http://mlcommons.org/croissant/1.1) with the responsible-AI vocabulary
(http://mlcommons.org/croissant/RAI/1.0). Every file is listed with its SHA-256; columns that hold arrays carry their
shape. Croissant has no property for units: they are part of a field's description.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from astroclip_bench.datasets.arrays import array_shape, value_type
from astroclip_bench.datasets.manifest import FileEntry, Manifest
from astroclip_bench.errors import DataError
from astroclip_bench.files import write_json
from astroclip_bench.records import CONFIG_NAME, SPLITS, DatasetInfo, Modality, columns_of_role, read_schema
from dataset_builders.source import RecordSource, configuration_schema, configurations

CROISSANT_NAME = "croissant.json"
CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
PARQUET = "application/x-parquet"
SPLITS_RECORD_SET = "splits"
CREATOR = "The astroclip-bench developers"

DATA_TYPES = {
    "float": "cr:Float32",
    "double": "cr:Float64",
    "int8": "cr:Int8",
    "int16": "cr:Int16",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "uint8": "cr:UInt8",
    "uint16": "cr:UInt16",
    "uint32": "cr:UInt32",
    "uint64": "cr:UInt64",
    "bool": "sc:Boolean",
    "string": "sc:Text",
    "large_string": "sc:Text",
}
"""Arrow type -> Croissant data type."""

LICENCE_URLS = {
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "mit": "https://spdx.org/licenses/MIT.html",
}

RESPONSIBLE_AI = (
    "annotationsPerItem",
    "annotatorDemographics",
    "dataAnnotationAnalysis",
    "dataAnnotationPlatform",
    "dataAnnotationProtocol",
    "dataBiases",
    "dataCollection",
    "dataCollectionMissingData",
    "dataCollectionRawData",
    "dataCollectionType",
    "dataImputationProtocol",
    "dataLimitations",
    "dataPreprocessingProtocol",
    "dataReleaseMaintenancePlan",
    "dataSocialImpact",
    "dataUseCases",
    "machineAnnotationTools",
    "personalSensitiveInformation",
)
"""The properties of the vocabulary that a source may fill."""

_CROISSANT_TERMS = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in _CROISSANT_TERMS},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
}
"""The JSON-LD context that the specification gives."""


@runtime_checkable
class SupportsResponsibleAI(Protocol):
    """A source that knows more of its data's origin and limits than the general texts here."""

    def responsible_ai(self) -> Mapping[str, str | Sequence[str]]:
        """Return texts by property of the vocabulary (one of `RESPONSIBLE_AI`); they replace the general ones."""
        ...


def write_croissant(folder: Path, source: RecordSource, manifest: Manifest) -> None:
    """Write `croissant.json` into a data set folder, atomically."""
    write_json(folder / CROISSANT_NAME, croissant_metadata(source, manifest))


def croissant_metadata(
    source: RecordSource, manifest: Manifest, created: datetime.date | None = None
) -> dict[str, Any]:
    """Return the metadata of a data set as JSON-LD.

    Parameters
    ----------
    created
        Day on which the folder was made; today (or that of the variable SOURCE_DATE_EPOCH) if left out.

    Raises
    ------
    DataError
        If a column has a type that Croissant has no word for, or the source fills a property that there is none of.
    """
    info, modalities = read_schema(source.schema)
    day = (created or _today()).isoformat()
    selected = configurations(source)
    record_sets = [_record_set(CONFIG_NAME, info.description, source.schema, modalities)]
    record_sets += [
        _record_set(name, entry.description, configuration_schema(source.schema, entry), modalities)
        for name, entry in selected.items()
    ]
    metadata: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": info.name,
        "alternateName": info.title,
        "description": info.description,
        "version": info.version,
        "license": LICENCE_URLS.get(info.license.lower(), info.license),
        "citeAs": info.citation,
        "creator": {"@type": "sc:Organization", "name": str(info.provenance.get("creator", CREATOR))},
        "dateCreated": day,
        "datePublished": day,
        "isLiveDataset": False,
        "keywords": ["astronomy", "galaxies", *(["simulation"] if info.simulated else []), *modalities],
        "distribution": [*map(_file_object, manifest.files), *(_file_set(name, manifest) for name in manifest.configs)],
        "recordSet": [_splits_record_set(manifest), *record_sets],
        **_responsible_ai(source, info, manifest),
    }
    url = info.provenance.get("url")
    return {**metadata, "url": url} if url else metadata


def _today() -> datetime.date:
    """Return the day, UTC, or that which SOURCE_DATE_EPOCH sets for builds that are to be the same byte for byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.UTC)
    return (datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch else now).date()


def _file_object(entry: FileEntry) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.path,
        "name": entry.path,
        "description": f"{entry.rows} rows of split {entry.split}",
        "contentUrl": entry.path,
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": PARQUET,
        "sha256": entry.sha256,
    }


def _file_set(config: str, manifest: Manifest) -> dict[str, Any]:
    files = [entry for entry in manifest.files if entry.config == config]
    folder = files[0].path.rpartition("/")[0]
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "description": f"The {len(files)} Parquet files of configuration {config}",
        "encodingFormat": PARQUET,
        "includes": f"{folder}/*.parquet",
    }


def _splits_record_set(manifest: Manifest) -> dict[str, Any]:
    """Return the record set that names the splits, as the specification asks for."""
    name = f"{SPLITS_RECORD_SET}/name"
    return {
        "@type": "cr:RecordSet",
        "@id": SPLITS_RECORD_SET,
        "name": SPLITS_RECORD_SET,
        "description": "Splits of the data set",
        "dataType": "cr:Split",
        "key": {"@id": name},
        "field": [{"@type": "cr:Field", "@id": name, "name": "name", "dataType": "sc:Text"}],
        "data": [{name: split} for split in SPLITS if manifest.counts.get(split)],
    }


def _record_set(config: str, description: str, schema: pa.Schema, modalities: Mapping[str, Modality]) -> dict[str, Any]:
    axes = {column: dict(entry.axes) for entry in modalities.values() for column in entry.columns}
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": description,
        "key": {"@id": f"{config}/object_id"},
        "field": [_field(config, field, axes.get(field.name, {})) for field in schema],
    }


def _field(config: str, field: pa.Field, axes: Mapping[str, Any]) -> dict[str, Any]:
    """Return one column; a picture is taken out of the struct that the Hub stores it in."""
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    picture, shape = pa.types.is_struct(field.type), array_shape(field.type)
    values = str(value_type(field.type))
    if not picture and values not in DATA_TYPES:
        raise DataError(f"column {field.name!r} has type {field.type}", f"one of {', '.join(DATA_TYPES)}")
    texts = [
        metadata.get("description", ""),
        f"Unit: {metadata['unit']}" if metadata.get("unit") else "",
        f"Axes: {json.dumps(axes)}" if axes and shape else "",
    ]
    source: dict[str, Any] = {"fileSet": {"@id": f"{config}-files"}, "extract": {"column": field.name}}
    return {
        "@type": "cr:Field",
        "@id": f"{config}/{field.name}",
        "name": field.name,
        "description": ". ".join(text for text in texts if text),
        "dataType": "sc:ImageObject" if picture else DATA_TYPES[values],
        "source": {**source, "transform": {"jsonPath": "bytes"}} if picture else source,
        **({"isArray": True, "arrayShape": ",".join(map(str, shape))} if shape else {}),
    }


def _responsible_ai(source: RecordSource, info: DatasetInfo, manifest: Manifest) -> dict[str, Any]:
    own = source.responsible_ai() if isinstance(source, SupportsResponsibleAI) else {}
    unknown = sorted(set(own) - set(RESPONSIBLE_AI))
    if unknown:
        raise DataError(f"responsible_ai() fills {unknown[0]!r}", f"one of {', '.join(RESPONSIBLE_AI)}")
    texts = {**_general_texts(source.schema, info, manifest), **own}
    return {f"rai:{name}": text if isinstance(text, str) else list(text) for name, text in texts.items() if text}


def _general_texts(schema: pa.Schema, info: DatasetInfo, manifest: Manifest) -> dict[str, str | list[str]]:
    """Return what holds for every data set of this kind, simulated or observed."""
    labels = ", ".join(columns_of_role(schema, "label")) or "none"
    if info.simulated:
        collection = "Made by a simulation; no row of it was observed."
        limits = "The simulation is simpler than nature: a score on it is no measure of a model on real galaxies."
        biases = "The population is the one that the simulation assumes."
    else:
        collection = "Compiled from public survey files, which manifest.json lists where their builder records them."
        limits = (
            "The rows are those that the input surveys observed and that passed the cuts counted in manifest.json: "
            "no fair sample of galaxies, and labels inherit the errors of the catalogues they come from."
        )
        biases = (
            "Surveys are limited in brightness and sky: faint, distant and obscured galaxies are missing more often."
        )
    straddling = (
        []
        if info.split_rule == "healpix"
        else [f"Split by {info.split_rule}: neighbouring sky may lie in two splits, which flatters scores."]
    )
    return {
        "dataCollection": collection,
        "dataCollectionType": ["Others"] if info.simulated else ["Secondary Data Analysis"],
        "dataCollectionMissingData": "Labels and properties may be null; every other column is there in every row.",
        "dataPreprocessingProtocol": _step_texts(manifest),
        "dataLimitations": [limits],
        "dataBiases": [biases, *straddling],
        "dataUseCases": [f"Training and scoring embeddings of galaxies. Labels to predict: {labels}."],
        "personalSensitiveInformation": ["None: the rows describe galaxies, and no person."],
        "dataSocialImpact": "No direct effect on people is known.",
        "dataReleaseMaintenancePlan": (
            f"Version {info.version}, data digest {manifest.digest}; the digest changes with the values."
        ),
    }


def _step_texts(manifest: Manifest) -> list[str]:
    """Return how many rows went into and out of each step of the build, and why the others were left out."""
    lost = manifest.build.get("dropped_while_loading", {})
    kept = sum(manifest.counts.values())
    loaded = {"step": "loaded", "read": kept + sum(lost.values()), "kept": kept, "dropped": lost}
    steps = [*manifest.build.get("steps", ()), *([loaded] if lost else [])]
    return [
        f"{step['step']}: {step['kept']} of {step['read']} rows kept"
        + "".join(f"; {count} left out: {reason}" for reason, count in step["dropped"].items() if count)
        for step in steps
    ]
