"""The rules that hold the project together, read off the syntax trees."""

import ast
import configparser
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = sorted([*ROOT.glob("generator/**/*.py"), *ROOT.glob("invert/**/*.py")])

# From the ground to the roof; a module imports from its own line and from those above it. The longest entry that a
# module lies in counts: a package without an entry of its own is not in the house.
ORDER = (
    ("generator.errors",),
    ("generator.system", "generator.settings", "generator.cache", "generator.openmp", "generator.jsontext"),
    ("generator.opening", "generator.processors"),
    ("generator.config",),
    ("generator.tensors",),
    ("generator.ops",),
    ("generator.layers",),
    ("generator.bases", "generator.mapping", "generator.motion"),
    ("generator.stylegan", "generator.stylegan2"),
    ("generator.stylegan3",),
    ("generator.families",),
    ("generator.networks",),
    ("generator.files",),
    ("generator.training",),
    ("generator",),
    ("invert.errors", "invert.version"),
    ("invert.durable", "invert.npy", "invert.statistics", "invert.images"),
    ("invert.locking",),
    ("invert.projection",),
    ("invert.store",),
    ("invert.hdf5", "invert.batch"),
    ("invert.seeds",),
    ("invert.report",),
    ("invert.attribution", "invert.runs", "invert.datasets", "invert.sheets", "invert.metrics"),
    ("invert.editing",),
    ("invert.api",),
    ("invert",),
    ("invert.cli",),
    ("invert.commands",),
    ("invert.cli.main",),
    ("invert.__main__",),
)
TERMINAL = ("invert.cli", "invert.commands")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def floor(name: str) -> int:
    """Return the position of the longest entry of ORDER that a module lies in."""
    fitting = [(len(entry), number) for number, row in enumerate(ORDER) for entry in row if within(name, entry)]
    return max(fitting)[1]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import has no place here: it would hide the direction.
            assert node.level == 0, "relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(path: Path) -> set[str]:
    return set(imports(ast.parse(path.read_text())))


def test_there_is_code_to_read() -> None:
    assert {"generator.config", "invert.cli.main", "invert.commands.project"} <= set(map(module_name, SHIPPED))


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which modules each module imports, at any level: in functions and for type checkers too."""
    return {
        name: {found for found in imports(ast.parse(source)) if found in sources and found != name}
        for name, source in sources.items()
    }


def cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle (Tarjan 1972, strongly connected components)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = lowest[node] = len(numbers)
        path.append(node)
        for other in sorted(edges[node]):
            if other not in numbers:
                visit(other)
            if other in path:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == numbers[node]:
            group = path[path.index(node) :]
            del path[path.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in numbers:
            visit(node)
    return found


GRAPH = graph({module_name(path): path.read_text() for path in SHIPPED})


# Who else may open a file by itself: for writing, for what this program has just made or came with, or the system's.
OPENERS = (
    "generator.processors",
    "generator.system",
    "generator.opening",
    "generator.jsontext",
    "generator.files.invert_format",
    "generator.ops.native",
    "invert.durable",
    "invert.locking",
    "invert.cli",
    "invert.commands.doctor",
    "invert.batch.shared_folder",
    "invert.hdf5.pack",
)
TRUSTING = {"json.loads", "json.load", "np.load", "open", "os.open", "io.open", "torch.load", "pickle.load"}


def test_files_are_opened_and_parsed_by_the_one_function_for_it() -> None:
    """A pipe, a device, a file without end, or JSON that is too deep: one module each is the one that minds them."""
    for path in SHIPPED:
        if any(within(module_name(path), name) for name in OPENERS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                trusts = called in TRUSTING or called.endswith((".read_bytes", ".read_text"))
                assert not trusts, f"{path.relative_to(ROOT)}:{node.lineno}: {called}"


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    own = module_name(path)
    for name in GRAPH[own]:
        assert floor(name) <= floor(own), f"{own} imports {name}"


def test_no_modules_import_each_other() -> None:
    assert not cycles(GRAPH)


@pytest.mark.parametrize(
    "statement",
    [
        "from b import value",
        "def f():\n    import b",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b",
    ],
    ids=["module", "function", "type checking"],
)
def test_a_planted_cycle_is_found(statement: str) -> None:
    planted = {"a": statement, "b": "from c import d", "c": "import a", "e": "import a"}
    assert cycles(graph(planted)) == [["a", "b", "c"]]
    assert not cycles(graph(planted | {"a": ""}))


def test_the_order_refuses_an_import_upwards() -> None:
    assert floor("generator.files.reading") < floor("invert.projection.config") < floor("invert.batch.work")
    assert floor("invert.store.result") < floor("invert.hdf5.schema") < floor("invert.attribution.verdict")
    assert floor("invert.api") < floor("invert.cli.options") < floor("invert.commands.project")


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_only_the_command_line_knows_the_terminal(path: Path) -> None:
    if any(within(module_name(path), terminal) for terminal in TERMINAL):
        return
    assert not {"click", "tqdm"} & {name.split(".")[0] for name in names(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in ("stdout", "stderr"), f"line {node.lineno}"


def test_text_reaches_the_terminal_through_one_place() -> None:
    """Else somebody's file name or metadata can write escape sequences there; tests/cli/test_hostile_text.py."""
    for path in SHIPPED:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "click":
                allowed = module_name(path) == "invert.cli.text"
                assert allowed or node.attr not in ("echo", "secho", "echo_via_pager"), f"{path}, line {node.lineno}"


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_no_print_no_assert_and_a_stated_interface(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "eval", "exec"), f"{node.func.id} in line {node.lineno}"
    if path.name != "__main__.py":
        stated = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        assert "__all__" in stated


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_only_one_module_knows_what_systems_lack(path: Path) -> None:
    if module_name(path) == "generator.system":
        return
    assert not {"fcntl", "grp", "msvcrt", "pwd", "resource", "termios"} & names(path)
    everywhere = {"O_APPEND", "O_CREAT", "O_EXCL", "O_RDONLY", "O_RDWR", "O_TRUNC", "O_WRONLY"}
    lacking = {"fork", "geteuid", "getuid", "pread", "pwrite", "sched_getaffinity", "statvfs"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            portable = node.attr in everywhere or not node.attr.startswith("O_")
            assert portable, f"os.{node.attr} in line {node.lineno}"
            assert node.attr not in lacking, f"os.{node.attr} in line {node.lineno}"


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_no_unpickling(path: Path) -> None:
    assert not {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"} & set(names(path))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("torch", "load"), f"line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["project", "--help"],
        ["generate", "--help"],
        ["info", "--help"],
        ["train", "--help"],
        ["convert", "-h"],
    ],
    ids=" ".join,
)
def test_help_imports_no_torch(arguments: list[str]) -> None:
    # One process per case would cost a second each; a fresh table of modules is what counts.
    program = (
        "import sys\n"
        "from invert.cli.main import main\n"
        f"code = main({arguments!r})\n"
        "heavy = {'torch', 'lpips', 'scipy', 'sklearn', 'h5py', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_every_package_is_shipped() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    found = {module_name(path) for path in SHIPPED if path.name == "__init__.py"}
    assert listed == found | {"generator.csrc", "invert.data"}


def test_version_is_in_the_changelog() -> None:
    from invert import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"] == "invert"
