"""``doctor`` names what is in force and wrong; ``waive`` writes the file that audits read."""

import os

import pytest
from xfelcat.catalog.audit.waivers import read_waivers

pytestmark = pytest.mark.fast


def facts(done):
    """By name, text and advice of what was looked at; and the names of what is wrong."""
    found, wrong, name = {}, [], ""
    for line in done.stdout.splitlines():
        if "→" in line:
            found[name] += line
            continue
        name = line[2:15].strip()
        found[name] = line[15:]
        wrong += [name] * line.startswith("!")
    return found, wrong


def test_all_is_well(xfelcat, demo, monkeypatch):
    monkeypatch.setenv("XFELCAT_CATALOG", str(demo.location))
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(demo.root))
    done = xfelcat("doctor")
    found, wrong = facts(done)
    assert (done.exit_code, wrong) == (0, [])
    assert found["catalog"] == f"{demo.location} (XFELCAT_CATALOG)"
    assert found["data root"] == f"{demo.root} (XFELCAT_DATA_ROOT)"
    assert found["runs"].startswith("29, oldest ingest 20")
    assert "you may write to it" in found["rights"]
    assert "dask" in found["extras"]


def test_what_is_wrong_is_named_with_what_to_do(xfelcat, tmp_path, no_settings, monkeypatch):
    done = xfelcat("doctor")
    found, wrong = facts(done)
    assert (done.exit_code, wrong) == (1, ["catalog"])
    assert "xfelcat ingest PATH --catalog" in found["catalog"]
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(tmp_path / "gone"))
    no_settings.config.joinpath("xfelcat").mkdir(parents=True)
    file = no_settings.config / "xfelcat" / "config.toml"
    file.write_text(f'catalog = "{tmp_path}/none"\nthreads = 2\n')
    found, wrong = facts(xfelcat("doctor"))
    assert wrong == ["catalog", "data root"]
    assert f"{tmp_path}/none ({file})" in found["catalog"]
    assert found["threads"] == f"2 ({file})"
    file.write_text("cathalog = 1\n")
    found, wrong = facts(xfelcat("doctor"))
    assert wrong == ["config file"]
    assert "did you mean 'catalog'" in found["config file"]


def test_a_catalog_behind_its_shards_and_without_rights(xfelcat, demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    xfelcat("ingest", demo.root / "SPB", "--force", "-j", "0", "-c", store.location)
    (store.location / "merged").rename(tmp_path / "away")
    found, _ = facts(xfelcat("doctor", "-c", store.location))
    assert found["catalog"] == f"{store.location} (--catalog)"
    if os.geteuid():  # root may write everywhere
        store.location.chmod(0o555)
        found, _ = facts(xfelcat("doctor", "-c", store.location))
        store.location.chmod(0o755)
        assert "not write to it" in found["rights"]


def test_waive(xfelcat, demo, tmp_path):
    own = demo.copy_catalog(tmp_path / "catalog")
    words = ("-c", own.location)
    file = own.location / "waivers.yml"
    file.write_text("# reviewed by us\n- {check: F08, reason: known, expires: 2199-01-01}")
    day = ("--until", "2199-12-31")
    done = xfelcat("waive", "F05", "-p", "900021", *day, "--reason", "copied: on purpose", *words)
    assert done.exit_code == 0
    assert done.stdout == f"{file}: F05 p900021: copied: on purpose (until 2199-12-31)\n"
    assert "1 open finding in the catalog waived by it" in done.stderr
    xfelcat("waive", "r", "-r", "1-9", "--source", "*/A*", *day, "--reason", "x", *words)
    assert file.read_text().startswith("# reviewed by us\n- {check: F08")
    first, second, third = read_waivers(file)
    assert (second.proposals, second.reason) == ((900021,), "copied: on purpose")
    assert (third.runs, third.source, len(third.checks)) == (((1, 9),), "*/A*", 9)
    told = xfelcat("audit", "--check", "F05", "--no-save", *words)
    assert (told.exit_code, "1 waived" in told.stderr) == (0, True)
    before = file.read_text()
    for wrong, said in (
        (("F99", *day), "no check 'F99'"),
        (("F05", "--until", "2000-01-01"), "is over"),
        (("F05", "--until", "soon"), "is no day"),
        (("F05", "-p", "x", *day), "no proposal"),
    ):
        done = xfelcat("waive", *wrong, "--reason", "x", *words)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    file.write_text("[{check: F08, reason: known, expires: 2199-01-01}]\n")
    assert "add it by hand" in xfelcat("waive", "F05", *day, "--reason", "x", *words).stderr
    file.write_text(before)
    assert first.checks == ("F08",)
