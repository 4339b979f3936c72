"""The house: what each part of the project may import, and how large its files and signatures may grow."""

import ast
import inspect
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
LIB = ROOT / "lib"
CORE, REPLICATION = sorted(LIB.glob("logitmoe/*.py")), sorted(LIB.glob("replication/**/*.py"))
NOTEBOOKS = sorted(ROOT.glob("book/*.ipynb"))

#: The modules of logitmoe, lowest first: each imports from the levels below its own only.
LEVELS = (
    {"checks"},
    {"files", "gates"},
    {"measure"},
    {"model", "penalty"},
    {"data", "divergences", "losses"},
    {"chebyshev", "multinomial", "separation"},
    {"results", "squarem"},
    {"em_algorithm", "second_order", "compression"},
    {"information", "newton"},
    {"inference", "tables"},
    {"fitted"},
    {"fitting"},
    {"selection"},
    {"classifier"},
)
MAX_LINES, MAX_PARAMETERS = 600, 8


def imported(tree, package):
    """The imports of a syntax tree, wherever they are: pairs of module and name, None for a module as a whole.

    A relative import is written out from `package`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parts, *(node.module or "").split(".")]).strip(".")
            yield from ((module, alias.name) for alias in node.names)


def modules(tree, package, of):
    """The modules of a package that a tree imports, without the package's name."""
    found = set()
    for module, name in imported(tree, package):
        if module == of and name is not None:
            found.add(name)
        elif module.startswith(f"{of}."):
            found.add(module.removeprefix(f"{of}.").split(".")[0])
    return found


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def package_of(path):
    return ".".join(path.relative_to(LIB).parent.parts)


def code_of(notebook):
    cells = (cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code")
    lines = "\n".join(cell.source for cell in cells).splitlines()
    return ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))


def names(path):
    return str(path.relative_to(ROOT))


def test_imports_are_found_wherever_they_are():
    text = "import a.b\nfrom c import d\ndef f():\n from .. import e\n from .g import h, _i\n from ..j.k import l"
    found = list(imported(ast.parse(text), "p.q"))
    assert found == [
        ("a.b", None), ("c", "d"), ("p", "e"), ("p.q.g", "h"), ("p.q.g", "_i"), ("p.j.k", "l"),
    ]  # fmt: skip
    assert modules(ast.parse(text), "p.q", "p") == {"e", "q", "j"}
    assert modules(ast.parse(text), "p.q", "p.q") == {"g"}


@pytest.mark.parametrize("path", CORE, ids=names)
def test_the_estimator_needs_numpy_and_scipy_alone(path):
    allowed = {"numpy", "scipy", "logitmoe"} | ({"sklearn"} if path.stem == "classifier" else set())
    allowed |= {"pandas"} if path.stem == "inference" else set()  # in to_frame, if it is there
    standard = {"__future__"} | set(sys.stdlib_module_names)
    assert {module.split(".")[0] for module, _ in imported(parse(path), "logitmoe")} <= allowed | standard


@pytest.mark.parametrize("path", [path for path in CORE if path.stem != "__init__"], ids=names)
def test_each_layer_stands_on_those_below(path):
    own = [path.stem in level for level in LEVELS].index(True)
    assert modules(parse(path), "logitmoe", "logitmoe") <= set().union(*LEVELS[:own])


def test_every_module_of_the_estimator_has_its_layer():
    listed = [name for level in LEVELS for name in level]
    assert len(listed) == len(set(listed))
    assert {path.stem for path in CORE} - {"__init__"} <= set(listed)


@pytest.mark.parametrize("path", sorted(LIB.glob("replication/chapters/*.py")), ids=names)
def test_chapters_know_nothing_of_each_other(path):
    assert modules(parse(path), "replication.chapters", "replication.chapters") == set()


@pytest.mark.parametrize("path", [p for p in REPLICATION if p.parent.name != "chapters"], ids=names)
def test_what_chapters_share_knows_no_chapter(path):
    assert "chapters" not in modules(parse(path), package_of(path), "replication")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names)
def test_a_notebook_imports_no_other_chapter(path):
    assert modules(code_of(path), "", "replication.chapters") <= {path.stem}


@pytest.mark.parametrize("path", CORE + REPLICATION + NOTEBOOKS, ids=names)
def test_no_private_name_crosses_a_module(path):
    """Nor one of another package, which may change it in any version."""
    notebook = path.suffix == ".ipynb"
    tree, package = (code_of(path), "") if notebook else (parse(path), package_of(path))
    found = [(m, n) for m, n in imported(tree, package) if m != "__future__"]
    private = [f"{m}.{n}" for m, n in found for part in (*m.split("."), n or "") if part.startswith("_")]
    # The same by attribute: a name that an import bound, and a private attribute of it.
    bound = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if {m.split(".")[0] for m, _ in imported(node, package)} - sys.stdlib_module_names  # os._exit is public
    }
    private += [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in bound and node.attr.startswith("_") and not node.attr.startswith("__")
    ]
    assert private == []


@pytest.mark.parametrize("path", CORE + REPLICATION, ids=names)
def test_files_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", CORE + REPLICATION, ids=names)
def test_public_functions_have_few_parameters(path):
    if path.stem == "classifier":
        pytest.importorskip("sklearn")
    module = import_module(".".join(path.relative_to(LIB).with_suffix("").parts).removesuffix(".__init__"))
    large = {}
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        functions = {name: value} if inspect.isfunction(value) else {}
        if inspect.isclass(value):
            methods = ((key, m) for key, m in vars(value).items() if inspect.isfunction(m))
            functions = {f"{name}.{key}": m for key, m in methods if not key.startswith("_")}
        for label, function in functions.items():
            count = len([p for p in inspect.signature(function).parameters if p != "self"])
            if count > MAX_PARAMETERS:
                large[label] = count
    assert large == {}


@pytest.mark.parametrize("path", [p for p in CORE + REPLICATION if p.name != "__init__.py"], ids=names)
def test_every_module_says_what_is_public(path):
    targets = [t for node in parse(path).body if isinstance(node, ast.Assign) for t in node.targets]
    assert "__all__" in [getattr(t, "id", None) for t in targets]
