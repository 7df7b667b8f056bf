"""`astroclip-bench data`: what it says of a data set, and how it publishes one."""

from __future__ import annotations

import pytest
from rich_source import RichSource
from tiny_source import TinySource, tiny_info

from astroclip_bench.datasets import push
from astroclip_bench.errors import DataError
from dataset_builders.parquet import build_dataset


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return build_dataset(RichSource(), tmp_path_factory.mktemp("rich") / "out")


def test_info_tells_configurations_split_rule_and_steps(run, rich):
    outcome = run("data", "info", rich)
    assert outcome.code == 0
    lines = dict(line.split("  ", 1) for line in outcome.out.splitlines() if "  " in line)
    told = {name: text.strip() for name, text in lines.items()}
    assert told["split rule"] == "healpix"
    assert told["configuration masses"] == "72 galaxies"
    assert told["step match"] == "120 of 123 rows (left out: 3 no counterpart)"
    assert told["step loaded"] == "96 of 120 rows (left out: 24 band missing)"
    assert told["made from"] == "1 files, 2 GB"
    assert (
        sum(int(text.split()[0]) for name, text in told.items() if name.startswith("split ") and "galaxies" in text)
        == 96
    )


def test_info_of_a_data_set_that_says_little(run, tiny):
    out = run("data", "info", tiny).out
    assert "configuration" not in out
    assert "step" not in out


def test_check_tells_of_pixels_in_two_splits(run, tmp_path):
    source = StraddlingSource(info=tiny_info(split_rule="astroclip-v1"))
    build_dataset(source, tmp_path / "out")
    outcome = run("data", "check", tmp_path / "out")
    assert outcome.code == 0
    assert "120 galaxies, all checks passed" in outcome.out
    assert "12 of 12 HEALPix pixels lie in two splits or more, as the split rule astroclip-v1 allows" in outcome.out


class StraddlingSource(TinySource):
    """Rows whose split has nothing to do with their place."""

    def make(self, first, count):
        """Put every third row into the test split."""
        import pyarrow as pa

        batch = super().make(first, count)
        splits = pa.array(["test" if (first + i) // 12 % 3 == 0 else "train" for i in range(count)])
        return batch.set_column(batch.schema.get_field_index("split"), batch.schema.field("split"), splits)


def test_push_hands_over_its_options_and_prints_the_address(run, tiny, monkeypatch):
    given = {}

    def push_dataset(folder, repository, *, say, progress, **options):
        given.update(folder=folder, repository=repository, **options)
        say("nothing is there yet")
        return "https://huggingface.co/datasets/org/name/commit/1"

    monkeypatch.setattr(push, "push_dataset", push_dataset)
    outcome = run("data", "push", tiny, "org/name", "--private", "--revision", "v1", "--benchmark")
    assert (outcome.code, outcome.out) == (0, "https://huggingface.co/datasets/org/name/commit/1\n")
    assert "nothing is there yet" in outcome.err
    assert given == {
        "folder": tiny,
        "repository": "org/name",
        "private": True,
        "create_pr": False,
        "revision": "v1",
        "benchmark": True,
    }


def test_push_fails_in_one_line(run, tiny, tmp_path, monkeypatch):
    outcome = run("data", "push", tmp_path, "org/name")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1

    def refuse(*_, **__):
        raise DataError("org/name holds something else", todo="push elsewhere")

    monkeypatch.setattr(push, "push_dataset", refuse)
    outcome = run("data", "push", tiny, "org/name")
    assert (outcome.code, outcome.err) == (2, "astroclip-bench: org/name holds something else; push elsewhere\n")


@pytest.mark.parametrize("command", ["push", "info", "check", "build", "download"])
def test_every_command_has_examples(run, command):
    outcome = run("data", command, "--help")
    assert outcome.code == 0
    assert f"astroclip-bench data {command}" in outcome.out
