"""Words that the extractive summary looks for: what astronomers observe, and how they say what for."""

from __future__ import annotations

import re

NAMES = """
accretion disks|active galactic nuclei|asteroids|astrometry|aurorae|bars|barred spiral galaxies|binary stars|black holes
black hole binaries|blazars|blue compact dwarf galaxies|blue stragglers|brown dwarfs|brightest cluster galaxies|bulges
cataclysmic variables|Cepheid variables|circumgalactic medium|circumnuclear disks|circumstellar disks|comets|cosmic dust
compact groups|cool stars|cosmic microwave background|cosmic strings|cosmic web|dark energy|dark matter|debris disks
damped Lyman alpha systems|distance scale|dwarf ellipticals|dwarf galaxies|dwarf irregular galaxies|dwarf novae
dwarf spheroidal galaxies|early-type galaxies|eclipsing binaries|Einstein rings|elliptical galaxies|emission line galaxies
exoplanets|extrasolar planets|extended emission line regions|flat fields|galactic winds|galaxies|galaxy bulges
galaxy clusters|galaxy evolution|galaxy formation|galaxy groups|galaxy mergers|gamma-ray bursts|giant planets
giant stars|globular clusters|gravitational lenses|gravitational lensing|gravitational waves|H II regions
Herbig-Haro objects|high-redshift galaxies|high-velocity clouds|horizontal branch stars|host galaxies|hot Jupiters
hot stars|hot subdwarfs|Hubble constant|initial mass function|interacting galaxies|interstellar dust|interstellar medium
intergalactic medium|intermediate-mass black holes|intracluster light|intracluster medium|ionizing radiation
irregular galaxies|jets|kilonovae|Kuiper Belt objects|large-scale structure|lenticular galaxies|local bubble
low surface brightness galaxies|luminous blue variables|luminous infrared galaxies|Lyman alpha emitters|Lyman alpha forest
Lyman break galaxies|magnetic fields|main belt asteroids|main sequence stars|massive stars|megamasers|metal-poor stars
metallicity gradients|microlensing|microquasars|Mira variables|molecular clouds|moons|narrow-line regions|neutron stars
novae|OB associations|open clusters|outflows|planetary atmospheres|planetary nebulae|planetary rings|planetary systems
planets|point spread function|post-AGB stars|pre-main sequence stars|primordial helium|proper motions|proplyds
proto-planetary nebulae|protoplanetary disks|protostars|pulsars|quasar absorption lines|quasar host galaxies|quasars
radio galaxies|radio jets|R Coronae Borealis stars|red giant branch stars|red giants|red supergiants|reflection nebulae
reionization|ring galaxies|RR Lyrae stars|satellites|satellite galaxies|Seyfert galaxies|shells|shocks|spectrophotometry
spiral arms|spiral galaxies|standard stars|starburst galaxies|starbursts|star clusters|star-forming galaxies
star formation|star formation histories|stellar atmospheres|stellar populations|stellar winds|strong lensing
submillimeter galaxies|super star clusters|supergiants|supermassive black holes|supernova remnants|supernovae
superclusters|supernova progenitors|symbiotic stars|T Tauri stars|tidal dwarf galaxies|tidal streams|tidal tails
trans-Neptunian objects|Tully-Fisher relation|ultra-diffuse galaxies|ultra-faint dwarf galaxies
ultraluminous infrared galaxies|ultraluminous X-ray sources|ultraviolet extinction|variable stars|voids|weak lensing
white dwarfs|Wolf-Rayet stars|X-ray binaries|X-ray clusters|X-ray sources|young stellar objects|young star clusters
zodiacal light
"""
"""Names in the plural where there is one; the singular is found too."""

ALSO = {
    "active galactic nuclei": "AGNs?|LINERs?",
    "quasars": "QSOs?|quasi-stellar objects?",
    "galaxy clusters": "clusters? of galaxies|(?:massive|rich|distant|relaxed|merging|lensing|cool-core) clusters?",
    "galaxy groups": "groups? of galaxies",
    "exoplanets": "transiting planets?",
    "globular clusters": "GCs",
    "planetary nebulae": "PNe?",
    "ultraluminous X-ray sources": "ULXs?",
    "luminous infrared galaxies": "LIRGs?",
    "ultraluminous infrared galaxies": "ULIRGs?",
    "Kuiper Belt objects": "KBOs?",
    "supernova remnants": "SNRs?",
    "supernovae": "SNe|SN ?(?:Ia|II|Ib|Ic|1987A)|SN1987A",
    "gamma-ray bursts": "GRBs?",
    "interstellar medium": "ISM",
    "intergalactic medium": "IGM",
    "circumgalactic medium": "CGM",
    "cataclysmic variables": "CVs?",
    "low surface brightness galaxies": "LSB galax(?:y|ies)",
    "initial mass function": "IMF",
    "star formation": "star-formation",
    "brown dwarfs": "[LTY] dwarfs?",
    "early-type galaxies": "ETGs?|E/S0s?|S0 galax(?:y|ies)",
    "white dwarfs": "WDs?",
    "Lyman alpha forest": "Ly-?alpha forest",
    "damped Lyman alpha systems": "DLAs?|damped Ly-?alpha (?:systems?|absorbers?)",
    "comets": "Comet [A-Z]\\w+",
}
"""Name -> other ways to write it, as a regular expression."""

GENERIC = ("galaxies", "planets", "jets", "shells", "shocks", "moons", "bars", "satellites", "astrometry", "bulges")
"""Names that say little: they count after all others."""

VERBS = """
address analyse analyze assess calibrate characterise characterize compare confirm constrain derive detect determine
discover discriminate disentangle distinguish establish estimate examine explain explore identify infer investigate
isolate map measure model monitor observe obtain probe quantify reconstruct resolve reveal search study test trace
understand unveil verify
"""
"""What follows one of these after "to", "will" and the like is an aim."""

COMMON = """
about above after again also although among because been before being below between both cannot could data during each
either even ever find first from further given have having here high however image images imaging important into just
key large like long made make many more most much must near need new object objects observation observations observe
observed obtain only other over possible present program project proposal propose proposed provide range recent recently
region regions request result results sample several should show significant since small some source sources space study
such survey system systems target targets telescope than that their them then there therefore these they this those
through thus time under unique upon use used using very well were what when where whether which while will with within
without would year years your
"""
COMMON_WORDS = frozenset(COMMON.split())
"""Words that tell little about a proposal."""

_ENDINGS = (
    ("galaxies", "galax(?:y|ies)"),
    ("nebulae", "nebula[es]?"),
    ("novae", "nova[es]?"),
    ("nuclei", "nucle(?:us|i)"),
)


def _pattern(name: str) -> re.Pattern[str]:
    """Return what finds a name, in the singular and plural, with blanks or hyphens between its words."""
    *words, last = name.split()
    for plural, either in _ENDINGS:
        if last.endswith(plural):
            last = last.removesuffix(plural) + either
            break
    else:
        last = f"{last[:-1]}s?" if last.endswith("s") and not last.endswith("ss") else last
    written = r"[\s-]+".join([*words, last])
    # Acronyms are told from words by their capitals.
    also = f"|(?-i:{ALSO[name]})" if name in ALSO else ""
    return re.compile(rf"\b(?:{written}{also})\b", re.IGNORECASE)


def _objects() -> tuple[tuple[str, re.Pattern[str]], ...]:
    names = sorted(NAMES.replace("\n", "|").strip("|").split("|"), key=lambda name: (name in GENERIC, -len(name), name))
    return tuple((name, _pattern(name)) for name in names)


OBJECTS = _objects()
"""Name -> what finds it, longer names first, generic ones last."""

GOAL = re.compile(
    rf"\b(?:to|will|we|can|and|could|thereby|us)\s+(?:\(?(?:\d|[ivx]+)\)\s*)?(?:(?:also|then|further|directly|definitively|better|fully|\w+ly)\s+)?"
    rf"(?P<verb>{'|'.join(VERBS.split())})\s+(?!of\b)(?P<what>.*?)"
    r"(?=[;:()\[\]]|[.,?!](?:\s|$)|\s+(?:and|in order)\s+to\s|\s+which\s|$)",
    re.IGNORECASE,
)
"""An aim: its verb, and what comes after it up to the next stop."""
