"""Every hook. Implement the ones you need; all are optional.

A hook is called once, when a host starts. It takes nothing, does no I/O, is never ``async``,
and returns descriptions: what does the work is opened later, when it is first needed. Mark
implementations with :data:`hookimpl`, and name the module that holds them in the entry-point
group ``spark_core``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .contracts.detection import KnownEntities, TextDetector
    from .contracts.embedding import Embedder
    from .contracts.machines import Machines
    from .contracts.model_hosts import ModelHost
    from .contracts.records import RecordSource
    from .contracts.reranking import Reranker
    from .contracts.sessions import SessionProcessor
    from .contracts.vectors import VectorStore
    from .declarations import (
        BackgroundService,
        Command,
        Job,
        Panel,
        Provider,
        Resource,
        SettingsSection,
        StateSchema,
    )
    from .gateway.backends import BackendKind
    from .gateway.compositions import Composition
    from .operations import Operation
    from .swaps.guards import SwapGuard

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "spark_core"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# ------------------------------------------------------------------------------ foundations


@hookspec
def spark_register_settings() -> Iterable[SettingsSection]:
    """Offer sections of ``spark.toml``, each with the pydantic model that checks it.

    A plugin's own section is ``plugins.<its entry point's name>``.
    """
    return ()


@hookspec
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """Offer tables in the shared state, made and changed by Alembic revisions."""
    return ()


@hookspec
def spark_register_resources() -> Iterable[Resource[object]]:
    """Offer things with a lifetime that operations and other openers may need by type."""
    return ()


# --------------------------------------------------------------------------------- backends


@hookspec
def spark_register_embedders() -> Iterable[Provider[Embedder]]:
    """Offer embedders: they turn text into vectors. ``[providers] embedder`` chooses one."""
    return ()


@hookspec
def spark_register_rerankers() -> Iterable[Provider[Reranker]]:
    """Offer rerankers: they order texts by a query. ``[providers] reranker`` chooses one."""
    return ()


@hookspec
def spark_register_vector_stores() -> Iterable[Provider[VectorStore]]:
    """Offer vector stores. ``[providers] vector_store`` chooses one."""
    return ()


@hookspec
def spark_register_backends() -> Iterable[BackendKind]:
    """Offer kinds of servers that requests are relayed to, each with the routes it serves."""
    return ()


@hookspec
def spark_register_compositions() -> Iterable[Composition]:
    """Offer compositions: requests that are answered out of backends' work instead of being
    relayed.
    """
    return ()


@hookspec
def spark_register_machines() -> Iterable[Provider[Machines]]:
    """Offer ways to run commands on machines. ``[providers] machines`` chooses one."""
    return ()


@hookspec
def spark_register_model_hosts() -> Iterable[Provider[ModelHost]]:
    """Offer model hosts: machines on which models are swapped. ``[providers] model_host``
    chooses one.
    """
    return ()


# ------------------------------------------------------------------------------- processors


@hookspec
def spark_register_swap_guards() -> Iterable[SwapGuard]:
    """Offer guards: they may forbid that a model is swapped now."""
    return ()


@hookspec
def spark_register_record_sources() -> Iterable[Provider[RecordSource]]:
    """Offer record sources: they read a CRM. ``[providers] record_source`` chooses one."""
    return ()


@hookspec
def spark_register_text_detectors() -> Iterable[Provider[TextDetector]]:
    """Offer detectors of what is private in texts. All of them are asked about every text, and
    one that fails keeps it from leaving.
    """
    return ()


@hookspec
def spark_register_known_entities() -> Iterable[Provider[KnownEntities]]:
    """Offer the names and numbers of known people and firms, to be looked for in texts. Those
    that are not configured are left out. Of those that are ``FollowedEntities``, too, only what
    has changed is read again.
    """
    return ()


@hookspec
def spark_register_session_processors() -> Iterable[SessionProcessor]:
    """Offer session processors: they read the files that people's sessions are written to."""
    return ()


# ------------------------------------------------------------------------------------ faces


@hookspec
def spark_register_operations() -> Iterable[Operation]:
    """Offer operations: each becomes a route, a command and, where marked, a tool."""
    return ()


@hookspec
def spark_register_jobs() -> Iterable[Job]:
    """Offer operations to be run on a schedule."""
    return ()


@hookspec
def spark_register_background_services() -> Iterable[BackgroundService]:
    """Offer coroutines that must run in exactly one process at a time."""
    return ()


@hookspec
def spark_register_panels() -> Iterable[Panel]:
    """Offer panels for the dashboard."""
    return ()


@hookspec
def spark_register_commands() -> Iterable[Command]:
    """Offer shell commands that are no operations."""
    return ()
