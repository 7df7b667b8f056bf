"""Legacy Survey images of the Multimodal Universe (2024, arXiv:2412.02527): HDF5 partitions and Parquet copies.

``legacysurvey`` has 160 by 160 pixels in g, r, i, z of DR10 south; ``ssl_legacysurvey`` the 152 by 152 pixels of the
Stein et al. images of DR9 north. Both are cut from the survey's own pixels and are nanomaggies.

* HDF5 partitions ``<config>/healpix=N/001-of-001.hdf5``, an array a column: `image_array` (n, bands, size, size),
  `image_band` ("des-g", ...), `image_scale` (arcsec), and the columns of the survey's catalogue, in capitals in
  ``legacysurvey``. With release, brickid and objid among them the target identifier is known.
* Parquet, from HATS catalogues too: `image` is a struct of lists or a list of structs with `band`, `flux` and `scale`,
  and few catalogue columns are left. `object_id` is then the brick's name and objid without the release, or a running
  number, of which no target identifier can be made: such rows are matched on the sky.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.errors import DataError
from astroclip_bench.records import IMAGE_BANDS, IMAGE_SIZE
from dataset_builders.hdf5 import hdf5_dataset, open_hdf5, read_rows
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.legacy_image import (
    BANDS_MISSING,
    NOT_NATIVE,
    OFF_THE_SKY,
    central_pixels,
    hemispheres,
    image_faults,
    imaging_target_id,
    is_native,
    on_the_sky,
)
from dataset_builders.upstream.parquet_rows import data_files, open_parquet, row_batches
from dataset_builders.upstream.reader import Index, Payload, list_files

PROPERTIES = ("ebv", *(f"flux_{band}" for band in IMAGE_BANDS))
KEY_PARTS = ("release", "brickid", "objid")
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class MmuLegacyImages:
    """Reader of the files below `folder`, HDF5 or Parquet; margins of HATS catalogues are passed over.

    The index has row, target_id, ra, dec, hemisphere (by release, or the name of a folder), ebv, flux_g, flux_r and
    flux_z (nanomaggies, as observed; NaN where the file has none). The bands are found by name, and the central 152 by
    152 pixels are read.
    """

    folder: Path
    name: str = "Multimodal Universe images"

    def files(self) -> list[Path]:
        """Return the data files."""
        found = data_files(list_files(self.folder, "*.hdf5", "*.parquet"))
        if not found:
            raise DataError(f"{self.folder}: margins and thumbnails alone", "the partitions of a catalogue")
        return found

    def options(self) -> Mapping[str, Any]:
        """Return nothing: there is one way to read these files."""
        return {}

    def index(self, path: Path) -> Index:
        """Return position, key, reddening and fluxes of the rows with g, r and z at the survey's pixel scale."""
        light = _light_of_parquet(path) if path.suffix == ".parquet" else _light_of_hdf5(path)
        rows = len(light["ra"])
        ra, dec = light["ra"].astype(np.float64), light["dec"].astype(np.float64)
        release, brick, number = (light.get(part, np.full(rows, -1)) for part in KEY_PARTS)
        columns = {
            "row": np.arange(rows),
            "target_id": imaging_target_id(release, brick, number),
            "ra": ra,
            "dec": dec,
            "hemisphere": hemispheres(release, path),
            **{name: light.get(name, np.full(rows, np.nan)).astype(np.float32) for name in PROPERTIES},
        }
        order = band_order(light["band"])
        reasons: dict[str, Any] = {
            OFF_THE_SKY: ~on_the_sky(ra, dec),
            BANDS_MISSING: (order < 0).any(axis=1),
            NOT_NATIVE: ~is_native(np.take_along_axis(light["scale"], order, axis=1)).all(axis=1),
        }
        keep, dropped = drop_by_reason(reasons)
        return Index({name: values[keep] for name, values in columns.items()}, rows, dropped)

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return the images (n, 3, 152, 152), and what is wrong with them."""
        image = _load_parquet(path, rows) if path.suffix == ".parquet" else _load_hdf5(path, rows)
        return Payload({"image": image}, image_faults(image))


def band_order(bands: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return where g, r and z stand among each row's bands; -1 where one is missing.

    Parameters
    ----------
    bands
        Names such as "des-g", "DES-G" or "g", (n, planes).

    Returns
    -------
    order
        (n, 3).
    """
    names = np.char.lower(bands.astype(str))
    found = [(names == band) | np.char.endswith(names, f"-{band}") for band in IMAGE_BANDS]
    return np.stack([np.where(hits.any(axis=1), hits.argmax(axis=1), -1) for hits in found], axis=1)


def _in_order(planes: npt.NDArray[Any], bands: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return planes (n, planes, 152, 152) in the order g, r, z."""
    return np.take_along_axis(planes, band_order(bands)[:, :, None, None], axis=1).astype(np.float32, copy=False)


def _central(shape: tuple[int, ...], path: Path) -> tuple[slice, slice]:
    if min(shape[-2:]) < IMAGE_SIZE:
        raise DataError(
            f"{path}: images of {shape[-1]} by {shape[-2]} pixels", f"at least {IMAGE_SIZE} by {IMAGE_SIZE}"
        )
    return central_pixels(*shape[-2:])


def _light_of_hdf5(path: Path) -> Columns:
    with open_hdf5(path) as file:
        rows = len(_pixels(file))
        key_of = {key.lower(): key for key in file}
        light = {
            "ra": hdf5_dataset(file, key_of.get("ra", "ra"))[:],
            "dec": hdf5_dataset(file, key_of.get("dec", "dec"))[:],
            "band": hdf5_dataset(file, "image_band", (None,), "SO").asstr()[:],
            "scale": hdf5_dataset(file, "image_scale", (None,))[:],
        }
        kinds = {**dict.fromkeys(PROPERTIES, "f"), **dict.fromkeys(KEY_PARTS, "iu")}
        light |= {name: hdf5_dataset(file, key_of[name], (), kinds[name])[:] for name in kinds if name in key_of}
    for name, values in light.items():
        if len(values) != rows:
            raise DataError(f"{path}: {name!r} has {len(values)} rows", f"{rows}, as 'image_array' has")
    return light


def _load_hdf5(path: Path, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    with open_hdf5(path) as file:
        pixels = _pixels(file)
        planes = read_rows(pixels, rows, slice(None), *_central(pixels.shape, path))
        bands = read_rows(hdf5_dataset(file, "image_band", (None,), "SO").asstr(), rows)
    return _in_order(planes, bands)


def _pixels(file: Any) -> Any:
    return hdf5_dataset(file, "image_array", (None, None, None))


def _light_of_parquet(path: Path) -> Columns:
    with open_parquet(path) as file:
        schema = file.schema_arrow
        wanted = {"ra", "dec", *PROPERTIES, *KEY_PARTS}
        names = {name.lower(): name for name in schema.names if name.lower() in wanted}
        for name in ("ra", "dec"):
            if name not in names:
                raise DataError(f"{path}: column {name!r} is missing", f"it among {', '.join(schema.names)}")
        table = file.read([*names.values(), *_field_paths(schema, ("band", "scale"), path)])
    light = {name: table[column].to_numpy() for name, column in names.items()}
    image = table["image"].combine_chunks()
    return light | {name: _planes(image, name, path) for name in ("band", "scale")}


def _load_parquet(path: Path, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    image = np.empty((len(rows), len(IMAGE_BANDS), IMAGE_SIZE, IMAGE_SIZE), np.float32)
    with open_parquet(path) as file:
        columns = _field_paths(file.schema_arrow, ("band", "flux"), path)
        for places, within, batch in row_batches(file, rows, columns):
            found = batch.column("image").take(pa.array(within))
            planes, bands = _planes(found, "flux", path), _planes(found, "band", path)
            image[places] = _in_order(planes[(..., *_central(planes.shape, path))], bands)
    return image


def _field_paths(schema: pa.Schema, fields: Iterable[str], path: Path) -> list[str]:
    """Return the names under which Parquet keeps fields of `image`."""
    dtype = schema.field("image").type if "image" in schema.names else pa.null()
    if pa.types.is_struct(dtype):
        prefix, struct = "image", dtype
    elif pa.types.is_list(dtype) and pa.types.is_struct(dtype.value_type):
        prefix, struct = f"image.list.{dtype.value_field.name}", dtype.value_type
    else:
        raise DataError(f"{path}: column 'image' has type {dtype}", "a struct of lists, or a list of structs")
    for name in fields:
        if struct.get_field_index(name) < 0:
            raise DataError(f"{path}: column 'image' has no field {name!r}", f"it in {struct}")
    return [f"{prefix}.{name}" for name in fields]


def _planes(image: pa.Array, name: str, path: Path) -> npt.NDArray[Any]:
    """Return a field of the image column as an array (n, planes, ...)."""
    if pa.types.is_struct(image.type):
        values: Any = image.field(name)
        lengths = []
    else:
        lengths = [_length(image, name, path)]
        values = image.flatten().field(name)
    while _is_list(values):
        lengths.append(_length(values, name, path))
        values = values.flatten()
        # The Hub's library registers Arrow types of its own for arrays, wrapped around lists.
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
    return np.asarray(values.to_numpy(zero_copy_only=False).reshape(len(image), *lengths))


def _is_list(values: pa.Array) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(kind(values.type) for kind in kinds)


def _length(lists: pa.Array, name: str, path: Path) -> int:
    """Return the one length that all lists have."""
    lengths = np.unique(lists.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) > 1 or np.isnan(lengths.astype(float)).any():
        raise DataError(f"{path}: lists of lengths {lengths.tolist()} in image.{name}", "one length in all rows")
    return int(lengths[0]) if len(lengths) else 0
