"""Errors of ours: what they say of a catalog of another version, and that they can be sent."""

import pickle
import re

import pytest
from support.next_revision import become_next_version
from xfelcat.catalog.model import errors
from xfelcat.catalog.model.errors import CatalogNotFoundError, XfelcatError
from xfelcat.catalog.store.care import upgrade_shards
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.store import Store
from xfelcat.catalog.store.versions import SCHEMA_VERSION, Versions

pytestmark = pytest.mark.fast

MADE = [
    errors.CatalogBusyError("/catalog"),
    errors.CatalogNotFoundError("/catalog", 2, 3),
    errors.CatalogReadError("/catalog", "is broken"),
    errors.ChangedFileError("/run/file.h5", "has another size"),
    errors.FileStructureError("/run/file.h5", "is broken", "mend it"),
    errors.InconsistentFilesError("A/B/C", "x", "differs", ("one.h5", "two.h5")),
    errors.PropertyNameError("y", "A/B/C", ["x", "yy"]),
    errors.RunNotFoundError("run r0001", ["/here"], ["/there"]),
    errors.SourceNameError("A/B/C", ["A/B/D"]),
    errors.TrainIDError(1000, "this data"),
]


@pytest.mark.parametrize("error", MADE, ids=lambda e: type(e).__name__)
def test_an_error_of_a_worker_is_the_same_here(error):
    again = pickle.loads(pickle.dumps(error))
    assert repr(type(again)) == repr(type(error))  # one more each, where EXtra-data is imported
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)
    with pytest.raises(XfelcatError, match=re.escape(str(error))):
        raise again


def published(store, shard, schema_version):
    versions = Versions(store.versions(shard).directory, schema_version)
    with versions.lock(), versions.draft() as draft:
        with connect_write(draft):
            pass
        versions.publish(draft)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (
            SCHEMA_VERSION,
            f"has schema version {SCHEMA_VERSION}, this xfelcat reads {SCHEMA_VERSION + 1}:"
            " `xfelcat db upgrade",
        ),
        (SCHEMA_VERSION + 2, f"reads {SCHEMA_VERSION + 1}: use a newer xfelcat"),
        (1, f"reads {SCHEMA_VERSION + 1} and cannot upgrade it: ingest its runs again"),
    ],
)
def test_a_catalog_of_another_version_is_no_empty_place(tmp_path, monkeypatch, version, told):
    become_next_version(monkeypatch, tmp_path)
    tmp_path = tmp_path / "catalog"
    store = Store(tmp_path)
    with pytest.raises(CatalogNotFoundError, match=f"no catalog at {tmp_path}; make one"):
        store.require()
    published(store, "p002012", version)
    with pytest.raises(CatalogNotFoundError, match=re.escape(told)):
        store.require()
    if version == SCHEMA_VERSION:
        upgrade_shards(store)
        store.require()
