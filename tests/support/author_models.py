"""The published models, restated: state dicts in their authors' layout with random weights, and forward passes over them.

Plain functions over tensors, written from the papers and from the key names and shapes of the published files; nothing
here uses the code under test. Sources: AstroCLIP (Parker et al. 2024, and its repository at 9d85069), DINOv2 (Oquab et
al. 2023), Stein et al. 2021 (MoCo v2 on torchvision's ResNet50), Spender (Melchior et al. 2023).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

RESNET50_BLOCKS = (3, 4, 6, 3)
SPENDER_CHANNELS, SPENDER_KERNELS, SPENDER_HIDDEN = (1, 128, 256, 512), (5, 11, 21), (256, 128, 64, 32)


def random_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> State:
    """Return random tensors of these names and shapes, of sizes that keep activations near one."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
        elif name.endswith(("norm.weight", "running_var", "gamma")) or (len(shape) == 1 and name.endswith("weight")):
            state[name] = 0.3 + torch.rand(shape, generator=generator)
        elif len(shape) <= 1:
            state[name] = 0.2 * torch.randn(shape, generator=generator)
        else:
            state[name] = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
    return state


def under(prefix: str, entries: Mapping[str, object]) -> dict:
    """Return the entries with a prefix before each name."""
    return {prefix + name: value for name, value in entries.items()}


def part(state: Mapping[str, Tensor], prefix: str) -> State:
    """Return the entries of one prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def linear_shapes(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm_shapes(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def linear(state: State, name: str, values: Tensor) -> Tensor:
    return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def layer_norm(state: State, name: str, values: Tensor, epsilon: float) -> Tensor:
    centred = values - values.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
    return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(values: Tensor) -> Tensor:
    return values * 0.5 * (1 + torch.erf(values / math.sqrt(2)))


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Return softmax attention of (n, t, width) tensors, the heads side by side along the width."""

    def split(tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)

    query, key, value = split(query), split(key), split(value)
    weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), dim=-1)
    return (weights @ value).transpose(1, 2).flatten(2)


def specformer_shapes(width: int, depth: int, positions: int = 800) -> Shapes:
    """Return the layout of SpecFormer: 22 values a token."""
    shapes = {**linear_shapes("data_embed", 22, width), "position_embed.weight": (positions, width)}
    for block in range(depth):
        layers = {
            **norm_shapes("layernorm1", width),
            **linear_shapes("attention.attention", width, 3 * width),
            **linear_shapes("attention.projection", width, width),
            **norm_shapes("layernorm2", width),
            **linear_shapes("mlp.encoder", width, 4 * width),
            **linear_shapes("mlp.decoder", 4 * width, width),
        }
        shapes.update(under(f"blocks.{block}.", layers))
    return {**shapes, **norm_shapes("final_layernorm", width), **linear_shapes("head", width, 22)}


def specformer_tokens(state: State, flux: Tensor, heads: int) -> Tensor:
    """Return the tokens (n, 778, width) of spectra (n, 7781)."""
    mean, spread = flux.mean(1, keepdim=True), flux.std(1, keepdim=True).clamp_min(0.2)
    standard = (flux - mean) / spread
    slices = [standard[:, start : start + 20] for start in range(0, 7781 - 10, 10)]
    rows = [torch.cat([torch.zeros(len(flux), 2), cut], dim=1) for cut in slices if cut.shape[1] == 20]
    first = torch.zeros(len(flux), 22)
    first[:, 0], first[:, 1] = (mean[:, 0] - 2) / 2, (spread[:, 0] - 2) / 8
    tokens = linear(state, "data_embed", torch.stack([first, *rows], dim=1))
    tokens = tokens + state["position_embed.weight"][: tokens.shape[1]]
    for block in range(count_blocks(state)):
        layers = part(state, f"blocks.{block}.")
        mixed = linear(layers, "attention.attention", layer_norm(layers, "layernorm1", tokens, 1e-5))
        tokens = tokens + linear(layers, "attention.projection", attend(*mixed.chunk(3, dim=-1), heads))
        hidden = linear(layers, "mlp.encoder", layer_norm(layers, "layernorm2", tokens, 1e-5))
        tokens = tokens + linear(layers, "mlp.decoder", gelu(hidden))
    return layer_norm(state, "final_layernorm", tokens, 1e-5)


def count_blocks(state: State) -> int:
    """Return the number of ``blocks.N`` (the last number before a name, where blocks are nested in chunks)."""
    return len({match[0] for name in state if (match := re.match(r"blocks\.(\d+\.)+", name))})


def dino_shapes(width: int, depth: int, chunks: int = 0, patch: int = 12, size: int = 144) -> Shapes:
    """Return the layout of a DINOv2 vision transformer, its blocks nested in `chunks` chunks if not 0."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + (size // patch) ** 2, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for block in range(depth):
        layers = {
            **norm_shapes("norm1", width),
            **linear_shapes("attn.qkv", width, 3 * width),
            **linear_shapes("attn.proj", width, width),
            "ls1.gamma": (width,),
            **norm_shapes("norm2", width),
            **linear_shapes("mlp.fc1", width, 4 * width),
            **linear_shapes("mlp.fc2", 4 * width, width),
            "ls2.gamma": (width,),
        }
        nested = f"{block // (depth // chunks)}.{block}" if chunks else block
        shapes.update(under(f"blocks.{nested}.", layers))
    return {**shapes, **norm_shapes("norm", width)}


def dino_tokens(state: State, image: Tensor, heads: int, *, class_and_positions: bool) -> Tensor:
    """Return the normalised tokens of images (n, 3, 144, 144).

    DINOv2 puts the class token first and adds positions; AstroCLIP's image path does neither.
    """
    patch = state["patch_embed.proj.weight"].shape[-1]
    grid = functional.conv2d(image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch)
    tokens = grid.flatten(2).transpose(1, 2)
    if class_and_positions:
        tokens = torch.cat([state["cls_token"].expand(len(image), -1, -1), tokens], dim=1) + state["pos_embed"]
    prefixes = {match[0] for name in state if (match := re.match(r"blocks\.(\d+\.)+", name))}
    for prefix in sorted(prefixes, key=lambda text: int(text.split(".")[-2])):
        layers = part(state, prefix)
        mixed = linear(layers, "attn.qkv", layer_norm(layers, "norm1", tokens, 1e-6))
        tokens = tokens + layers["ls1.gamma"] * linear(layers, "attn.proj", attend(*mixed.chunk(3, dim=-1), heads))
        hidden = linear(layers, "mlp.fc1", layer_norm(layers, "norm2", tokens, 1e-6))
        tokens = tokens + layers["ls2.gamma"] * linear(layers, "mlp.fc2", gelu(hidden))
    return layer_norm(state, "norm", tokens, 1e-6)


def head_shapes(width: int, dimension: int) -> Shapes:
    """Return the layout of an AstroCLIP head over tokens of `width`; torch joins the projections where both agree."""
    same = width == dimension
    projections: Shapes = (
        {"in_proj_weight": (3 * dimension, dimension)}
        if same
        else {
            "q_proj_weight": (dimension, dimension),
            "k_proj_weight": (dimension, width),
            "v_proj_weight": (dimension, width),
        }
    )
    attention = {**projections, "in_proj_bias": (3 * dimension,), **linear_shapes("out_proj", dimension, dimension)}
    return {
        "cross_attention.query": (1, 1, dimension),
        **under("cross_attention.multihead_attn.", attention),
        **norm_shapes("cross_attention.layernorm", dimension),
        **linear_shapes("mlp.encoder", dimension, 4 * dimension),
        **linear_shapes("mlp.decoder", 4 * dimension, dimension),
    }


def head_vectors(state: State, tokens: Tensor, *, residual: bool, heads: int = 4) -> Tensor:
    """Return the vectors (n, dimension) of an AstroCLIP head."""
    attention = part(state, "cross_attention.multihead_attn.")
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    joined = attention.get("in_proj_weight")
    weights = [attention[name] for name in names] if joined is None else joined.chunk(3)
    biases = attention["in_proj_bias"].chunk(3)
    inputs = (state["cross_attention.query"].expand(len(tokens), -1, -1), tokens, tokens)
    query, key, value = (x @ weight.T + bias for x, weight, bias in zip(inputs, weights, biases, strict=True))
    attended = linear(attention, "out_proj", attend(query, key, value, heads))[:, 0]
    vectors = layer_norm(state, "cross_attention.layernorm", attended, 1e-5)
    changed = linear(state, "mlp.decoder", gelu(linear(state, "mlp.encoder", vectors)))
    return vectors + changed if residual else changed


def astroclip_shapes(dimension: int, dino: Shapes, specformer: Shapes) -> Shapes:
    """Return the layout of AstroCLIP's state dict, from those of its two backbones."""
    image_width, spectrum_width = dino["norm.weight"][0], specformer["final_layernorm.weight"][0]
    image = {**under("backbone.", dino), **head_shapes(image_width, dimension)}
    spectrum = {**under("backbone.", specformer), **head_shapes(spectrum_width, dimension)}
    return {**under("image_encoder.", image), **under("spectrum_encoder.", spectrum)}


def astroclip_image(state: State, image: Tensor, heads: int) -> Tensor:
    """Return the embedding of images (n, 3, 152, 152) in nanomaggies: bands g, r, z."""
    shown = dr2_rgb(image).transpose(2, 3)[:, :, 4:148, 4:148]
    own = part(state, "image_encoder.")
    tokens = dino_tokens(part(own, "backbone."), shown, heads, class_and_positions=False)
    return head_vectors(own, tokens, residual=False)


def astroclip_spectrum(state: State, flux: Tensor, heads: int) -> Tensor:
    """Return the embedding of spectra (n, 7781)."""
    own = part(state, "spectrum_encoder.")
    return head_vectors(own, specformer_tokens(part(own, "backbone."), flux, heads), residual=True)


def astrodino_embedding(state: State, image: Tensor, heads: int) -> Tensor:
    """Return the class token of images (n, 3, 152, 152) in nanomaggies, shown and cropped to 144 pixels."""
    return dino_tokens(state, dr2_rgb(image)[:, :, 4:148, 4:148], heads, class_and_positions=True)[:, 0]


def dr2_rgb(image: Tensor) -> Tensor:
    """Return the Legacy viewer's red, green and blue (from z, r, g) of images in nanomaggies (g, r, z)."""
    scaled = image.double().numpy() * np.array([6.0, 3.4, 2.2])[:, None, None] + 0.03
    intensity = np.maximum(scaled, 0).mean(axis=1, keepdims=True)
    intensity[intensity == 0] = 1e-6
    shown = scaled * np.arcsinh(20 * intensity) / np.sqrt(20) / intensity
    return torch.from_numpy(np.clip(shown[:, ::-1], 0, 1).astype(np.float32))


def stein_shapes(blocks: tuple[int, ...] = RESNET50_BLOCKS) -> Shapes:
    """Return the layout of torchvision's ResNet of bottlenecks with MoCo's two-layer head."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **batch_norm_shapes("bn1", 64)}
    inputs = 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(count):
            layers: Shapes = {
                "conv1.weight": (width, inputs, 1, 1),
                **batch_norm_shapes("bn1", width),
                "conv2.weight": (width, width, 3, 3),
                **batch_norm_shapes("bn2", width),
                "conv3.weight": (4 * width, width, 1, 1),
                **batch_norm_shapes("bn3", 4 * width),
            }
            if block == 0:
                layers |= {"downsample.0.weight": (4 * width, inputs, 1, 1)}
                layers |= batch_norm_shapes("downsample.1", 4 * width)
            shapes.update(under(f"layer{stage + 1}.{block}.", layers))
            inputs = 4 * width
    return {**shapes, **linear_shapes("fc.0", inputs, inputs), **linear_shapes("fc.2", inputs, 128)}


def batch_norm_shapes(name: str, channels: int) -> Shapes:
    moments = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
    return {**norm_shapes(name, channels), **moments, f"{name}.num_batches_tracked": ()}


def batch_norm(state: State, name: str, values: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        state[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (values - mean) / (variance + 1e-5).sqrt() * weight + bias


def stein_embedding(state: State, image: Tensor) -> Tensor:
    """Return the pooled features of images (n, 3, 152, 152) in nanomaggies: bands g, r, z."""
    values = functional.conv2d(stein_rgb(image)[:, :, 28:124, 28:124], state["conv1.weight"], stride=2, padding=3)
    values = functional.max_pool2d(batch_norm(state, "bn1", values).relu(), 3, stride=2, padding=1)
    for stage in range(4):
        count = len({name.split(".")[1] for name in state if name.startswith(f"layer{stage + 1}.")})
        for block in range(count):
            layers = part(state, f"layer{stage + 1}.{block}.")
            stride = 2 if stage and not block else 1
            inner = batch_norm(layers, "bn1", functional.conv2d(values, layers["conv1.weight"])).relu()
            inner = functional.conv2d(inner, layers["conv2.weight"], stride=stride, padding=1)
            inner = batch_norm(layers, "bn2", inner).relu()
            inner = batch_norm(layers, "bn3", functional.conv2d(inner, layers["conv3.weight"]))
            if block == 0:
                values = functional.conv2d(values, layers["downsample.0.weight"], stride=stride)
                values = batch_norm(layers, "downsample.1", values)
            values = (values + inner).relu()
    return values.mean((2, 3))


def stein_rgb(image: Tensor) -> Tensor:
    """Return Stein's planes (z, r, g) of images in nanomaggies (g, r, z)."""
    flux = image.double().numpy()[:, ::-1]
    scale = np.array([2.2, 3.4, 6.0])[:, None, None]
    intensity = np.maximum(flux * scale + 0.03, 0).mean(axis=1, keepdims=True)
    intensity[intensity == 0] = 1e-6
    shown = flux * (scale + 0.03 * np.arcsinh(20 * intensity) / np.sqrt(20) / intensity)
    return torch.from_numpy(np.clip(shown, 0, 1).astype(np.float32))


def spender_shapes(latents: int, *, redshift_input: bool = False, nested: bool = False) -> Shapes:
    """Return the layout of Spender's encoder; old files have a 257th input, the redshift, and ``mlp.mlp``."""
    shapes: Shapes = {}
    for layer, kernel in enumerate(SPENDER_KERNELS):
        inputs, outputs = SPENDER_CHANNELS[layer : layer + 2]
        shapes[f"conv{layer + 1}.0.weight"] = (outputs, inputs, kernel)
        shapes[f"conv{layer + 1}.0.bias"] = (outputs,)
        shapes[f"conv{layer + 1}.2.weight"] = (outputs,)
    sizes = [*SPENDER_HIDDEN, latents]
    mlp = "mlp.mlp" if nested else "mlp"
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        shapes |= linear_shapes(f"{mlp}.{3 * layer}", inputs + (redshift_input and layer == 0), outputs)
        if layer < len(sizes) - 2:
            shapes[f"{mlp}.{3 * layer + 1}.weight"] = (outputs,)
    return shapes


def spender_embedding(state: State, flux: Tensor) -> Tensor:
    """Return the latents of spectra (n, pixels), whatever the redshift."""
    state = {name.replace("mlp.mlp", "mlp"): value for name, value in state.items()}
    values = flux[:, None]
    for layer, kernel in enumerate(SPENDER_KERNELS):
        name = f"conv{layer + 1}"
        values = functional.conv1d(values, state[f"{name}.0.weight"], state[f"{name}.0.bias"], padding=kernel // 2)
        centred = values - values.mean(-1, keepdim=True)
        values = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        values = prelu(values, state[f"{name}.2.weight"][:, None])
        if layer < 2:
            values = functional.max_pool1d(values, kernel, padding=kernel // 2)
    height, attention = values.chunk(2, dim=1)
    values = (height * torch.softmax(attention, dim=-1)).sum(-1)
    for layer in range(4):
        weight = state[f"mlp.{3 * layer}.weight"][:, : values.shape[1]]
        values = values @ weight.T + state[f"mlp.{3 * layer}.bias"]
        if layer < 3:
            values = prelu(values, state[f"mlp.{3 * layer + 1}.weight"])
    return values


def prelu(values: Tensor, slope: Tensor) -> Tensor:
    return torch.where(values > 0, values, slope * values)
