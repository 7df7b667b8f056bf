"""Targets made of several label columns."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.tasks.catalogue import BUILTIN_TASKS
from astroclip_bench.tasks.labels import label_of, needed_labels

PARITY = next(task for task in BUILTIN_TASKS if task.name == "ssfr-astroclip-v1")


def test_the_parity_quantity_is_what_astroclip_computed():
    random = np.random.default_rng(0)
    sfr, mass, metallicity = (
        10 ** random.normal(0, 1, 50),
        10 ** random.normal(10, 1, 50),
        random.uniform(0.001, 0.04, 50),
    )
    columns = {
        "log_ssfr": np.log10(sfr / mass),
        "log_stellar_mass": np.log10(mass),
        "metallicity": metallicity,
    }
    assert needed_labels(PARITY) == tuple(columns)
    assert label_of(PARITY, columns) == pytest.approx(np.log(sfr) - np.log(metallicity), abs=1e-12)


def test_it_is_unknown_where_one_of_its_columns_is():
    columns = {
        "log_ssfr": np.array([np.nan, -10.0, -10.0, -10.0]),
        "log_stellar_mass": np.array([10.0, np.nan, 10.0, 10.0]),
        "metallicity": np.array([0.02, 0.02, 0.0, 0.02]),
    }
    assert np.isfinite(label_of(PARITY, columns)).tolist() == [False, False, False, True]
