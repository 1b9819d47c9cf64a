"""The catalog: every model that can be loaded, out of ``models.yaml`` and its overrides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    SerializationInfo,
    field_serializer,
    model_validator,
)

from ..contracts.model_hosts import Launch
from ..entries import EntryFiles
from ..errors import NotFound
from ..settings import DataDirectory, nearest
from .settings import OnDemand, SwapSettings

__all__ = ["Catalog", "CatalogModel", "ServedName", "open_catalog"]

_REPO: Final = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
_PATH: Final = re.compile(r"/[\w./@+=-]*[\w@+=-]", re.ASCII)

#: Arguments that say what something else in the entry says, or what is the model host's.
_RESERVED: Final = {
    "--model": "say repo or local_path",
    "--served-model-name": "say served_name and aliases",
    "--host": "it is the model host's",
    "--port": "it is the model host's",
    "--api-key": "set VLLM_API_KEY in env, which no process list shows",
}


def _repository(repo: str) -> str:
    """*repo*, which also names a folder on the machines."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or len(repo) > 96:
        raise ValueError("must be like owner/name")
    return repo


def _local_path(path: str) -> str:
    """*path*, which becomes a word of command lines that are split at spaces."""
    if not _PATH.fullmatch(path):
        raise ValueError("must be absolute, of letters, digits and any of . _ / @ + = - alone")
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise ValueError("must have no part that is empty, . or ..")
    return path


def _argument(text: str) -> str:
    name = text.partition("=")[0]
    if reason := _RESERVED.get(name.replace("_", "-")):
        raise ValueError(f"{name} cannot be given here: {reason}")
    return _plain(text)


def _plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("must have no NUL character")
    return text


def _secret(value: SecretStr) -> SecretStr:
    if any(end in _plain(value.get_secret_value()) for end in "\r\n"):
        raise ValueError("must be one line: a file of variables holds one in each")
    return value


#: A name that callers use for a model.
ServedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")]

_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_Value = Annotated[SecretStr, AfterValidator(_secret)]


class CatalogModel(BaseModel):
    """A model that can be loaded: its files are those of ``repo``, or lie at ``local_path``."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    repo: Annotated[str, AfterValidator(_repository)] | None = Field(
        default=None, description="Its repository at Hugging Face: owner/name."
    )
    local_path: Annotated[str, AfterValidator(_local_path)] | None = Field(
        default=None, description="Its folder on the machines, instead of a repository."
    )
    served_name: ServedName | None = Field(
        default=None, description="What callers call it; by default its name."
    )
    aliases: tuple[ServedName, ...] = Field(
        default=(), max_length=50, description="Other names that callers may use."
    )
    args: tuple[Annotated[str, AfterValidator(_argument)], ...] = Field(
        default=(), max_length=500, description="Arguments of the server, one each."
    )
    env: dict[_Variable, _Value] = Field(
        default_factory=dict, description="Environment variables of the server, never shown."
    )
    nodes: int = Field(default=1, ge=1, le=2, description="On how many machines it runs together.")
    memory_gib: float | None = Field(
        default=None, gt=0, le=4096, description="What it needs on each machine."
    )
    ready_s: float = Field(
        default=1200.0, gt=0, le=86_400, description="How long it may take to load."
    )
    on_demand: OnDemand | None = Field(
        default=None, description="What a request for it does where it is not loaded."
    )
    check: Literal["chat", "completion", "embedding"] = Field(
        default="chat", description="The work that shows that it is ready."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.repo is None) == (self.local_path is None):
            raise ValueError("exactly one of repo and local_path must be given")
        if len({*self.names}) < len(self.names):
            raise ValueError("a name stands twice among served_name and aliases")
        for template in self.chat_templates():
            if self.local_path and not template.startswith(f"{self.local_path}/"):
                raise ValueError("args: the chat template must lie inside local_path")
        return self

    def chat_templates(self) -> Iterator[str]:
        """Each file that the arguments name as the chat template."""
        for argument, following in pairwise((*self.args, "")):
            option, joined, value = argument.partition("=")
            if option.replace("_", "-") == "--chat-template":
                yield _local_path(value if joined else following)

    @field_serializer("env", when_used="json")
    def _hide(self, env: Mapping[str, SecretStr], info: SerializationInfo) -> dict[str, str]:
        shown = bool((info.context or {}).get("reveal"))
        return {name: value.get_secret_value() if shown else "***" for name, value in env.items()}

    @property
    def source(self) -> str:
        """Where its files are from: its repository, or its folder on the machines."""
        return self.local_path or self.repo or ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the server goes by, the first being the one it calls itself."""
        return (self.served_name or self.name, *self.aliases)

    @property
    def digest(self) -> str:
        """Tells one entry from another; no value of its environment is in it."""
        launch = self.to_launch("")
        told = (launch.model, launch.arguments, sorted(launch.environment), self.nodes, self.check)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def to_launch(self, id: str) -> Launch:
        """How it is started; *id* is new with every launch."""
        return Launch(
            id=id,
            name=self.name,
            model=self.source,
            served_name=self.names[0],
            arguments=(*self.args, "--served-model-name", *self.names),
            environment={name: value.get_secret_value() for name, value in self.env.items()},
            nodes=self.nodes,
            is_local=self.local_path is not None,
        )


def _refuse_shared_names(model: CatalogModel, others: Mapping[str, CatalogModel]) -> None:
    for other in others.values():
        if shared := {model.name, *model.names} & {other.name, *other.names}:
            raise ValueError(f"{min(shared)!r} is a name of the model {other.name!r} already")


class Catalog:
    """Every model that can be loaded. Files that changed are read again by themselves."""

    def __init__(self, settings: SwapSettings, overrides: Path) -> None:
        self.files = EntryFiles(
            "models",
            CatalogModel,
            (settings.catalog, overrides),
            heads=("default",),
            check=_refuse_shared_names,
        )
        self._settings = settings

    @property
    def models(self) -> Mapping[str, CatalogModel]:
        """Each model by its name; what it does on demand is settled."""
        usual = {"on_demand": self._settings.on_demand}
        return {
            name: model if model.on_demand else model.model_copy(update=usual)
            for name, model in self.files.read().values.items()
        }

    def find(self, name: str) -> CatalogModel:
        """The model that goes by *name*: its own, the one it is served by, or an alias.

        :raises NotFound: there is none.
        """
        models = self.models
        by_name: dict[str, Any] = {n: m for m in models.values() for n in (m.name, *m.names)}
        if name not in by_name:
            known = ", ".join(models) or "none"
            raise NotFound(
                f"there is no model {name!r} in the catalog{nearest(name, by_name)}",
                hint=f"known models: {known}",
            )
        found: CatalogModel = by_name[name]
        return found

    @property
    def default(self) -> str | None:
        """The name of the model that is there by default, if one is chosen and known."""
        chosen = self._chosen_default()
        return self.find(chosen).name if chosen and self._knows(chosen) else None

    def _chosen_default(self) -> str | None:
        return self._settings.default or self.files.read().head.get("default")

    def _knows(self, name: str) -> bool:
        return any(name in (model.name, *model.names) for model in self.models.values())

    @property
    def warnings(self) -> Sequence[str]:
        """What is wrong: with a file, with an entry that was left out, with the default."""
        return [*self.files.read().warnings, *self._doubts()]

    def _doubts(self) -> Iterator[str]:
        named = "catalog" in self._settings.model_fields_set
        if named and not self._settings.catalog.is_file():
            yield f"[swaps] catalog: there is no file {self._settings.catalog}"
        chosen = self._chosen_default()
        if chosen and not self._knows(chosen):
            yield f"the default model {chosen!r} is not known{nearest(chosen, self.models)}"
        for slot in self._settings.timetable:
            if not self._knows(slot.model):
                near = nearest(slot.model, self.models)
                yield f"[swaps] timetable: the model {slot.model!r} is not known{near}"


@asynccontextmanager
async def open_catalog(settings: SwapSettings, data: DataDirectory) -> AsyncIterator[Catalog]:
    """The catalog that settings name."""
    overrides = settings.overrides or data.path / "models-overrides.yaml"
    yield Catalog(settings, overrides)
