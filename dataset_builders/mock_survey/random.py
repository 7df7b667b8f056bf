"""Counter-based random streams: what an object draws depends on the survey's seed and its own number alone."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stage(IntEnum):
    """What a stream is for; each object has one stream for each, so a change in one stage leaves the others alone."""

    POSITION = 0
    POPULATION = 1
    IMAGE = 2
    IMAGE_NOISE = 3
    SPECTRUM = 4
    CATALOGUE = 5
    ARTEFACT = 7


def stream(seed: int, stage: Stage, object_number: int) -> np.random.Generator:
    """Return the generator of one stage of one object.

    Philox (Salmon et al. 2011) is counter based: the upper two words of the counter hold the stage and the object, so
    streams never overlap (each has 2**128 draws) and cost nothing to reach in any order.
    """
    counter = np.array([0, 0, int(stage), object_number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))
