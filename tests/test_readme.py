"""The README's commands are the ones that the gate runs, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from astroclip_bench.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell_blocks() -> list[list[str]]:
    return [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]


def test_the_first_two_blocks_are_install_and_evaluate_then_the_tests():
    assert [len(block) for block in shell_blocks()[:2]] == [2, 2]
    install, evaluate = shell_blocks()[0]
    develop, test = shell_blocks()[1]
    gate = (ROOT / ".ci" / "run").read_text()
    assert install.startswith("pip install")
    assert evaluate == "astroclip-bench evaluate"
    for command in (install, develop):
        assert command.replace("pip install", "pip install --quiet") in gate
    assert evaluate in gate
    assert test == "pytest"
    assert re.search(r" pytest$", gate, re.MULTILINE)


def test_every_link_into_the_repository_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def commands() -> list[list[str]]:
    """Return the words of every `astroclip-bench` command line, with continued lines joined."""
    text = "\n".join(line for block in shell_blocks() for line in block).replace("\\\n", " ")
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    return [line[1:] for line in lines if line and line[0] == "astroclip-bench"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_exists(words):
    command = typer.main.get_command(app)
    while words and hasattr(command, "get_command"):
        name, *words = words
        found = command.get_command(command.context_class(command), name)
        assert found is not None, name
        command = found
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_no_placeholder_is_left():
    assert "@" not in re.sub(r"(recall|accuracy|name)@", "", README)
