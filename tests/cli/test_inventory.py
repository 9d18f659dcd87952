"""``xfelcat inventory`` writes what the questions answer, in every format."""

import json

import pytest
from xfelcat import Catalog
from xfelcat.catalog.questions.inventory import QUESTIONS
from xfelcat.cli.inventory import Inventory


def test_every_question_can_be_asked(xfelcat, demo):
    assert list(Inventory) == list(QUESTIONS)
    for question in Inventory:
        result = xfelcat("inventory", question, "--catalog", demo.location, "--format", "json")
        assert result.exit_code == 0
        rows = json.loads(result.stdout)
        assert len(rows) == len(Catalog(demo.location).inventory(question.value))


def test_tables_have_sizes_for_people_and_files_have_bytes(xfelcat, demo, tmp_path):
    words = ("inventory", "volume", "--by", "cycle", "--catalog", demo.location)
    table = xfelcat(*words).stdout.splitlines()
    assert table[0].split() == ["cycle", "runs", "files", "size"]
    assert table[2].split()[-1] in ("MB", "kB")
    xfelcat(*words, "--output", tmp_path / "volume.csv")
    lines = (tmp_path / "volume.csv").read_text().splitlines()
    assert lines[0] == "cycle,runs,files,bytes"
    sizes = [int(line.split(",")[-1]) for line in lines[1:]]
    assert sizes == Catalog(demo.location).inventory(by="cycle")["bytes"].tolist()


@pytest.mark.parametrize(
    "words", [("volumes",), ("volume", "--by", "x"), ("largest", "--per", "day")]
)
def test_wrong_usage(xfelcat, demo, words):
    result = xfelcat("inventory", *words, "--catalog", demo.location)
    assert result.exit_code == 2
    assert result.stdout == ""
