"""The supervised network: what it embeds, what it predicts, in which units."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from baselines.supervised.architecture import SupervisedNetwork, build

IMAGE = {"name": "vit", "width": 16, "depth": 1, "heads": 2, "crop": 24}
CONFIG = {"encoder": IMAGE, "targets": ["redshift", "log_stellar_mass"], "hidden": [12, 8]}


def make(**changes) -> SupervisedNetwork:
    torch.manual_seed(0)
    model = build({**CONFIG, **changes}).eval()
    model.label_mean.copy_(torch.tensor([0.2, 10.5]))
    model.label_std.copy_(torch.tensor([0.1, 0.6]))
    return model


def batch(n: int = 5) -> dict[str, torch.Tensor]:
    return {"image": torch.rand(n, 3, 24, 24, generator=torch.Generator().manual_seed(1))}


def test_labels_come_in_their_own_units():
    model = make()
    found, inside = model.predict(batch(), "image"), model(batch())
    assert list(found) == ["redshift", "log_stellar_mass"]
    assert found["redshift"].shape == (5,)
    torch.testing.assert_close(found["redshift"], 0.2 + 0.1 * inside[:, 0])
    torch.testing.assert_close(found["log_stellar_mass"], 10.5 + 0.6 * inside[:, 1])


@pytest.mark.parametrize(("hidden", "dimension"), [([12, 8], 8), ([], 16)])
def test_every_label_is_a_linear_function_of_the_embedding(hidden, dimension):
    model = make(hidden=hidden)
    vectors = model.embed(batch(40), "image")
    assert vectors.shape == (40, dimension)
    assert model.dimension == dimension
    torch.testing.assert_close(model.head.layers[-1](vectors), model(batch(40)))
    if not hidden:
        torch.testing.assert_close(vectors, model.encoder(batch(40)).float())


def test_it_is_rebuilt_from_its_configuration():
    model = make(dropout=0.2)
    again = build(model.config)
    assert again.config == model.config
    assert again.targets == {"image": ("redshift", "log_stellar_mass")}
    again.load_state_dict(model.state_dict())
    for name, values in again.eval().predict(batch(), "image").items():
        assert torch.equal(values, model.predict(batch(), "image")[name])


def test_labels_keep_float32_under_bfloat16():
    model = make()
    with torch.autocast("cpu", torch.bfloat16):
        found = model.predict(batch(), "image")["log_stellar_mass"]
    assert found.dtype == torch.float32
    assert not torch.equal(found.bfloat16().float(), found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hiden": [3]}, "did you mean hidden"),
        ({"targets": []}, "a name and a target"),
        ({"encoder": {"width": 16}}, "a name and a target"),
        ({"encoder": {**IMAGE, "name": "vitt"}}, "did you mean vit"),
    ],
)
def test_what_cannot_be_built_is_named(changes, said):
    with pytest.raises(EmbedderError, match=said):
        build({**CONFIG, **changes})


@pytest.mark.parametrize("method", ["embed", "predict"])
def test_another_modality_is_refused(method):
    with pytest.raises(EmbedderError, match="no modality 'spectrum'; expected image"):
        getattr(make(), method)(batch(), "spectrum")
