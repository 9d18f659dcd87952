"""Each file of a run is judged by name, size and mtime, and nothing else."""

import pytest
from xfelcat.catalog.model.facts import FileStat, KnownFile, compare_files
from xfelcat.catalog.model.records import Depth

pytestmark = pytest.mark.fast

DISK = {"same": FileStat(5, 50), "new": FileStat(1, 1), "grown": FileStat(9, 90)}
KNOWN = {
    "same": KnownFile(5, 50, Depth.FULL),
    "grown": KnownFile(8, 90, Depth.FULL),
    "gone": KnownFile(3, 30, Depth.FULL),
    "long gone": KnownFile(3, 30, Depth.FULL, missing=True),
}


def test_every_kind():
    result = compare_files(DISK, KNOWN)
    assert result.unchanged == ["same"]
    assert result.new == ["new"]
    assert result.changed == ["grown"]
    assert result.vanished == ["gone"]
    assert result.to_scan == ["grown", "new"]
    assert not result.is_fresh


def test_mtime_alone_is_a_change():
    known = {"same": KnownFile(5, 51, Depth.FULL)}
    assert compare_files({"same": FileStat(5, 50)}, known).changed == ["same"]


def test_a_file_that_comes_back_needs_no_scan():
    known = {"same": KnownFile(5, 50, Depth.FULL, missing=True)}
    result = compare_files({"same": FileStat(5, 50)}, known)
    assert (result.returned, result.to_scan, result.is_fresh) == (["same"], [], False)


def test_a_subset_says_nothing_about_other_files():
    result = compare_files({"same": FileStat(5, 50)}, KNOWN, considered=["same"])
    assert result.is_fresh


@pytest.mark.parametrize(
    ("known", "options", "scanned"),
    [
        (KnownFile(5, 50, Depth.OUTLINE), {}, True),
        (KnownFile(5, 50, Depth.OUTLINE), {"depth": Depth.NAMES}, False),
        (KnownFile(5, 50, Depth.UNREAD), {}, False),
        (KnownFile(5, 50, Depth.UNREAD, retry=True), {}, True),
        (KnownFile(5, 50, Depth.UNREAD, retry=True), {"retry": False}, False),
        (KnownFile(5, 50, Depth.FULL), {"verify": True}, True),
        (KnownFile(5, 50, Depth.FULL, verified=True), {"verify": True}, False),
        (KnownFile(5, 50, Depth.UNREAD), {"verify": True}, False),
        (KnownFile(5, 50, Depth.FULL, verified=True), {"force": True}, True),
    ],
)
def test_when_an_unchanged_file_is_scanned_all_the_same(known, options, scanned):
    result = compare_files({"same": FileStat(5, 50)}, {"same": known}, **options)
    assert result.to_scan == (["same"] if scanned else [])
