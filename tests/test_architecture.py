"""The structure that the house style promises holds: direction, cycles, sizes, imports."""

import ast
import io
import subprocess
import sys
import tokenize
import tomllib
from functools import cache
from pathlib import Path

import pytest
from support.code_size import MOST_LINES, MOST_MODULES, code_size

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
PARTS = ("cli", "loader", "catalog", "migrations")  # a part imports itself and those to its right
# Each part's folders, lowest first: a folder imports itself and those before it, annotations
# included. "." are the modules that lie in the part itself.
ORDER = {
    "catalog": (
        "model",
        "hdf5",
        "store",
        "scan",
        "ingest",
        "watch",
        "opening",
        "questions",
        "audit",
        "report",
        ".",
    ),
    "loader": ("select", "read", "output", "show", "compat", ".", "detectors", "jobs", "examples"),
    "cli": (".",),
    "migrations": (".", "versions"),
}
# Underscored, and documented for all: those of named tuples.
PUBLIC_ALL_THE_SAME = {"_asdict", "_fields", "_make", "_replace"}
FOR_ALL = {"./catalog/config"}  # settings, that any folder may ask for
MODULES = sorted(p for part in PARTS for p in (ROOT / part).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_CODE_LINES, MAX_LINES, MAX_FUNCTION_LINES, MAX_PUBLIC_METHODS = 500, 1000, 60, 15

# Classes whose methods the documented API, or SQL's tables, fix.
FIXED_BY_THE_API = {
    *("DataCollection", "SourceData", "KeyData", "FileAccess", "MetadataCatalog"),
    *("MultimodDetectorBase", "MultimodKeyData"),
}

# Who may know about HDF5: the scanning side of the catalog, and what reads and writes arrays.
H5PY = {
    "catalog/hdf5/library.py",
    "catalog/hdf5/links.py",
    "catalog/hdf5/values.py",
    "loader/read/files.py",
    "loader/read/file_read.py",
    "loader/output/write.py",
    "loader/detectors/cxi.py",
}
# Imported where they are needed, not when a module is imported.
HEAVY = {
    "IPython",
    "alembic",
    "dask",
    "duckdb",
    "duckdb_engine",
    "h5py",
    "loky",
    "matplotlib",
    "pandas",
    "prompt_toolkit",
    "pyarrow",
    "pygments",
    "rich",
    "sqlalchemy",
    "xarray",
}
# Modules that are about such a library: their callers import them where they are needed.
MAY_BE_HEAVY = {
    "catalog/hdf5/library.py": {"h5py"},
    "cli/prompt.py": {"prompt_toolkit", "pygments"},
    "loader/examples/facility.py": {"h5py"},
    "loader/examples/writing.py": {"h5py"},
    "loader/detectors/cxi.py": {"h5py"},
    "loader/output/write.py": {"h5py"},
    "loader/xarray_backend.py": {"xarray"},
}


def name_of(path):
    return str(path.relative_to(ROOT))


@cache
def parse(path):
    return ast.parse(path.read_text(), str(path))


@cache
def nodes(path):
    """Every node of a module: a few of the tests walk through all modules several times."""
    return tuple(ast.walk(parse(path)))


@cache
def imports(path, top_only=False, annotations=False):
    """(module, lineno) of every import; relative ones as ./catalog/config."""
    return tuple(find_imports(path, top_only, annotations))


def find_imports(path, top_only, annotations):
    typing_only, inside = set(), set()
    for branch in nodes(path):
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test):
            typing_only.update(() if annotations else map(id, ast.walk(branch)))
        elif isinstance(branch, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and top_only:
            inside.update(map(id, ast.walk(branch)))
    for node in nodes(path):
        if id(node) in typing_only or (top_only and id(node) in inside):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = path.relative_to(ROOT).parent
            for _ in range(node.level - 1):
                base = base.parent
            target = base / (node.module or "").replace(".", "/")
            for alias in node.names:
                deeper = target / alias.name
                is_module = (ROOT / deeper).is_dir() or (ROOT / f"{deeper}.py").exists()
                yield f"./{deeper if is_module else target}", node.lineno


def code_lines(path):
    """Lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text()
    lines = set()
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (*skip, tokenize.ENDMARKER):
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_docstring(body[0]):
            lines -= set(range(body[0].lineno, body[0].end_lineno + 1))
    return lines


def is_docstring(node):
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def test_parts_import_only_what_is_to_their_right():
    wrong = []
    for path in MODULES:
        part = path.relative_to(ROOT).parts[0]
        for target, line in imports(path):
            if not target.startswith("./"):
                continue
            to = target.removeprefix("./").split("/")[0]
            # The root says the version; nothing else of it is anybody's business.
            if to in ("", ".", "__init__"):
                continue
            if to not in PARTS or PARTS.index(to) < PARTS.index(part):
                wrong.append(f"{name_of(path)}:{line} imports {target}")
    assert wrong == []


def test_nothing_imports_the_package_by_name_or_the_oracle():
    wrong = [
        f"{name_of(path)}:{line} imports {target}"
        for path in MODULES
        for target, line in imports(path)
        if target.split(".")[0] in {"xfelcat", "extra_data", *PARTS}
    ]
    assert wrong == []


def test_no_part_imports_its_own_facade():
    wrong = []
    for path in MODULES:
        if path.name == "__init__.py":
            continue
        part = path.relative_to(ROOT).parts[0]
        wrong += [
            f"{name_of(path)}:{line}"
            for target, line in imports(path)
            if target in ("./", "./.", f"./{part}")
        ]
    assert wrong == []


def place(module):
    """Part and folder of a module, given as ./part/folder/name; "." is the part itself."""
    part, *rest = module.removeprefix("./").split("/")
    return part, rest[0] if len(rest) > 1 else "."


def test_folders_import_only_what_is_below_them():
    wrong = []
    for path in MODULES:
        here = place(f"./{path.relative_to(ROOT).with_suffix('')}")
        for target, line in imports(path, annotations=True):
            if not target.startswith("./") or target in FOR_ALL:
                continue
            part, folder = place(target)
            if part == here[0] and (ORDER[part].index(folder) > ORDER[part].index(here[1])):
                wrong.append(f"{name_of(path)}:{line} imports {target}")
    assert wrong == []


def test_no_import_cycles():
    graph = {}
    for path in MODULES:
        node = "./" + str(path.relative_to(ROOT).with_suffix(""))
        graph[node] = {t for t, _ in imports(path, annotations=True) if t.startswith("./")}
    done, cycles = set(), []

    def visit(node, trail):
        if node in trail:
            cycles.append(" -> ".join([*trail[trail.index(node) :], node]))
        elif node not in done:
            for target in graph.get(node, ()):
                visit(target, [*trail, node])
            done.add(node)

    for node in graph:
        visit(node, [])
    assert cycles == []


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_ALL_THE_SAME


def imported_names(path):
    """(module, name, lineno) of what is imported from modules, and used of imported modules."""
    modules = {}
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(ROOT).parents[node.level - 1]
            target = base / (node.module or "").replace(".", "/")
            for alias in node.names:
                yield f"./{target}", alias.name, node.lineno
                modules[alias.asname or alias.name] = f"./{target / alias.name}"
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in modules:
            yield modules[ast.unparse(node.value)], node.attr, node.lineno


def test_private_names_stay_in_their_module():
    wrong = [
        f"{name_of(path)}:{line} uses {module}.{name}"
        for path in MODULES
        for module, name, line in imported_names(path)
        if is_private(name)
    ]
    assert wrong == []


def test_private_attributes_are_used_by_their_own_module():
    wrong = []
    for path in MODULES:
        every = nodes(path)
        attributes = [n for n in every if isinstance(n, ast.Attribute)]
        own = {n.attr for n in attributes if ast.unparse(n.value) in ("self", "cls")}
        own |= {n.name for n in every if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        fields = [n.target for n in every if isinstance(n, ast.AnnAssign)]
        own |= {t.id for t in fields if isinstance(t, ast.Name)}
        own |= {
            e.value
            for n in every
            if isinstance(n, ast.Tuple)
            for e in n.elts
            if isinstance(e, ast.Constant)
        }
        wrong += [
            f"{name_of(path)}:{n.lineno} uses {ast.unparse(n)}"
            for n in attributes
            if is_private(n.attr) and n.attr not in own
        ]
    assert wrong == []


def test_a_class_name_names_one_class():
    found = {}
    for path in MODULES:
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), []).append(name_of(path))
    assert {name: homes for name, homes in found.items() if len(homes) > 1} == {}


def test_the_code_stays_within_its_size():
    lines, modules = code_size()
    assert lines <= MOST_LINES
    assert modules <= MOST_MODULES


def test_only_the_readers_of_files_import_h5py():
    users = {name_of(p) for p in MODULES for t, _ in imports(p) if t.split(".")[0] == "h5py"}
    examples = {u for u in users if u.startswith("loader/examples")}
    assert users - examples <= H5PY


def test_heavy_imports_wait_until_they_are_needed():
    wrong = []
    for path in MODULES:
        if path.is_relative_to(ROOT / "migrations"):
            continue
        allowed = MAY_BE_HEAVY.get(name_of(path), set())
        wrong += [
            f"{name_of(path)}:{line} imports {target}"
            for target, line in imports(path, top_only=True)
            if target.split(".")[0] in HEAVY - allowed
        ]
    assert wrong == []


@pytest.mark.parametrize("path", MODULES + TESTS, ids=name_of)
def test_sizes(path):
    n_lines = len(path.read_text().splitlines())
    assert n_lines <= MAX_LINES
    bodies = {}
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [n for n in node.body if not is_docstring(n)]
            if body:
                bodies[node.name, node.lineno] = range(body[0].lineno, body[-1].end_lineno + 1)
        elif isinstance(node, ast.ClassDef) and node.name not in FIXED_BY_THE_API:
            methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
            public = [m for m in methods if not m.startswith("_")]
            assert len(public) <= MAX_PUBLIC_METHODS, f"{node.name}: {public}"
    long = {name: body for name, body in bodies.items() if len(body) > MAX_FUNCTION_LINES}
    if long or n_lines > MAX_CODE_LINES:
        lines = code_lines(path)
        assert len(lines) <= MAX_CODE_LINES, f"{len(lines)} lines of code"
        for (name, _), body in long.items():
            own = lines.intersection(body)
            assert len(own) <= MAX_FUNCTION_LINES, f"{name}: {len(own)} lines"


def test_no_utils():
    vague = {"utils", "util", "helpers", "helper", "manager", "data", "common", "misc"}
    assert [name_of(p) for p in MODULES if p.stem in vague] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_answers(path):
    doc = ast.get_docstring(parse(path))
    assert doc
    assert len(doc.splitlines()[0]) > 15


def loaded_after(code):
    """Top-level modules that a fresh interpreter has loaded after running some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_the_package_imports_nothing_heavy():
    loaded = loaded_after("import xfelcat; xfelcat.__version__; dir(xfelcat)")
    assert "xfelcat" in loaded
    assert not loaded & (HEAVY | {"numpy", "typer"})


def test_every_public_name_resolves():
    import xfelcat

    for name in xfelcat.__all__:
        assert getattr(xfelcat, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        xfelcat.no_such_name


def test_every_folder_is_packaged():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent for part in PARTS for p in (ROOT / part).rglob("*.py")}
    found = {".".join(["xfelcat", *f.relative_to(ROOT).parts]) for f in folders} | {"xfelcat"}
    assert sorted(listed) == sorted(found)
