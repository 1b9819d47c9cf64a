"""Where settings come from: ``spark.toml``, ``.env`` and the environment.

They say which plugins are switched off, before any plugin is found; :mod:`spark_core.settings`
checks the rest, when the plugins have said what there may be. Help needs no more than this.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .declarations import SettingsSection
from .errors import SettingsError

__all__ = ["CORE_SECTIONS", "Source", "nearest", "prefix_of"]

CORE_SECTIONS = (
    SettingsSection("core", "spark_core.settings:CoreSettings"),
    SettingsSection("state", "spark_core.settings:StateSettings"),
    SettingsSection("providers", "spark_core.settings:ProvidersSettings"),
)


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"``, or nothing where no known name is near."""
    import difflib  # only here: most names are right

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True)
class Source:
    """Where settings come from: a file that may be absent, and an environment."""

    file: Path | None
    directory: Path
    toml: Mapping[str, Any]
    dotenv: Mapping[str, str]
    environ: Mapping[str, str]

    @classmethod
    def read(
        cls,
        config: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Source:
        """Read ``spark.toml`` and ``.env``; nothing is checked against models yet.

        :raises SettingsError: a file that was named is missing, one cannot be read, or the
            working directory is gone.
        """
        environ = os.environ if environ is None else environ
        named = config or environ.get("SPARK_CONFIG")
        file = Path(named) if named else Path("spark.toml")
        directory = _folder(file)
        if file.is_file():
            return cls(file, directory, _toml(file), _dotenv(directory), dict(environ))
        if named:
            raise SettingsError(f"there is no settings file {file}")
        return cls(None, directory, {}, _dotenv(directory), dict(environ))

    def disabled_plugins(self) -> frozenset[str]:
        """The plugins that are switched off: ``[plugins.<name>] enabled = false``.

        :raises SettingsError: ``enabled`` is neither true nor false, or would switch core off.
        """
        switches: dict[str, bool] = {}
        for name, switch, place in self._switches():
            if not isinstance(switch, bool):
                raise SettingsError(f"{place} = {switch!r}: Input should be true or false")
            if name == "core" and not switch:
                raise SettingsError(f"{place} = false: core cannot be switched off")
            switches[name] = switch
        return frozenset(name for name, switch in switches.items() if not switch)

    def _switches(self) -> Iterator[tuple[str, Any, str]]:
        """Each plugin's switch that is set and where, the last winning."""
        for name, table in self._plugin_tables():
            if "enabled" in table:
                yield name, table["enabled"], f"{self.file}: [plugins.{name}] enabled"
        for layer, where in self.layers():
            for name in self._names() if any(map(_SWITCH.fullmatch, layer)) else ():
                variable = f"{prefix_of(f'plugins.{name}')}_ENABLED"
                if layer.get(variable, "").strip():
                    place = f"{where} {variable}: [plugins.{name}] enabled"
                    yield name, _switch(layer[variable]), place

    def _names(self) -> set[str]:
        """What a plugin may be called: the name of a variable does not tell it by itself."""
        from importlib.metadata import entry_points  # only here: few switch plugins this way

        installed = (point.name for point in entry_points(group="spark_core"))
        return {*installed, *(name for name, _ in self._plugin_tables())}

    def layers(self) -> tuple[tuple[Mapping[str, str], str], ...]:
        """What comes after the file, and what each is called; the last wins."""
        return (self.dotenv, ".env"), (self.environ, "environment")

    def _plugin_tables(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        tables = self.toml.get("plugins", {})
        if not isinstance(tables, dict):
            raise SettingsError(f"{self.file}: [plugins] must be a table")
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise SettingsError(f"{self.file}: [plugins.{name}] must be a table")
            yield name, table

    def unknown_sections(self, known: Iterable[str]) -> Iterator[str]:
        """The names of tables in the file that no installed plugin or host reads."""
        known, off = set(known), self.disabled_plugins()
        yield from (name for name in self.toml if name != "plugins" and name not in known)
        for name, table in self._plugin_tables():
            switch_alone = table.keys() == {"enabled"} or name in off
            if f"plugins.{name}" not in known and not switch_alone:
                yield f"plugins.{name}"


_SWITCH = re.compile(r"SPARK_PLUGINS_\w+_ENABLED")


def _switch(text: str) -> bool | str:
    """What *text* switches, in the words that any switch in the environment takes."""
    from pydantic import TypeAdapter, ValidationError  # only here: few switch plugins this way

    try:
        return TypeAdapter(bool).validate_python(text.strip())
    except ValidationError:
        return text


def _folder(file: Path) -> Path:
    """The folder of *file*; of a link, where it lies and not where it leads."""
    try:
        return file.parent.resolve()
    except FileNotFoundError:
        raise SettingsError(
            "the working directory does not exist any more", hint="change to one that does"
        ) from None


def _toml(file: Path) -> dict[str, Any]:
    import tomllib  # only here: many programs have no spark.toml

    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error


def _dotenv(directory: Path) -> dict[str, str]:
    file = directory / ".env"
    if not file.is_file():
        return {}
    from dotenv import dotenv_values  # only here: most programs have no .env

    try:
        return {key: value or "" for key, value in dotenv_values(file).items()}
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not valid UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error


def prefix_of(path: str) -> str:
    """What the names of the environment variables of the section at *path* begin with."""
    return "SPARK_" + path.replace(".", "_").replace("-", "_").upper()
