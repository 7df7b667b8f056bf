"""Which spectrum goes with which image and which labels: a light table, and the counts of how it came about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataset_builders.matching import AMBIGUOUS, METHODS, OUTCOMES, Matches, Positions, match
from dataset_builders.pairs.index import FILE_COLUMN, add_counts
from dataset_builders.pairs.labels import LabelTables, coalesced, with_labels, with_votes
from dataset_builders.splits import healpix_pixel, split_of_pixel

CORE_COLUMN = "core"
"""Flag of the rows that belong to a partition of the sky; the others surround it, to decide about those."""
MATCHED = OUTCOMES[: len(METHODS)]
AB_ZERO_POINT_NMGY = 22.5
CONFLICT = "with another redshift or stellar mass"
POINTERS = ("spectrum_file", "spectrum_row", "image_file", "image_row")


@dataclass(frozen=True)
class Planner:
    """Makes the plan of a piece of the sky, or of all of it.

    Parameters
    ----------
    columns
        Names of the columns to carry into the data set, as far as spectra, images and labels have them.
    labels
        Catalogues joined by TARGETID; of several rows of a target that of the spectrum's own survey and programme is
        taken, or else the first. Where two catalogues have the same column, an earlier one's value comes first. Rows
        that contradict redshift or stellar mass are left out (`dataset_builders.pairs.labels.with_labels`).
    votes
        Catalogues joined by the position of the spectrum's target, within `votes_radius_arcsec`, one to one.
    radius_arcsec
        Largest separation of a spectrum's target from its image where they are matched on the sky.
    """

    columns: tuple[str, ...]
    labels: tuple[LabelTables, ...] = ()
    votes: tuple[LabelTables, ...] = ()
    radius_arcsec: float = 1.0
    votes_radius_arcsec: float = 0.5

    def __call__(self, spectra: pa.Table, images: pa.Table) -> Plan:
        """Return the plan of the spectra given, of those flagged in `core` alone where there is such a column.

        Parameters
        ----------
        spectra, images
            Index tables (see `dataset_builders.upstream.reader.Index`); with what lies around the core, so that every
            match is decided as it would be on the whole sky.
        """
        spectra, repeated_spectra = _deduplicated(spectra, _spectrum_ranks(spectra))
        images, repeated_images = _deduplicated(images, [])
        matches = match(_positions(spectra), _positions(images), self.radius_arcsec)
        pairs = _joined(spectra.take(matches.left), images.take(matches.right), matches)
        joined: dict[str, int] = {}
        core = _core(pairs)
        sources = np.full(pairs.num_rows, "", object)
        for catalogue in self.labels:
            pairs, found, conflict = with_labels(pairs, catalogue)
            sources[found] += f"; {catalogue.name}"
            joined[catalogue.name] = int((found & core).sum())
            joined[f"{catalogue.name}, {CONFLICT}"] = int((conflict & core).sum())
        if self.labels:
            names = [text.removeprefix("; ") or None for text in sources.tolist()]
            pairs = pairs.append_column("label_catalogues", pa.array(names, pa.string()))
        for catalogue in self.votes:
            pairs, found = with_votes(pairs, catalogue, self.votes_radius_arcsec)
            joined[catalogue.name] = int((found & core).sum())
        steps = [
            {"step": "one spectrum a target", **repeated_spectra},
            {"step": "one image an object", **repeated_images},
            _match_step(spectra, matches),
        ]
        finished = _finished(pairs.filter(pa.array(core)), self.columns)
        return Plan(finished, steps, _match_counts(core, matches), joined)


@dataclass(frozen=True)
class Plan:
    """The pairs of a piece of the sky in their final order, and the counts of how they came about.

    Parameters
    ----------
    table
        One row a pair: object_id, ra, dec, healpix, split, the pointers to spectrum and image, and scalar columns.
    steps
        For each step the rows read, kept, and dropped by reason.
    matched
        Number of pairs by how they were matched.
    joined
        Number of pairs found in each label catalogue.
    """

    table: pa.Table
    steps: list[dict[str, Any]]
    matched: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the counts, for the manifest."""
        return {"steps": self.steps, "matched": self.matched, "joined": self.joined}


def merge_plans(tables: Iterable[pa.Table], records: Sequence[dict[str, Any]]) -> Plan:
    """Return the plan of the whole sky from those of its pieces: tables, and what `Plan.record` gave for each."""
    table = _sorted(pa.concat_tables(tables, promote_options="default"))
    steps = []
    for pieces in zip(*(record["steps"] for record in records), strict=True):
        counts = {key: sum(piece[key] for piece in pieces) for key in ("read", "kept")}
        dropped = add_counts(piece["dropped"] for piece in pieces)
        steps.append({"step": pieces[0]["step"], **counts, "dropped": dropped})
    matched, joined = (add_counts(record[key] for record in records) for key in ("matched", "joined"))
    return Plan(table, steps, matched, joined)


def _numpy(table: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.asarray(table[name].to_numpy())


def _core(table: pa.Table) -> npt.NDArray[np.bool_]:
    if CORE_COLUMN not in table.schema.names:
        return np.ones(table.num_rows, bool)
    return np.asarray(table[CORE_COLUMN].to_numpy(), bool)


def _positions(table: pa.Table) -> Positions:
    return Positions(_numpy(table, "ra"), _numpy(table, "dec"), _numpy(table, "target_id"))


def _spectrum_ranks(spectra: pa.Table) -> list[npt.NDArray[Any]]:
    """Return what tells the best of a target's spectra, the smaller the better, the most important first.

    As DESI chooses (``desispec.zcatalog.find_primary_spectra``): those without a redshift warning come first, among
    them the deepest, by TSNR2_LRG. Where that is not known, the one of the clearest redshift, by DELTACHI2.
    """
    names = spectra.schema.names
    ranks: list[npt.NDArray[Any]] = [_numpy(spectra, "zwarn") != 0] if "zwarn" in names else []
    deep = [_numpy(spectra, name).astype(np.float64) for name in ("tsnr2_lrg", "deltachi2") if name in names]
    return [*ranks, *(-np.nan_to_num(values, nan=-np.inf) for values in deep)]


def _deduplicated(table: pa.Table, ranks: Sequence[npt.NDArray[Any]]) -> tuple[pa.Table, dict[str, Any]]:
    """Keep one row of each TARGETID: the one with the lowest ranks, or else the first file's first."""
    target_id = _numpy(table, "target_id")
    order = np.lexsort([_numpy(table, "row"), _numpy(table, FILE_COLUMN), *reversed(ranks), target_id])
    first = np.ones(len(order), bool)
    first[1:] = np.diff(target_id[order]) != 0
    keep = np.empty(len(order), bool)
    keep[order] = first | (target_id[order] < 0)
    core = _core(table)
    counts = {
        "read": int(core.sum()),
        "kept": int((core & keep).sum()),
        "dropped": {"duplicate TARGETID": int((core & ~keep).sum())},
    }
    return table.filter(pa.array(keep)), counts


def _joined(spectra: pa.Table, images: pa.Table, matches: Matches) -> pa.Table:
    """Put the columns of matched spectra and images side by side; the image's photometry comes first."""
    for name, side in (("row", "spectrum_row"), (FILE_COLUMN, "spectrum_file")):
        spectra = spectra.append_column(side, spectra[name])
    for name, side in (("row", "image_row"), (FILE_COLUMN, "image_file")):
        images = images.append_column(side, images[name])
    photometry = [name for name in images.schema.names if name.startswith("flux_")]
    pairs = coalesced(images.select(photometry), spectra) if photometry else spectra
    others = [name for name in images.schema.names if name not in ("row", FILE_COLUMN, "target_id", CORE_COLUMN)]
    pairs = coalesced(pairs, images.select(others))
    pairs = pairs.append_column("match_method", pa.array(matches.method.tolist(), pa.string()))
    pairs = pairs.append_column("match_ambiguous", pa.array(matches.ambiguous))
    return pairs.append_column("match_separation", pa.array(matches.separation_arcsec.astype(np.float32)))


def _match_step(spectra: pa.Table, matches: Matches) -> dict[str, Any]:
    core = _core(spectra)
    numbers = np.bincount(matches.outcome[core], minlength=len(OUTCOMES))
    counts = dict(zip(OUTCOMES, numbers.tolist(), strict=True))
    dropped = {outcome: count for outcome, count in counts.items() if outcome not in MATCHED}
    kept = int(core.sum()) - sum(dropped.values())
    return {"step": "match with images", "read": int(core.sum()), "kept": kept, "dropped": dropped}


def _match_counts(core: npt.NDArray[np.bool_], matches: Matches) -> dict[str, int]:
    counts = {
        name: int((core & (matches.method == method)).sum()) for name, method in zip(MATCHED, METHODS, strict=True)
    }
    return {**counts, AMBIGUOUS: int((core & matches.ambiguous).sum())}


def _finished(pairs: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Add what follows from position and fluxes, pick the columns of the data set, and sort."""
    healpix = healpix_pixel(_numpy(pairs, "ra"), _numpy(pairs, "dec"))
    added = {
        "object_id": pc.cast(pairs["target_id"], pa.string()),
        "healpix": pa.array(healpix),
        "split": pa.array(split_of_pixel(healpix).tolist(), pa.string()),
    }
    if "flux_r" in pairs.schema.names:
        flux = pairs["flux_r"].cast(pa.float64())
        positive = pc.if_else(pc.greater(flux, 0.0), flux, pa.scalar(None, pa.float64()))
        added["mag_r"] = pc.subtract(AB_ZERO_POINT_NMGY, pc.multiply(2.5, pc.log10(positive)))
    for name, column in added.items():
        pairs = pairs.append_column(name, column)
    wanted = ["target_id", *POINTERS, *columns]
    return _sorted(pairs.select([name for name in wanted if name in pairs.schema.names]))


def _sorted(pairs: pa.Table) -> pa.Table:
    order = np.lexsort([_numpy(pairs, "target_id"), _numpy(pairs, "healpix")])
    return pairs.take(pa.array(order)).combine_chunks()
