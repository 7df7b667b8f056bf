"""The rows of the survey, and what is expected to become of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mini_survey.content import GOOD
from mini_survey.geometry import Place, pixel

NORTH, SOUTH = 9011, 9010
"""Imaging releases."""

INDEX, ONE_SPECTRUM, ONE_IMAGE, MATCH, LOAD = "index", "one spectrum", "one image", "match", "load"
"""Steps at which rows are dropped, in their order."""


def encode(release: int, brick: int, number: int, sky: bool = False, gaia: int = 0) -> int:
    """Return a TARGETID: OBJID in bits 0-21, BRICKID 22-41, RELEASE 42-57, SKY 59, GAIADR 60-61."""
    return number + (brick << 22) + (release << 42) + (int(sky) << 59) + (gaia << 60)


def dereddened_magnitudes(flux: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return magnitudes that differ from those observed."""
    g, r, z = (22.5 - 2.5 * math.log10(value) - 0.1 for value in flux)
    return g, r, z


@dataclass(frozen=True)
class Label:
    """A row of PROVABGS. `multimodal` says whether the variant has it too, with age, metallicity and star formation."""

    target_id: int
    place: Place
    redshift: float
    log_mass: float
    magnitudes: tuple[float, float, float]
    age_gyr: float
    metallicity: float
    star_formation_rate: float
    multimodal: bool = True

    @property
    def mass_samples(self) -> np.ndarray:
        """The posterior samples of the stellar mass, (100,)."""
        return np.random.default_rng(self.target_id).normal(self.log_mass, 0.1, 100)


@dataclass(frozen=True)
class Spectrum:
    """A row of a coadd file and of its redrock file."""

    target_id: int
    place: Place
    redshift: float
    flux: tuple[float, float, float]
    ebv: float
    snr: float
    serial: int
    survey: str = "sv3"
    program: str = "bright"
    redshift_err: float = 3e-5
    zwarn: int = 0
    spectype: str = "GALAXY"
    deltachi2: float = 500.0
    object_type: str = "TGT"
    fiber_status: int = 0
    content: str = GOOD

    @property
    def group(self) -> tuple[str, str, int]:
        """Survey, program and HEALPix pixel: the file it is in."""
        return self.survey, self.program, pixel(self.place)


@dataclass(frozen=True)
class Image:
    """A row of an image file; `flux` in g, r and z, nanomaggies."""

    release: int
    brick: int
    number: int
    place: Place
    flux: tuple[float, float, float]
    ebv: float
    redshift: float
    serial: int
    content: str = GOOD

    @property
    def hemisphere(self) -> str:
        """The folder it is in."""
        return "north" if self.release == NORTH else "south"


@dataclass(frozen=True)
class Pair:
    """A row of the finished data set: its spectrum and image, how they met, its labels, and the trap it comes from."""

    spectrum: Spectrum
    image: Image
    method: str
    ambiguous: bool
    trap: str
    label: Label | None = None
    answers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Sky:
    """The survey as it grows: takes places on the sky, hands out rows, and notes what is expected of them."""

    sites: dict[int, Iterator[Place]]
    borders: list[tuple[Place, Place]]
    wraps: list[Place]
    random: np.random.Generator
    trap: str = ""
    spectra: list[Spectrum] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    votes: list[tuple[Place, Mapping[str, str]]] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    _numbers: Counter[tuple[int, int]] = field(default_factory=Counter)
    _serial: int = 0

    def site(self, release: int | None = None) -> Place:
        """Return the next free place of the north or the south, of either in turn if it does not matter."""
        return next(self.sites[release or (NORTH, SOUTH)[len(self.spectra) % 2]])

    def release(self, place: Place) -> int:
        """Return the imaging release of a place."""
        return NORTH if place[1] > 32 else SOUTH

    def serial(self) -> int:
        """Return a number for the content of a spectrum or image, never the same twice."""
        self._serial += 1
        return self._serial

    def number(self, release: int, brick: int) -> int:
        """Return the next object number of a brick; consecutive TARGETIDs are equal in double precision."""
        self._numbers[release, brick] += 1
        return self._numbers[release, brick]

    def image(self, place: Place, **changes: Any) -> Image:
        """Add an image, to be left over unless a pair takes it."""
        release = changes.pop("release", self.release(place))
        brick = 300_000 + pixel(place)
        r_flux = float(np.float32(10 ** self.random.uniform(0.8, 2.2)))
        row = Image(
            release,
            brick,
            self.number(release, brick),
            place,
            (r_flux * 0.5, r_flux, r_flux * 1.5),
            round(self.random.uniform(0.01, 0.1), 4),
            round(self.random.uniform(0.02, 0.55), 5),
            self.serial(),
        )
        self.images.append(replace(row, **changes))
        return self.images[-1]

    def spectrum(self, of: Image, place: Place | None = None, **changes: Any) -> Spectrum:
        """Add the spectrum of the galaxy in an image; TARGETID and position are the image's unless told."""
        row = Spectrum(
            encode(of.release, of.brick, of.number),
            place or of.place,
            of.redshift,
            of.flux,
            of.ebv,
            round(self.random.uniform(1.5, 8.0), 3),
            self.serial(),
        )
        self.spectra.append(replace(row, **changes))
        return self.spectra[-1]

    def another_spectrum(self, of: Spectrum, **changes: Any) -> Spectrum:
        """Add a further observation of a target."""
        self.spectra.append(replace(of, **{"serial": self.serial(), **changes}))
        return self.spectra[-1]

    def galaxy(self, place: Place | None = None, **changes: Any) -> tuple[Image, Spectrum]:
        """Add an image and its spectrum; `changes` are the spectrum's."""
        image = self.image(place or self.site())
        return image, self.spectrum(image, **changes)

    def no_key(self, place: Place, sky: bool = False) -> int:
        """Return a TARGETID that names no imaging object: of a target in Gaia alone, or of a place on the sky."""
        brick = 300_000 + pixel(place)
        return encode(0, brick, self.number(0, brick), sky=sky, gaia=0 if sky else 2)

    def unseen(self, place: Place, release: int | None = None) -> int:
        """Return a TARGETID of an imaging object that the image files do not have."""
        brick, release = 300_000 + pixel(place), release or self.release(place)
        return encode(release, brick, self.number(release, brick))

    def pair(self, image: Image, spectrum: Spectrum, method: str = "target_id", ambiguous: bool = False) -> Pair:
        """Expect a row of the data set."""
        self.pairs.append(Pair(spectrum, image, method, ambiguous, self.trap))
        return self.pairs[-1]

    def label(self, of: Spectrum, **changes: Any) -> Label:
        """Add a row to the label catalogue, which nothing is expected of yet."""
        draw = self.random.uniform
        row = Label(
            of.target_id,
            of.place,
            of.redshift,
            draw(8.5, 11.5),
            dereddened_magnitudes(of.flux),
            draw(1.0, 10.0),
            draw(0.002, 0.04),
            10 ** draw(-2.0, 1.0),
        )
        self.labels.append(replace(row, **changes))
        return self.labels[-1]

    def drop(self, step: str, reason: str) -> None:
        """Expect a row to be dropped at a step."""
        self.dropped[step, reason] += 1
