"""Nothing that a file may be makes ``scan_file`` raise; what is wrong with it is said."""

import os
import shutil
import socket
import subprocess
import sys

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_file import write_tiny
from xfelcat.catalog.hdf5.library import diagnose
from xfelcat.catalog.model.records import Depth, FileRecord
from xfelcat.catalog.scan.scan import scan_file

NAME = "RAW-R0007-DA01-S00000.h5"


@pytest.fixture
def path(tmp_path):
    return tmp_path / NAME


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a good file, in the old and in the newest layout HDF5 can write.

    Without strings of variable length: HDF5 may hang or crash, beyond any help, where the heap
    that they lie in is damaged. Ingest scans in workers that it can stop.
    """
    directory = tmp_path_factory.mktemp("whole")
    write_tiny(directory / NAME, version="1.3", padding=2, fixed_strings=True).close()
    with (
        h5py.File(directory / NAME) as old,
        h5py.File(directory / "new.h5", "w", libver="latest") as f,
    ):
        for name in old:
            old.copy(name, f)
    return [(directory / n).read_bytes() for n in (NAME, "new.h5")]


def the_problem(record):
    assert record.depth == Depth.UNREAD
    assert not record.usable
    (problem,) = record.problems
    return problem.check, problem.severity, problem.message


def test_empty(path):
    path.touch()
    assert the_problem(scan_file(path)) == ("F01", "E", "empty file")


def test_text(path):
    path.write_text("not what it says\n" * 100)
    assert the_problem(scan_file(path)) == ("F02", "E", "not an HDF5 file")


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.9999])
def test_truncated(path, whole, layout, share):
    size = len(whole[layout])
    cut = int(size * share)
    path.write_bytes(whole[layout][:cut])
    message = f"truncated: {cut} of {size} bytes"
    assert the_problem(scan_file(path)) == ("F01", "E", message)


def test_truncated_in_the_superblock(path, whole):
    path.write_bytes(whole[0][:20])
    assert the_problem(scan_file(path))[:2] == ("F01", "E")


def test_user_block(path):
    with h5py.File(path, "w", userblock_size=1024) as f:
        f["x"] = 1
    size = path.stat().st_size
    assert diagnose(str(path)) == ""
    os.truncate(path, size - 100)
    assert diagnose(str(path)).startswith("truncated")


def test_left_open_by_its_writer(path):
    code = (
        "import h5py, os, sys\n"
        "f = h5py.File(sys.argv[1], 'w', libver='latest')\n"
        "f['x'] = 1\nf.flush()\nos._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert the_problem(scan_file(path)) == ("F02", "E", "left open by its writer")


def test_open_in_another_process_for_writing(path):
    write_tiny(path).close()
    code = (
        "import h5py, sys\nf = h5py.File(sys.argv[1], 'r+')\n"
        "print('open', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"open\n"
        record = scan_file(path)
        writer.stdin.close()
    assert the_problem(record)[:2] == ("F06", "W")
    assert record.retry


def test_dangling_link(path):
    path.symlink_to("nowhere.h5")
    record = scan_file(path)
    assert the_problem(record) == ("F02", "E", "link to nowhere.h5, which does not exist")
    assert (record.size, record.mtime_ns, record.aggregator) == (-1, -1, "DA01")


def test_not_there(path):
    record = scan_file(path)
    assert the_problem(record)[:2] == ("F06", "W")
    assert record.retry


def test_directory_fifo_socket_and_device(tmp_path):
    for name in ("d.h5", "f.h5", "s.h5", "n.h5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "d.h5").mkdir()
    os.mkfifo(tmp_path / "f.h5")
    (tmp_path / "n.h5").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "s.h5"))
    said = {p.name: the_problem(scan_file(p)) for p in tmp_path.iterdir()}
    assert said == {
        "d.h5": ("F02", "E", "a directory, not a file"),
        "f.h5": ("F02", "E", "a FIFO, not a file"),
        "s.h5": ("F02", "E", "a socket, not a file"),
        "n.h5": ("F02", "E", "a device, not a file"),
    }


def test_mode_000(public_path):
    path = public_path / NAME
    write_tiny(path).close()
    path.chmod(0)
    if os.geteuid():
        record = scan_file(path)
        assert the_problem(record)[:2] == ("F06", "W")
        assert record.retry
        return
    # Root may read everything: become nobody, once all is imported.
    code = (
        "import os, sys\n"
        "from xfelcat.catalog.scan.scan import scan_file\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "r = scan_file(sys.argv[1])\n"
        "print(int(r.depth), r.retry, r.size, r.problems[0].check, r.problems[0].message)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    size = path.stat().st_size
    assert said == f"0 True {size} F06 cannot be read: Permission denied\n"


def test_changed_while_it_was_read(path, monkeypatch):
    from xfelcat.catalog.scan import scan

    write_tiny(path).close()
    original = scan.read_outline

    def slow(fid, known=None):
        os.utime(path, ns=(1, 1))
        return original(fid, known)

    monkeypatch.setattr(scan, "read_outline", slow)
    record = scan_file(path)
    assert record.retry
    assert [(p.check, p.message) for p in record.problems] == [("F06", "changed while it was read")]


@pytest.mark.parametrize("missing", ["METADATA", "INDEX", "INDEX/trainId"])
def test_without_an_essential_group(path, missing):
    with write_tiny(path) as f:
        del f[missing]
    record = scan_file(path)
    assert record.depth == Depth.UNREAD
    expected = [("F04", "I"), ("F03", "E")] if missing == "METADATA" else [("F03", "E")]
    assert [(p.check, p.severity) for p in record.problems] == expected


def test_train_ids_of_another_kind(path):
    with write_tiny(path) as f:
        del f["INDEX/trainId"]
        f["INDEX/trainId"] = "text"
    assert the_problem(scan_file(path))[0] == "F03"


def test_the_file_may_be_open_otherwise(path):
    write_tiny(path).close()
    for locking in (None, True, False, "best-effort"):
        with h5py.File(path, locking=locking) as f:
            assert scan_file(path).depth == Depth.FULL
            assert f["INDEX/trainId"][0] == 1000
    settings = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    settings.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    with h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, settings)) as f:
        assert scan_file(path).depth == Depth.FULL
        assert f["INDEX/trainId"][0] == 1000
    with h5py.File(path, "r+") as f:  # nothing of ours holds it open
        f["x"] = 1


def scan_bytes(path, content):
    path.write_bytes(content)
    record = scan_file(path)
    assert isinstance(record, FileRecord)
    assert record.size == len(content)
    return record


repeatable = settings(max_examples=200, derandomize=True)


@repeatable
@given(data=st.data())
def test_any_bytes_flipped(path, whole, data):
    content = bytearray(data.draw(st.sampled_from(whole)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    scan_bytes(path, bytes(content))


@repeatable
@given(data=st.data())
def test_any_part_overwritten_or_cut(path, whole, data):
    content = bytearray(data.draw(st.sampled_from(whole)))
    at = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, 2000))
    filling = data.draw(st.sampled_from([b"\0", b"\1", b"\xff", b""]))
    content[at : at + length] = filling * len(content[at : at + length])
    scan_bytes(path, bytes(content))


def test_unicode_names_that_are_none(path):
    with write_tiny(path) as f:
        h5py.h5g.create(f["CONTROL/A/XGM/1"].id, b"bad\xff")
        h5py.h5g.create(f.id, b"odd\xfe")
    record = scan_file(path)
    assert record.depth == Depth.FULL
    assert [p.check for p in record.problems] == ["F08"]


def test_copy_has_the_facts_of_its_bytes(path, tmp_path):
    write_tiny(path).close()
    shutil.copyfile(path, tmp_path / "any name.h5")
    record = scan_file(tmp_path / "any name.h5")
    assert (record.aggregator, record.sequence, record.problems) == ("", -1, ())
