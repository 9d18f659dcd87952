"""Every mock file that EXtra-data can write is scanned as EXtra-data reads it."""

import extra_data
import h5py
import numpy as np
import pytest
from support.mock_runs import MOCK_PARAMETERS
from xfelcat.catalog.model.records import Depth, decode_dtype
from xfelcat.catalog.scan.scan import scan_file


def files_of(path):
    """The files of a mock worth scanning: of the 16 modules of a detector, the first and last."""
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.h5"))
    return [p for p in files if p.name.split("-")[2][-2:] not in {f"{n:02}" for n in range(2, 15)}]


@pytest.mark.parametrize("name", MOCK_PARAMETERS)
def test_scan_as_the_oracle_reads(build_mock, name):
    for path in files_of(build_mock(name)):
        with extra_data.H5File(path) as oracle:
            record = scan_file(path)
            assert record.depth == Depth.FULL
            assert record.verified
            assert not [p for p in record.problems if p.severity == "E" and p.check != "F05"]
            same_outline(record, oracle, path)
            same_sources(record, oracle, path)
            same_run_values(record, oracle)


def same_outline(record, oracle, path):
    stat = path.stat()
    assert (record.name, record.size, record.mtime_ns) == (
        path.name, stat.st_size, stat.st_mtime_ns,
    )  # fmt: skip
    assert sorted(record.trains.ids.tolist()) == oracle.train_ids
    trusted = extra_data.H5File(path, inc_suspect_trains=False)
    assert record.trains.ids[record.trains.good].tolist() == trusted.train_ids
    assert record.metadata == oracle.run_metadata()
    assert record.format_version == oracle.run_metadata()["dataFormatVersion"]
    if record.timestamps is None:
        assert record.format_version == "0.5"
        assert np.isnat(oracle.train_timestamps()).all()
    else:
        expected = oracle.train_timestamps().astype(np.uint64)
        np.testing.assert_array_equal(record.timestamps, expected)


def same_sources(record, oracle, path):
    by_section = {}
    for source in record.layout.sources:
        by_section.setdefault(source.section, {})[source.name] = source
    assert by_section.get("CONTROL", {}).keys() == oracle.control_sources
    assert by_section.get("INSTRUMENT", {}).keys() == oracle.instrument_sources
    legacy = {s.name: s.legacy_of for s in record.layout.sources if s.legacy_of}
    assert legacy == oracle.legacy_sources
    auxiliary = {
        f"{section}/{name}"
        for section in by_section.keys() - {"CONTROL", "INSTRUMENT"}
        for name in by_section[section]
    }
    assert auxiliary == {
        f"{oracle.auxiliary[s].section}/{s.partition('@')[2] or s}"
        for s in oracle.auxiliary.all_sources
    }
    for source in by_section.get("CONTROL", {}).values():
        assert source.run_only == oracle[source.name].is_run_only, source
        same_keys(record, source, oracle[source.name], path)
    for source in by_section.get("INSTRUMENT", {}).values():
        if not source.legacy_of:
            same_keys(record, source, oracle[source.name], path)
    for name in oracle.auxiliary.all_sources:
        expected = oracle.auxiliary[name]
        source = by_section[expected.section][name.partition("@")[2] or name]
        same_keys(record, source, expected, path)


def same_keys(record, source, expected, path):
    """Keys, dtypes, shapes, units, groups and counts of one source."""
    at = record.layout.position[source.section, source.name]
    schema = record.layout.schemas[at]
    assert schema.by_name.keys() == expected.keys()
    assert set(source.groups) == expected.index_groups
    with h5py.File(path) as f:
        group = f.get(f"{source.section}/{source.name}", {})
        readable = {k for k in set(expected.keys()) if k.replace(".", "/") in group}
    for key in schema.keys:
        if key.name not in readable:
            continue  # the oracle lists it, but cannot read it
        data = expected[key.name]
        assert decode_dtype(key.dtype) == data.dtype, (source, key)
        assert key.entry_shape == data.entry_shape, (source, key)
        units = key.prefix_symbol.replace("u", "μ") + key.unit_symbol
        assert (units or None) == data.units, (source, key)
    for group in source.groups:
        pattern = record.patterns[record.layout.slots[source.section, source.name, group]]
        assert len(pattern) == len(record.trains)
        some = [k.name for k in schema.keys if k.group == group and k.name in readable]
        if some and len(record.trains):
            counts = expected[some[0]].data_counts(labelled=True)
            assert counts.index.tolist() == np.sort(record.trains.ids).tolist()
            assert counts.tolist() == pattern.count.tolist(), (source, group)


def same_run_values(record, oracle):
    assert record.run_values.keys() == oracle.control_sources
    for source in oracle.control_sources:
        values = record.run_values[source]
        expected = oracle[source].run_values()
        assert values.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "O":
                value = np.array([v.decode() for v in value.ravel()], object).reshape(value.shape)
            assert type(values[key]) is type(value), (source, key)
            np.testing.assert_array_equal(values[key], value)
