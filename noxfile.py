"""Chores: ``nox -l`` lists them. They run in the environment that nox itself is in."""

from __future__ import annotations

import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "docs", "tests"]


def _python(session: nox.Session, *words: str) -> None:
    session.run(sys.executable, *words)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types of core, of every plugin and of every host."""
    _python(session, "-m", "pytest", "-q", "tests/packaging/test_lint.py")


@nox.session
def format(session: nox.Session) -> None:
    """Format everything, and repair what ruff can repair."""
    _python(session, "-m", "ruff", "check", "--fix", ".")
    _python(session, "-m", "ruff", "format", ".")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest: nox -s tests -- -m slow."""
    _python(session, "-m", "pytest", *session.posargs)


@nox.session
def packaging(session: nox.Session) -> None:
    """Build every wheel, and try them in a fresh environment with plugins good and bad."""
    _python(session, "-m", "pytest", "tests/packaging", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Check that docs/reference is what the code says; `python docs/generate.py` writes it."""
    _python(session, "docs/generate.py", "--check")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed, memory and quality, as ratios in one run."""
    _python(session, "tests/benchmarks/run.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Index this very Python environment as a CRM, and search it."""
    _python(session, "-m", "spark_core_cli", "demo", *session.posargs)
