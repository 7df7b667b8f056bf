"""What is counted and measured of a training."""

from __future__ import annotations

import time

import pytest
import torch
from torch.nn import functional

from baselines.astroclip.meter import Meter, counted_operations, matrix_rate

CPU = torch.device("cpu")


def test_counts_products_and_attention_forward_and_backward():
    meter = Meter(CPU, lambda: 0.0)
    weight = torch.randn(8, 8, requires_grad=True)
    with counted_operations(meter):
        (torch.randn(3, 8) @ weight).sum().backward()
    assert meter.operations == 2 * 2 * 3 * 8 * 8  # no gradient of the input
    n, heads, tokens, width = 2, 3, 16, 8
    query, key, value = (torch.randn(n, heads, tokens, width, requires_grad=True) for _ in range(3))
    with counted_operations(meter):
        functional.scaled_dot_product_attention(query, key, value).sum().backward()
    product = 2 * n * heads * tokens**2 * width
    assert meter.operations == (2 + 5) * product  # the backward pass computes the scores again


def test_pauses_stand_apart():
    meter = Meter(CPU, lambda: 0.0, operations=1000)
    for name in ("validation", "checkpoints"):
        with meter.pause(name):
            time.sleep(0.05)
    meter.add(7)
    with meter.part("optimiser"):
        time.sleep(0.01)
    rates = meter.read()
    assert rates["galaxies_per_second"] > 7 / 0.05
    assert meter.seconds["optimiser"] <= meter.seconds["training"] < 0.05
    assert min(meter.seconds["validation"], meter.seconds["checkpoints"]) >= 0.05


def test_reports_the_median_without_the_first_interval():
    meter = Meter(CPU, lambda: 0.0, precision=torch.float32)
    for galaxies, seconds in ((1, 0.2), (10, 0.01), (20, 0.01), (1000, 0.01)):
        time.sleep(seconds)
        meter.add(galaxies)
        rates = meter.read()
    report = meter.report(processes=2)
    assert (report["steps"], report["galaxies"], report["processes"]) == (4, 1031, 2)
    assert 20 / 0.05 < report["galaxies_per_second"] < 20 / 0.01 < rates["galaxies_per_second"]
    assert report["share_of_matrix_rate"] is None  # operations were not counted


def test_a_matrix_rate_is_measured_once():
    began = time.perf_counter()
    rate = matrix_rate(CPU, torch.float32)
    assert rate > 1e8
    assert matrix_rate(CPU, torch.float32) == rate
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("kept", [0.0, 0.25])
def test_waiting_for_data_is_a_share(kept):
    waited = [0.0]
    meter = Meter(CPU, lambda: waited[0])
    with meter.pause("validation"):
        waited[0] += 9.0  # what validation waits for is not the training's
    time.sleep(0.04)
    waited[0] += kept * 0.04
    meter.add(1)
    assert meter.read()["share_waiting_for_data"] == pytest.approx(kept, abs=0.15)
