"""Facts from records of any depth are the same; those of a full scan need no file."""

import pickle
import subprocess
import sys

import h5py
import pytest
from support.tiny_file import CAMERA, SOURCES, XGM, write_tiny
from xfelcat.catalog.model.errors import FileStructureError, SourceNameError
from xfelcat.catalog.model.facts import DataFile, Fetcher, RunFacts
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.opening.scanned import scanned_facts
from xfelcat.catalog.scan.datamap import read_data_maps
from xfelcat.catalog.scan.scan import scan_file

OLD = "A/OLD/1:xtdf"


@pytest.fixture
def run(tmp_path):
    """Two sequences of DA01, one file of DA02, and one that is no data file."""
    for name, first, rows in (
        ("RAW-R0007-DA01-S00001.h5", 1010, SOURCES),
        ("RAW-R0007-DA01-S00000.h5", 1000, SOURCES),
        ("RAW-R0007-DA02-S00000.h5", 1020, (SOURCES[1], f"INSTRUMENT/{OLD}/data")),
    ):
        sequence = int(name[-4])
        with write_tiny(
            tmp_path / name, train_ids=list(range(first, first + 10)), rows=rows, sequence=sequence
        ) as f:
            if len(rows) == 2 and OLD in rows[1]:
                f[f"INSTRUMENT/{OLD}"] = h5py.SoftLink(f"/INSTRUMENT/{CAMERA}")
            f[f"RUN/{XGM}/power/value"][:] = 100 + sequence
    (tmp_path / "RAW-R0007-DA03-S00000.h5").write_text("text")
    return tmp_path


def facts_of(run, depth):
    if depth is Depth.NAMES:
        import json

        from extra_data import RunDirectory

        RunDirectory(run)
        assert json.loads((run / "karabo_data_map.json").read_text())
        stats = {p.name: FileStats(p) for p in run.glob("*.h5")}
        records, problems = read_data_maps(str(run), stats)
        assert problems == ()
        return scanned_facts(str(run), list(records.values()))
    return scanned_facts(str(run), [scan_file(p, depth=depth) for p in run.glob("*.h5")])


class FileStats:
    def __init__(self, path):
        self.size, self.mtime_ns = path.stat().st_size, path.stat().st_mtime_ns


@pytest.fixture(params=[Depth.NAMES, Depth.OUTLINE, Depth.FULL], ids=lambda d: d.name)
def facts(run, request):
    return facts_of(run, request.param)


def typed(facts: RunFacts) -> tuple[Fetcher, Fetcher]:
    return facts.fetcher, facts.probe  # mypy holds the Protocol


def test_files_and_problems(run, facts):
    assert facts.directory == str(run)
    names = [f"RAW-R0007-DA0{a}-S0000{s}.h5" for a, s in ((1, 0), (1, 1), (2, 0))]
    stats = [(run / n).stat() for n in names]
    assert facts.files == tuple(
        DataFile(str(run / n), s.st_size, s.st_mtime_ns, n[10:14], int(n[-4]))
        for n, s in zip(names, stats, strict=True)
    )
    if facts.problems:
        (problem,) = facts.problems
        assert problem.path == str(run / "RAW-R0007-DA03-S00000.h5")
        assert problem.check == "F02"
    assert facts.run_key == scanned_facts(str(run / ".." / run.name), []).run_key


def test_facts_at_every_depth(facts):
    assert facts.trains(0).ids.tolist() == list(range(1000, 1010))
    assert facts.trains(1).ids.tolist() == list(range(1010, 1020))
    assert facts.trains(2).ids.tolist() == list(range(1020, 1030))
    assert facts.layout(0) is facts.layout(1)
    assert [(s.section, s.name) for s in facts.layout(0).sources] == [
        ("CONTROL", XGM), ("INSTRUMENT", CAMERA),
    ]  # fmt: skip
    assert [s.legacy_of for s in facts.layout(2).sources] == ["", CAMERA]
    assert facts.full_layout(0).sources[1].groups == ("data",)
    schema = facts.schema(0, "INSTRUMENT", CAMERA)
    assert [k.name for k in schema.keys] == ["data.img", "data.sum.x"]
    assert facts.schema(1, "INSTRUMENT", CAMERA) is schema
    assert facts.schema(2, "INSTRUMENT", OLD) is facts.schema(2, "INSTRUMENT", CAMERA)
    (pattern,) = facts.patterns([0], "INSTRUMENT", CAMERA, "data")
    assert pattern.count.tolist() == [2] * 10
    alike = facts.patterns([1, 0, 1], "INSTRUMENT", CAMERA, "data")
    assert [found is pattern for found in alike] == [True] * 3
    assert facts.patterns([2], "INSTRUMENT", OLD, "data")[0] is pattern
    assert facts.timestamps(0).tolist() == [10**18 + i * 10**8 for i in range(10)]
    assert facts.metadata(1)["sequenceNumber"] == 1
    assert facts.run_values(XGM)["power.value"] == 100
    assert facts.run_values("no/such/source") == {}
    with pytest.raises(SourceNameError, match="did you mean 'A/XGM/1'"):
        facts.schema(0, "CONTROL", "A/XGM/2")


def test_pickled_facts_say_the_same(facts):
    copy = pickle.loads(pickle.dumps(facts))
    assert copy.files == facts.files
    assert copy.problems == facts.problems
    assert copy.run_key == facts.run_key
    assert copy.layout(0) is copy.layout(1)
    copied, original = (f.patterns([0, 1], "CONTROL", XGM, "") for f in (copy, facts))
    assert [p.token for p in copied] == [p.token for p in original]


def test_full_depth_needs_no_file(run):
    facts = facts_of(run, Depth.FULL)
    for path in run.glob("*.h5"):
        path.unlink()
    test_facts_at_every_depth(facts)


def test_files_are_opened_only_when_asked_beyond_the_outline(run):
    facts = facts_of(run, Depth.OUTLINE)
    (run / "RAW-R0007-DA01-S00001.h5").unlink()
    assert facts.schema(0, "CONTROL", XGM).by_name.keys() > {"power.value"}
    assert facts.metadata(1)["runNumber"] == 7
    with pytest.raises(FileStructureError, match="DA01-S00001"):
        facts.schema(1, "CONTROL", XGM)


def test_rows_of_a_mapped_file_with_zeros_inside_its_trains(tmp_path):
    path = tmp_path / "RAW-R0007-DA01-S00000.h5"
    with write_tiny(path, train_ids=[1000, 0, 1002, 1003]) as f:
        f[f"INDEX/{CAMERA}/data/count"][:] = [1, 9, 2, 3]
    facts = facts_of_map(tmp_path)
    assert facts.trains(0).ids.tolist() == [1000, 1002, 1003]
    (pattern,) = facts.patterns([0], "INSTRUMENT", CAMERA, "data")
    assert pattern.count.tolist() == [1, 2, 3]


def facts_of_map(run):
    from extra_data import RunDirectory

    RunDirectory(run)
    records, _ = read_data_maps(str(run), {p.name: FileStats(p) for p in run.glob("*.h5")})
    return scanned_facts(str(run), list(records.values()))


def test_importing_it_imports_no_h5py():
    names = ("opening.scanned", "scan.datamap", "scan.locality", "scan.scan")
    code = "import sys, " + ", ".join(f"xfelcat.catalog.{n}" for n in names)
    code += "\nprint(sorted({'h5py', 'pandas'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout == "[]\n"
