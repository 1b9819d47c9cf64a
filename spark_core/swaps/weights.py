"""The files of models on the machines: whether they are there, and how they are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, Field

from ..contracts.machines import Machine, Machines
from ..errors import BackendError, SparkError
from .catalog import CatalogModel

__all__ = ["Finding", "delete_weights", "look_at"]

#: Seconds that a look at a folder may take, and that deleting one may.
LOOK_S: Final = 30.0
DELETE_S: Final = 300.0

#: Where Hugging Face's programs keep what they downloaded.
_HUB: Final = "hub=${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}\n"

_DOWNLOADED: Final = (
    _HUB + '[ -n "$(ls -A "$hub/$1/snapshots" 2>/dev/null)" ] && echo snapshot\ntrue'
)

_DELETE: Final = (
    _HUB
    + """\
[ -e "$hub/$1" ] || { echo 0; exit 0; }
kib=$(du -sk "$hub/$1" | cut -f1)
rm -rf -- "$hub/$1" "$hub/.locks/$1" && echo "$kib"
"""
)

_LOCAL: Final = """\
cd "$1" 2>/dev/null && echo folder || exit 0
[ -f config.json ] && echo config
[ -n "$(ls -- *.safetensors *.bin *.gguf 2>/dev/null)" ] && echo weights
{ [ -f chat_template.jinja ] || [ -f chat_template.json ] ||
  grep -q '"chat_template"' tokenizer_config.json; } 2>/dev/null && echo template
true
"""

_WANTED: Final = {
    "folder": "there is no such folder",
    "config": "config.json is not in it",
    "weights": "no weights are in it",
    "template": "no chat template is in it: neither chat_template.jinja, nor one in "
    "tokenizer_config.json",
}


class Finding(BaseModel, defer_build=True):
    """What a look at one machine told."""

    machine: str
    ok: bool
    detail: str = Field(description="What is missing, or what is there.")


async def look_at(model: CatalogModel, machines: Machines) -> list[Finding]:
    """What each machine that *model* would run on says of its files."""
    looks = [_look(model, machine, machines) for machine in _machines(model, machines)]
    return list(await asyncio.gather(*looks))


def _machines(model: CatalogModel, machines: Machines) -> Sequence[Machine]:
    return machines.all[: model.nodes]


async def _look(model: CatalogModel, machine: Machine, machines: Machines) -> Finding:
    try:
        if model.local_path is not None:
            problem = await _missing(model, model.local_path, machine, machines)
            detail = problem or f"{model.local_path} is complete"
            return Finding(machine=machine.name, ok=problem is None, detail=detail)
        folder = _hub_folder(model.repo or "")
        found = await _run(machines, machine, _DOWNLOADED, folder, timeout_s=LOOK_S)
        detail = "downloaded" if found else "not downloaded yet: the first start will do it"
        return Finding(machine=machine.name, ok=True, detail=detail)
    except SparkError as error:
        return Finding(machine=machine.name, ok=False, detail=str(error))


async def _missing(
    model: CatalogModel, folder: str, machine: Machine, machines: Machines
) -> str | None:
    """What a server would miss in *folder*."""
    there = (await _run(machines, machine, _LOCAL, folder, timeout_s=LOOK_S)).split()
    for template in model.chat_templates():
        seen = await _run(machines, machine, '[ -f "$1" ] && echo template; true', template)
        if not seen:
            return f"{template} is not there"
        there.append("template")
    wanted = [part for part in _WANTED if part != "template" or model.check == "chat"]
    missing = next((part for part in wanted if part not in there), None)
    return f"{folder}: {_WANTED[missing]}" if missing else None


def _hub_folder(repo: str) -> str:
    """The name of the folder that holds *repo*, which the catalog has checked, and no other."""
    return f"models--{repo.replace('/', '--')}"


async def delete_weights(repo: str, machine: Machine, machines: Machines) -> float:
    """Delete what *machine* has downloaded of *repo*; how many GiB that frees.

    :raises BackendError: not all of it could be deleted.
    :raises Unavailable: the machine cannot be reached.
    """
    freed = await _run(machines, machine, _DELETE, _hub_folder(repo), timeout_s=DELETE_S)
    return round(int(freed or 0) / 1024**2, 1)


async def _run(
    machines: Machines, machine: Machine, script: str, word: str, *, timeout_s: float = LOOK_S
) -> str:
    done = await machines.run(machine.name, ["sh", "-c", script, "sh", word], timeout_s=timeout_s)
    if done.exit_code:
        said = (done.stderr.strip().splitlines() or ["it did not say why"])[-1][:200]
        raise BackendError(
            f"{machine.name}: {said}",
            hint="what a container wrote as root, only root may delete"
            if "ermission denied" in said
            else None,
        )
    return done.stdout.strip()
