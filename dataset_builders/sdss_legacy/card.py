"""Texts of the data set card."""

from __future__ import annotations

from collections.abc import Mapping

DESCRIPTION = (
    "Galaxies with an SDSS spectrum, brought to the wavelength grid of DESI, and a Legacy Survey image in g, r and z: a "
    "few real pairs to try a model on, end to end. Most images were display pictures, turned back into approximate "
    "fluxes."
)
CITATION = (
    "Images: DESI Legacy Imaging Surveys, Dey et al. (2019), AJ 157, 168. Spectra: Sloan Digital Sky Survey, "
    "York et al. (2000), AJ 120, 1579; Abazajian et al. (2009), ApJS 182, 543."
)

_SOURCE = """
The rows are the lines of a list (`pairs.csv`) whose two files are there and can be used. The position is that of the
list, the centre of the image; the fibre's position is the spectrum's own, and their distance, computed again, is in
`match_separation`. Left out, with counts below, are lines without their files, a spectrum listed twice, pairs too far apart,
spectra that the SDSS pipeline did not class as a galaxy's, and redshifts it warns of (ZWARNING not 0).
"""

_SPECTRA = """
SDSS spectra have bins of 1e-4 in log10 of the vacuum wavelength. Each DESI pixel (0.8 angstrom) holds the mean flux
density of the SDSS bins weighted by their overlap, so the integral over wavelength is conserved; SDSS pixels with `ivar`
0 are left out, and a pixel of which good ones cover less than half has `flux` and `ivar` 0.

* SDSS covers about 3800 to 9200 angstrom; the rest of the grid, 3600 to 9824, is empty.
* `ivar` is that of the weighted mean. SDSS bins are 0.9 to 2.1 angstrom wide, so neighbouring pixels share a bin and
  their errors are correlated: summed over a range, `ivar` overstates the information by up to 2.6 times.
* The resolution is that of SDSS (about 1850 to 2200), lower than DESI's, and the fibre is 3 arcsec wide, not 1.5: fluxes
  are higher than DESI's of the same galaxy.
* `snr` is the median over the pixels of the SDSS file, not over the resampled ones.
"""

_IMAGES = """
`image` is 96 by 96 pixels of 0.262 arcsec (25.2 arcsec), g, r, z, first row south, first column east, whatever the file.
`image_origin` tells the two kinds apart:

* `fits, resampled`: a cut-out of the Legacy Survey viewer at another pixel scale; its values are nanomaggies a native
  pixel, and the mean over the area of each pixel of 0.262 arcsec conserves the flux.
* `jpeg, inverted display`: a picture of the viewer, its stretch (`dr2_rgb`) inverted and then resampled likewise.

How far the inverted pictures can be trusted, as measured on ten of them and on FITS images made into pictures:

* Outside clipped pixels it is the stretch of these pictures: their sky is at 0.13 to 0.15 of full scale, where `dr2_rgb`
  puts zero flux at 0.127, and of the one galaxy without a clipped pixel the flux within 3 arcsec (diameter) differs from
  the SDSS spectrum's synthetic photometry by 0.01 (g), 0.06 (r) and 0.24 mag (z; the two surveys' z bands differ by
  some 0.1). FITS images of the viewer turned to pictures of the same compression and back keep the flux outside clipped
  pixels to 1.5 per cent; pixel by pixel the loss is 0.002 to 0.004 (g), 0.001 to 0.006 (r) and 0.004 to 0.017
  nanomaggies (z).
* **Bright centres are clipped.** Where a colour is at its maximum all three fluxes are lower bounds;
  `image_clipped_pixels` counts the pixels, 0 to 398 of 9,216 in the eleven pairs. Within 3 arcsec (diameter) fluxes are too
  faint by 0.04 to 1.2 mag (g), 0.1 to 1.4 (r) and 0.1 to 1.7 (z) against the spectrum's photometry; in a FITS image of a
  galaxy of r = 14.8 that was clipped on purpose, by 1.5, 1.7 and 2.1 mag, and within 12 arcsec (radius) still by 0.3, 0.4
  and 0.5. Colours of the centres are too blue accordingly.
* Flux below -0.03 / scale (g -0.005, r -0.009, z -0.014 nanomaggies a pixel) is clipped too, and values are in steps of 8
  bits: the noise of the sky is not the survey's.
"""

_USES = """
Meant for trying a pipeline and for looking at real embeddings, not for ranking models: eleven galaxies decide nothing, and
the intervals say so. Photometry in clipped centres, and whatever learns from it, is wrong by the amounts above. The
labels are redshifts alone.
"""

_SPLITS = {
    "healpix": (
        "By sky like every data set of this project. A handful of pairs leaves splits of a few rows or none; tasks that "
        "need more are then reported as not applicable. `--split test` puts every row into the test split instead."
    ),
    "test": (
        "Every row is in the test split: nothing can be fitted here, and retrieval between the modalities is scored over "
        "all of them. Some of these pixels of the sky belong to the train split elsewhere: a model trained on real "
        "surveys may have seen these galaxies."
    ),
}


def sections(split: str) -> Mapping[str, str]:
    """Return the data set's own sections of the card, heading -> Markdown."""
    return {
        "Where the rows come from": _SOURCE,
        "Spectra": _SPECTRA,
        "Images and their known defects": _IMAGES,
        "About the splits": _SPLITS[split],
        "Uses and limits": _USES,
    }
