"""YAML and JSON from anyone: read within bounds of size and depth, without tags, aliases or keys given twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from astroclip_bench.files import storage_errors
from leaderboard.errors import SubmissionError

if TYPE_CHECKING:
    import jsonschema
    import yaml

MAX_YAML_BYTES = 2 * 2**20
MAX_JSON_BYTES = 64 * 2**20
"""Of a result: some ten times that of every protocol on every pair of five modalities."""
MAX_DEPTH = 20
SCHEMAS = ("card-v1", "submission-v1")
SCALARS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises
    ------
    SubmissionError
        If it is missing, a link, or larger.
    """
    if path.is_symlink() or not path.is_file():
        raise SubmissionError(f"{path}: no such file, or not a plain one", "a regular file")
    with storage_errors(path), path.open("rb") as handle:
        content = handle.read(limit + 1)
    if len(content) > limit:
        raise SubmissionError(f"{path}: more than {limit:,} bytes", f"at most {limit:,}")
    return content


def parse_yaml(content: bytes, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds: plain values alone.

    Nothing is built before the text is known to have no alias, tag or nesting beyond `MAX_DEPTH`: a few lines of
    aliases otherwise stand for more values than memory holds.

    Raises
    ------
    SubmissionError
        If it is too large, not YAML, or more than plain YAML.
    """
    import yaml

    if len(content) > MAX_YAML_BYTES:
        raise SubmissionError(f"{where}: {len(content):,} bytes of YAML", f"at most {MAX_YAML_BYTES:,}")
    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same loader, faster where libyaml is there
    try:
        text = content.decode("utf-8")
        for event in _events(text, kind):
            _check_event(event, where)
        loader = kind(text)
        node = loader.get_single_node()
        _check_keys(node, where)
        found = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SubmissionError(f"{where}: not plain YAML ({reason})", todo="check it") from error
    if not isinstance(found, dict):
        raise SubmissionError(f"{where}: holds a {type(found).__name__}", "keys and values")
    return found


def dump_yaml(values: Any) -> str:
    """Return plain values as YAML that `parse_yaml` takes: every value written out, in the order given."""
    import yaml

    # A value that stands in two places would be written once, with an alias to it; through JSON it becomes two.
    apart = json.loads(json.dumps(values))
    return str(yaml.safe_dump(apart, sort_keys=False, allow_unicode=True, width=1_000))


def _events(text: str, kind: Any) -> Iterator[tuple[int, yaml.Event]]:
    """Yield the parser's events, each with its depth of nesting."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=kind):
        depth += isinstance(event, yaml.CollectionStartEvent)
        yield depth, event
        depth -= isinstance(event, yaml.CollectionEndEvent)


def _check_event(found: tuple[int, yaml.Event], where: str) -> None:
    import yaml

    depth, event = found
    if depth > MAX_DEPTH:
        raise SubmissionError(f"{where}: nested more than {MAX_DEPTH} deep")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise SubmissionError(f"{where}: holds an anchor or alias", "every value written out")
    if getattr(event, "tag", None):
        raise SubmissionError(f"{where}: holds the tag {event.tag[:60]!r}", "plain values")


def _check_keys(node: Any, where: str) -> None:
    """Refuse keys that are given twice, of which a reader sees one and a parser the other, and odd scalars."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        names = [key.value if isinstance(key, yaml.ScalarNode) else None for key, _ in node.value]
        if None in names or len(set(names)) < len(names):
            raise SubmissionError(f"{where}: a key is given twice, or is no word", "every key once")
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                _check_keys(part, where)
    elif node is not None and node.tag not in SCALARS:
        raise SubmissionError(
            f"{where}: {node.value[:60]!r} is read as a {node.tag.rpartition(':')[2]}", "a text", "put it in quotes"
        )


def parse_json(content: bytes, where: str) -> dict[str, Any]:
    """Return the object that a JSON text holds; NaN and Infinity, which JSON has not, are refused.

    Raises
    ------
    SubmissionError
        If it is not JSON, nested too deep, or a key is given twice.
    """

    def refuse(name: str) -> NoReturn:
        raise SubmissionError(f"{where}: holds {name}", "finite numbers, or null")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise SubmissionError(f"{where}: a key is given twice", "every key once")
        return dict(pairs)

    def finite(text: str) -> float:
        value = float(text)
        return value if abs(value) < float("inf") else refuse(text[:20])

    try:
        found = json.loads(content, parse_constant=refuse, object_pairs_hook=once, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise SubmissionError(f"{where}: not JSON ({str(error)[:200]})", todo="write it again") from error
    if not isinstance(found, dict):
        raise SubmissionError(f"{where}: holds a {type(found).__name__}", "an object")
    return found


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    import jsonschema
    from referencing import Registry, Resource

    folder = files("leaderboard.schemas")
    contents = {known: json.loads(folder.joinpath(f"{known}.json").read_text(encoding="utf-8")) for known in SCHEMAS}
    registry: Any = Registry().with_resources(
        (content["$id"], Resource.from_contents(content)) for content in contents.values()
    )
    return jsonschema.Draft202012Validator(contents[name], registry=registry)


def require_schema(values: Mapping[str, Any], name: str, where: str) -> None:
    """Check plain values against one of `SCHEMAS`.

    Raises
    ------
    SubmissionError
        Naming the first value at fault.
    """
    import jsonschema

    error = jsonschema.exceptions.best_match(_validator(name).iter_errors(values))
    if error is not None:
        what = error.message if len(error.message) <= 200 else error.message[:200] + "..."
        raise SubmissionError(
            f"{where}: {error.json_path[:100]}: {what}", f"what leaderboard/schemas/{name}.json describes"
        )
