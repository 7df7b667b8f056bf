"""Text as a modality: declared, handed to embedders, searched with shared captions counted right, and as prompts."""

from __future__ import annotations

import dataclasses
import hashlib
import re

import numpy as np
import pyarrow as pa
import pytest
from captioned_source import CLASSES, CaptionedSource, class_of
from sklearn.metrics import balanced_accuracy_score

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import EmbedderInfo, check_embedder, load_embedder
from astroclip_bench.embedders.samples import describe_inputs, synthetic_sample
from astroclip_bench.errors import DataError, EmbedderError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.records import COLUMNS, read_schema, record_schema, text_modality
from astroclip_bench.results.kept import read_cell
from astroclip_bench.results.outcomes import CellKey
from astroclip_bench.tasks import registry, retrieval
from astroclip_bench.tasks.catalogue import BUILTIN_TASKS, RETRIEVAL
from astroclip_bench.tasks.task import Task

CLASS_TASK = Task(
    name="object-class",
    version=1,
    title="Class by prompt",
    description="The class whose description is closest.",
    probe="prompts",
    protocols=("prompts",),
    modality_pairs="cross",
    target="object_class",
    metrics=("accuracy", "balanced_accuracy"),
    classes=CLASSES,
    prompts=tuple(f"A {name} of proposal P0" for name in CLASSES),
    prompt_modality="text",
    core=False,
)


class Reader:
    """Knows proposals from images and captions; told apart by a unit vector of each, or by nothing."""

    def __init__(self, blind: bool = False) -> None:
        self.blind = blind
        digest = hashlib.sha256(f"reader {blind}".encode()).hexdigest()
        self.info = EmbedderInfo("reader", digest, 32, ("image", "text"), "none")

    def embed(self, batch, modality):
        """Return vectors of the proposals."""
        if "caption" in batch:
            numbers = [int(re.search(r"P(\d+)", text)[1]) for text in batch["caption"]]
            classes = [text.split()[1] for text in batch["caption"]]
        else:
            numbers = [round(float(value)) for value in batch["image"][:, 0, 0, 0]]
            classes = [class_of(f"P{number}") for number in numbers]
        vectors = [
            np.concatenate([np.random.default_rng(number).normal(size=29), 9.0 * (np.array(CLASSES) == name)])
            for number, name in zip(numbers, classes, strict=True)
        ]
        return np.ones((len(vectors), 32), np.float32) if self.blind else np.array(vectors, np.float32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from dataset_builders.parquet import build_dataset

    source = CaptionedSource(n_shards=2, shard_rows=420)
    return open_dataset(build_dataset(source, tmp_path_factory.mktemp("text") / "captioned"))


@pytest.fixture
def _class_task(monkeypatch):
    monkeypatch.setattr(registry, "plugin_names", lambda group: ["class"])
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: CLASS_TASK)


def test_a_batch_of_text_holds_strings(dataset):
    assert dataset.modalities["text"].dtype == "string"
    batch = next(dataset.splits["test"].batches(["caption"], 5))
    assert batch.arrays["caption"].dtype == object
    assert all(text.startswith("A ") for text in batch.arrays["caption"])


def test_modalities_without_text_are_declared_as_they_always_were(dataset):
    import json

    entries = json.loads(dataset.schema.metadata[b"astroclip_bench"])["modalities"]
    assert {"dtype", "shared_by"}.isdisjoint(entries["image"])
    assert entries["text"]["shared_by"] == "proposal_id"


@pytest.mark.parametrize(
    ("columns", "modality", "message"),
    [
        (["caption"], text_modality(), "shared by column 'proposal_id', which is missing"),
        (["caption", "proposal_id"], text_modality("author"), "shared by column 'author'"),
        (["proposal_id"], text_modality(), "reads column 'caption', which is missing"),
    ],
)
def test_what_a_text_modality_needs_is_asked_for(columns, modality, message):
    names = ["object_id", "healpix", "split", *columns]
    with pytest.raises(DataError, match=message):
        record_schema(CaptionedSource().info, [COLUMNS[name] for name in names], [modality])


def test_a_column_of_numbers_is_no_text(dataset):
    place = dataset.schema.get_field_index("caption")
    schema = dataset.schema.set(place, pa.field("caption", pa.float32()))
    with pytest.raises(DataError, match="caption"):
        read_schema(schema)


def test_an_unknown_type_of_values_is_refused(dataset):
    text = dataset.schema.metadata[b"astroclip_bench"].replace(b'"string"', b'"pickle"')
    with pytest.raises(DataError, match="metadata"):
        read_schema(dataset.schema.with_metadata({b"astroclip_bench": text}))


def test_embedders_of_text_are_checked_like_others(dataset):
    check_embedder(Reader(), dataset)
    check_embedder(load_embedder("random-projection"), [text_modality()])
    assert "batch['caption']  (n,), string" in describe_inputs([text_modality()])
    sample = synthetic_sample(text_modality())
    assert all(isinstance(text, str) for text in sample.arrays["caption"])


def test_an_embedder_that_changes_its_texts_is_caught(dataset):
    class Careless(Reader):
        def embed(self, batch, modality):
            vectors = super().embed(batch, modality)
            if "caption" in batch:
                batch["caption"][:] = ""
            return vectors

    with pytest.raises(EmbedderError, match=r"changed its input 'caption'|read-only"):
        check_embedder(Careless(), dataset)


def test_the_projection_of_text_tells_words_and_not_their_order():
    texts = np.array(["a red galaxy", "galaxy a red", "a blue galaxy"], object)
    vectors = load_embedder("random-projection").embed({"caption": texts}, "text")
    assert np.array_equal(vectors[0], vectors[1])
    assert np.linalg.norm(vectors[0] - vectors[2]) > 0.1 * np.linalg.norm(vectors[0])


def test_every_image_of_a_proposal_is_a_right_answer(dataset):
    result = evaluate(Reader(), dataset, tasks=["retrieval"], floors=())
    proposals = set(dataset.splits["test"].column("proposal_id"))
    assert len(proposals) < dataset.splits["test"].rows
    for query, reference in (("image", "text"), ("text", "image")):
        (row,) = result.find(task="retrieval", metric="recall@1", query=query, reference=reference, group="all")
        assert (row.value, row.n) == (1.0, dataset.splits["test"].rows)
        assert row.chance == pytest.approx(1 / len(proposals))


def test_a_blind_model_scores_as_chance_does(dataset):
    result = evaluate(Reader(blind=True), dataset, tasks=["retrieval"], floors=())
    for row in result.find(task="retrieval", group="all"):
        assert row.value == pytest.approx(row.chance, rel=1e-9)


def test_ranks_among_things_equal_a_loop():
    random = np.random.default_rng(1)
    things = np.array(["a", "b", "b", None, "c", "c", "c", None, "d"], object)
    ids = [f"o{place}" for place in range(len(things))]
    query, reference = (random.normal(size=(len(things), 3)).astype(np.float32) for _ in range(2))
    (dealt,) = {pool.counted.size for pool in retrieval.dealt(ids, things, 100)}
    assert dealt == 6
    seen: dict[int, set[int]] = {}
    for pool in retrieval.dealt(ids, things, 100):
        found = retrieval.retrieval_counts(query[pool.members], reference[pool.members]).forward
        for place in np.flatnonzero(pool.counted):
            row = pool.members[place]
            assert row not in seen
            rivals = [other for other in pool.members if other != row]
            seen[row] = {things[other] or ids[other] for other in rivals}
            assert found.greater[place] == sum(
                query[row] @ reference[other] > query[row] @ reference[row] for other in rivals
            )
    assert sorted(seen) == list(range(len(things)))
    for row, rivals in seen.items():
        assert rivals == {thing or name for thing, name in zip(things, ids, strict=True)} - {things[row] or ids[row]}


def test_pools_hold_as_many_things_as_were_asked_for():
    things = [f"P{number // 3}" for number in range(90)]
    found = retrieval.dealt([str(number) for number in range(90)], things, 10)
    assert {len(pool.members) for pool in found} == {10}
    assert all(len({things[row] for row in pool.members}) == 10 for pool in found)
    scored = np.concatenate([pool.members[pool.counted] for pool in found])
    assert sorted(scored) == list(range(90))


@pytest.mark.usefixtures("_class_task")
def test_prompts_tell_classes(dataset, tmp_path):
    path = tmp_path / "result.parquet"
    result = evaluate(Reader(), dataset, tasks=["object-class"], suite="full", floors=(), outcomes=path)
    test = dataset.splits["test"]
    vectors = Reader().embed({"image": next(test.batches(["image"], test.rows)).arrays["image"]}, "image")
    prompts = Reader().embed({"caption": np.array(CLASS_TASK.prompts, object)}, "text")
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (vectors, prompts)]
    answers = np.array(CLASSES)[(unit[0] @ unit[1].T).argmax(1)]
    labels = test.column("object_class")
    (row,) = result.find(metric="accuracy", group="all")
    assert (row.reference, row.query, row.n) == ("text", "image", test.rows)
    assert row.value == pytest.approx(np.mean(answers == labels))
    (balanced,) = result.find(metric="balanced_accuracy", group="all")
    assert balanced.value == pytest.approx(balanced_accuracy_score(labels, answers))
    assert row.value > 0.9
    assert 0.3 < row.chance < 0.7


@pytest.mark.usefixtures("_class_task")
def test_prompts_need_the_model_itself(dataset):
    from astroclip_bench.cells import reasons_against
    from astroclip_bench.embedders.stored import StoredEmbeddings
    from astroclip_bench.inputs import Inputs, silent, splits_of
    from astroclip_bench.tasks.suites import get_suite

    ids = [name for view in dataset.splits.values() for name in view.object_ids]
    vectors = np.ones((len(ids), 4), np.float32)
    stored = StoredEmbeddings("stored", "ab" * 16, ids, {"image": vectors, "text": vectors})
    inputs = Inputs(dataset, splits_of(dataset, None), "auto", "float32", False, silent)
    assert "object-class" in reasons_against([CLASS_TASK], stored, inputs, get_suite("full"))


def test_tasks_of_text_need_a_text(dataset):
    assert all(not task.prompts or task.prompt_modality for task in BUILTIN_TASKS)
    assert CLASS_TASK.pairs(["image", "text", "spectrum"]) == [("text", "image"), ("text", "spectrum")]


def test_scores_of_shared_captions_are_made_again_from_what_was_kept(dataset, tmp_path):
    path = tmp_path / "kept.parquet"
    result = evaluate(Reader(), dataset, tasks=["retrieval"], floors=(), outcomes=path)
    cell = read_cell(path, CellKey("retrieval", "cosine", "text", "image"))
    assert list(cell.objects["object_id"]) == dataset.splits["test"].object_ids
    for row in result.find(query="image", reference="text", group="all"):
        estimate = cell.estimates(RETRIEVAL, [row.metric])["all"][row.metric]
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((row.value, row.low, row.high))


def test_objects_without_a_place_on_the_sky_are_resampled_by_proposal():
    from astroclip_bench.inputs import clusters_of

    healpix = np.array([7, -1, -1, -1, -1])
    found = clusters_of(healpix, ["a", "a", "b", None, "a"])
    assert found[0] == 7
    assert found[1] == found[4] < 0
    assert len(set(found)) == 4
    assert np.array_equal(clusters_of(healpix[:1], ["a"]), [7])


def test_searches_show_one_object_of_a_proposal(dataset):
    from astroclip_bench.analysis.retrieved import find_examples

    view = dataset.splits["test"]
    things = view.column("proposal_id")
    batch = next(view.batches(["image", "caption"], view.rows)).arrays
    image, text = Reader().embed({"image": batch["image"]}, "image"), Reader().embed(batch, "text")
    found = find_examples(image, text, things=things)
    assert [search.rank for search in found] == [1.0] * len(found)
    assert all(len({things[row] for row in search.found}) == len(search.found) for search in found)
    assert all(search.found[0] == search.query for search in found)


def test_pictures_show_texts(dataset, tmp_path):
    pytest.importorskip("matplotlib")
    from astroclip_bench.analysis import gallery

    modality, view = dataset.modalities["text"], dataset.splits["test"]
    texts = gallery.read_members(view, modality, [3, 1])
    assert list(texts.values()) == [view.column("caption")[row] for row in (1, 3)]
    rows = [gallery.Row("two of them", [1, 3], ["z 0.1", ""])]
    gallery.draw_gallery(rows, modality, texts, "texts", tmp_path / "texts.png")
    assert (tmp_path / "texts.png").stat().st_size > 5_000


def test_ready_pictures_are_shown_as_they_are(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from astroclip_bench.analysis import gallery
    from astroclip_bench.records import Modality

    picture = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    modality = Modality("image", ("image",), (3, 5, 4), "", "Pictures", {"colours": ["red", "green", "blue"]})
    assert gallery.draws(modality)
    axis = pyplot.figure().subplots()
    gallery.show_image(axis, picture, modality, "one")
    (shown,) = axis.get_images()
    assert np.array_equal(shown.get_array(), np.moveaxis(picture, 0, -1))
    assert shown.origin == "upper"
    pyplot.close("all")


def test_prompts_for_other_answers_do_not_apply(dataset, monkeypatch):
    others = dataclasses.replace(CLASS_TASK, classes=("cat", "dog", "merger"))
    monkeypatch.setattr(registry, "plugin_names", lambda group: ["class"])
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: others)
    result = evaluate(Reader(), dataset, tasks=["object-class", "retrieval"], suite="full", floors=())
    assert "other answers, such as elliptical" in result.not_applicable["object-class"]
