"""Files in the authors' layout, with random weights: converted, they embed as the authors' own forward pass does."""

from __future__ import annotations

import copy
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from types import ModuleType
from typing import Any

import author_models as authors
import numpy as np
import pytest
import torch
from author_models import State, part, random_state, under
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from astroclip_bench.embedders import load_embedder
from astroclip_bench.embedders.weights import read_model, save_model
from astroclip_bench.errors import EmbedderError
from baselines.astroclip import alignment
from baselines.astroclip.convert import PLAIN_DICTIONARIES, convert, describe
from baselines.astroclip.key_maps import LAYOUTS

TOLERANCE = 1e-5
ENTRY_POINTS = """
[astroclip_bench.architectures]
astroclip = baselines.astroclip.alignment:build
astroclip-encoder = baselines.astroclip.architecture:build
[astroclip_bench.commands]
convert = baselines.astroclip.convert:convert_command
"""


@pytest.fixture(autouse=True)
def registered(tmp_path_factory, monkeypatch):
    """Register architectures and command, whether or not the installed package was installed since they exist."""
    info = tmp_path_factory.mktemp("site") / "astroclip_entry_points-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: astroclip-entry-points\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(info.parent))


@pytest.fixture(scope="module")
def galaxies() -> dict[str, Tensor]:
    """Return three galaxies without any symmetry: images in nanomaggies, spectra in 1e-17 erg/s/cm2/A."""
    generator = torch.Generator().manual_seed(7)
    y, x = torch.meshgrid(torch.arange(152.0) - 70, torch.arange(152.0) - 80, indexing="ij")
    radius = (y.square() / 9 + x.square() / 3 + x * y / 5).sqrt() / 6
    colour = torch.tensor([0.3, 0.6, 1.0])[:, None, None]
    brightness = 0.3 + 3 * torch.rand(3, 1, 1, 1, generator=generator)
    image = brightness * colour * torch.exp(-radius) + 0.02 * torch.randn(3, 3, 152, 152, generator=generator)
    slope = torch.randn(3, 7781, generator=generator).cumsum(1) / 40
    flux = 1 + 4 * torch.rand(3, 1, generator=generator) + slope + torch.randn(3, 7781, generator=generator)
    return {"image": image, "flux": flux, "ivar": torch.rand(3, 7781, generator=generator)}


@dataclass(frozen=True)
class Case:
    """A file of the authors', what it holds, and their forward pass."""

    kind: str
    modality: str
    state: State
    forward: Callable[[State, Mapping[str, Tensor]], Tensor]
    entry: str | None = "state_dict"
    beside: Mapping[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return what the authors would have saved."""
        return dict(self.state) if self.entry is None else {**self.beside, self.entry: self.state}

    def write(self, path):
        """Write the authors' file."""
        torch.save(self.content(), path)
        return path

    def expected(self, galaxies) -> Tensor:
        """Return the authors' embeddings, scaled to length 1 where the space is one of angles."""
        vectors = self.forward(self.state, galaxies)
        return functional.normalize(vectors, dim=1) if self.kind == "astroclip" else vectors


def specformer_state(width: int = 128, depth: int = 2, seed: int = 0) -> State:
    """Return SpecFormer weights whose token embeddings are as small as training starts them (norms' epsilon shows)."""
    state = random_state(authors.specformer_shapes(width, depth), seed)
    small = ("data_embed.weight", "data_embed.bias", "position_embed.weight")
    return {name: value * (0.05 if name in small else 1) for name, value in state.items()}


def astroclip_state(dimension: int) -> State:
    dino, specformer = authors.dino_shapes(128, 4, chunks=2), authors.specformer_shapes(128, 2)
    state = random_state(authors.astroclip_shapes(dimension, dino, specformer))
    return {**state, **under("spectrum_encoder.backbone.", specformer_state(128))}


def astroclip_image(state, galaxies):
    return authors.astroclip_image(state, galaxies["image"], heads=2)


def astroclip_spectrum(state, galaxies):
    return authors.astroclip_spectrum(state, galaxies["flux"], heads=1)


def astrodino(state, galaxies):
    backbone = {name.removeprefix("backbone."): value for name, value in state.items()}
    return authors.astrodino_embedding(backbone, galaxies["image"], heads=2)


def spender(state, galaxies):
    return authors.spender_embedding(part(state, "encoder."), galaxies["flux"])


LIGHTNING = {"epoch": 99, "global_step": 25_000, "optimizer_states": [{"state": {0: {"step": 5}}}], "loops": {}}
DINO_HEAD = {"dino_head.mlp.0.weight": (8, 128), "dino_head.last_layer.weight_g": (16, 1)}
SPENDER_REST = {"decoder.wave_rest": (300,), "decoder.mlp.0.weight": (64, 6), "encoder.instrument.wave_obs": (7781,)}
STEIN_REST = {"encoder_k.conv1.weight": (64, 3, 7, 7), "queue": (128, 64), "queue_ptr": (1,), "val_queue": (128, 64)}

JOINED, SMALLER = astroclip_state(128), astroclip_state(64)
"""Where tokens are as wide as the shared space, torch joins the projections of keys, queries and values."""

CASES: dict[str, Case] = {
    "astroclip image": Case("astroclip", "image", JOINED, astroclip_image, beside=LIGHTNING),
    "astroclip spectrum": Case("astroclip", "spectrum", JOINED, astroclip_spectrum, beside=LIGHTNING),
    "astroclip image, smaller space": Case("astroclip", "image", SMALLER, astroclip_image),
    "astroclip spectrum, smaller space": Case("astroclip", "spectrum", SMALLER, astroclip_spectrum),
    "specformer, heads told": Case(
        "specformer",
        "spectrum",
        specformer_state(96),
        lambda state, galaxies: authors.specformer_tokens(state, galaxies["flux"], heads=3).mean(1),
        beside={**LIGHTNING, "hyper_parameters": {"num_heads": 3, "slice_section_length": 20, "slice_overlap": 10}},
    ),
    "specformer, heads by their width": Case(
        "specformer",
        "spectrum",
        specformer_state(256, depth=1),
        lambda state, galaxies: authors.specformer_tokens(state, galaxies["flux"], heads=2).mean(1),
    ),
    "astrodino teacher, in chunks": Case(
        "astrodino",
        "image",
        random_state({**under("backbone.", authors.dino_shapes(128, 4, chunks=2)), **DINO_HEAD}),
        lambda state, galaxies: astrodino(part(state, "backbone."), galaxies),
        entry="teacher",
    ),
    "astrodino backbone": Case("astrodino", "image", random_state(authors.dino_shapes(128, 2)), astrodino, entry=None),
    "stein": Case(
        "stein",
        "image",
        random_state({**under("encoder_q.", authors.stein_shapes()), **STEIN_REST}),
        lambda state, galaxies: authors.stein_embedding(part(state, "encoder_q."), galaxies["image"]),
        beside=LIGHTNING,
    ),
    "spender": Case(
        "spender",
        "spectrum",
        random_state({**under("encoder.", authors.spender_shapes(6)), **SPENDER_REST}),
        spender,
        entry="model",
        beside={"losses": [[1.0, 2.0]]},
    ),
    "spender, old": Case(
        "spender",
        "spectrum",
        random_state(under("encoder.", authors.spender_shapes(10, redshift_input=True, nested=True))),
        spender,
        entry="model",
    ),
}


def embed(path, modality: str, galaxies: Mapping[str, Tensor]) -> Tensor:
    columns = ("image",) if modality == "image" else ("flux", "ivar")
    return torch.from_numpy(
        load_embedder(str(path)).embed({name: galaxies[name].numpy() for name in columns}, modality)
    )


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return a function from a case's name to its converted file, each file converted once."""
    made = {}

    def convert_once(name: str):
        case = CASES[name]
        if id(case.state) not in made:
            folder = tmp_path_factory.mktemp("converted")
            made[id(case.state)] = convert(case.write(folder / "theirs.ckpt"), folder / "model.pt")
        return made[id(case.state)]

    return convert_once


@pytest.mark.parametrize("name", CASES)
def test_embeddings_are_the_authors_own(name, converted, galaxies):
    case = CASES[name]
    vectors, expected = embed(converted(name).path, case.modality, galaxies), case.expected(galaxies)
    assert expected.std(0).mean() > 100 * TOLERANCE  # three galaxies, three embeddings
    torch.testing.assert_close(vectors, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_every_layout_has_a_case():
    assert {case.kind for case in CASES.values()} == set(LAYOUTS)


@pytest.mark.parametrize(
    ("name", "place", "wrong"),
    [
        ("astroclip image", "encoders.image.bare_tokens", False),
        ("astroclip image", "encoders.image.swap_axes", False),
        ("astroclip image", "encoders.image.transform", "stein_rgb"),
        ("astroclip image", "encoders.image.heads", 4),
        ("astroclip image", "heads.image.residual", True),
        ("astroclip image", "heads.image.heads", 2),
        ("astroclip spectrum", "heads.spectrum.residual", False),
        ("astroclip spectrum", "encoders.spectrum.heads", 4),
        ("specformer, heads told", "encoder.heads", 2),
        ("specformer, heads told", "encoder.overlap", 5),
        ("specformer, heads told", "encoder.mask_ivar", True),
        ("astrodino teacher, in chunks", "encoder.swap_axes", True),
        ("astrodino teacher, in chunks", "encoder.transform", "stein_rgb"),
        ("stein", "encoder.crop", 104),
        ("spender", "encoder.pools", [5, 5]),
    ],
)
def test_a_quirk_switched_the_wrong_way_shows(name, place, wrong, converted, galaxies, tmp_path):
    case, model = CASES[name], read_model(converted(name).path)
    config = copy.deepcopy(model.config)
    *path, last = place.split(".")
    section = config
    for key in path:
        section = section[key]
    assert section[last] != wrong
    section[last] = wrong
    changed = save_model(
        tmp_path / "model.pt", model.architecture, model.architecture_version, config, model.state_dict
    )
    masked = {**galaxies, "ivar": galaxies["ivar"] * (torch.arange(7781) % 3 > 0)}
    assert torch.allclose(embed(converted(name).path, case.modality, masked), case.expected(galaxies), atol=TOLERANCE)
    difference = (embed(changed, case.modality, masked) - case.expected(galaxies)).abs().max()
    assert difference > 10 * TOLERANCE


def test_another_epsilon_of_the_norms_shows(galaxies):
    module = alignment.build_encoder("specformer", {"width": 96, "depth": 2, "heads": 3}).eval()
    case = CASES["specformer, heads told"]
    ours = {LAYOUTS["specformer"].ours(name).removeprefix("encoder."): value for name, value in case.state.items()}
    module.load_state_dict(ours)
    for norm in [layer for layer in module.blocks.modules() if isinstance(layer, torch.nn.LayerNorm)]:
        norm.eps = 1e-6
    with torch.no_grad():
        assert (module(galaxies) - case.expected(galaxies)).abs().max() > 10 * TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_every_key_is_used_or_named_as_unused(name, converted):
    done, case = converted(name), CASES[name]
    assert done.kind == case.kind
    assert done.used.keys() | done.unused.keys() == case.state.keys()
    assert not done.used.keys() & done.unused.keys()
    listed = "\n".join(describe(done, keys=True))
    assert all(key in listed for key in case.state)
    assert done.entries == tuple(name for name in case.beside if name != "hyper_parameters")


def test_what_is_unused_has_its_reason(converted):
    stein, teacher = converted("stein"), converted("astrodino teacher, in chunks")
    assert stein.unused["encoder_k.conv1.weight"] == "momentum copy of the encoder"
    assert stein.unused["queue_ptr"] == "queue of negatives"
    assert {"encoder_q.fc.0.weight", "encoder_q.fc.2.bias"} < stein.unused.keys()
    assert teacher.unused["dino_head.mlp.0.weight"] == "head of the self-supervised loss"
    assert "backbone.mask_token" in teacher.unused
    assert converted("spender").unused["decoder.wave_rest"] == "decoder"
    assert "unused, queue of negatives: 3 keys (queue, queue_ptr, val_queue)" in describe(stein)


def test_sizes_are_read_off_the_weights(converted):
    config = read_model(converted("astroclip image, smaller space").path).config
    assert config["dimension"] == 64
    assert config["frozen"] == ["image", "spectrum"]
    image, spectrum = config["encoders"]["image"], config["encoders"]["spectrum"]
    assert {key: image[key] for key in ("width", "depth", "heads", "patch", "crop")} == {
        "width": 128, "depth": 4, "heads": 2, "patch": 12, "crop": 144,
    }  # fmt: skip
    assert (spectrum["width"], spectrum["depth"], spectrum["length"], spectrum["positions"]) == (128, 2, 20, 800)
    assert read_model(converted("spender, old").path).config["encoder"]["latents"] == 10
    assert "input 257 of the first MLP layer (the redshift) dropped" in converted("spender, old").notes
    assert not any("257" in note for note in converted("spender").notes)


def test_the_published_sizes_fit_name_by_name():
    """ViT-L, SpecFormer and heads of 1024, on torch's meta device: every key and shape, without the numbers."""
    specformer = authors.specformer_shapes(768, 6)
    shapes = authors.astroclip_shapes(1024, authors.dino_shapes(1024, 24, chunks=4), specformer)
    layout = LAYOUTS["astroclip"]
    state = {
        layout.ours(name): torch.empty(shape, device="meta")
        for name, shape in shapes.items()
        if not layout.why_unused(name)
    }
    assert None not in state
    with torch.device("meta"):
        module = alignment.build(layout.configure(state, {}))
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items() if name != "log_scale"}
    assert {name: tuple(value.shape) for name, value in state.items()} == wanted
    assert sum(math.prod(shape) for shape in wanted.values()) == pytest.approx(370e6, rel=0.01)
    assert module.config["encoders"]["image"]["heads"] == 16
    assert module.config["encoders"]["spectrum"]["heads"] == 6


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_translate_back(layout):
    for case in CASES.values():
        for key in case.state if case.kind == layout else ():
            if (ours := LAYOUTS[layout].ours(key)) and not LAYOUTS[layout].why_unused(key):
                assert LAYOUTS[layout].ours(LAYOUTS[layout].theirs(ours)) == ours


def fault(name: str, tmp_path, change: Callable[[State], object], kind: str | None = None) -> str:
    """Return the message that a changed file ends with; nothing may have been written."""
    case = CASES[name]
    state = dict(case.state)
    change(state)
    path = Case(case.kind, case.modality, state, case.forward, case.entry).write(tmp_path / "theirs.ckpt")
    with pytest.raises(EmbedderError) as caught:
        convert(path, tmp_path / "model.pt", kind)
    assert not (tmp_path / "model.pt").exists()
    return str(caught.value)


def test_a_key_of_no_layout_is_named(tmp_path):
    extra = "image_encoder.backbone.register_tokens"
    text = fault("astroclip spectrum", tmp_path, lambda state: state.update({extra: torch.zeros(1, 4, 128)}))
    assert f"1 keys that AstroCLIP (Parker et al. 2024) does not have ({extra})" in text


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("astroclip spectrum", "spectrum_encoder.backbone.blocks.1.mlp.decoder.bias"),
        ("astroclip spectrum", "image_encoder.cross_attention.multihead_attn.out_proj.weight"),
        ("astroclip spectrum", "image_encoder.backbone.pos_embed"),
        ("specformer, heads told", "data_embed.weight"),
        ("stein", "encoder_q.layer3.5.bn2.running_var"),
        ("spender", "encoder.mlp.4.weight"),
        ("spender", "encoder.conv3.0.weight"),
    ],
)
def test_a_missing_key_is_named_as_the_authors_call_it(name, key, tmp_path):
    text = fault(name, tmp_path, lambda state: state.pop(key), kind=CASES[name].kind)
    assert "lacks 1 keys" in text
    assert f"({key})" in text


def test_a_shape_that_does_not_fit_is_named(tmp_path):
    key = "spectrum_encoder.backbone.head.weight"
    text = fault("astroclip spectrum", tmp_path, lambda state: state.update({key: torch.zeros(21, 128)}))
    assert "encoders.spectrum.head.weight (21, 128) instead of (22, 128)" in text


def test_two_keys_for_one_weight_are_refused(tmp_path):
    text = fault("astrodino backbone", tmp_path, lambda state: state.update({"backbone.norm.bias": torch.zeros(128)}))
    assert "keys 'norm.bias' and 'backbone.norm.bias' are the same weight" in text


def test_a_model_that_gives_nan_is_not_written_over_a_good_one(tmp_path):
    out = tmp_path / "model.pt"
    out.write_bytes(b"good")
    state = {**CASES["spender"].state, "encoder.mlp.9.bias": torch.full((6,), torch.nan)}
    torch.save({"model": state}, tmp_path / "theirs.pt")
    with pytest.raises(EmbedderError, match="NaN or infinity"):
        convert(tmp_path / "theirs.pt", out)
    assert out.read_bytes() == b"good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "theirs.pt"]


def test_the_kind_is_guessed_or_asked_for(tmp_path):
    assert "no published model known here: a" in fault("spender", tmp_path, rename_all)
    both = {"data_embed.weight": torch.zeros(96, 22)}
    assert "keys of specformer and spender" in fault("spender", tmp_path, lambda state: state.update(both))
    assert "did you mean spender" in fault("spender", tmp_path, lambda state: None, kind="spnder")
    assert "keys that Stein et al. (2021) does not have" in fault("spender", tmp_path, lambda state: None, kind="stein")


def rename_all(state: State) -> None:
    state.clear()
    state["a"] = torch.zeros(2)


def test_heads_that_nothing_tells_are_not_made_up(tmp_path):
    text = fault("specformer, heads told", tmp_path, lambda state: None)  # written without its hyper-parameters
    assert "how many attention heads share its width of 96" in text
    assert "num_heads" in text


def test_the_authors_file_is_not_overwritten(tmp_path):
    path = CASES["spender"].write(tmp_path / "theirs.pt")
    before = path.read_bytes()
    with pytest.raises(EmbedderError, match="the authors' file itself"):
        convert(path, tmp_path / "." / "theirs.pt")
    assert path.read_bytes() == before


def test_the_first_of_several_models_is_read(tmp_path, galaxies):
    case = CASES["spender"]
    other = {name: value + 1 for name, value in case.state.items()}
    torch.save({"model": [case.state, other], "losses": []}, tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", tmp_path / "model.pt")
    torch.testing.assert_close(
        embed(tmp_path / "model.pt", "spectrum", galaxies), case.expected(galaxies), atol=TOLERANCE, rtol=TOLERANCE
    )


def test_half_precision_becomes_float32(tmp_path):
    half = {name: value.half() for name, value in CASES["spender"].state.items()}
    torch.save({"model": half}, tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", tmp_path / "model.pt")
    tensors = read_model(tmp_path / "model.pt").state_dict
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_safetensors_in_and_out(tmp_path, galaxies):
    case = CASES["astrodino backbone"]
    save_file(case.state, tmp_path / "theirs.safetensors")
    convert(tmp_path / "theirs.safetensors", tmp_path / "model.safetensors")
    vectors = embed(tmp_path / "model.safetensors", "image", galaxies)
    torch.testing.assert_close(vectors, case.expected(galaxies), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("full_name", PLAIN_DICTIONARIES)
def test_lightnings_dictionary_is_read_without_lightning(full_name, tmp_path, monkeypatch):
    module_name, _, name = full_name.rpartition(".")
    kind = type(name, (dict,), {"__module__": module_name})
    case = CASES["specformer, heads told"]
    with monkeypatch.context() as patch:
        for package in accumulate(module_name.split("."), "{}.{}".format):
            patch.setitem(sys.modules, package, ModuleType(package))
        setattr(sys.modules[module_name], name, kind)
        hyper = kind(case.beside["hyper_parameters"])
        torch.save({"state_dict": case.state, "hyper_parameters": hyper}, tmp_path / "theirs.ckpt")
    convert(tmp_path / "theirs.ckpt", tmp_path / "model.pt")
    assert read_model(tmp_path / "model.pt").config["encoder"]["heads"] == 3


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_of_more_than_tensors_is_refused_with_the_list(tmp_path):
    case = CASES["spender"]
    content = {"model": case.state, "losses": np.ones(3), "trap": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "theirs.pt")
    with pytest.raises(EmbedderError, match="asks to import") as caught:
        convert(tmp_path / "theirs.pt", tmp_path / "model.pt")
    assert not (tmp_path / "sprung").exists()
    assert "posix.mkdir" in str(caught.value)
    assert "_reconstruct" in str(caught.value)
    assert not (tmp_path / "model.pt").exists()


def test_the_way_round_that_is_given_works(tmp_path, monkeypatch, galaxies):
    case = CASES["spender"]
    torch.save({"model": case.state, "losses": np.ones(3)}, tmp_path / "it's theirs.pt")
    with pytest.raises(EmbedderError) as caught:
        convert(tmp_path / "it's theirs.pt", tmp_path / "model.pt")
    command = re.search(r"\((python -c .*) plain\.pt\)", str(caught.value))[1].replace("python", sys.executable, 1)
    subprocess.run(f"{command} plain.pt", shell=True, check=True, cwd=tmp_path)
    convert(tmp_path / "plain.pt", tmp_path / "model.pt")
    vectors = embed(tmp_path / "model.pt", "spectrum", galaxies)
    torch.testing.assert_close(vectors, case.expected(galaxies), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor"),
        ({"state_dict": {"a": 1}}, "its entry 'state_dict' is no state dict"),
        ({}, "the file is no state dict"),
        ({"epoch": 3}, "the file is no state dict"),
    ],
)
def test_files_that_hold_no_weights(content, message, tmp_path):
    torch.save(content, tmp_path / "theirs.pt")
    with pytest.raises(EmbedderError, match=message):
        convert(tmp_path / "theirs.pt", tmp_path / "model.pt")


def test_damaged_and_missing_files(tmp_path):
    path = CASES["spender"].write(tmp_path / "theirs.pt")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(EmbedderError, match="not a readable PyTorch file"):
        convert(path, tmp_path / "model.pt")
    with pytest.raises(EmbedderError, match="no such file"):
        convert(tmp_path / "nothing.pt", tmp_path / "model.pt")


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs `astroclip-bench ARGUMENTS...`."""
    from astroclip_bench.cli.main import main

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["astroclip-bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run_command


def test_the_command_from_file_to_checked_model(run, tmp_path):
    path = CASES["astroclip spectrum"].write(tmp_path / "astroclip.ckpt")
    out = tmp_path / "new" / "model.pt"
    code, printed, told = run("convert", path, "--out", out)
    assert (code, printed) == (0, f"{out}\n")
    assert "AstroCLIP (Parker et al. 2024): 115 keys used, 1 unused" in told
    assert "image_encoder.backbone.mask_token" in told
    assert "not read: epoch, global_step, optimizer_states, loops" in told
    assert "kept: rows and columns of images are exchanged" in told
    code, printed, told = run("check-model", out)
    assert code == 0, printed + told


def test_the_command_lists_keys_and_ends_in_one_line(run, tmp_path):
    path = CASES["specformer, heads told"].write(tmp_path / "specformer.ckpt")
    code, _, told = run("convert", path, "--kind", "specformer", "--out", tmp_path / "model.pt", "--keys")
    assert code == 0
    assert "blocks.1.layernorm2.weight -> encoder.blocks.1.norm2.weight" in told
    code, printed, told = run("convert", path, "--kind", "stein", "--out", tmp_path / "model.pt")
    assert (code, printed, told.count("\n")) == (2, "", 1)


def test_the_command_is_listed_and_has_an_example(run):
    assert "astroclip-bench convert --help" in run("--help")[1]
    code, printed, _ = run("convert", "--help")
    assert code == 0
    assert "astroclip-bench convert astroclip.ckpt --out" in printed
