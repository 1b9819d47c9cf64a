"""The catalog as people and programs see and change it."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import BaseModel, Field

from ..contracts.machines import Machines
from ..contracts.model_hosts import ModelHost
from ..errors import Conflict, InvalidRequest, NotConfigured, Problem, Unavailable
from ..gateway.gateway import Gateway
from .catalog import Catalog, CatalogModel
from .history import SwapHistory
from .settings import OnDemand
from .weights import Finding, delete_weights, look_at

__all__ = ["add_model", "check_models", "list_models", "remove_model", "show_model"]


class ModelLine(BaseModel, defer_build=True):
    """A model in a list."""

    name: str
    served_name: str
    source: str = Field(description="Its repository, or its folder on the machines.")
    nodes: int
    memory_gib: float | None
    on_demand: OnDemand | None


class ModelList(BaseModel, defer_build=True):
    """Every model that can be loaded, and what is wrong in the catalog's files."""

    default: str | None
    models: list[ModelLine]
    warnings: list[str]


async def list_models(catalog: Catalog) -> ModelList:
    """List the models that can be loaded."""
    lines = [
        ModelLine(
            name=model.name,
            served_name=model.names[0],
            source=model.source,
            nodes=model.nodes,
            memory_gib=model.memory_gib,
            on_demand=model.on_demand,
        )
        for model in catalog.models.values()
    ]
    return ModelList(default=catalog.default, models=lines, warnings=list(catalog.warnings))


class ModelName(BaseModel, defer_build=True):
    """Which model: by its name, the one it is served by, or an alias."""

    name: str


class ModelShown(BaseModel, defer_build=True):
    """An entry of the catalog. Of its environment only the names are told."""

    name: str
    repo: str | None
    local_path: str | None
    served_name: str
    aliases: list[str]
    args: list[str]
    env: list[str]
    nodes: int
    memory_gib: float | None
    ready_s: float
    on_demand: OnDemand | None
    check: Literal["chat", "completion", "embedding"]
    file: str = Field(description="Where the entry stands.")


async def show_model(request: ModelName, catalog: Catalog) -> ModelShown:
    """Show one entry of the catalog; of its environment only the names."""
    return _shown(catalog.find(request.name), catalog)


def _shown(model: CatalogModel, catalog: Catalog) -> ModelShown:
    fields = model.model_dump(exclude={"env", "served_name"})
    return ModelShown.model_validate(
        {
            **fields,
            "served_name": model.names[0],
            "aliases": list(model.aliases),
            "args": list(model.args),
            "env": sorted(model.env),
            "file": str(catalog.files.read().origins[model.name]),
        }
    )


class WhichModels(BaseModel, defer_build=True):
    """Which model to check; every one where none is named."""

    name: str | None = None


class Checked(BaseModel, defer_build=True):
    """What a check of one model found."""

    name: str
    ok: bool
    findings: list[Finding]


class CheckReport(BaseModel, defer_build=True):
    """What the checks found; ``warnings`` are those of the catalog's files."""

    ok: bool
    warnings: list[str]
    models: list[Checked]


async def check_models(
    request: WhichModels, catalog: Catalog, machines: Machines | None
) -> CheckReport:
    """Check the catalog's files and, on the machines, whether each model's files are there."""
    models = catalog.models.values() if request.name is None else [catalog.find(request.name)]
    checked = list(await asyncio.gather(*(_check(model, machines) for model in models)))
    warnings = [] if request.name else list(catalog.warnings)
    ok = not warnings and all(model.ok for model in checked)
    return CheckReport(ok=ok, warnings=warnings, models=checked)


async def _check(model: CatalogModel, machines: Machines | None) -> Checked:
    findings = await look_at(model, machines) if machines is not None else []
    return Checked(name=model.name, ok=all(f.ok for f in findings), findings=findings)


def render_check(report: CheckReport) -> str:
    """A line per model and machine, for a terminal."""
    lines = [f"warning: {warning}" for warning in report.warnings]
    for model in report.models:
        lines += [
            f"{model.name}: {f.machine}: {'' if f.ok else 'WRONG: '}{f.detail}"
            for f in model.findings
        ] or [f"{model.name}: its entry is right"]
    return "\n".join(lines) or "the catalog is empty"


class ModelToAdd(CatalogModel):
    """A new entry of the catalog."""

    replace: bool = Field(default=False, description="Whether it may take another one's place.")


async def add_model(request: ModelToAdd, catalog: Catalog) -> ModelShown:
    """Add a model to the catalog's overrides."""
    fields = request.model_dump(exclude={"replace"}, exclude_unset=True)
    model = CatalogModel.model_validate(fields)
    await asyncio.to_thread(catalog.files.put, model.name, model, replace=request.replace)
    return _shown(catalog.find(model.name), catalog)


class ModelToRemove(BaseModel, defer_build=True):
    """Which model to take out of the catalog."""

    name: str
    weights: bool = Field(
        default=False, description="Whether its files are deleted from the machines' disks, too."
    )


class Removed(BaseModel, defer_build=True):
    """What was taken away."""

    name: str
    freed_gib: dict[str, float] = Field(description="What was deleted on each machine.")


async def remove_model(
    request: ModelToRemove,
    catalog: Catalog,
    gateway: Gateway,
    machines: Machines | None,
    host: ModelHost | None,
    history: SwapHistory,
) -> Removed:
    """Take a model out of the catalog; on demand delete what was downloaded of it, too."""
    model = catalog.find(request.name)
    if request.weights and model.repo is None:
        problem = Problem("/weights", "its files are not a download, so nobody could bring it back")
        raise InvalidRequest(
            f"{model.name} is a local model: its files are never deleted", problems=[problem]
        )
    running = await history.running(host.name) if host is not None else None
    if running is not None and model.name in (running.model, running.previous):
        raise Conflict(f"{model.name} takes part in swap {running.id}", hint="wait for its end")
    if await _is_loaded(model, gateway, host):
        raise Conflict(f"{model.name} is loaded", hint="load another one first")
    freed = await _delete(model, machines) if request.weights else {}
    await asyncio.to_thread(catalog.files.remove, model.name)
    return Removed(name=model.name, freed_gib=freed)


async def _is_loaded(model: CatalogModel, gateway: Gateway, host: ModelHost | None) -> bool:
    """Whether *model* runs on the model host; without one, whether any backend serves it."""
    if host is not None:
        state = await host.observe()
        if unseen := [name for name, node in state.nodes.items() if node.error]:
            raise Unavailable(f"nobody knows whether it is loaded: {unseen[0]} cannot be seen")
        if all(node.container is None for node in state.nodes.values()):
            return False
        if state.launch is not None and state.launch.name == model.name:
            return True
    return not {*model.names}.isdisjoint(await gateway.all_models())


async def _delete(model: CatalogModel, machines: Machines | None) -> dict[str, float]:
    """On every machine, also where it would not run now."""
    if machines is None:
        raise NotConfigured("no machines are configured, so nothing can be deleted there")
    assert model.repo is not None
    return {m.name: await delete_weights(model.repo, m, machines) for m in machines.all}
