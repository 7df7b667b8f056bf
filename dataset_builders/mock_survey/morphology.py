"""What the galaxy looks like: its parts on the sky, which share of each spectral component they shine with, labels."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from astroclip_bench.records import IMAGE_SIZE, PIXEL_SCALE_ARCSEC
from dataset_builders.mock_survey.basis import SERSIC_INDEX, Basis
from dataset_builders.mock_survey.population import Latents
from dataset_builders.mock_survey.profiles import (
    EXPONENTIAL_HALF_LIGHT,
    Grid,
    ellipse,
    exponential,
    fourier_grid,
    points,
    sersic,
)
from dataset_builders.mock_survey.sed import BULGE, DISC_MID, DISC_OLD, DISC_YOUNG, N_COMPONENT

ARCSEC_PER_RADIAN = 206264.806
GRID_SIZES = ((3.0, 192), (6.0, 256), (np.inf, 384))
"""Largest radius (half-light, arcsec; Sersic wings counted) that each Fourier grid serves: light wraps around it."""
EDGE_ON_AXIS_RATIO = 0.33
STRONG_BAR_SHARE = 0.175
"""Share of the disc's old light in the bar above which it is called strong: half of all bars."""
FEATURES_RADIUS_ARCSEC = 1.3
"""Discs smaller than this show no features at this resolution and are labelled smooth, as volunteers would."""
LANE_DEPTH = np.array([0.75, 0.60, 0.40])
LANE_THICKNESS = 0.30
CENTRE = (IMAGE_SIZE - 1) / 2


@dataclass
class Part:
    """One painted part: `profile` of unit flux, and the share of each spectral component that it carries (4,).

    `profile` is real for parts centred on the galaxy and complex, its own position included, for scattered light.
    `colour` multiplies its flux in g, r, z (dust lanes).
    """

    profile: np.ndarray
    share: np.ndarray
    colour: np.ndarray = field(default_factory=lambda: np.ones(3))


@dataclass(frozen=True)
class Appearance:
    """Shape parameters of one galaxy, sizes in arcsec."""

    angle_deg: float
    x: float
    y: float
    bulge_radius: float
    disc_radius: float
    bar_strength: float
    bar_length: float
    bar_angle_deg: float
    spiral: bool
    arm_count: int
    pitch_deg: float
    arm_width: float
    arm_share: float
    dust_lane: bool
    merging: bool
    tail_share: float


def draw_appearance(basis: Basis, latents: Latents, rng: np.random.Generator) -> Appearance:
    """Draw orientation, arms, bar and disturbance. Every number is drawn for every galaxy, used or not."""
    arcsec_per_kpc = ARCSEC_PER_RADIAN / 1e3 / np.interp(latents.redshift[0], basis.z_grid, basis.angular_distance)
    uniform = rng.random(16)
    log_mass, quiescent = latents.log_mass[0], bool(latents.quiescent[0])
    has_disc = latents.bulge_fraction[0] < 1.0
    disc_radius = float(np.clip(latents.disc_radius[0] * arcsec_per_kpc, 0.15, 20.0))
    # Bars in about a third of massive discs (Masters et al. 2011), arms in most star-forming ones (Willett et al. 2013).
    barred = has_disc and log_mass > 9.3 and latents.bulge_fraction[0] < 0.8 and uniform[0] < 0.33
    spiral = has_disc and not quiescent and log_mass > 9.2 and uniform[1] < 0.72
    # Disturbed galaxies: a few per cent (Darg et al. 2010), more among starbursts.
    merging = uniform[2] < (0.30 if latents.burst_fraction[0] > 0.05 else 0.03)
    return Appearance(
        angle_deg=180 * uniform[3],
        x=CENTRE + uniform[4] - 0.5,
        y=CENTRE + uniform[5] - 0.5,
        bulge_radius=float(np.clip(latents.bulge_radius[0] * arcsec_per_kpc, 0.08, 12.0)),
        disc_radius=disc_radius,
        bar_strength=(0.10 + 0.15 * uniform[6]) if barred else 0.0,
        bar_length=disc_radius / EXPONENTIAL_HALF_LIGHT * (0.7 + 0.5 * uniform[7]),
        bar_angle_deg=180 * uniform[8],
        spiral=bool(spiral),
        arm_count=int(np.array([2, 2, 2, 3, 4])[int(5 * uniform[9])]),
        pitch_deg=9 + 19 * uniform[10],
        arm_width=0.16 + 0.22 * uniform[11],
        arm_share=0.0 if quiescent or not has_disc else 0.45 + 0.40 * uniform[12],
        dust_lane=bool(has_disc and not quiescent and latents.disc_axis_ratio[0] < 0.30 and log_mass > 9.8),
        merging=bool(merging),
        tail_share=(0.06 + 0.12 * uniform[13]) if merging else 0.0,
    )


def choose_grid(latents: Latents, shape: Appearance) -> Grid:
    """Return the smallest Fourier grid on which the galaxy's light does not visibly wrap around."""
    disc = 0.6 * shape.disc_radius if latents.bulge_fraction[0] < 1 else 0.0
    bulge = shape.bulge_radius * (1.3 if latents.bulge_index[0] > 3 else 0.8) if latents.bulge_fraction[0] > 0 else 0.0
    reach = max(disc, bulge)
    return fourier_grid(next(size for limit, size in GRID_SIZES if reach <= limit))


def _to_pixels(shape: Appearance, latents: Latents, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project positions in the disc's plane (arcsec) onto the sky, in pixels of the image."""
    sky = ellipse(1.0, float(latents.disc_axis_ratio[0]), shape.angle_deg) @ np.array([x, y]) / PIXEL_SCALE_ARCSEC
    return sky[0] + shape.x, sky[1] + shape.y


def _arm_positions(
    shape: Appearance, rng: np.random.Generator, count: int, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points along logarithmic spirals (or anywhere in a disc without arms), arcsec in the disc's plane."""
    scale = shape.disc_radius / EXPONENTIAL_HALF_LIGHT
    radius = scale * (1.05 * rng.gamma(2.0, 1.0, count) + 0.15)
    start = shape.bar_length if shape.bar_strength else scale
    if shape.bar_strength:
        # Bars sweep up the gas inside them: star formation sits at their ends and beyond.
        inner = radius < shape.bar_length
        radius = np.where(inner, shape.bar_length * (0.85 + 0.5 * rng.random(count)), radius)
    arm = 2 * np.pi / shape.arm_count * rng.integers(0, shape.arm_count, count)
    winding = np.log(radius / start) / np.tan(np.radians(shape.pitch_deg))
    spread = width * rng.standard_normal(count) / np.sqrt(radius / scale + 0.3)
    if not shape.spiral:
        spread = 2 * np.pi * rng.random(count)
    angle = np.radians(shape.bar_angle_deg) + winding + arm + spread
    return radius * np.cos(angle), radius * np.sin(angle)


def _disc_parts(
    latents: Latents, shape: Appearance, grid: Grid, rng: np.random.Generator, disc_share: np.ndarray
) -> list[Part]:
    """Return arms of older stars and knots of young ones; takes their light out of `disc_share` (4,)."""
    scale = shape.disc_radius / EXPONENTIAL_HALF_LIGHT
    smooth_count, knot_count = 900, int(rng.integers(90, 240))
    arm = np.zeros(N_COMPONENT)
    arm[DISC_OLD] = 0.14 if shape.spiral else 0.0
    arm[DISC_MID], arm[DISC_YOUNG] = 0.8 * shape.arm_share, 0.5 * shape.arm_share
    knot = np.zeros(N_COMPONENT)
    knot[DISC_MID], knot[DISC_YOUNG] = 0.2 * shape.arm_share, 0.5 * shape.arm_share
    disc_share -= arm + knot
    parts = []
    for share, count, clumping, width, blur in (
        (arm, smooth_count, 0.4, 1.0, 0.22),
        (knot, knot_count, 0.8, 0.7, 0.09),
    ):
        x, y = _to_pixels(shape, latents, *_arm_positions(shape, rng, count, width * shape.arm_width))
        weight = np.exp(clumping * rng.standard_normal(count))
        parts.append(Part(points(grid, x, y, weight / weight.sum(), blur * scale), share))
    return parts


def _tail(latents: Latents, shape: Appearance, grid: Grid, rng: np.random.Generator, share: np.ndarray) -> Part:
    """Return a tidal arm: a wide arc that starts at the galaxy's edge and fades outwards (Toomre & Toomre 1972)."""
    count = 700
    base = max(shape.bulge_radius if latents.elliptical[0] else shape.disc_radius, 1.2)
    along = rng.beta(1.2, 2.2, count)
    direction, sense = 2 * np.pi * rng.random(), 1.0 if rng.random() < 0.5 else -1.0
    angle = direction + sense * 1.9 * along
    radius = base * (1.1 + 2.4 * along) + base * (0.12 + 0.25 * along) * rng.standard_normal(count)
    x = shape.x + radius * np.cos(angle) / PIXEL_SCALE_ARCSEC
    y = shape.y + radius * np.sin(angle) / PIXEL_SCALE_ARCSEC
    return Part(points(grid, x, y, np.full(count, 1 / count), 0.12 * base), share)


def galaxy_parts(basis: Basis, latents: Latents, shape: Appearance, grid: Grid, rng: np.random.Generator) -> list[Part]:
    """Return the parts of a galaxy; their shares add up to one for each spectral component that has light."""
    bulge_share, disc_share = np.zeros(N_COMPONENT), np.ones(N_COMPONENT)
    bulge_share[BULGE], disc_share[BULGE] = 1.0, 0.0
    parts: list[Part] = []
    if shape.merging:
        from_bulge = latents.bulge_fraction[0] == 1.0
        tail_share = shape.tail_share * (bulge_share if from_bulge else disc_share * np.array([0, 1, 1, 0]))
        bulge_share, disc_share = bulge_share - tail_share * from_bulge, disc_share - tail_share * (not from_bulge)
        parts.append(_tail(latents, shape, grid, rng, tail_share))
    if shape.arm_share:
        parts += _disc_parts(latents, shape, grid, rng, disc_share)
    disc_ratio = float(latents.disc_axis_ratio[0])
    if shape.bar_strength:
        bar_share = np.zeros(N_COMPONENT)
        bar_share[DISC_OLD] = shape.bar_strength * disc_share[DISC_OLD]
        disc_share -= bar_share
        disc_plane = ellipse(1.0, disc_ratio, shape.angle_deg)
        bar = disc_plane @ ellipse(0.75 * shape.bar_length, 0.3, shape.bar_angle_deg)
        parts.append(Part(sersic(basis, grid, bar, 0.8), bar_share))
    if latents.bulge_fraction[0] > 0:
        bulge = ellipse(shape.bulge_radius, float(latents.bulge_axis_ratio[0]), shape.angle_deg)
        parts.append(Part(sersic(basis, grid, bulge, float(latents.bulge_index[0])), bulge_share))
    if latents.bulge_fraction[0] < 1:
        disc = exponential(grid, ellipse(shape.disc_radius, disc_ratio, shape.angle_deg))
        parts.append(Part(disc, disc_share))
        if shape.dust_lane:
            removed = LANE_DEPTH * LANE_THICKNESS
            parts[-1].colour = 1 / (1 - removed)
            thin = ellipse(shape.disc_radius, LANE_THICKNESS * disc_ratio, shape.angle_deg)
            parts.append(Part(exponential(grid, thin), disc_share, -removed / (1 - removed)))
    return parts


def structure(latents: Latents, shape: Appearance, flux_r: np.ndarray) -> dict[str, float]:
    """Return bulge-to-total ratio, half-light radius, Sersic index and axis ratio of the r light without seeing.

    Parameters
    ----------
    flux_r
        r flux of the four spectral components, (4,).

    Notes
    -----
    The radius is circularised; the index is the one whose ratio of 80 % to 20 % radius equals the mixture's.
    """
    from scipy.special import gammainc

    bulge_to_total = float(flux_r[BULGE] / flux_r.sum())
    radius = np.geomspace(0.02, 60.0, 240)
    index = float(SERSIC_INDEX[np.abs(SERSIC_INDEX - latents.bulge_index[0]).argmin()])
    slope = 2 * index - 1 / 3 + 0.009876 / index
    bulge_radius = shape.bulge_radius * np.sqrt(latents.bulge_axis_ratio[0])
    disc_radius = shape.disc_radius * np.sqrt(latents.disc_axis_ratio[0])
    growth = bulge_to_total * gammainc(2 * index, slope * (radius / bulge_radius) ** (1 / index))
    growth += (1 - bulge_to_total) * gammainc(2.0, EXPONENTIAL_HALF_LIGHT * radius / disc_radius)
    inner, half, outer = np.interp([0.2, 0.5, 0.8], growth, radius)
    table_index, table_ratio = _concentration_table()
    ratio = bulge_to_total * latents.bulge_axis_ratio[0] + (1 - bulge_to_total) * latents.disc_axis_ratio[0]
    return {
        "bulge_to_total": bulge_to_total,
        "half_light_radius": float(half),
        "sersic_index": float(np.interp(outer / inner, table_ratio, table_index)),
        "axis_ratio": float(ratio),
    }


@functools.cache
def _concentration_table() -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import gammaincinv

    index = np.linspace(0.4, 8.0, 39)
    return index, (gammaincinv(2 * index, 0.8) / gammaincinv(2 * index, 0.2)) ** index


def morphology_labels(latents: Latents, shape: Appearance) -> dict[str, str | None]:
    """Answer questions of Galaxy Zoo DECaLS (Walmsley et al. 2022) from the structure; None where not asked."""
    featured = latents.bulge_fraction[0] < 0.75 and shape.disc_radius > FEATURES_RADIUS_ARCSEC
    edge_on = bool(latents.disc_axis_ratio[0] < EDGE_ON_AXIS_RATIO)
    patterned = shape.spiral or shape.bar_strength > 0 or shape.arm_share > 0
    featured = bool(featured and (edge_on or patterned))
    face_on = featured and not edge_on
    spiral = face_on and shape.spiral
    return {
        "morphology_smooth_or_featured": "featured-or-disk" if featured else "smooth",
        "morphology_disk_edge_on": _yes(edge_on) if featured else None,
        "morphology_has_spiral_arms": _yes(spiral) if face_on else None,
        "morphology_bar": _bar(shape) if face_on else None,
        "morphology_spiral_arm_count": str(shape.arm_count) if spiral else None,
        "morphology_merging": "merger" if shape.merging else "none",
    }


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _bar(shape: Appearance) -> str:
    if not shape.bar_strength:
        return "no"
    return "strong" if shape.bar_strength > STRONG_BAR_SHARE else "weak"
