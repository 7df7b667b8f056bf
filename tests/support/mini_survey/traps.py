"""The traps, as a table: how many there are, what is done to the object, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mini_survey import content
from mini_survey.geometry import Place, moved
from mini_survey.objects import INDEX, LOAD, MATCH, NORTH, ONE_IMAGE, ONE_SPECTRUM, SOUTH, Sky, encode

NOTHING_THERE = "no counterpart within the radius"
NEARER_PARTNER = "counterpart has a nearer partner"
DISAGREE = "same TARGETID, positions disagree"
DUPLICATE = "duplicate TARGETID"


@dataclass(frozen=True)
class Trap:
    """Something that goes wrong in real files.

    Parameters
    ----------
    name, what, outcome
        In words.
    count
        How often it is in the survey.
    set_up
        Adds one case, with what is expected of it.
    spectra
        Rows of spectra that one case takes.
    """

    name: str
    count: int
    what: str
    outcome: str
    set_up: Callable[[Sky], None]
    spectra: int = 1


def cut(sky: Sky, reason: str, **changes: Any) -> None:
    """Add a galaxy with an image whose spectrum fails one of the cuts."""
    sky.galaxy(**changes)
    sky.drop(INDEX, reason)


def kept(sky: Sky, **changes: Any) -> None:
    """Add a galaxy whose spectrum just passes."""
    sky.pair(*sky.galaxy(**changes))


def large_error(sky: Sky) -> None:
    """Add a galaxy whose redshift is too uncertain."""
    image = sky.image(sky.site())
    sky.spectrum(image, redshift_err=0.0006 * (1 + image.redshift))
    sky.drop(INDEX, "redshift error")


def acceptable_error(sky: Sky) -> None:
    """Add a galaxy whose redshift is just certain enough."""
    image = sky.image(sky.site())
    sky.pair(image, sky.spectrum(image, redshift_err=0.00049 * (1 + image.redshift)))


def negative(sky: Sky) -> None:
    """Add a fibre that points at an imaged galaxy, but has no target."""
    cut(sky, "negative TARGETID", target_id=-(1000 + sky.serial()))


def sky_fibre(sky: Sky) -> None:
    """Add a fibre on the sky."""
    place = sky.site()
    alone(sky, place, target_id=sky.no_key(place, sky=True), object_type="SKY")
    sky.drop(INDEX, "sky fibre")


def alone(sky: Sky, place: Place | None = None, **changes: Any) -> None:
    """Add a spectrum of something that is not in the image files."""
    sky.galaxy(place, **changes)
    sky.images.pop()


def observed_twice(
    sky: Sky, first: dict[str, Any], second: dict[str, Any], better: int, reason: str = DUPLICATE
) -> None:
    """Add a target with two spectra, of which the first (0) or second (1) is to be kept."""
    image = sky.image(sky.site())
    one = sky.spectrum(image, **first)
    two = sky.another_spectrum(one, **{"redshift": image.redshift + 1e-4, **second})
    sky.pair(image, (one, two)[better])
    sky.drop(ONE_SPECTRUM if reason == DUPLICATE else INDEX, reason)


def image_twice(sky: Sky, fainter: float) -> None:
    """Add a bright galaxy whose image is in the files a second time, fainter and hence farther back."""
    r_flux = 170.0 + len(sky.images) % 64
    image = sky.image(sky.site(), flux=(0.5 * r_flux, r_flux, 1.5 * r_flux))
    spectrum = sky.spectrum(image)
    g, r, z = (value * fainter for value in image.flux)
    sky.images.append(replace(image, flux=(g, r, z), serial=sky.serial(), place=moved(image.place, 0.02)))
    sky.drop(ONE_IMAGE, DUPLICATE)
    sky.pair(image, spectrum)


def across_border(sky: Sky, by_key: bool) -> None:
    """Add a galaxy whose target and image positions lie in different pixels, which belong to different splits."""
    here, there = sky.borders.pop()
    image = sky.image(there)
    if by_key:
        sky.pair(image, sky.spectrum(image, here))
    else:
        sky.pair(image, sky.spectrum(image, here, target_id=sky.no_key(here)), "sky")


def across_zero(sky: Sky, by_key: bool) -> None:
    """Add a galaxy whose target lies just below 360 degrees and whose image just above 0."""
    place = sky.wraps.pop()
    image, target = sky.image(moved(place, 0.2)), moved(place, -0.2)
    if by_key:
        sky.pair(image, sky.spectrum(image, target))
    else:
        sky.pair(image, sky.spectrum(image, target, target_id=sky.no_key(target)), "sky")


def without_key(sky: Sky, target_id: Callable[[Sky, Place], int]) -> None:
    """Add a galaxy whose TARGETID does not lead to its image."""
    image = sky.image(sky.site())
    target = moved(image.place, 0.3, -0.2)
    sky.pair(image, sky.spectrum(image, target, target_id=target_id(sky, target)), "sky")


def release_zero(sky: Sky, place: Place) -> int:
    """Return a TARGETID without release and without any flag."""
    del place
    return encode(0, 299_999, sky.serial())


def other_release(sky: Sky, place: Place) -> int:
    """Return a TARGETID of the other imaging release, as targets where north and south overlap have."""
    return sky.unseen(place, NORTH + SOUTH - sky.release(place))


def at_distance(sky: Sky, arcsec: float, by_key: bool, found: bool) -> None:
    """Add a galaxy whose target and image positions are some way apart."""
    image = sky.image(sky.site())
    target = moved(image.place, 0.6 * arcsec, 0.8 * arcsec)
    spectrum = sky.spectrum(image, target, **({} if by_key else {"target_id": sky.no_key(target)}))
    if found:
        sky.pair(image, spectrum, "target_id" if by_key else "sky")
    else:
        sky.drop(MATCH, DISAGREE if by_key else NOTHING_THERE)


def far_but_imaged(sky: Sky) -> None:
    """Add a target whose TARGETID leads a minute away, while another release has an image of the place itself."""
    far = sky.image(sky.site())
    near = sky.image(moved(far.place, 0.0, 60.0), release=NORTH + SOUTH - far.release)
    sky.pair(near, sky.spectrum(far, moved(near.place, 0.3)), "sky")


def key_beats_nearer(sky: Sky) -> None:
    """Add a target with its image 0.8 arcsec away, and another release's image of a neighbour 0.1 arcsec away."""
    image = sky.image(sky.site())
    target = moved(image.place, 0.8)
    sky.image(moved(target, -0.1), release=NORTH + SOUTH - image.release)
    sky.pair(image, sky.spectrum(image, target))


def two_images(sky: Sky) -> None:
    """Add a target without key between two images."""
    target = sky.site()
    near, _ = sky.image(moved(target, 0.2)), sky.image(moved(target, -0.7))
    sky.pair(near, sky.spectrum(near, target, target_id=sky.no_key(target)), "sky", ambiguous=True)


def two_spectra(sky: Sky) -> None:
    """Add two targets without key near one image."""
    image = sky.image(sky.site())
    near, far = moved(image.place, 0.2), moved(image.place, 0.0, -0.6)
    sky.pair(image, sky.spectrum(image, near, target_id=sky.no_key(near)), "sky", ambiguous=True)
    sky.spectrum(image, far, target_id=sky.no_key(far))
    sky.drop(MATCH, NEARER_PARTNER)


def no_second_choice(sky: Sky) -> None:
    """Add target, image, target, image in a row: the second target's nearest image prefers the first target."""
    first = sky.site()
    image = sky.image(moved(first, 0.2))
    second = moved(image.place, 0.4)
    sky.pair(image, sky.spectrum(image, first, target_id=sky.no_key(first)), "sky", ambiguous=True)
    sky.spectrum(image, second, target_id=sky.no_key(second))
    sky.image(moved(second, 0.7))
    sky.drop(MATCH, NEARER_PARTNER)


def neighbour_of_same_release(sky: Sky) -> None:
    """Add a target half an arcsecond from an image that the same release counts as another object."""
    image = sky.image(sky.site())
    target = moved(image.place, 0.5)
    sky.spectrum(image, target, target_id=sky.unseen(target))
    sky.drop(MATCH, NOTHING_THERE)


def no_image(sky: Sky) -> None:
    """Add a spectrum of a galaxy outside the image files."""
    alone(sky)
    sky.drop(MATCH, NOTHING_THERE)


def no_spectrum(sky: Sky) -> None:
    """Add an image without spectrum."""
    sky.image(sky.site())


def bad_image(sky: Sky, faults: dict[str, str] | None) -> None:
    """Add a galaxy whose image lacks a band, each in turn, or is not finite."""
    fault = list(faults.values())[len(sky.images) % 3] if faults else content.NOT_FINITE
    image = sky.image(sky.site(), content=fault)
    sky.spectrum(image)
    sky.drop(LOAD, f"{fault.split()[0]} band missing" if faults else fault)


def bad_spectrum(sky: Sky, fault: str) -> None:
    """Add a galaxy whose spectrum has no signal."""
    sky.galaxy(content=fault)
    sky.drop(LOAD, fault)


def spectral_traps() -> tuple[Trap, ...]:
    """Return the traps that the cuts of the spectra must catch, and those at the limits that they must not."""
    gone, stays = "dropped when the spectra are indexed", "a pair"
    return (
        Trap("negative TARGETID", 8, "stuck fibre at the place of an imaged galaxy", gone, negative),
        Trap("sky fibre", 12, "OBJTYPE SKY", gone, sky_fibre),
        Trap("bad fibre", 8, "COADD_FIBERSTATUS 512", gone, partial(cut, reason="fibre status", fiber_status=512)),
        Trap("redshift warning", 10, "ZWARN 4", gone, partial(cut, reason="ZWARN", zwarn=4)),
        Trap("star", 8, "SPECTYPE STAR", gone, partial(cut, reason="no galaxy", spectype="STAR", redshift=1e-4)),
        Trap("quasar", 4, "SPECTYPE QSO", gone, partial(cut, reason="no galaxy", spectype="QSO")),
        Trap("low DELTACHI2", 6, "12", gone, partial(cut, reason="DELTACHI2", deltachi2=12.0)),
        Trap("DELTACHI2 at the limit", 3, "exactly 40", gone, partial(cut, reason="DELTACHI2", deltachi2=40.0)),
        Trap("DELTACHI2 above the limit", 3, "40.25", stays, partial(kept, deltachi2=40.25)),
        Trap("uncertain redshift", 6, "ZERR 0.0006 (1 + z)", gone, large_error),
        Trap("redshift certain enough", 3, "ZERR 0.00049 (1 + z)", stays, acceptable_error),
        Trap("far galaxy", 6, "z = 0.75", gone, partial(cut, reason="redshift range", redshift=0.75)),
        Trap("redshift at the limit", 2, "z = 0.6", gone, partial(cut, reason="redshift range", redshift=0.6)),
        Trap("blueshift", 3, "z = -0.001", gone, partial(cut, reason="redshift range", redshift=-0.001)),
    )


def duplicate_traps() -> tuple[Trap, ...]:
    """Return the targets and images that occur more than once."""
    dark, early, bad = {"program": "dark"}, {"survey": "sv1"}, {"deltachi2": 900.0, "zwarn": 4}
    twice = "observed in two programs"
    return (
        Trap(
            "bright spectrum better", 12, twice, "the one with the higher DELTACHI2",
            partial(observed_twice, first={}, second={**dark, "deltachi2": 300.0}, better=0), 2,
        ),
        Trap(
            "dark spectrum better", 12, twice, "the one with the higher DELTACHI2",
            partial(observed_twice, first={}, second={**dark, "deltachi2": 900.0}, better=1), 2,
        ),
        Trap(
            "equally good spectra", 6, "observed in SV1 and SV3, the same DELTACHI2", "the first file's: SV1",
            partial(observed_twice, first={}, second=early, better=1), 2,
        ),
        Trap(
            "better spectrum with warning", 6, "of two spectra the better has ZWARN 4", "the other one",
            partial(observed_twice, first={}, second={**dark, **bad}, better=0, reason="ZWARN"), 2,
        ),
        Trap("image in two files", 10, "the same key again, much fainter", "the first file's",
             partial(image_twice, fainter=0.03)),
        Trap("image twice in a file", 4, "the same key again, a little fainter", "the first row",
             partial(image_twice, fainter=0.9999)),
    )  # fmt: skip


def match_traps() -> tuple[Trap, ...]:
    """Return what the matching must get right."""
    key, on_sky, unmatched = "a pair by TARGETID", "a pair on the sky", "spectrum and image both left over"
    return (
        Trap("border, with key", 6, "target and image 0.5 arcsec apart, in two pixels of different split", key,
             partial(across_border, by_key=True)),
        Trap("border, without key", 6, "the same, for a target in Gaia alone", on_sky,
             partial(across_border, by_key=False)),
        Trap("zero of right ascension, with key", 5, "target below 360 degrees, image above 0", key,
             partial(across_zero, by_key=True)),
        Trap("zero of right ascension, without key", 5, "the same, for a target in Gaia alone", on_sky,
             partial(across_zero, by_key=False)),
        Trap("target in Gaia alone", 12, "GAIADR bits set", on_sky, partial(without_key, target_id=Sky.no_key)),
        Trap("release 0", 6, "TARGETID without release", on_sky, partial(without_key, target_id=release_zero)),
        Trap("another release", 12, "TARGETID of the north, image of the south, or the reverse", on_sky,
             partial(without_key, target_id=other_release)),
        Trap("three arcsec apart, with key", 5, "same TARGETID", key,
             partial(at_distance, arcsec=3.0, by_key=True, found=True)),
        Trap("a minute apart, with key", 6, "same TARGETID", unmatched,
             partial(at_distance, arcsec=60.0, by_key=True, found=False)),
        Trap("a minute apart, but imaged", 4, "same TARGETID far away, another release's image 0.3 arcsec away",
             "a pair on the sky with the near image", far_but_imaged),
        Trap("just inside the radius", 6, "0.95 arcsec, no key", on_sky,
             partial(at_distance, arcsec=0.95, by_key=False, found=True)),
        Trap("just outside the radius", 6, "1.05 arcsec, no key", unmatched,
             partial(at_distance, arcsec=1.05, by_key=False, found=False)),
        Trap("key beats distance", 6, "another release's image is nearer than the target's own", key,
             key_beats_nearer),
        Trap("two images of one spectrum", 6, "both within the radius, no key", "a pair with the nearer, ambiguous",
             two_images),
        Trap("two spectra of one image", 6, "both within the radius, no keys",
             "a pair with the nearer, ambiguous; the other left over", two_spectra, 2),
        Trap("no second choice", 4, "target, image, target, image in a row",
             "a pair of the first two, ambiguous; the others left over", no_second_choice, 2),
        Trap("neighbour of the same release", 6, "image 0.5 arcsec away, but of another object of the same release",
             unmatched, neighbour_of_same_release),
        Trap("no image", 40, "spectrum alone", "left over", no_image),
        Trap("no spectrum", 60, "image alone", "left over", no_spectrum, 0),
    )  # fmt: skip


def content_traps() -> tuple[Trap, ...]:
    """Return pairs whose image or spectrum cannot be used."""
    gone = "dropped when it is loaded"
    return (
        Trap("missing band", 9, "one band all zero", gone, partial(bad_image, faults=content.BAND_ZERO)),
        Trap("mostly missing band", 6, "one band three quarters zero", gone,
             partial(bad_image, faults=content.BAND_MOSTLY_ZERO)),
        Trap("image not finite", 6, "some pixels NaN or infinite", gone, partial(bad_image, faults=None)),
        Trap("spectrum all zero", 8, "flux 0 in every pixel", gone, partial(bad_spectrum, fault=content.ALL_ZERO)),
        Trap("spectrum without weight", 8, "ivar 0 in every pixel", gone,
             partial(bad_spectrum, fault=content.NO_IVAR)),
    )  # fmt: skip
