"""Files are sorted by where they lie as a directory that answers like dCache says."""

import pytest
from extra_data import locality as oracle
from xfelcat.catalog.scan import locality
from xfelcat.catalog.scan.locality import (
    file_localities,
    is_available,
    is_on_disk,
    lc_any,
    lc_avail,
    lc_ondisk,
    survey_locality,
)

pytestmark = pytest.mark.fast

ANSWERS = {
    "a.h5": "ONLINE",
    "b.h5": "NEARLINE",
    "c.h5": "ONLINE_AND_NEARLINE",
    "d.h5": "UNAVAILABLE",
    "e.h5": "ODD",
}


@pytest.fixture
def dcache(tmp_path):
    directory = tmp_path / "dcache"
    directory.mkdir()
    for name, answer in ANSWERS.items():
        (directory / name).write_text("data")
        (directory / f".(get)({name})(locality)").write_text(f"{answer}\n")
    return directory


@pytest.fixture
def asked(monkeypatch):
    """The files that dCache was asked about."""
    paths = []
    original = locality._ask

    def counting(path):
        paths.append(path)
        return original(path)

    monkeypatch.setattr(locality, "_ask", counting)
    return paths


def test_answers(dcache):
    paths = [str(dcache / name) for name in ANSWERS]
    assert file_localities(paths) == dict(zip(paths, ANSWERS.values(), strict=True))
    assert file_localities([dcache / "b.h5"]) == {str(dcache / "b.h5"): "NEARLINE"}


def test_filters_are_the_oracles(dcache):
    paths = [str(dcache / name) for name in ANSWERS]
    assert lc_any(paths) == oracle.lc_any(paths) == paths
    assert lc_ondisk(paths) == sorted(oracle.lc_ondisk(paths)) == [paths[0], paths[2]]
    assert lc_avail(paths) == sorted(oracle.lc_avail(paths)) == paths[:3]


def test_an_ordinary_directory_is_asked_once(tmp_path, dcache, asked):
    ordinary = [str(tmp_path / f"{n}.h5") for n in range(50)]
    for path in ordinary:
        open(path, "w").close()
    paths = [*ordinary, str(dcache / "b.h5"), str(dcache / "a.h5")]
    found = file_localities(paths)
    assert {found[p] for p in ordinary} == {""}
    assert (found[paths[-2]], found[paths[-1]]) == ("NEARLINE", "ONLINE")
    assert len(asked) == 3
    assert lc_ondisk(ordinary) == lc_avail(ordinary) == ordinary


def test_a_file_that_vanished_says_nothing_about_the_others(dcache):
    paths = [str(dcache / name) for name in ("0-gone.h5", "b.h5")]
    assert file_localities(paths) == {paths[0]: "", paths[1]: "NEARLINE"}


def test_links_are_asked_about_where_they_lead(tmp_path, dcache):
    run = tmp_path / "run"
    run.mkdir()
    (run / "0.h5").write_text("an ordinary file")
    for name in ("b.h5", "d.h5"):
        (run / name).symlink_to(dcache / name)
    (tmp_path / "linked").symlink_to(dcache)
    assert file_localities([str(run / "0.h5"), str(run / "b.h5"), str(run / "d.h5")]) == {
        str(run / "0.h5"): "",
        str(run / "b.h5"): "NEARLINE",
        str(run / "d.h5"): "UNAVAILABLE",
    }
    assert lc_ondisk([str(tmp_path / "linked" / "b.h5")]) == []


def test_survey(dcache):
    found = survey_locality(dcache)
    assert [[p.rpartition("/")[2] for p in paths] for paths in (
        found.on_disk, found.on_tape, found.unavailable,
    )] == [["a.h5", "c.h5"], ["b.h5"], ["d.h5"]]  # fmt: skip
    assert found.unknown == {str(dcache / "e.h5"): "ODD"}
    assert survey_locality(str(dcache / "d.h5")).unavailable == (str(dcache / "d.h5"),)
    with pytest.raises(FileNotFoundError):
        survey_locality(dcache / "nowhere")


@pytest.mark.parametrize(
    ("answer", "on_disk", "available"),
    [
        ("", True, True),
        ("ONLINE", True, True),
        ("ONLINE_AND_NEARLINE", True, True),
        ("NEARLINE", False, True),
        ("UNAVAILABLE", False, False),
        ("ODD", False, False),
    ],
)
def test_what_an_answer_means(answer, on_disk, available):
    assert (is_on_disk(answer), is_available(answer)) == (on_disk, available)


def test_nothing_to_ask():
    assert file_localities([]) == {}
    assert lc_ondisk([]) == []
