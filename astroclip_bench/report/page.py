"""The page itself: figures are drawn and written, and put into one HTML file that loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from astroclip_bench import __version__
from astroclip_bench.errors import MissingExtraError
from astroclip_bench.figure_style import DPI, save_figure, styled
from astroclip_bench.files import atomic_path
from astroclip_bench.progress import Progress, progress_bar
from astroclip_bench.report.material import Material
from astroclip_bench.report.parts import data_name
from astroclip_bench.report.sections import Drawn, Picture, Section, sections
from astroclip_bench.results.table import heading

PAGE, FIGURES, TEMPLATE = "report.html", "figures", "page.html.jinja"
EXTRAS = {"jinja2": "jinja2", "matplotlib": "matplotlib"}
"""Modules of the extra `report` that a page needs, and the packages that hold them."""
PICTURE_DPI, PICTURE_QUALITY = 150, 88
"""Of photographs, which the page holds as JPEG: a tenth of their PNG."""


@dataclass(frozen=True)
class Image:
    """A figure as the page shows it."""

    uri: str
    width: int
    height: int
    caption: str
    alt: str
    closed: bool


def _silent(what: str) -> AbstractContextManager[Progress]:
    return progress_bar(what, quiet=True)


def write_report(
    material: Material, out: Path, show_progress: Callable[[str], AbstractContextManager[Progress]] = _silent
) -> Path:
    """Write a report into a folder, and return the path of its page.

    Parameters
    ----------
    material
        From `gather`.
    out
        Gets ``report.html``, and each figure as PNG and PDF under ``figures``.

    Raises
    ------
    MissingExtraError
        If jinja2 or matplotlib is not installed.
    StorageError
        If the folder cannot be written.
    """
    for module, package in EXTRAS.items():
        if find_spec(module) is None:
            raise MissingExtraError(package, "report")
    parts = sections(material)
    total = sum(len(part.figures) + len(part.pictures) for part in parts)
    shown: list[dict[str, Any]] = []
    done = 0
    with show_progress("draw the report") as report, styled():
        for part in parts:
            items: tuple[Drawn | Picture, ...] = (*part.figures, *part.pictures)
            images: list[Image] = []
            for item in items:
                image = _draw(item, out / FIGURES) if isinstance(item, Drawn) else _copy(item, out / FIGURES)
                images += [image] if image else []
                done += 1
                report(done, total)
            shown.append(_fill(part, images))
    with atomic_path(out / PAGE) as temporary:
        temporary.write_text(_render(material, shown), encoding="utf-8")
    return out / PAGE


def _fill(part: Section, images: list[Image]) -> dict[str, Any]:
    """Return a section as the template takes it; what it lacks is told where a figure could not be drawn."""
    lacks = not images if not part.pictures and part.figures else bool(part.missing)
    return {
        "anchor": part.anchor,
        "title": part.title,
        "text": part.text,
        "images": images,
        "tables": part.tables,
        "missing": part.missing if lacks else "",
    }


def _draw(item: Drawn, folder: Path) -> Image | None:
    figure = item.draw()
    if figure is None:
        return None
    png, _ = save_figure(figure, folder / item.stem)
    width, height = (round(length * DPI) for length in figure.get_size_inches())
    return _image((width, height), png.read_bytes(), "png", item.caption, item.alt)


def _copy(item: Picture, folder: Path) -> Image:
    """Put a picture among the figures, as it is and as PDF; photographs take less room on the page as JPEG."""
    from PIL import Image as Pillow

    png = folder / f"{item.path.stem}.png"
    with atomic_path(png) as temporary:
        temporary.write_bytes(item.path.read_bytes())
    with Pillow.open(png) as opened:
        picture = opened.convert("RGB")
    with atomic_path(png.with_suffix(".pdf")) as temporary:
        picture.save(temporary, format="PDF", resolution=PICTURE_DPI)
    small = io.BytesIO()
    picture.save(small, format="JPEG", quality=PICTURE_QUALITY, subsampling=0, optimize=True)
    return _image(picture.size, small.getvalue(), "jpeg", item.caption, item.alt, item.closed)


def _image(size: tuple[int, int], content: bytes, kind: str, caption: str, alt: str, closed: bool = False) -> Image:
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return Image(uri, *size, caption, alt, closed)


def _render(material: Material, shown: list[dict[str, Any]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("astroclip_bench.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result = material.result
    return environment.get_template(TEMPLATE).render(
        name=result.embedder["name"],
        data=data_name(result.dataset),
        heading=heading(result),
        simulated=result.dataset["simulated"],
        complete=result.complete,
        because=result.incomplete_because,
        created=result.created,
        version=__version__,
        sections=shown,
    )
