"""The reference: written out of the code, and not behind it."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from spark_core import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("spark_register_"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script that writes the reference."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["hooks.md", "errors.md", "settings.md", "operations.md"])
def test_a_page_is_current(generate: ModuleType, page: str) -> None:
    """If this fails, run `python docs/generate.py`."""
    assert (ROOT / "docs" / "reference" / page).read_text("utf-8") == generate.pages()[page]


def test_the_script_says_what_is_stale(
    generate: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With `--check` it fails and writes nothing; without, it writes, and is then content."""
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert "docs/reference/hooks.md is stale" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.main() == 0
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_heading_with_its_signature(hook: str) -> None:
    """Exactly as it is written in the page that defines it."""
    definition = inspect.getsource(getattr(hookspecs, hook)).splitlines()[1]
    signature = definition.removeprefix("def ").removesuffix(":")
    text = (ROOT / "docs" / "reference" / "hooks.md").read_text("utf-8")
    assert f"### `{signature}`" in text.splitlines()


def test_the_reference_tells_every_error_and_no_secret() -> None:
    """Each error has a row; a setting that is a secret is said to be one."""
    from spark_core import errors

    table = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    for name in set(errors.__all__) - {"Problem"}:
        assert f"\n| `{name}` | " in table
    settings = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8")
    assert "| `url` | `secret` |" in settings
