"""`astroclip-bench doctor`: what this machine has and lacks."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import typer

FREE_GIGABYTES_WANTED = 2.0


def doctor_command() -> None:
    """Check this machine and installation.

    Packages, timm beside torch, cache folder and space, device, bundled model, what the mock survey needs. Exit code 2 if something that `evaluate` needs is missing.

    \b
    Examples:
      astroclip-bench doctor
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("packages", _packages),
        ("timm", _timm),
        ("cache folder", _cache),
        ("device", _device),
        ("plugins", _plugins),
        ("bundled model", _bundled_model),
        ("mock survey", _mock),
    ]
    failed = False
    for name, check in checks:
        try:
            line, mark = check(), "ok"
        except Exception as error:  # a broken installation can raise anything; the other checks still run
            line, mark, failed = str(error).splitlines()[0], "FAILED", True
        typer.echo(f"{mark:7}{name}: {line}")
    if failed:
        raise typer.Exit(2)


def _packages() -> str:
    from astroclip_bench.environment import package_versions

    versions = package_versions()
    absent = [name for name, found in versions.items() if found is None]
    present = ", ".join(f"{name} {found}" for name, found in versions.items() if found is not None)
    return present + (f"; optional, not installed: {', '.join(absent)}" if absent else "")


def _timm() -> str:
    from astroclip_bench.timm_compat import import_timm

    return f"{import_timm().__version__} imports"


def _cache() -> str:
    from astroclip_bench.errors import StorageError
    from astroclip_bench.files import atomic_path, cache_dir

    folder = cache_dir()
    with atomic_path(folder / "doctor") as temporary:
        temporary.write_text("writable")
    (folder / "doctor").unlink()
    free = shutil.disk_usage(folder).free / 1e9
    if free < FREE_GIGABYTES_WANTED:
        raise StorageError(
            f"{folder} has {free:.1f} GB free", f"{FREE_GIGABYTES_WANTED:g} GB", "set ASTROCLIP_BENCH_CACHE elsewhere"
        )
    return f"{folder}, {free:.0f} GB free"


def _device() -> str:
    from astroclip_bench.environment import describe_environment

    found = describe_environment()
    return f"{found['cores']} cores, {found['threads']} threads, CUDA: {found['cuda'] or 'none'}"


def _plugins() -> str:
    from astroclip_bench.plugins import plugin_names

    return "; ".join(f"{group}: {', '.join(plugin_names(group))}" for group in ("datasets", "builders", "models"))


def _bundled_model() -> str:
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.evaluation import DEFAULT_MODEL

    info = load_embedder(DEFAULT_MODEL).info
    return f"{info.name}, {info.dimension}-d, {', '.join(info.modalities)}, digest {info.digest[:12]}"


def _mock() -> str:
    from importlib.util import find_spec

    from astroclip_bench.errors import MissingExtraError

    for package in ("bagpipes", "galsim", "speclite", "extinction", "astropy"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "mock")
    return "its packages are installed"
