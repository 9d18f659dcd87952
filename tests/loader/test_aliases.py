"""Do aliases mean what EXtra-data takes them for?"""

import json
from itertools import pairwise
from pathlib import Path

import extra_data
import pytest
from support.both_readers import keys_by_source, open_both
from xfelcat.catalog.model.errors import AliasError, PropertyNameError, SourceNameError
from xfelcat.loader.examples import RunSpec, split, write_run
from xfelcat.loader.examples import specs as devices
from xfelcat.loader.select.aliases import load_definitions, merge_aliases

pytestmark = pytest.mark.fast

XGM = "SA1_XTD2_XGM/XGM/DOOCS"
MODULE = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"
MOTOR = "SPB/MOTOR/X"
NESTED = {
    "xgm": XGM,
    "ix_pos": [XGM, "beamPosition.ixPos.value"],
    "gone": "NO/SUCH/SRC",
    "badkey": [XGM, "nokey"],
    MODULE: {"D0": "image.data", "c0": "image.cellId", "z0": "image.zz"},
    "NO/SUCH/B": {"q": "a.b"},
    "int": [f"{XGM}:output", "data.intensityTD"],
    MOTOR: {"moves": "isMoving"},
}
FLAT = {
    "xgm": XGM,
    "ix-pos": (XGM, "beamPosition.ixPos.value"),
    "gone": "NO/SUCH/SRC",
    "badkey": (XGM, "nokey"),
    "d0": (MODULE, "image.data"),
    "c0": (MODULE, "image.cellId"),
    "z0": (MODULE, "image.zz"),
    "q": ("NO/SUCH/B", "a.b"),
    "int": (f"{XGM}:output", "data.intensityTD"),
    "moves": (MOTOR, "isMoving"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    aggregators = {
        "DA01": (devices.xgm(), devices.xgm_pulses(), devices.motor(MOTOR), *devices.camera()),
        **devices.modules("SPB_DET_AGIPD1M-1", n=2),
    }
    path = tmp_path_factory.mktemp("aliases") / "r0007"
    write_run(path, RunSpec(900032, 7, split(range(1000, 1010), aggregators, 2)))
    return open_both(path)


@pytest.fixture
def named(runs):
    """Both collections with the aliases of FLAT."""
    return tuple(run.with_aliases(FLAT) for run in runs)


def write_definitions(path: Path) -> Path:
    """NESTED in the format of the suffix."""
    if path.suffix == ".json":
        path.write_text(json.dumps(NESTED))
    elif path.suffix == ".toml":
        tables = {k: v for k, v in NESTED.items() if isinstance(v, dict)}
        lines = [f"{json.dumps(k)} = {json.dumps(v)}" for k, v in NESTED.items() if k not in tables]
        for name, table in tables.items():
            lines.append(f"[{json.dumps(name)}]")
            lines += [f"{k} = {json.dumps(v)}" for k, v in table.items()]
        path.write_text("\n".join(lines))
    else:
        import yaml

        path.write_text(yaml.safe_dump(NESTED, sort_keys=False))
    return path


@pytest.mark.parametrize("name", ["a.json", "a.yml", "a.yaml", "a.toml"])
def test_every_format_means_the_same(tmp_path, runs, name):
    path = write_definitions(tmp_path / name)
    assert load_definitions(path) == load_definitions(str(path)) == FLAT
    assert dict(runs[1].with_aliases(path)._aliases) == FLAT
    assert runs[0].with_aliases(path)._aliases == FLAT


def test_dicts_may_be_nested_and_several_are_joined():
    assert load_definitions(NESTED) == FLAT
    assert load_definitions({"a": "X"}, {"B_c": ("Y", "k")}, {"A": "X"}) == {
        "a": "X",
        "b-c": ("Y", "k"),
    }
    assert load_definitions() == {}


@pytest.mark.parametrize(
    "definitions",
    [({"a": "X"}, {"a": "Y"}), ({"a-b": "X", "A_B": "Y"},), ({"a": "X", "S": {"a": "k"}},)],
)
def test_an_alias_with_two_targets_is_refused(definitions):
    with pytest.raises(AliasError, match="two targets") as caught:
        load_definitions(*definitions)
    assert isinstance(caught.value, ValueError)
    assert caught.value.alias in ("a", "a-b")
    with pytest.raises(AliasError):
        merge_aliases({"a": "X"}, {"a": ("X", "k")})


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"a": 5}, "stands for 5"),
        ({"a": ["S"]}, "stands for"),
        ({"a": ("S", "k", "x")}, "stands for"),
        ({"a": ("S", 3)}, "stands for"),
        ({5: "S"}, "not a string"),
        ({"S": {"a": ["X", "Y"]}}, "is no key"),
        (5, "not by a int"),
    ],
)
def test_unusable_definitions_are_refused(definition, message):
    with pytest.raises(AliasError, match=message):
        load_definitions(definition)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"a":', "a.json: not valid JSON"),
        ("a.json", "[1, 2]", "holds no mapping"),
        ("a.yml", "a: [", "a.yml: not valid YAML"),
        ("a.yml", "- a\n- b", "holds no mapping"),
        ("a.toml", "a =", "a.toml: not valid TOML"),
        ("a.yml", "a: 3", "a.yml: 'a' stands for 3"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(AliasError, match=message):
        load_definitions(tmp_path / name)


def test_files_that_are_empty_absent_or_of_another_format(tmp_path, monkeypatch):
    (tmp_path / "empty.yml").write_text("# nothing yet\n")
    (tmp_path / "empty.JSON").write_text("")
    assert load_definitions(tmp_path / "empty.yml", tmp_path / "empty.JSON") == {}
    with pytest.raises(FileNotFoundError):
        load_definitions(tmp_path / "absent.yml")
    with pytest.raises(ImportError, match=r"only from \.json"):
        load_definitions(tmp_path / "a.ini")
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "some.yml").write_text("a: B")
    with pytest.raises(ImportError, match="pyyaml"):
        load_definitions(tmp_path / "some.yml")


@pytest.mark.parametrize("alias", ["xgm", "XGM", "ix-pos", "Ix_Pos", "d0", "int", "moves"])
def test_items_as_extra_data(named, alias):
    ours, theirs = (run.alias[alias] for run in named)
    assert ours.source == theirs.source
    assert getattr(ours, "key", None) == getattr(theirs, "key", None)


def test_source_alias_with_key_as_extra_data(named):
    for key in ("beamPosition.ixPos", "state.value"):
        ours, theirs = (run.alias["xgm", key] for run in named)
        assert (ours.source, ours.key) == (theirs.source, theirs.key)
        assert ours.ndarray().tolist() == theirs.ndarray().tolist()


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ("nope", AliasError),
        ("gone", SourceNameError),
        ("badkey", PropertyNameError),
        ("z0", PropertyNameError),
        ("q", SourceNameError),
        (("xgm", "nix"), PropertyNameError),
        (("ix-pos", "a"), AliasError),
        (("nope", "a"), AliasError),
        (1, TypeError),
        (("a", "b", "c"), TypeError),
    ],
)
def test_errors_as_extra_data(named, item, error):
    ours, theirs = named
    with pytest.raises(error) as caught:
        ours.alias[item]
    with pytest.raises(Exception, match=r".") as reference:
        theirs.alias[item]
    kinds = {extra_data.AliasError: AliasError, ValueError: AliasError}
    assert isinstance(caught.value, kinds.get(reference.type, (KeyError, TypeError)))
    if item == "nope":
        assert caught.value.alias == "nope"


def test_unknown_alias_names_the_nearest(runs, named):
    with pytest.raises(AliasError, match="did you mean 'xgm'"):
        named[0].alias["xgn"]
    with pytest.raises(AliasError, match="no aliases are loaded"):
        runs[0].alias["xgm"]


@pytest.mark.parametrize("item", [*FLAT, "nope", ("xgm", "state"), ("xgm", "nix"), ("gone", "k")])
def test_contains_as_extra_data(named, item):
    ours, theirs = (item in run.alias for run in named)
    assert ours == theirs


def test_overview_marks_what_is_not_there(runs, named):
    assert repr(runs[0].alias) == repr(runs[1].alias) == "No aliases have been loaded."
    text = repr(named[0].alias)
    assert text == "\n".join(
        [
            "Loaded aliases:",
            f"~ xgm ({XGM}):",
            "    ix-pos: beamPosition.ixPos.value",
            "  ✗ badkey: nokey",
            "",
            "✗ gone: NO/SUCH/SRC",
            "",
            f"~ {MODULE}:",
            "    d0: image.data",
            "    c0: image.cellId",
            "  ✗ z0: image.zz",
            "",
            "✗ q: (NO/SUCH/B, a.b)",
            "",
            f"  int: ({XGM}:output, data.intensityTD)",
            "",
            f"  moves: ({MOTOR}, isMoving)",
        ]
    )
    reference = repr(named[1].alias).replace("\x1b[91m", "").replace("\x1b[0m", "")
    assert text.split() == reference.split()
    selected = repr(named[0].select("SA1*").alias)
    assert f"✗ {MODULE}:" in selected
    assert str(named[0].alias) == "<xfelcat.AliasIndexer with 10 aliases>"
    assert (len(named[0].alias), list(named[0].alias)) == (10, list(FLAT))


def test_ipython_completes_aliases_sources_and_keys(named):
    ours, theirs = named
    assert sorted(ours.alias._ipython_key_completions_()) == sorted(
        theirs.alias._ipython_key_completions_()
    )
    assert sorted(ours._ipython_key_completions_()) == sorted(theirs._ipython_key_completions_())
    completions = (run[MOTOR]._ipython_key_completions_() for run in named)
    assert len({frozenset(c) for c in completions}) == 1


SELECTIONS = [
    (("xgm",), {}),
    (("xgm", "beam*"), {}),
    ((["xgm", "d0"],), {}),
    (([("xgm", "beam*.value"), "c0"],), {}),
    (({"xgm": {"state.value"}},), {}),
    (({"xgm": set()},), {}),
    (({"xgm": None},), {}),
    ((["moves"],), {}),
]


@pytest.mark.parametrize(("args", "options"), SELECTIONS)
def test_select_as_extra_data(named, args, options):
    ours, theirs = (run.alias.select(*args, **options) for run in named)
    assert keys_by_source(ours) == keys_by_source(theirs)
    assert ours.train_ids == theirs.train_ids
    assert ours._aliases == FLAT
    ours, theirs = (run.alias.deselect(*args) for run in named)
    assert keys_by_source(ours) == keys_by_source(theirs)


@pytest.mark.parametrize("option", ["require_all", "require_any"])
@pytest.mark.parametrize("aliases", [["xgm", "d0"], ["ix-pos", "d0"], ["d0", "c0"]])
def test_select_with_required_trains_as_extra_data(named, aliases, option):
    ours, theirs = (run.alias.select(aliases, **{option: True}) for run in named)
    assert ours.train_ids == theirs.train_ids
    assert len(ours.train_ids) == (10 if option == "require_any" and aliases[0] != "d0" else 8)


@pytest.mark.parametrize(
    ("selection", "error"),
    [
        ("gone", SourceNameError),
        ("nope", AliasError),
        ("xgm*", AliasError),
        (["badkey"], PropertyNameError),
        ([("ix-pos", "foo")], AliasError),
        ({"d0": set()}, AliasError),
        ({"xgm": "state.value"}, TypeError),
        ({"xgm": {"nix"}}, PropertyNameError),
        (5, TypeError),
    ],
)
def test_select_refuses_what_is_no_alias_here(named, selection, error):
    for method in (named[0].alias.select, named[0].alias.deselect):
        with pytest.raises(error):
            method(selection)
    with pytest.raises(Exception, match=r"."):
        named[1].alias.select(selection)


def test_select_takes_a_key_alias_alone(named):
    sel = named[0].alias.select("ix-pos")
    assert keys_by_source(sel) == {XGM: {"beamPosition.ixPos.value"}}
    with pytest.raises(AliasError, match="stands for a key"):
        named[0].alias.select("ix-pos", "beam*")


@pytest.mark.parametrize("require_all", [False, True])
@pytest.mark.parametrize(
    "names", [[*FLAT], ["xgm", "d0"], ["d0", "gone"], ["gone"], ["badkey"], ["xgm", "ix-pos"], []]
)
def test_only_aliases_as_extra_data(runs, names, require_all):
    defs = {name: FLAT[name] for name in names}
    ours, theirs = (run.only_aliases(defs, require_all=require_all) for run in runs)
    assert keys_by_source(ours, sorted(ours.all_sources)) == keys_by_source(
        theirs, sorted(theirs.all_sources)
    )
    if names:
        assert ours.train_ids == theirs.train_ids
    assert ours._aliases == defs


def test_only_aliases_strict(runs):
    good = {"xgm": XGM, "d0": (MODULE, "image.data"), "moves": (MOTOR, "isMoving")}
    ours, theirs = (run.only_aliases(good, strict=True) for run in runs)
    assert keys_by_source(ours) == keys_by_source(theirs)
    with pytest.raises(SourceNameError):
        runs[0].only_aliases({"gone": FLAT["gone"]}, strict=True)
    with pytest.raises(PropertyNameError):
        runs[0].only_aliases({"badkey": FLAT["badkey"]}, strict=True)


def test_aliases_go_through_selections_and_unions(runs, named):
    run = runs[0]
    assert named[0].select_trains(slice(0, 2))._aliases == FLAT
    assert named[0].drop_aliases()._aliases == {}
    assert run._aliases == {}
    joined = run.select("SA1*").with_aliases({"a": XGM}) | run.select("SPB/*").with_aliases(
        {"b": MOTOR}
    )
    assert joined.alias["a"].source == XGM
    assert joined.alias["b"].source == MOTOR
    with pytest.raises(AliasError, match="'a'"):
        run.with_aliases({"a": XGM}).union(run.with_aliases({"a": MOTOR}))
    with pytest.raises(AliasError):
        named[0].with_aliases({"XGM": "OTHER"})


def test_glob_characters_in_names_are_literal(tmp_path):
    odd = devices.motor("A/MOTOR/X[1]")
    spec = RunSpec(1, 1, split([5, 6], {"DA01": (odd, devices.motor("A/MOTOR/X1"))}))
    write_run(tmp_path, spec)
    run = open_both(tmp_path)[0].with_aliases({"odd": "A/MOTOR/X[1]"})
    assert run.alias.select("odd").all_sources == {"A/MOTOR/X[1]"}


LAUGHS = "".join(f"- &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghijkl"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yml", "a: !!python/object/apply:os.mkdir [{made}]"),
        ("a.yml", "!!python/object/new:os.mkdir [{made}]"),
        ("a.yml", "a: !!python/name:os.system ''"),
        ("a.yml", f"- &a [x, x]\n{LAUGHS}"),  # 9^11 items, all but a few the same
        ("a.yml", f"a:\n  - &a [x, x]\n{LAUGHS}".replace("\n-", "\n  -")),
        ("a.yml", "a: &a [*a, *a]"),
        ("a.yml", f"a: {'[' * 5000}{']' * 5000}"),
        ("a.json", f'{{{{"a": {"[" * 100_000}{"]" * 100_000}}}}}'),
        ("a.toml", f"a = {'[' * 100_000}{']' * 100_000}"),
        ("a.json", f'{{{{"a": {"9" * 10_000}}}}}'),
        ("a.toml", f"a = {'9' * 10_000}"),
        ("a.yml", f"a: 1:{'59:' * 3000}1"),  # a number of base 60
        ("a.yml", "a: 2024-99-99"),
    ],
)
def test_files_are_data_of_a_bounded_size(tmp_path, name, text):
    (tmp_path / name).write_text(text.format(made=tmp_path / "made"))
    with pytest.raises(AliasError) as caught:
        load_definitions(tmp_path / name)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))
    assert not (tmp_path / "made").exists()


def test_a_hundred_thousand_aliases(tmp_path):
    """Each was compared with all before it, which took minutes."""
    every = {f"a{n}": f"SOURCE/{n}" for n in range(100_000)}
    (tmp_path / "a.json").write_text(json.dumps(every))
    assert load_definitions(tmp_path / "a.json") == every
