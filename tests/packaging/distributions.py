"""Where our distributions lie, and what they say of themselves."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tests" / "packages" / "spark_core_demo"

#: The folders of our distributions beside core, which is the root's.
ADDITIONS = sorted(
    file.parent for part in ("plugins", "hosts") for file in ROOT.glob(f"{part}/*/pyproject.toml")
)


def project(folder: Path) -> dict[str, Any]:
    """The table ``[project]`` of *folder*."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


def package(folder: Path) -> Path:
    """The folder of the package that the distribution in *folder* holds."""
    return folder / project(folder)["name"].replace("-", "_")
