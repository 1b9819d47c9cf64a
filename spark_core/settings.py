"""Settings: ``spark.toml``, then ``.env``, then the environment, the last winning.

One pydantic model per section. A setting ``[plugins.qdrant] url`` is also read from the
environment as ``SPARK_PLUGINS_QDRANT_URL``, and from any name its field is marked with::

    url: Annotated[str | None, Env("QDRANT_URL")] = None

``spark.toml`` lies in the working directory, or where ``--config`` or ``SPARK_CONFIG`` say; it
may be absent. Relative paths are relative to it, and so is the data directory, ``.spark``.

A blank variable sets only what may be text; a number, a switch or a path it leaves unset.
"""

from __future__ import annotations

import json
import os
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PydanticUserError,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic import ValidationInfo as _ValidationInfo
from pydantic_core import ErrorDetails

from .declarations import SettingsSection
from .errors import NotConfigured, PluginError, SettingsError
from .sources import CORE_SECTIONS, Source, nearest, prefix_of

__all__ = [
    "ConfigPath",
    "CoreSettings",
    "DataDirectory",
    "Env",
    "ProvidersSettings",
    "Section",
    "Settings",
    "Source",
    "StateSettings",
    "nearest",
    "redacted",
    "variables",
]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Env:
    """Marks a field with an environment variable it is read from."""

    name: str


@dataclass(frozen=True)
class DataDirectory:
    """A need: where everything durable lies by default. Nobody else may look into it."""

    path: Path

    def made(self) -> Path:
        """The directory, which exists from now on.

        :raises SettingsError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be made: {error.strerror}") from error
        return self.path


def _written_path(value: object) -> object:
    """*value*, if a path can be made of it; what is empty would be the folder itself."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError("must be a path, in quotes")
    if not os.fspath(value).strip():
        raise ValueError("is empty: name a path, or leave the setting out")
    return value


def _beside_config(path: Path, info: _ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("directory") or Path.cwd()
    try:
        return base / path.expanduser()
    except RuntimeError as error:  # ~somebody who does not exist
        raise ValueError(str(error)) from error


#: A path in settings: a relative one, also a default of a section, is relative to ``spark.toml``.
ConfigPath = Annotated[Path, BeforeValidator(_written_path), AfterValidator(_beside_config)]


class Section(BaseModel):
    """The base of every section: an unknown key is an error, not a silent typo."""

    # Defaults are checked, too: that is how one that is a path comes to lie beside spark.toml.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, validate_default=True)


class CoreSettings(Section):
    """``[core]``"""

    data_directory: ConfigPath | None = Field(
        default=None, description="Where everything durable lies; `.spark` beside spark.toml."
    )
    plugin_errors: Literal["contain", "refuse"] = Field(
        default="contain",
        description="Whether a broken plugin is left out and shown, or nothing starts with it.",
    )


def _file_beside_config(url: SecretStr | None, info: _ValidationInfo) -> SecretStr | None:
    """*url*, where it names a SQLite file with its whole path."""
    text = url.get_secret_value() if url else ""
    parts = re.fullmatch(
        r"(sqlite(?:\+\w+)?:///(?:file:)?+)(?!:memory:)([^?]+)(.*)", text, re.DOTALL
    )
    if parts is None:
        return url
    scheme, file, options = parts.groups()
    path = str(_beside_config(Path(file), info))
    if "?" in path:
        raise ValueError("the name of a folder above it has a question mark, which no URL can hold")
    return SecretStr(f"{scheme}{path}{options}")


class StateSettings(Section):
    """``[state]``"""

    url: Annotated[SecretStr | None, AfterValidator(_file_beside_config)] = Field(
        default=None,
        description="SQLAlchemy URL of the state database, for several hosts: "
        "postgresql+psycopg://... By default SQLite in the data directory.",
    )


class ProvidersSettings(Section):
    """``[providers]``: which implementation of each contract is used, by name."""

    embedder: str | None = None
    reranker: str | None = None
    vector_store: str | None = None
    record_source: str | None = None
    machines: str | None = None
    model_host: str | None = None


def variables(section: SettingsSection) -> Iterator[tuple[str, str]]:
    """Each field with each of its environment variables; the general name is last, and wins."""
    prefix = prefix_of(section.path)
    for key, info in section.model.model_fields.items():
        for mark in info.metadata:
            if isinstance(mark, Env):
                yield key, mark.name
        yield key, f"{prefix}_{key.upper()}"


def _given(
    source: Source, section: SettingsSection, within: Iterable[str]
) -> Iterator[tuple[str, Any, str]]:
    """Each key of *section* that is set, its value, and where that was found.

    Those *within* are sections of their own.
    """
    table: Any = source.toml
    for part in section.path.split("."):
        table = table.get(part, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"{source.file}: [{section.path}] must be a table")
    found = {key: (value, str(source.file)) for key, value in table.items() if key not in within}
    if section.path.startswith("plugins."):
        found.pop("enabled", None)  # the switch of the plugin itself
    for layer, name in source.layers():
        for key, variable in variables(section):
            text = layer.get(variable)
            if text is not None and (text.strip() or _may_be_text(section, key)):
                found[key] = (_from_text(section, key, text), f"{name} {variable}")
    for key, (value, where) in found.items():
        yield key, value, where


def _from_text(section: SettingsSection, key: str, text: str) -> Any:
    """An environment variable's value: JSON for tables and lists, else the text as it is."""
    if text[:1] not in ("{", "[") or _is_text(section.model.model_fields[key].annotation):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_text(annotation: Any) -> bool:
    """Whether nothing but text fits: a secret may look like JSON and is still text."""
    return all(choice in (str, SecretStr, NoneType) for choice in _choices(annotation))


def _may_be_text(section: SettingsSection, key: str) -> bool:
    """Whether text fits, so that a blank one may mean something."""
    choices = _choices(section.model.model_fields[key].annotation)
    return any(choice in (str, SecretStr, Any) for choice in choices)


def _choices(annotation: Any) -> Iterator[Any]:
    """What *annotation* is, or the several things of which it is one; without their marks."""
    if get_origin(annotation) is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif isinstance(annotation, types.UnionType) or get_origin(annotation) is Union:
        for choice in get_args(annotation):
            yield from _choices(choice)
    else:
        yield annotation


@dataclass
class Settings:
    """The checked settings of everything that is installed.

    A need by this type is not offered: ask for your own section by its model.
    """

    source: Source
    sections: dict[str, SettingsSection] = field(default_factory=dict)
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    incomplete: dict[type[BaseModel], str] = field(default_factory=dict)
    _values: dict[type[BaseModel], BaseModel] = field(default_factory=dict)

    @classmethod
    def check(cls, source: Source, sections: Iterable[SettingsSection]) -> Settings:
        """Check every section.

        :raises SettingsError: with one line for each value that is wrong.
        """
        settings = cls(source)
        problems: list[str] = []
        all_sections = (*CORE_SECTIONS, *sections)
        for section in all_sections:
            within = f"{section.path}."
            inner = [s.path[len(within) :] for s in all_sections if s.path.startswith(within)]
            problems += settings._add(section, inner)
        if problems:
            raise SettingsError("\n".join(problems))
        return settings

    def _add(self, section: SettingsSection, within: Iterable[str] = ()) -> list[str]:
        if section.path in self.sections:
            raise PluginError(f"two plugins want the settings section [{section.path}]")
        if twin := next((s for s in self.sections.values() if s.model is section.model), None):
            # Sections are needs by their model, so one model is one section.
            raise PluginError(
                f"[{twin.path}] and [{section.path}] share the model {section.model.__name__}",
                hint="derive a model of its own for each",
            )
        self.sections[section.path] = section
        found = list(_given(self.source, section, within))
        self.origins.update({(section.path, key): where for key, _, where in found})
        try:
            self._values[section.model] = section.model.model_validate(
                {key: value for key, value, _ in found},
                context={"directory": self.source.directory},
            )
        except ValidationError as error:
            lines = [self._line(section, problem) for problem in error.errors()]
            if any(problem["type"] != "missing" for problem in error.errors()):
                return lines
            # A plugin that was just installed is told when it is used, and stops nobody.
            self.incomplete[section.model] = "; ".join(lines)
        return []

    def _line(self, section: SettingsSection, problem: ErrorDetails) -> str:
        """One wrong value: file, key, what was found, what is allowed."""
        path = [str(part) for part in problem["loc"]]
        file = self.source.file or "spark.toml"
        where = self.origins.get((section.path, path[0] if path else ""), str(file))
        place = f"{where}: [{section.path}] {'.'.join(path)}".rstrip()
        if problem["type"] == "extra_forbidden":
            known = section.model.model_fields if len(path) == 1 else ()
            return f"{place} is not a setting{nearest(path[-1], known)}"
        if problem["type"] == "missing":
            return f"{place} is missing"
        shown = "" if not path or _holds_secret(section, path[0]) else _shown(problem)
        return f"{place}{shown}: {problem['msg'].removeprefix('Value error, ')}"

    def section(self, model: type[M]) -> M:
        """The checked section of *model*.

        :raises KeyError: no plugin registered a section with this model.
        :raises NotConfigured: a setting of it that has no default is missing.
        """
        if model in self.incomplete:
            raise NotConfigured(self.incomplete[model])
        value = self._values[model]
        assert isinstance(value, model)
        return value

    def models(self) -> Mapping[type[BaseModel], BaseModel]:
        """Every section by its model."""
        return self._values

    @property
    def data_directory(self) -> DataDirectory:
        """Where everything durable lies by default."""
        chosen = self.section(CoreSettings).data_directory
        return DataDirectory(chosen or self.source.directory / ".spark")

    @property
    def warnings(self) -> list[str]:
        """What is not wrong, but probably not meant."""
        unknown = [
            f"{self.source.file}: [{name}] is read by nothing that is installed"
            f"{nearest(name, self.sections)}"
            for name in self.source.unknown_sections(self.sections)
        ]
        return [*self.incomplete.values(), *unknown]


def _shown(problem: ErrorDetails) -> str:
    if isinstance(problem["input"], dict | list):
        return ""
    return f" = {redacted(str(problem['input']))[:60]!r}"


def redacted(text: str) -> str:
    """*text* without what may be secret in a URL: the user's part, the query, the fragment.

    It rather hides too much: a password may hold any character, also those that end its part.
    """
    hidden = re.sub(r"(//|^[\w.+-]+:(?!//)).*@", r"\1***@", text, flags=re.DOTALL)
    return re.sub(r"(//.*?[?#]).*", r"\1***", hidden, flags=re.DOTALL)


def _holds_secret(section: SettingsSection, key: str) -> bool:
    """Whether there is a secret in *key*'s value, however deep; its JSON schema tells."""
    try:
        annotation: Any = section.model.model_fields[key].annotation
        schema = TypeAdapter(annotation).json_schema()
    except (KeyError, PydanticUserError):
        return True  # nobody can tell
    return '"writeOnly"' in json.dumps(schema)
