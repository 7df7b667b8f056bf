"""Everything in the image that is not the target: field galaxies, stars, companions, and defects of the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroclip_bench.records import IMAGE_SIZE, PIXEL_SCALE_ARCSEC
from dataset_builders.mock_survey.morphology import CENTRE, Appearance
from dataset_builders.mock_survey.population import Latents
from dataset_builders.mock_survey.profiles import EXPONENTIAL_HALF_LIGHT, Grid, ellipse, exponential

MARGIN_PIXELS = 15
"""Sources are scattered this far beyond the image's edges."""
FIELD_GALAXIES, FIELD_STARS = 7.8, 0.9
"""Mean numbers in image and margin; counts rise by 0.36 dex a magnitude to r = 24.8."""
COUNT_SLOPE, FAINTEST, BRIGHT_SPAN = 0.36, 24.8, 7.0
BRIGHT_STAR_FRACTION = 0.015
HALO_SHARE, HALO_RADIUS_ARCSEC, HALO_FAINTEST = 0.04, 6.0, 17.0
CLEAR_RADIUS_ARCSEC = 2.5
"""Nothing falls on the target itself: such blends fail the survey's cuts."""
RESOLVED_MAGNITUDE = 22.0
"""Brighter neighbours get a shape of their own; fainter ones one of the sizes below."""
CLASS_RADII_ARCSEC = (0.25, 0.55)
BLEED_MAGNITUDE = 13.0
DEFECT_RATES = (0.008, 0.006, 0.006)
DEFECTS = ("none", "bad column", "missing coverage in one band", "trail")


@dataclass(frozen=True)
class Sources:
    """Neighbours: position (pixels), flux (n, 3) in nanomaggies, half-light radius (arcsec; 0 for stars), shape."""

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    radius: np.ndarray
    axis_ratio: np.ndarray
    angle_deg: np.ndarray


def _fluxes(magnitude: np.ndarray, g_minus_r: np.ndarray, r_minus_z: np.ndarray) -> np.ndarray:
    flux_r = 10 ** (-0.4 * (magnitude - 22.5))
    return np.stack([flux_r * 10 ** (-0.4 * g_minus_r), flux_r, flux_r * 10 ** (0.4 * r_minus_z)], axis=1)


def _field_galaxies(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return flux (n, 3) and radius (n,) of galaxies that lie in front or behind."""
    count = rng.poisson(FIELD_GALAXIES)
    floor = 10 ** (-COUNT_SLOPE * BRIGHT_SPAN)
    magnitude = FAINTEST + np.log10(rng.random(count) * (1 - floor) + floor) / COUNT_SLOPE
    g_minus_r = np.clip(0.75 + 0.4 * rng.standard_normal(count), -0.1, 1.9)
    r_minus_z = 0.25 + 0.45 * g_minus_r + 0.15 * rng.standard_normal(count)
    radius = 10 ** (-0.25 - 0.09 * (magnitude - 22) + 0.2 * rng.standard_normal(count))
    return _fluxes(magnitude, g_minus_r, r_minus_z), radius


def _stars(rng: np.random.Generator) -> np.ndarray:
    """Return flux (n, 3) of stars: three colour groups along the stellar locus (Covey et al. 2007)."""
    count = rng.poisson(FIELD_STARS)
    bright = rng.random(count) < BRIGHT_STAR_FRACTION
    magnitude = np.where(bright, rng.uniform(11.0, 15.0, count), 23.0 - 7.5 * rng.random(count) ** 1.4)
    g_minus_r = rng.choice([0.45, 1.0, 1.45], count) + 0.1 * rng.standard_normal(count)
    red = 0.6 + rng.exponential(0.5, count)
    return _fluxes(magnitude, g_minus_r, np.where(g_minus_r < 1.3, 0.45 * g_minus_r, red))


def _companions(rng: np.random.Generator, latents: Latents, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return flux (n, 3) and radius (n,) of galaxies at the target's own redshift.

    Massive and quiescent galaxies have more of them (Zehavi et al. 2011), and their colours are the target's own (the
    red sequence; Kauffmann et al. 2010 for conformity).
    """
    mean = 0.30 * 10 ** (0.5 * (float(latents.log_mass[0]) - 10.8)) * (2.2 if latents.quiescent[0] else 1.0)
    count = rng.poisson(min(mean, 4.0))
    fainter = 0.4 + rng.exponential(1.4, count)
    colour = 10 ** (0.4 * 0.06 * rng.standard_normal((count, 3)))
    radius = np.clip(0.9 * 10 ** (-0.12 * fainter + 0.15 * rng.standard_normal(count)), 0.2, None)
    return flux * 10 ** (-0.4 * fainter)[:, None] * colour, radius


def draw_sources(rng: np.random.Generator, latents: Latents, shape: Appearance, flux: np.ndarray) -> Sources:
    """Draw the neighbours of a target of total flux (3,)."""
    galaxies, galaxy_radius = _field_galaxies(rng)
    stars = _stars(rng)
    companions, companion_radius = _companions(rng, latents, flux)
    fluxes = np.concatenate([galaxies, companions, stars])
    radius = np.concatenate([galaxy_radius, companion_radius, np.zeros(len(stars))])
    count = len(fluxes)
    x, y = rng.uniform(-MARGIN_PIXELS, IMAGE_SIZE + MARGIN_PIXELS, (2, count))
    axis_ratio, angle = 0.35 + 0.65 * rng.random(count), 180 * rng.random(count)
    clear = np.hypot(x - CENTRE, y - CENTRE) * PIXEL_SCALE_ARCSEC > CLEAR_RADIUS_ARCSEC
    sources = [x[clear], y[clear], fluxes[clear], radius[clear], axis_ratio[clear], angle[clear]]
    if shape.merging:
        sources = [np.concatenate([old, new]) for old, new in zip(sources, _merger(rng, shape, flux), strict=True)]
    return Sources(*sources)


def _merger(rng: np.random.Generator, shape: Appearance, flux: np.ndarray) -> list[np.ndarray]:
    """Return the other galaxy of a merging pair, as a list of the fields of `Sources`."""
    size = max(shape.disc_radius, shape.bulge_radius)
    distance = np.clip((0.9 + 1.3 * rng.random()) * size, 2.6, 14.0) / PIXEL_SCALE_ARCSEC
    angle, ratio = 2 * np.pi * rng.random(), 10 ** (-0.9 * rng.random())
    x, y = shape.x + distance * np.cos(angle), shape.y + distance * np.sin(angle)
    shape_draws = rng.random(2)
    values = [x, y, flux * ratio, 0.6 * size * ratio**0.35, 0.4 + 0.5 * shape_draws[0], 180 * shape_draws[1]]
    return [np.asarray(value)[None] for value in values]


def paint_sources(grid: Grid, sources: Sources) -> np.ndarray:
    """Return the transform (3, n, n//2 + 1) complex64 of all neighbours."""
    out = np.zeros((3, grid.size, grid.size // 2 + 1), np.complex64)
    along_x, along_y = grid.phase(sources.x, sources.y)
    weighted = (sources.flux.T.astype(np.float32)[:, :, None] * along_y).transpose(0, 2, 1)
    magnitude = 22.5 - 2.5 * np.log10(sources.flux[:, 1])
    star = sources.radius == 0
    resolved = ~star & (magnitude < RESOLVED_MAGNITUDE)
    large = ~star & ~resolved & (sources.radius > 0.4)
    halo = star & (magnitude < HALO_FAINTEST)

    def add(members: np.ndarray, kernel: np.ndarray | float) -> None:
        if members.any():
            out[...] += (weighted[:, :, members] @ along_x[members]) * kernel

    add(star, 1.0)
    add(halo, np.float32(HALO_SHARE) * exponential(grid, ellipse(HALO_RADIUS_ARCSEC, 1.0, 0.0)) if halo.any() else 1.0)
    for members, radius in ((~star & ~resolved & ~large, CLASS_RADII_ARCSEC[0]), (large, CLASS_RADII_ARCSEC[1])):
        scale = np.float32((radius / EXPONENTIAL_HALF_LIGHT) ** 2)
        add(members, (1 + grid.square * scale) ** np.float32(-1.5) if members.any() else 1.0)
    for index in np.flatnonzero(resolved):
        outline = ellipse(
            float(sources.radius[index]), float(sources.axis_ratio[index]), float(sources.angle_deg[index])
        )
        add(np.arange(len(star)) == index, exponential(grid, outline))
    return out


def add_bleeding(image: np.ndarray, sources: Sources) -> None:
    """Add the charge that very bright stars spill along their column, in place; `image` is (3, n, n) noiseless."""
    magnitude = 22.5 - 2.5 * np.log10(sources.flux[:, 1])
    for index in np.flatnonzero(magnitude < BLEED_MAGNITUDE):
        column, row = round(float(sources.x[index])), float(sources.y[index])
        if 1 <= column < IMAGE_SIZE - 1:
            length = 25.0 * 10 ** (0.2 * (BLEED_MAGNITUDE - magnitude[index]))
            trail = np.exp(-np.abs(np.arange(IMAGE_SIZE) - row) / length)
            image[:, :, column - 1 : column + 2] += 6.0 * np.array([0.5, 1.0, 1.5])[:, None, None] * trail[:, None]


def add_defect(image: np.ndarray, rng: np.random.Generator) -> int:
    """Spoil a few images, in place, and return the kind of defect (an index of `DEFECTS`); (3, n, n) with noise."""
    kind = int(np.searchsorted(np.cumsum(DEFECT_RATES), rng.random(), side="right")) + 1
    band, uniform = int(rng.integers(3)), rng.random(4)
    if kind == 1:
        column, width = int(uniform[0] * (IMAGE_SIZE - 3)), 1 + int(3 * uniform[1])
        image[band, :, column : column + width] = 0.0
    elif kind == 2:
        rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] - CENTRE
        angle = 2 * np.pi * uniform[0]
        beyond = rows * np.sin(angle) + columns * np.cos(angle) > (25 + 40 * uniform[1])
        image[band][beyond] = 0.0
    elif kind == 3:
        rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] - CENTRE
        angle, offset = np.pi * uniform[0], 80 * (uniform[1] - 0.5)
        distance = rows * np.sin(angle) + columns * np.cos(angle) - offset
        image[band] += np.float32(0.3 + uniform[2]) * np.exp(-0.5 * (distance / 2.0) ** 2).astype(np.float32)
    else:
        kind = 0
    return kind
