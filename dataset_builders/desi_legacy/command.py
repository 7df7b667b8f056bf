"""`astroclip-bench data build desi-legacy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def build(
    spectra: Annotated[Path, typer.Option(help="DESI coadds with their redrock files, at any depth; or MMU files.")],
    images: Annotated[Path, typer.Option(help="Stein et al. HDF5 files, viewer FITS cut-outs, or MMU files.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an interrupted build.")],
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="PROVABGS, its MMU variant, or FastSpecFit; may be repeated, the first counts most."),
    ] = None,
    morphology: Annotated[Path | None, typer.Option(help="Galaxy Zoo DECaLS votes (GZD-5), CSV or Parquet.")] = None,
    zcatalog: Annotated[
        Path | None, typer.Option(help="Redshift catalogue zall-pix-*.fits instead of redrock.")
    ] = None,
    cuts: Annotated[
        str, typer.Option(help="Quality cuts on the spectra: bright-galaxy, good-redshift (ZWARN 0), or none.")
    ] = "bright-galaxy",
    coadd_rule: Annotated[
        str, typer.Option(help="How the arms are combined: desispec-0.70 or desispec-edr.")
    ] = "desispec-0.70",
    radius: Annotated[float, typer.Option(help="Largest separation where no TARGETID decides, arcsec.")] = 1.0,
    resample: Annotated[bool, typer.Option(help="Bring cut-outs of another pixel scale to 0.262 arcsec.")] = False,
    mask: Annotated[bool, typer.Option(help="Keep the spectra's mask bits.")] = False,
    resolution: Annotated[bool, typer.Option(help="Keep the spectra's resolution matrix: 342 kB a galaxy.")] = False,
    preview: Annotated[bool, typer.Option(help="Add a small colour picture of each galaxy.")] = True,
    checksums: Annotated[bool, typer.Option(help="Record the SHA-256 of every input file (reads all of it).")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, e.g. tcp://host:8786, to work there instead.")
    ] = None,
) -> None:
    """Match DESI spectra with Legacy Survey images, join labels, and write the pairs as a data set.

    MMU stands for the Multimodal Universe. An interrupted build goes on when the same command is run again.

    \b
    Examples:
      astroclip-bench data build desi-legacy --spectra fuji --images images --labels provabgs.sv3.v0.hdf5 --out pairs
      astroclip-bench data build desi-legacy --spectra fuji --images images --labels provabgs.sv3.v0.hdf5 \\
          --labels mmu/provabgs --morphology gz_decals_volunteers_5.csv --out pairs --workers 8
      astroclip-bench evaluate model.pt --data pairs
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    from dataclasses import replace

    from astroclip_bench.datasets.manifest import read_manifest
    from astroclip_bench.errors import DataError
    from astroclip_bench.progress import progress_bar
    from dataset_builders.desi_legacy import inputs, texts
    from dataset_builders.pairs.build import PairRequest, build_pairs
    from dataset_builders.pairs.card import REASON_MARK
    from dataset_builders.upstream.desi_coadd import DesiCoadds
    from dataset_builders.upstream.fastspecfit import FastSpecFit
    from dataset_builders.upstream.galaxy_zoo import GalaxyZooDecals
    from dataset_builders.upstream.legacy_cutout import LegacyCutouts

    inputs.check_places(out, spectra, images, zcatalog, morphology, *(labels or []))
    spectrum_reader = inputs.reader_for(spectra, inputs.SPECTRA, "DESI spectra")(spectra)
    if isinstance(spectrum_reader, DesiCoadds):
        spectrum_reader = DesiCoadds(spectra, cuts, coadd_rule, zcatalog=zcatalog, resolution=resolution)
    elif zcatalog or resolution:
        raise DataError(f"{spectra}: {spectrum_reader.name}", "DESI coadds for --zcatalog and --resolution")
    else:
        spectrum_reader = replace(spectrum_reader, cuts=cuts)
    image_reader = inputs.reader_for(images, inputs.IMAGES, "images")(images)
    if isinstance(image_reader, LegacyCutouts):
        image_reader = replace(image_reader, resample=resample)
    elif resample:
        raise DataError(f"{images}: {image_reader.name}", "viewer cut-outs (FITS) for --resample")
    label_readers = [inputs.reader_for(path, inputs.LABELS, "label catalogue")(path) for path in labels or []]
    vote_readers = [GalaxyZooDecals(morphology)] if morphology else []
    request = PairRequest(
        info=texts.INFO,
        spectra=spectrum_reader,
        images=image_reader,
        labels=tuple(label_readers),
        votes=tuple(vote_readers),
        columns=inputs.label_columns([*label_readers, *vote_readers]),
        payload_columns=tuple(texts.payload_columns(mask, resolution)),
        configurations=texts.configurations(not any(isinstance(reader, FastSpecFit) for reader in label_readers)),
        sections=texts.SECTIONS,
        responsible=texts.RESPONSIBLE_AI,
        radius_arcsec=radius,
        preview=preview,
        checksums=checksums,
    )
    stages = {"matching": "partitions", "writing": "galaxies"}
    folder = build_pairs(
        request,
        out,
        workers=workers,
        scheduler=scheduler,
        stage=lambda name: progress_bar(name, stages.get(name, "files")),
    )
    manifest = read_manifest(folder)
    typer.echo(folder)
    for name, count in manifest.build["joined"].items():
        if not count and REASON_MARK not in name:
            typer.echo(f"{name}: none of its labels belongs to a pair", err=True)
    typer.echo(f"{sum(manifest.counts.values()):,} pairs; what was left out and why: {folder}/README.md", err=True)
