"""From what a user types to an embedder."""

from __future__ import annotations

import sys
import textwrap

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import errors as hub_errors

from astroclip_bench.embedders import Embedder, embedder_names, load_embedder, read_model, save_model
from astroclip_bench.errors import EmbedderError, UserError

FACTORIES = """
    import numpy as np
    from astroclip_bench.embedders import EmbedderInfo

    class Mine:
        def __init__(self, device="none", info=None):
            self.device = device
            values = dict(name="mine", digest="0" * 32, dimension=2, modalities=("image",), preprocessing="none")
            self.info = EmbedderInfo(**(values | (info or {})))

        def embed(self, batch, modality):
            return np.zeros((len(batch["image"]), 2), np.float32)

    def plain():
        return Mine()

    def every(**options):
        return Mine(info=dict(name=",".join(f"{k}={v}" for k, v in sorted(options.items()))))

    def raising():
        raise KeyError("weights")

    def junk():
        return 42

    def no_description():
        made = Mine()
        made.info = {"name": "mine"}
        return made

    def bad_digest():
        return Mine(info=dict(digest="v1"))

    def bad_dimension():
        return Mine(info=dict(dimension=0))

    def bad_modalities():
        return Mine(info=dict(modalities="image"))

    number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write a module of the user's own into the working folder."""
    (tmp_path / "my_models.py").write_text(textwrap.dedent(FACTORIES))
    (tmp_path / "my_broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    for name in ("my_models", "my_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("name", ["good.pt", "good.pth", "good.ckpt", "good.safetensors"])
def test_model_files(toy, name):
    embedder = load_embedder(str(toy(name)))
    assert isinstance(embedder, Embedder)
    assert embedder.info.name == "good"


def test_a_file_called_model_is_named_after_its_folder(toy):
    assert load_embedder(str(toy("deep-net/model.pt"))).info.name == "deep-net"


def test_bundled_models_by_name(toy):
    by_file, by_call = load_embedder("bundled-toy"), load_embedder("called-toy")
    assert (by_file.info.name, by_call.info.name) == ("bundled-toy", "called-toy")
    assert by_file.info.digest == by_call.info.digest
    assert {"bundled-toy", "called-toy", "mean", "photometry", "random-projection"} <= set(embedder_names())


def test_a_file_goes_before_a_name_and_a_folder_does_not(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mean").mkdir()
    assert load_embedder("mean").info.name == "mean"
    (tmp_path / "photometry").write_text("not a model")
    with pytest.raises(EmbedderError, match="photometry: suffix ''"):
        load_embedder("photometry")


@pytest.mark.parametrize(
    ("spec", "name"),
    [("my_models:Mine", "mine"), ("my_models:plain", "mine"), ("my_models:every", "device=cpu,dtype=bf16")],
)
def test_factories_get_what_they_accept(mine, spec, name):
    before = list(sys.path)
    embedder = load_embedder(spec, dtype="bf16")
    assert embedder.info.name == name
    assert getattr(embedder, "device", None) == ("cpu" if spec.endswith("Mine") else "none")
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_models:raising", "my_models:raising raised KeyError: 'weights'"),
        (
            "my_models:junk",
            "my_models:junk: an object of type int is no embedder; expected an object with the attribute info",
        ),
        ("my_models:no_description", "info is a dict; expected an astroclip_bench.embedders.EmbedderInfo"),
        ("my_models:bad_digest", "info.digest is 'v1'; expected 32 to 128 lower-case hexadecimal digits"),
        ("my_models:bad_dimension", "info.dimension is 0"),
        ("my_models:bad_modalities", "info.modalities is 'image'; expected a tuple"),
        ("my_models:plane", "has no 'plane'; did you mean plain"),
        ("my_models:number", "is of type int; expected a function or class"),
        ("my_broken:make", "module 'my_broken' cannot be imported: ModuleNotFoundError"),
        ("no_such_module:make", "module 'no_such_module' cannot be imported"),
    ],
)
def test_factories_that_fail(mine, spec, message):
    with pytest.raises(EmbedderError, match=message) as caught:
        load_embedder(spec)
    assert "\n" not in str(caught.value)


def test_unknown_names_list_the_ways(toy):
    with pytest.raises(
        EmbedderError, match=r"unknown model 'photometri'.*hf://.*module:factory.*did you mean photometry"
    ):
        load_embedder("photometri")


class Hub:
    """Stands for the Hub: a folder of files, and what was asked of it."""

    def __init__(self, folder, error=None):
        self.folder, self.error, self.asked = folder, error, []

    def __call__(self, repo, file, revision=None):
        """Give the file, or fail, as `hf_hub_download` does."""
        self.asked.append((repo, file, revision))
        if self.error is not None:
            raise self.error
        if not (self.folder / file).exists():
            raise hub_errors.EntryNotFoundError(f"404 {file}")
        return str(self.folder / file)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    stands_for = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", stands_for)
    return stands_for


def test_hub_models(toy, hub):
    toy("hub/model.pt")
    assert load_embedder("hf://org/my-model").info.name == "hf://org/my-model"
    assert hub.asked == [("org/my-model", "model.safetensors", None), ("org/my-model", "model.pt", None)]


def test_hub_revision_and_file(toy, hub):
    file = toy("hub/nets/small.safetensors")
    embedder = load_embedder("hf://org/m@refs%2Fpr%2F1/nets/small.safetensors")
    assert hub.asked == [("org/m", "nets/small.safetensors", "refs/pr/1")]
    assert embedder.info.digest == read_model(file).digest


def http_error(kind, text):
    """Make an error without the response of the server that its constructor asks for."""
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_errors.LocalEntryNotFoundError("offline\nmore"), "cannot be fetched: offline; check the network"),
        (ConnectionError("no route"), "cannot be fetched: no route; check the network"),
        (hub_errors.OfflineModeIsEnabled("offline mode"), "cannot be fetched: offline mode"),
        (http_error(hub_errors.RepositoryNotFoundError, "404"), "no such repository, or a private one"),
        (http_error(hub_errors.RevisionNotFoundError, "404"), "org/m has no revision 'v9'"),
        (http_error(hub_errors.GatedRepoError, "403"), "access is gated; ask for it at"),
        (hub_errors.EntryNotFoundError("404"), "no file model.safetensors or model.pt there"),
        (hub_errors.HFValidationError("bad name"), "bad name"),
    ],
)
def test_hub_errors_are_one_line(hub, error, message):
    hub.error = error
    with pytest.raises(EmbedderError, match=message) as caught:
        load_embedder("hf://org/m@v9")
    assert "\n" not in str(caught.value)


def test_hub_addresses_that_are_none(hub):
    with pytest.raises(EmbedderError, match="is no address of a model"):
        load_embedder("hf://just-a-name")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "toi"}, "unknown architecture 'toi'; did you mean toy"),
        ({"architecture": "junk"}, "architecture 'junk' gave a object"),
        ({"version": 2}, "written for version 2 of architecture 'toy'; expected version 3"),
    ],
)
def test_architectures_that_do_not_fit(toy, options, message):
    with pytest.raises(UserError, match=message):
        load_embedder(str(toy(**options)))


def test_a_configuration_the_architecture_refuses(toy, tmp_path):
    file = save_model(tmp_path / "odd.pt", "toy", 3, {"depth": 3}, {"a": torch.zeros(1)})
    with pytest.raises(
        EmbedderError, match=r"architecture 'toy' cannot be built .* unexpected keyword argument 'depth'"
    ):
        load_embedder(str(file))


def test_the_vectors_of_a_factory(mine):
    vectors = load_embedder("my_models:Mine").embed({"image": np.zeros((3, 2, 4, 4), np.float32)}, "image")
    assert vectors.shape == (3, 2)
