"""Alignment with text: tokens from the loader, captions that galaxies share, the controls, a model file of plain values."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import distributed

from astroclip_bench.embedders import load_embedder, save_model
from astroclip_bench.errors import DataError
from baselines.astroclip.config import DataSettings, ProbeSettings, RecipeError, settings_from
from baselines.astroclip.contrastive import contrastive_loss, sigmoid_loss
from baselines.astroclip.data import Loader, group_numbers, open_split
from baselines.astroclip.probe import Probe
from baselines.hubbleclip.plain import CAPTIONS, PLAIN, plain_captions
from baselines.hubbleclip.stage import AlignTextSettings, AlignTextStage

CPU = torch.device("cpu")
IDENTITY = {name: {"name": "identity"} for name in ("image", "text")}


@pytest.fixture
def make(small_towers):
    def _make(**changes):
        torch.manual_seed(0)
        table = {"dimension": 8, "encoders": small_towers, "heads": IDENTITY, "together": {"text": "proposal_id"}}
        return AlignTextStage(settings_from(AlignTextSettings, {**table, **changes}, "stages.text"), {})

    return _make


def batches(stage, dataset, first, number, **options):
    split = open_split(dataset, "train", stage.columns, DataSettings(**options), CPU, None, stage.strings)
    upcoming = Loader(split, 16, 3, CPU).batches(first)
    taken = [next(upcoming) for _ in range(number)]
    upcoming.close()
    return taken


@pytest.mark.parametrize("options", [{}, {"cache": "memory", "cache_dtype": "float16"}])
def test_the_loader_gives_tokens_of_the_right_rows_from_any_step_on(make, captioned, options):
    stage = make()
    taken = batches(stage, captioned, 0, 9, **options)
    for batch, again in zip(taken[4:], batches(stage, captioned, 4, 5, **options), strict=True):
        assert all(torch.equal(batch[name], again[name]) for name in batch)
    view = captioned.splits["train"]
    proposals = view.column("proposal_id")
    number = dict(zip(group_numbers(proposals.tolist()).tolist(), proposals, strict=True))
    caption = dict(zip(proposals, view.column("caption"), strict=True))
    for batch in taken:
        assert batch["caption"].dtype == batch["proposal_id"].dtype == torch.int64
        found = [number[value] for value in batch["proposal_id"].tolist()]
        wanted = stage.model.encoders["text"].tokenise([caption[name] for name in found])
        assert torch.equal(batch["caption"], wanted)
        pixels = batch["image"][:, 0, 0, 0].round().int().tolist()
        assert pixels == [int(name[1:]) for name in found]


def test_texts_without_a_tokenizer_are_refused(captioned):
    with pytest.raises(DataError, match="column 'caption' is of type string"):
        open_split(captioned, "train", ("caption",), DataSettings(), CPU)
    with pytest.raises(DataError, match="column 'redshift' is of type float"):
        open_split(captioned, "train", ("redshift",), DataSettings(), CPU, None, {"redshift": group_numbers})


def by_loops(embeddings, scale, groups, bias=None):
    """Return the loss written out pair by pair: InfoNCE, or the sigmoid loss where there is a bias."""
    rows = [vectors / vectors.norm(dim=1, keepdim=True) for vectors in embeddings]
    n, losses = len(rows[0]), []
    for one in range(len(rows)):
        for other in range(len(rows)):
            if one == other:
                continue
            ids = [groups[side] for side in (one, other) if groups[side] is not None]
            for i in range(n):
                rivals = [j for j in range(n) if j != i and all(known[j] != known[i] for known in ids)]
                cosine = {j: scale * float(rows[one][i] @ rows[other][j]) for j in [i, *rivals]}
                if bias is None:
                    losses.append(np.log(np.exp(list(cosine.values())).sum()) - cosine[i])
                else:
                    signed = [(1 if j == i else -1) * (value + bias) for j, value in cosine.items()]
                    losses.append(np.log1p(np.exp(-np.array(signed))).sum())
    return np.mean(losses)


@pytest.mark.parametrize("groups", [[None, [0, 0, 1, 2, 1, 0]], [[5, 6, 5, 7, 8, 9], [0, 0, 1, 2, 1, 0]]])
@pytest.mark.parametrize("third", [False, True])
def test_pairs_that_share_a_text_are_left_out(groups, third):
    generator = torch.Generator().manual_seed(4)
    embeddings = [torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2 + third)]
    groups = groups + [None] * third
    tensors = [None if ids is None else torch.tensor(ids) for ids in groups]
    found = float(contrastive_loss(embeddings, 4.0, tensors))
    assert found == pytest.approx(by_loops(embeddings, 4.0, groups), rel=1e-12)
    assert found < float(contrastive_loss(embeddings, 4.0))
    found = float(sigmoid_loss(embeddings, 4.0, -2.0, tensors))
    assert found == pytest.approx(by_loops(embeddings, 4.0, groups, -2.0), rel=1e-12)


def two_processes(rank, store):
    """Compare both losses of half a batch in each of two processes with those of the whole, gradients too."""
    whole = [torch.randn(6, 4, generator=torch.Generator().manual_seed(side), dtype=torch.float64) for side in (1, 2)]
    ids = torch.tensor([3, 5, 5, 3, 8, 3])  # proposals with galaxies in both processes
    own = slice(3 * rank, 3 * rank + 3)
    losses = (partial(contrastive_loss, scale=4.0), partial(sigmoid_loss, scale=4.0, bias=-2.0))
    expected = []
    for loss in losses:
        leaves = [side.clone().requires_grad_() for side in whole]
        value = loss(leaves, groups=[None, ids])
        value.backward()
        expected.append((value.detach(), [leaf.grad[own] for leaf in leaves]))
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        for loss, (value, gradients) in zip(losses, expected, strict=True):
            leaves = [side[own].clone().requires_grad_() for side in whole]
            part = loss(leaves, groups=[None, ids[own]])
            part.backward()
            for leaf, gradient in zip(leaves, gradients, strict=True):
                torch.testing.assert_close(leaf.grad / 2, gradient, rtol=0, atol=1e-12)
            total = part.detach().clone()
            distributed.all_reduce(total)
            torch.testing.assert_close(total / 2, value, rtol=0, atol=1e-12)
    finally:
        distributed.destroy_process_group()


def test_shared_texts_are_known_across_processes(tmp_path):
    torch.multiprocessing.spawn(two_processes, args=(tmp_path / "store",), nprocs=2)


def test_a_batch_of_one_proposal_has_nothing_to_tell_apart():
    vectors = [torch.randn(5, 3), torch.randn(5, 3)]
    assert float(contrastive_loss(vectors, 9.0, [None, torch.ones(5)])) == pytest.approx(0, abs=1e-6)


def test_shuffled_pairs_keep_their_proposals_and_lose_their_images(make, captioned):
    stage = make(shuffled=["text"])
    (batch,) = batches(stage, captioned, 0, 1)
    changed = stage._shuffled(batch, torch.Generator().manual_seed(0))
    pairs = [list(zip(one["proposal_id"].tolist(), one["caption"].tolist(), strict=True)) for one in (batch, changed)]
    assert sorted(pairs[0]) == sorted(pairs[1])
    assert pairs[0] != pairs[1]
    assert torch.equal(batch["image"], changed["image"])


def test_plain_captions_hold_of_their_galaxies():
    values = {"redshift": 0.05, "log_stellar_mass": 11.0, "log_ssfr": -12.0, "mag_r": 19.3}
    batch = {name: torch.full((400,), value) for name, value in values.items()}
    drawn = plain_captions(batch, torch.Generator().manual_seed(0))
    said = {CAPTIONS[place] for place in drawn.tolist()}
    assert said == {"a nearby galaxy", "a massive galaxy", "a red, dead galaxy", "a faint galaxy"}


def test_plain_captions_stand_in_for_the_data_sets(make, captioned):
    stage = make(plain=True)
    assert "caption" not in stage.columns
    assert set(PLAIN) <= set(stage.columns)
    labels = {name: torch.rand(6) for name in PLAIN}
    batch = {**labels, "proposal_id": torch.arange(6), "image": torch.rand(6, 3, 8, 8)}
    filled = stage._captioned(batch, torch.Generator().manual_seed(0))
    for group, tokens in zip(filled["proposal_id"], filled["caption"], strict=True):
        assert torch.equal(tokens, stage.model.encoders["text"].tokenise([CAPTIONS[int(group)]])[0])
    assert torch.isfinite(stage.validation_loss(batch, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("sigmoid", [{}, {"bias": -5.0}])
def test_learns_and_comes_back_from_its_file(make, captioned, tmp_path, sigmoid):
    stage = make(**sigmoid, learn_scale=True)
    optimiser = torch.optim.Adam(stage.model.parameters(), 5e-3)
    losses = []
    stage.model.train()
    (batch,) = batches(stage, captioned, 0, 1)
    for number in range(40):
        optimiser.zero_grad()
        metrics = stage.step(batch, torch.Tensor.backward, number, torch.Generator().manual_seed(number))
        optimiser.step()
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.6 * losses[0]
    assert all(
        value.grad is not None for name, value in stage.model.named_parameters() if name in ("bias", "log_scale")
    )
    path = save_model(tmp_path / "model.pt", *stage.export())
    embedder = load_embedder(str(path))
    assert embedder.info.modalities == ("image", "text")
    captions = np.array(["A spiral of proposal P3", "A merger of proposal P8"], object)
    stage.model.eval()
    wanted = stage.model.embed({"caption": captions.tolist()}, "text").detach().numpy()
    np.testing.assert_allclose(embedder.embed({"caption": captions}, "text"), wanted, atol=1e-6)


def test_heads_are_started_from_where_asked(make, small_towers, tmp_path):
    heads = {**IDENTITY, "image": {"name": "mlp"}}
    path = save_model(tmp_path / "first.pt", *make(heads=heads).export())
    start = {"start": {"image": str(path)}, "encoders": {"text": small_towers["text"]}, "heads": heads}
    torch.manual_seed(9)
    settings = settings_from(AlignTextSettings, {"dimension": 8, **start, "start_heads": ["image"]}, "stages.text")
    batch = {"image": torch.rand(3, 3, 8, 8)}
    for model in (first := make(heads=heads).model, second := AlignTextStage(settings, {}).model):
        model.eval()
    torch.testing.assert_close(second.embed(batch, "image"), first.embed(batch, "image"))


def test_the_score_followed_in_training_takes_texts(make, captioned):
    stage = make()
    stage.model.eval()
    probe = Probe.open(captioned, ProbeSettings(reference=40, queries=20))
    scores = probe.score(stage.embedder(), CPU)
    assert {f"redshift r2 {one}>{other}" for one in ("image", "text") for other in ("image", "text")} < set(scores)
    assert np.isfinite(list(scores.values())).all()


def test_misfits_are_named(make):
    for changes, said in (
        ({"together": {"spectrum": "proposal_id"}}, r"together names \['spectrum'\]"),
        ({"shuffled": ["words"]}, r"shuffled names \['words'\]"),
        ({"chunk": 4}, "gradient caching"),
        ({"start_heads": ["image"]}, "start_heads names 'image'"),
    ):
        with pytest.raises(RecipeError, match=said):
            make(**changes)
