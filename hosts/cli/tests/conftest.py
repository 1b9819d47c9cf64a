from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from spark_core_cli.main import make_command

from spark_core.settings import Source


@pytest.fixture(scope="session")
def library() -> ModuleType:
    """The module ``library.py`` beside this file."""
    path = Path(__file__).with_name("library.py")
    spec = importlib.util.spec_from_file_location("spark_core_cli_tests_library", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Source]:
    """Makes settings of a TOML table and an environment."""

    def make(toml: dict[str, Any] | None = None, **environ: str) -> Source:
        return Source(tmp_path / "spark.toml", tmp_path, toml or {}, {}, environ)

    return make


@pytest.fixture
def spark(
    library: ModuleType, source: Callable[..., Source], monkeypatch: Any, tmp_path: Path
) -> Callable[..., Result]:
    """Runs ``spark`` in this process, with the plugin of ``library.py`` or others."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, plugins: Any = None, settings: Any = None, input: str = "") -> Result:
        plugins = [library.library()] if plugins is None else plugins
        made = library.installed(*plugins, source=settings or source())
        command = make_command(lambda config: made)
        return CliRunner().invoke(command, words, input=input, prog_name="spark")

    return run
