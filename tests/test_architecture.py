"""The rules that hold the project together, read off the syntax trees."""

import ast
import configparser
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = sorted([*ROOT.glob("generator/**/*.py"), *ROOT.glob("invert/**/*.py")])

# Lower layers never import from higher ones.
LAYERS = (
    "generator.errors",
    "generator.settings",
    "generator.cache",
    "generator.config",
    "generator.tensors",
    "generator.ops",
    "generator.layers",
    "generator.bases",
    "generator.mapping",
    "generator.stylegan",
    "generator.stylegan2",
    "generator.families",
    "generator.networks",
    "generator.files",
    "generator.training",
    "generator",
    "invert.errors",
    "invert",
    "invert.cli",
    "invert.commands",
    "invert.cli.main",
    "invert.__main__",
)
TERMINAL = ("invert.cli", "invert.commands")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer(name: str) -> int:
    """Return the position of the longest entry of LAYERS that a module lies in."""
    fitting = [entry for entry in LAYERS if within(name, entry)]
    return LAYERS.index(max(fitting, key=len))


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


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    own = module_name(path)
    modules = set(map(module_name, SHIPPED))
    for name in names(path) & modules:
        assert layer(name) <= layer(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_only_the_command_line_knows_the_terminal(path: Path) -> None:
    if any(within(module_name(path), terminal) for terminal in TERMINAL):
        return
    assert not {"click", "tqdm"} & {name.split(".")[0] for name in names(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in ("stdout", "stderr"), f"line {node.lineno}"


@pytest.mark.parametrize("path", SHIPPED, ids=module_name)
def test_no_print_no_assert_and_a_stated_interface(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "eval", "exec"), f"{node.func.id} in line {node.lineno}"
    if path.name != "__main__.py":
        targets = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
        targets += [n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        assert "__all__" in targets


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
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
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
