"""The document, "Data structure" and "Using aliases": each sentence, for whatever is opened."""

import numpy as np
import pandas as pd
import pytest
from support.documented_data import FAST, MODULE, NEW, OLD, XGM
from support.same_results import assert_same
from xfelcat import KeyData, MultiRunError, SourceData, SourceNameError

pytestmark = pytest.mark.filterwarnings("ignore:.*legacy name:DeprecationWarning")
METADATA = {
    "creationDate",
    "daqLibrary",
    "dataFormatVersion",
    "karaboFramework",
    "proposalNumber",
    "runNumber",
    "sequenceNumber",
    "updateDate",
}
ALIASES = {"beam": XGM, "energy": (FAST, "data.intensityTD"), "gone": "NO/SUCH/DEVICE"}


def test_a_run_contains_sources_each_of_which_has_keys(view):
    for source in view.theirs.all_sources:
        assert view.run.keys_for_source(source) == view.theirs.keys_for_source(source)
    assert {"beamPosition.ixPos.value", "beamPosition.iyPos.value"} <= view.run[XGM].keys()


def test_train_ids_is_a_list(view):
    assert type(view.run.train_ids) is list
    assert view.run.train_ids == [int(t) for t in view.theirs.train_ids]


def test_control_instrument_and_all_sources_are_sets(view):
    assert view.run.control_sources == view.theirs.control_sources
    assert view.run.instrument_sources == view.theirs.instrument_sources
    assert view.run.all_sources == view.run.control_sources | view.run.instrument_sources


def test_control_data_is_recorded_exactly_once_per_train(view):
    for source in sorted(view.run.control_sources)[:4]:
        assert set(view.run[source].data_counts().unique()) <= {0, 1}  # 0: not in this file or run
    assert (view.run[XGM].data_counts() == 1).all()


def test_instrument_data_is_recorded_zero_to_many_times(view):
    counts = {int(c) for s in view.run.instrument_sources for c in set(view.run[s].data_counts())}
    assert {0, 1} <= counts
    assert view.kind == "file" or max(counts) > 1


def test_keys_for_source_gives_only_selected_keys(view):
    selected = view.run.select(XGM, "beamPosition.*")
    found = selected.keys_for_source(XGM)
    assert found == view.theirs.select(XGM, "beamPosition.*").keys_for_source(XGM)
    assert found < view.run.keys_for_source(XGM)
    with pytest.raises(SourceNameError):
        view.run.keys_for_source("no/such/source")


def test_get_data_counts_is_a_series_with_an_index_of_train_ids(view):
    counts = view.run.get_data_counts(FAST, "data.intensityTD")
    assert isinstance(counts, pd.Series)
    assert counts.index.tolist() == view.run.train_ids
    assert_same(counts, view.theirs.get_data_counts(FAST, "data.intensityTD"))


def test_timestamps_are_utc_and_labelled_on_request(view):
    plain, labelled = view.run.train_timestamps(), view.run.train_timestamps(labelled=True)
    assert isinstance(plain, np.ndarray)
    assert len(plain) == len(view.run.train_ids)
    assert labelled.index.tolist() == view.run.train_ids
    assert str(labelled.dtype.tz) == "UTC"
    assert_same(plain, view.theirs.train_timestamps())
    assert_same(labelled, view.theirs.train_timestamps(labelled=True))


def test_timestamps_of_older_files_are_not_a_time(view):
    assert np.isnat(view.run.train_timestamps()).all() == (view.proposal == OLD)


def test_run_metadata(view):
    if view.kind == "union":
        with pytest.raises(MultiRunError):
            view.run.run_metadata()
        return
    found = view.run.run_metadata()
    if view.proposal == OLD:
        assert found == view.raw.run_metadata()
        return
    assert found.keys() >= METADATA
    assert (found["proposalNumber"], found["runNumber"]) == (NEW, 1)
    assert found["dataFormatVersion"] == "1.3"


def test_info_shows_the_selected_data(view, capsys):
    view.run.info()
    assert f"{len(view.run.train_ids)}" in capsys.readouterr().out
    view.run.select(XGM).info(details_for_sources="*XGM*")
    told = capsys.readouterr().out
    assert "beamPosition.ixPos" in told
    assert "TIMESERVER" not in told


def test_info_has_the_options_of_extra_data(view, capsys):
    view.run.info(counts=True, with_aggregators=True, with_auxiliary=True, group_sources=False)
    told = capsys.readouterr().out
    assert f"[DA01] {XGM}\n" in told
    assert "reduction sources" in told


def test_with_aliases_gives_a_new_collection(view):
    named = view.run.with_aliases(ALIASES)
    assert isinstance(named.alias["beam"], SourceData)
    assert named.alias["beam"].source == XGM
    assert isinstance(named.alias["energy"], KeyData)
    assert named.alias["energy"].key == "data.intensityTD"
    assert len(view.run.alias) == 0
    assert len(named.drop_aliases().alias) == 0


def test_several_definitions_and_formats(view, tmp_path):
    (tmp_path / "a.yml").write_text(
        f"sa1-xgm: {XGM}\nsa1-intensity: [{FAST}, data.intensityTD]\n{XGM}:\n"
        "  x-position: beamPosition.ixPos\n"
    )
    (tmp_path / "a.json").write_text(f'{{"json-xgm": "{XGM}"}}')
    (tmp_path / "a.toml").write_text(f'["{XGM}"]\ntoml-position = "beamPosition.iyPos"\n')
    named = view.run.with_aliases(
        {"beam": XGM}, tmp_path / "a.yml", str(tmp_path / "a.json"), tmp_path / "a.toml"
    )
    assert named.alias["sa1-xgm"].source == named.alias["json-xgm"].source == XGM
    assert named.alias["x-position"].key == "beamPosition.ixPos.value"
    assert named.alias["toml-position"].key == "beamPosition.iyPos.value"
    assert named.alias["sa1-intensity"].source == FAST
    (tmp_path / "a.ini").write_text("[a]")
    with pytest.raises(ImportError, match=r"a\.ini"):
        view.run.with_aliases(tmp_path / "a.ini")


def test_only_aliases_ignores_what_is_not_there_unless_strict(view):
    only = view.run.only_aliases(ALIASES)
    assert only.all_sources == {XGM, FAST}
    assert only.keys_for_source(FAST) == {"data.intensityTD"}
    assert only.train_ids == view.run.train_ids  # by default, all trains remain selected
    with pytest.raises(KeyError, match="NO/SUCH/DEVICE"):
        view.run.only_aliases(ALIASES, strict=True)


def test_only_aliases_restricts_trains_with_require_all(view):
    slow = "SPB_XTD9_XGM/XGM/DOOCS:output"  # its data come for three of four trains
    found = view.run.only_aliases({"a": XGM, "b": slow}, require_all=True)
    expected = view.theirs.only_aliases({"a": XGM, "b": slow}, require_all=True)
    assert found.train_ids == expected.train_ids
    assert 0 < len(found.train_ids) < len(view.run.train_ids)


def test_the_overview_marks_invalid_aliases(view):
    module = {MODULE: {"m-data": "image.data", "m-cells": "image.cellId"}}
    text = repr(view.run.with_aliases(ALIASES, module).alias)
    lines = text.splitlines()
    assert lines[0] == "Loaded aliases:"
    assert "✗ gone: NO/SUCH/DEVICE" in lines
    assert f"  beam: {XGM}" in lines
    assert (f"✗ {MODULE}:" in lines) == (MODULE not in view.run.all_sources)


def test_alias_select_and_deselect(view):
    ours, theirs = view.run.with_aliases(ALIASES), view.theirs.with_aliases(ALIASES)
    for call in (
        lambda c: c.alias.select("beam", "beam*"),
        lambda c: c.alias.select([("beam", "beam*"), "energy"]),
        lambda c: c.alias.select(["beam", "energy"], require_all=True),
        lambda c: c.alias.select(["beam", "energy"], require_any=True),
        lambda c: c.alias.select({"beam": {"beamPosition.ixPos"}}),
        lambda c: c.alias.select({"beam": set()}),
        lambda c: c.alias.deselect("beam"),
        lambda c: c.alias.deselect([("beam", "beam*"), "energy"]),
        lambda c: c.alias.deselect({"beam": set()}),
    ):
        a, b = call(ours), call(theirs)
        assert a.all_sources == b.all_sources
        assert {s: a.keys_for_source(s) for s in a.all_sources} == {
            s: b.keys_for_source(s) for s in b.all_sources
        }
        assert a.train_ids == b.train_ids


def test_aliases_of_collections_are_combined_by_union_unless_they_conflict(view):
    first, second = view.run[:3], view.run[3:6]
    joined = first.with_aliases({"a": XGM}).union(second.with_aliases({"b": FAST}))
    assert joined.alias["a"].source == XGM
    assert joined.alias["b"].source == FAST
    with pytest.raises(ValueError, match="two targets"):
        first.with_aliases({"a": XGM}).union(second.with_aliases({"a": FAST}))
