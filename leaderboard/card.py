"""What a model's authors declare: read from the card that they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leaderboard.errors import SubmissionError
from leaderboard.texts import MAX_YAML_BYTES, parse_yaml, read_bytes, require_schema

FRONT_MATTER_KEY = "astroclip_bench"
FENCE = b"---"


def read_card(path: Path) -> dict[str, Any]:
    """Return the declarations of a model card, checked against the schema ``card-v1``.

    Parameters
    ----------
    path
        ``.yaml`` or ``.yml`` with the declarations themselves; or a Markdown file, such as the card of a model on the
        Hub, whose YAML front matter has them under the key ``astroclip_bench``.

    Raises
    ------
    SubmissionError
        If the file cannot be read, or lacks a declaration.
    """
    content = read_bytes(path, MAX_YAML_BYTES)
    if path.suffix.lower() in (".yaml", ".yml"):
        card = parse_yaml(content, str(path))
    elif path.suffix.lower() == ".md":
        found = parse_yaml(_front_matter(content, path), str(path)).get(FRONT_MATTER_KEY)
        if not isinstance(found, dict):
            raise SubmissionError(
                f"{path}: the front matter has no key {FRONT_MATTER_KEY!r}", "the declarations under it"
            )
        card = found
    else:
        raise SubmissionError(f"{path}: suffix {path.suffix!r}", ".md, .yaml or .yml")
    require_schema(card, "card-v1", str(path))
    return card


def _front_matter(content: bytes, path: Path) -> bytes:
    lines = content.splitlines()
    if not lines or lines[0].rstrip() != FENCE or FENCE not in [line.rstrip() for line in lines[1:]]:
        raise SubmissionError(f"{path}: no YAML front matter", "one between two lines of ---, at the top")
    end = [line.rstrip() for line in lines].index(FENCE, 1)
    return b"\n".join(lines[1:end])
