"""Needs: chosen by rule, opened once, closed in reverse, and honest when it fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from spark_core.clock import Clock
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.reranking import Reranker
from spark_core.declarations import Provider, Resource, SettingsSection
from spark_core.errors import NotConfigured, PluginError, SettingsError, SparkError, Unavailable
from spark_core.operations import Effect, Empty, Operation
from spark_core.plugins import Plugin
from spark_core.resolution import CONTRACTS, choose
from spark_core.settings import DataDirectory, Section, Settings, Source
from spark_core.testing.clock import ManualClock
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("spark_home")]


# -------------------------------------------------------------------------------------- choosing


def provider(name: str, *, configured: bool | None = None, embedded: bool = False) -> Provider[Any]:
    def opener() -> Any:
        raise NotImplementedError

    says = None if configured is None else lambda settings: bool(configured)
    return Provider(name, opener, configured=says, embedded=embedded)


def settings(embedder: str | None = None) -> Settings:
    environ = {"SPARK_PROVIDERS_EMBEDDER": embedder} if embedder else {}
    return Settings.check(Source.read(environ=environ), [])


NAMED = provider("plain")
READY, READY_TOO = provider("ready", configured=True), provider("too", configured=True)
UNREADY = provider("unready", configured=False)
EMBEDDED = provider("embedded", embedded=True)


@pytest.mark.parametrize(
    ("providers", "name", "chosen"),
    [
        ([NAMED, READY, EMBEDDED], "plain", NAMED),
        ([UNREADY, READY], "unready", UNREADY),
        ([NAMED, READY, EMBEDDED], None, READY),
        ([UNREADY, EMBEDDED, NAMED], None, EMBEDDED),
        ([NAMED], None, NAMED),
        ([UNREADY], None, UNREADY),
    ],
)
async def test_the_rule_of_choice(
    providers: list[Provider[Any]], name: str | None, chosen: Provider[Any]
) -> None:
    """By name; else the configured one; else the embedded one; else the only one. In any order."""
    for order in itertools.permutations(providers):
        assert choose("embedder", list(order), settings(name)) is chosen


async def test_a_name_that_is_not_installed() -> None:
    """The nearest name and all names are told."""
    with pytest.raises(SettingsError) as caught:
        choose("embedder", [READY, EMBEDDED], settings("redy"))
    assert str(caught.value) == (
        "[providers] embedder = 'redy' is not installed; did you mean 'ready'? "
        "(installed: ready, embedded)"
    )


async def test_two_that_are_ready_are_not_guessed_between() -> None:
    """The error names both and the setting that decides."""
    with pytest.raises(SettingsError, match="ready and too are both ready") as caught:
        choose("embedder", [READY, READY_TOO], settings())
    assert not isinstance(caught.value, NotConfigured)
    assert caught.value.hint == "set [providers] embedder to one of: ready, too"


@pytest.mark.parametrize("providers", [[], [NAMED, UNREADY]])
async def test_none_to_choose_is_not_configured(providers: list[Provider[Any]]) -> None:
    """Nothing is wrong; something is to be set first."""
    with pytest.raises(NotConfigured, match=r"there is no embedder to use .*\[providers\]"):
        choose("embedder", providers, settings())


async def test_every_contract_has_its_setting_and_hook() -> None:
    """A contract that is added has a name in `[providers]` and a hook."""
    from spark_core import hookspecs
    from spark_core.settings import ProvidersSettings

    assert {s for s, _ in CONTRACTS.values()} == set(ProvidersSettings.model_fields)
    assert all(hasattr(hookspecs, hook) for _, hook in CONTRACTS.values())


# --------------------------------------------------------------------------------------- filling


class Tree(Section):
    height: int = 3


class Root:
    """A resource."""


class Trunk:
    """A resource that needs another."""

    def __init__(self, root: Root) -> None:
        self.root = root


class Crown(Trunk):
    """A resource that needs two."""


class Lonely:
    """What nobody offers."""


class Journal(list[str]):
    """What happened, in order."""

    @asynccontextmanager
    async def living(self, name: str) -> AsyncIterator[None]:
        self.append(f"open {name}")
        try:
            yield
        finally:
            await asyncio.sleep(0)
            self.append(f"close {name}")


def resources(*offered: Resource[Any]) -> Plugin:
    return plugin("forest", spark_register_resources=lambda: offered)


def forest(journal: Journal) -> Plugin:
    """Crown needs trunk and root, trunk needs root."""

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        async with journal.living("root"):
            yield Root()

    @asynccontextmanager
    async def trunk(root: Root) -> AsyncIterator[Trunk]:
        async with journal.living("trunk"):
            yield Trunk(root)

    @asynccontextmanager
    async def crown(trunk: Trunk, root: Root) -> AsyncIterator[Crown]:
        async with journal.living("crown"):
            yield Crown(root)

    # The last that is needed is offered first: the order of offers must not matter.
    return resources(Resource(Crown, crown), Resource(Trunk, trunk), Resource(Root, root))


async def test_needs_are_filled_by_type(spark_open: SparkOpener, spark_clock: ManualClock) -> None:
    """Sections, what core gives, resources and providers; extras for one call alone."""

    @asynccontextmanager
    async def embedder(settings: Tree) -> AsyncIterator[FakeEmbedder]:
        yield FakeEmbedder()

    async def function(
        request: BaseModel,
        tree: Tree,
        clock: Clock,
        data: DataDirectory,
        embedder: Embedder,
        lonely: Lonely,
    ) -> None: ...

    tree = plugin(
        "tree",
        spark_register_settings=lambda: [SettingsSection("plugins.tree", Tree)],
        spark_register_embedders=lambda: [Provider("fake", embedder)],
    )
    lonely = Lonely()
    async with spark_open(tree, toml="[plugins.tree]\nheight = 8") as spark:
        arguments = await spark.resolver.fill(function, {Lonely: lonely})
        assert list(arguments) == ["tree", "clock", "data", "embedder", "lonely"]
        assert arguments["tree"].height == 8
        assert arguments["clock"] is spark_clock
        assert arguments["data"].path.name == ".spark"
        assert isinstance(arguments["embedder"], FakeEmbedder)
        assert arguments["lonely"] is lonely
        with pytest.raises(PluginError, match="nothing installed offers Lonely"):
            await spark.resolver.fill(function)


async def test_an_optional_need_may_stay_unfilled(spark_open: SparkOpener) -> None:
    """None where nothing offers it, where none can be chosen, or where it wants settings."""

    @asynccontextmanager
    async def trunk() -> AsyncIterator[Trunk]:
        raise NotConfigured("no trunk yet")
        yield

    async def function(
        lonely: Lonely | None, reranker: Reranker | None, trunk: Trunk | None, root: Root | None
    ) -> None: ...

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        yield Root()

    async with spark_open(resources(Resource(Trunk, trunk), Resource(Root, root))) as spark:
        arguments = await spark.resolver.fill(function)
        assert isinstance(arguments.pop("root"), Root)
        assert arguments == {"lonely": None, "reranker": None, "trunk": None}
        lonely = Lonely()
        assert (await spark.resolver.fill(function, {Lonely: lonely}))["lonely"] is lonely


async def test_an_optional_need_does_not_hide_errors(spark_open: SparkOpener) -> None:
    """Only what is not configured is None; what fails, fails."""

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        raise Unavailable("away")
        yield

    async def function(root: Root | None) -> None: ...

    async with spark_open(resources(Resource(Root, root))) as spark:
        with pytest.raises(Unavailable, match="away"):
            await spark.resolver.fill(function)


# --------------------------------------------------------------------------- opening and closing


async def test_nothing_is_opened_before_it_is_needed(spark_open: SparkOpener) -> None:
    """Starting is quick, whatever is installed."""
    journal = Journal()
    async with spark_open(forest(journal)):
        pass
    assert journal == []


async def test_closed_in_the_reverse_order_of_opening(spark_open: SparkOpener) -> None:
    """What is needed by others is opened before them and closed after them."""
    journal = Journal()
    async with spark_open(forest(journal)) as spark:
        crown = await spark.resolver.get(Crown)
        assert crown.root is await spark.resolver.get(Root)
    opened = ["open root", "open trunk", "open crown"]
    assert journal == [*opened, "close crown", "close trunk", "close root"]


@pytest.mark.parametrize("order", list(itertools.permutations([Root, Trunk, Crown])))
async def test_opened_once_under_concurrency(
    order: tuple[type, ...], spark_open: SparkOpener
) -> None:
    """Whoever comes while something is opened waits for that one."""
    journal = Journal()
    async with spark_open(forest(journal)) as spark:
        found: list[Any] = await asyncio.gather(*(spark.resolver.get(need) for need in order * 3))
        assert len({id(value) for value in found}) == 3
    assert journal[:3] == ["open root", "open trunk", "open crown"]
    assert journal[3:] == ["close crown", "close trunk", "close root"]


async def test_a_failed_opening_is_tried_again(spark_open: SparkOpener) -> None:
    """What was down may be up by the next time; only what was opened is closed."""
    journal, failing = Journal(), [True]

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        if failing:
            raise Unavailable("away")
        async with journal.living("root"):
            yield Root()

    async with spark_open(resources(Resource(Root, root))) as spark:
        both = await asyncio.gather(
            spark.resolver.get(Root), spark.resolver.get(Root), return_exceptions=True
        )
        assert [type(error) for error in both] == [Unavailable] * 2
        failing.clear()
        assert await spark.resolver.get(Root) is await spark.resolver.get(Root)
    assert journal == ["open root", "close root"]


async def test_a_cancelled_caller_does_not_cancel_the_opening(spark_open: SparkOpener) -> None:
    """Others wait for it as well."""
    opening, go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        opening.set()
        await go_on.wait()
        yield Root()

    async with spark_open(resources(Resource(Root, root))) as spark:
        first = asyncio.create_task(spark.resolver.get(Root))
        second = asyncio.create_task(spark.resolver.get(Root))
        await opening.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go_on.set()
        assert isinstance(await second, Root)


async def test_an_opening_does_not_outlive_the_program(spark_open: SparkOpener) -> None:
    """What is still being opened at the end is given up, and has cleaned up before the end."""
    opening, journal = asyncio.Event(), Journal()

    @asynccontextmanager
    async def trunk(root: Root) -> AsyncIterator[Trunk]:
        async with journal.living("half a trunk"):
            opening.set()
            await asyncio.Event().wait()
            yield Trunk(root)

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        async with journal.living("root"):
            yield Root()

    offered = resources(Resource(Trunk, trunk), Resource(Root, root))
    async with spark_open(offered) as spark:
        waiting = asyncio.create_task(spark.resolver.get(Trunk))
        await opening.wait()
    assert journal == ["open root", "open half a trunk", "close half a trunk", "close root"]
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_opening_that_was_not_begun_is_given_up_too(spark_open: SparkOpener) -> None:
    """Even where the end comes before the first step."""
    journal = Journal()
    async with spark_open(forest(journal)) as spark:
        waiting = asyncio.create_task(spark.resolver.get(Crown))
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [line.split()[0] for line in journal].count("open") * 2 == len(journal)


async def test_entered_and_left_in_one_task(spark_open: SparkOpener) -> None:
    """Task groups and cancel scopes, which insist on it, work in openers."""
    tasks = []

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        tasks.append(asyncio.current_task())
        async with anyio.create_task_group() as group:
            with anyio.CancelScope():
                group.start_soon(anyio.sleep_forever)
                yield Root()
            group.cancel_scope.cancel()
        tasks.append(asyncio.current_task())

    async with spark_open(resources(Resource(Root, root))) as spark:
        with anyio.CancelScope():
            await asyncio.create_task(spark.resolver.get(Root))
    assert len(tasks) == 2
    assert tasks[0] is tasks[1]
    assert tasks[0] is not asyncio.current_task()


async def test_an_error_in_closing_is_not_lost(spark_open: SparkOpener) -> None:
    """It is raised at the end, and the others are closed all the same."""
    journal = Journal()

    @asynccontextmanager
    async def trunk(root: Root) -> AsyncIterator[Trunk]:
        yield Trunk(root)
        raise ZeroDivisionError("while closing")

    @asynccontextmanager
    async def root() -> AsyncIterator[Root]:
        async with journal.living("root"):
            yield Root()

    async def use() -> None:
        async with spark_open(resources(Resource(Trunk, trunk), Resource(Root, root))) as spark:
            await spark.resolver.get(Trunk)

    with pytest.raises(ZeroDivisionError, match="while closing"):
        await use()
    assert journal == ["open root", "close root"]


async def test_a_class_can_be_an_opener(spark_open: SparkOpener) -> None:
    """Its constructor names its needs."""

    class Opener:
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        async def __aenter__(self) -> Root:
            return Root()

        async def __aexit__(self, *_: object) -> None: ...

    async with spark_open(resources(Resource(Root, Opener))) as spark:
        assert isinstance(await spark.resolver.get(Root), Root)


# --------------------------------------------------------------------------------------- circles


def circle() -> Plugin:
    @asynccontextmanager
    async def root(trunk: Trunk) -> AsyncIterator[Root]:
        yield Root()

    @asynccontextmanager
    async def trunk(crown: Crown | None) -> AsyncIterator[Trunk]:
        yield Trunk(Root())

    @asynccontextmanager
    async def crown(root: Root) -> AsyncIterator[Crown]:
        yield Crown(root)

    return resources(Resource(Root, root), Resource(Trunk, trunk), Resource(Crown, crown))


async def test_a_circle_is_named(spark_open: SparkOpener) -> None:
    """Needs that go round are an error that shows the way round."""
    async with spark_open(circle()) as spark:
        with pytest.raises(PluginError, match="circle: Root -> Trunk -> Crown -> Root"):
            await spark.resolver.get(Root)


async def test_a_circle_is_an_error_under_concurrency(spark_open: SparkOpener) -> None:
    """Two that wait for each other would wait for ever, were it found out later."""
    async with spark_open(circle()) as spark, asyncio.timeout(30):
        results = await asyncio.gather(
            *(spark.resolver.get(need) for need in (Root, Trunk, Crown)), return_exceptions=True
        )
    assert [type(result) for result in results] == [PluginError] * 3


# ------------------------------------------------------------------------------------- preloading


class Nothing(BaseModel):
    """What a search that finds nothing answers."""


def searching(in_use: bool | SparkError = True) -> Operation:
    """An operation that needs models, and is in use."""

    async def ask(settings: Settings) -> bool:
        if isinstance(in_use, SparkError):
            raise in_use
        return in_use

    async def search(request: Empty, embedder: Embedder, reranker: Reranker) -> Nothing:
        """Search."""
        return Nothing()

    return Operation("search", search, Effect.READ, in_use=ask)


async def test_preloading_that_ends_the_program_is_an_error(spark_open: SparkOpener) -> None:
    """A task that exits would take the whole loop along."""

    async def load(opened: FakeEmbedder) -> None:
        raise SystemExit(1)

    @asynccontextmanager
    async def embedder() -> AsyncIterator[FakeEmbedder]:
        yield FakeEmbedder()

    offers = plugin(
        "fake",
        spark_register_embedders=lambda: [Provider("fake", embedder, preload=load)],
        spark_register_operations=lambda: [searching()],
    )
    async with spark_open(offers) as spark:
        with pytest.raises(RuntimeError, match="preloading Embedder tried to end the program"):
            await spark.resolver.preload()


async def test_an_opener_that_ends_the_program_is_an_error(spark_open: SparkOpener) -> None:
    """Whoever needs it is told; it is opened in a task of its own."""

    @asynccontextmanager
    async def embedder() -> AsyncIterator[FakeEmbedder]:
        raise SystemExit(1)
        yield

    offers = plugin("fake", spark_register_embedders=lambda: [Provider("fake", embedder)])
    async with spark_open(offers) as spark:
        with pytest.raises(RuntimeError, match="tried to end the program"):
            await spark.resolver.get(Embedder)  # type: ignore[type-abstract]


async def test_preloading_loads_what_is_chosen(spark_open: SparkOpener) -> None:
    """The chosen provider is opened once and loaded; one that cannot be is left to its caller."""
    loaded: list[FakeEmbedder] = []

    @asynccontextmanager
    async def embedder() -> AsyncIterator[FakeEmbedder]:
        yield FakeEmbedder()

    @asynccontextmanager
    async def reranker() -> AsyncIterator[Any]:
        raise Unavailable("away")
        yield

    async def load(opened: FakeEmbedder) -> None:
        loaded.append(opened)

    backends = plugin(
        "backends",
        spark_register_embedders=lambda: [Provider("fake", embedder, preload=load)],
        spark_register_rerankers=lambda: [Provider("down", reranker, preload=load)],
        spark_register_operations=lambda: [searching()],
    )
    async with spark_open(backends) as spark:
        await spark.resolver.preload()
        assert loaded == [await spark.resolver.get(Embedder)]  # type: ignore[type-abstract]
        with pytest.raises(Unavailable, match="away"):
            await spark.resolver.get(Reranker)  # type: ignore[type-abstract]


@pytest.mark.parametrize("in_use", [False, Unavailable("away")])
async def test_what_nothing_uses_is_not_opened(
    spark_open: SparkOpener, in_use: bool | SparkError
) -> None:
    """A model in memory costs every process hundreds of megabytes."""
    opened = []

    @asynccontextmanager
    async def embedder() -> AsyncIterator[FakeEmbedder]:
        opened.append(1)
        yield FakeEmbedder()

    offers = plugin(
        "fake",
        spark_register_embedders=lambda: [Provider("fake", embedder)],
        spark_register_operations=lambda: [searching(in_use)],
    )
    async with spark_open(offers) as spark:
        await spark.resolver.preload()
    assert opened == []
