"""What the noise of the labels allows, against closed forms and against the truth itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from astroclip_bench.tasks.catalogue import BUILTIN_TASKS
from astroclip_bench.tasks.ceiling import score_ceilings

MASS = next(task for task in BUILTIN_TASKS if task.name == "stellar-mass")
N = 4_000


@pytest.fixture(scope="module")
def noisy():
    """Return labels, their errors of unequal spread, and the truth."""
    random = np.random.default_rng(0)
    truth, deviation = random.normal(10, 0.5, N), random.uniform(0.05, 0.4, N)
    label = truth + deviation * random.standard_normal(N)
    columns = {"healpix": np.arange(N) % 40, "log_stellar_mass": label, "log_stellar_mass_std": deviation}
    return columns, truth


def by_metric(rows):
    return {row.metric: row for row in rows}


def test_it_is_what_the_truth_itself_scores(noisy):
    columns, truth = noisy
    label, deviation = columns["log_stellar_mass"], columns["log_stellar_mass_std"]
    found = by_metric(score_ceilings([MASS], columns))
    assert found["r2"].value == pytest.approx(1 - (deviation**2).mean() / label.var(), abs=0.005)
    assert found["r2"].value == pytest.approx(r2_score(label, truth), abs=0.01)
    assert found["r2"].low < r2_score(label, truth) < found["r2"].high
    assert found["mae"].value == pytest.approx(mean_absolute_error(label, truth), rel=0.03)
    # Of a normal distribution.
    assert found["mae"].value == pytest.approx(np.sqrt(2 / np.pi) * deviation.mean(), rel=0.03)
    assert {(row.protocol, row.reference, row.query, row.group) for row in found.values()} == {
        ("label-noise", "label", "label", "all")
    }


def test_samples_of_a_posterior_give_the_same(noisy):
    columns, _ = noisy
    random = np.random.default_rng(1)
    label, deviation = columns["log_stellar_mass"][:, None], columns["log_stellar_mass_std"][:, None]
    samples = label + deviation * random.standard_normal((N, 20))
    known = np.arange(N) % 5 > 0
    samples[~known] = np.nan
    drawn = by_metric(score_ceilings([MASS], {**columns, "log_stellar_mass_samples": samples.astype(np.float32)}))
    expected = 1 - (deviation[known] ** 2).mean() / label[known].var()
    assert drawn["r2"].value == pytest.approx(expected, abs=0.01)
    assert drawn["r2"].n == known.sum()


def test_labels_without_error_have_no_ceiling_and_questions_neither(noisy):
    columns, _ = noisy
    bare = {name: values for name, values in columns.items() if not name.endswith("_std")}
    assert score_ceilings([MASS], bare) == []
    other = dataclasses.replace(MASS, probe="agree")
    assert score_ceilings([other], columns) == []


def test_a_known_truth_goes_before_its_posterior(noisy):
    columns, truth = noisy
    found = by_metric(score_ceilings([MASS], {**columns, "log_stellar_mass_true": truth}))
    assert found["r2"].value == pytest.approx(r2_score(columns["log_stellar_mass"], truth), abs=1e-9)


def test_on_the_mock_survey_draws_score_what_the_truth_does():
    from astroclip_bench.datasets import open_dataset

    test = open_dataset("mock-mini").splits["test"]
    for task in BUILTIN_TASKS[1:5]:
        label, truth, deviation = (test.column(f"{task.target}{suffix}") for suffix in ("", "_true", "_std"))
        columns = {"healpix": test.column("healpix"), task.target: label, f"{task.target}_std": deviation}
        found = by_metric(score_ceilings([task], columns))["r2"]
        if task.name == "metallicity":  # its width is a share of the noisy label: see the module's text
            assert found.value < r2_score(label, truth)
        else:
            assert found.low < r2_score(label, truth) < found.high
