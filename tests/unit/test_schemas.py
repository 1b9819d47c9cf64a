"""What cannot be described, or not be called as it says, is refused with its plugin."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from spark_core.errors import PluginError
from spark_core.operations import Effect, Operation
from spark_core.schemas import check_operation
from spark_core.testing.plugins import installed, plugin


class Colour(Enum):
    RED = "red"


class Part(BaseModel):
    name: str


class Tree(BaseModel):
    name: str = ""
    inner: list[Tree] = Field(default_factory=list)


class Flat(BaseModel):
    text: str
    number: int | None = None
    colour: Colour = Colour.RED
    mode: Literal["a", "b"] = "a"
    tags: list[str] | None = None
    colours: set[Colour] = Field(default_factory=set)
    pair: tuple[int, str] = (1, "")
    other: Annotated[str, Field(alias="in")] = ""
    anything: Any = None


class Thing:
    """What JSON knows nothing of."""


class Calling(BaseModel):
    text: str = ""
    call: Callable[[], None] = print


class Arbitrary(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    thing: Thing = Thing()


class Hidden(BaseModel):
    inner: list[Calling] = Field(default_factory=list)


def taking(model: Any, giving: Any = Flat, **more: Any) -> Operation:
    """An operation of these models."""

    async def do(request: Any) -> Any: ...

    do.__annotations__ = {"request": model, "return": giving}
    return Operation("do", do, Effect.READ, **more)


# ------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize(
    ("model", "place"),
    [(Calling, "Calling.call"), (Arbitrary, "Arbitrary.thing"), (Hidden, "Hidden.inner")],
)
def test_a_model_without_a_json_schema_is_refused(model: type[BaseModel], place: str) -> None:
    """Of a request as of a result; the field is named."""
    for operation in (taking(model), taking(Flat, model), taking(Flat, Part | model)):
        with pytest.raises(PluginError, match=rf"operation do: {place} has no JSON schema: "):
            check_operation(operation)


class Defaulting(BaseModel):
    anything: Any = Thing()


@pytest.mark.filterwarnings("error")
def test_a_default_that_json_cannot_hold_is_no_news() -> None:
    """The schema is there without it, and nobody is told at each start."""
    check_operation(taking(Defaulting))


def test_the_plugin_is_named_and_the_others_go_on() -> None:
    """Of the plugin itself nothing of that hook is left, as with any other failure."""
    bad = plugin("bad", spark_register_operations=lambda: [taking(Calling)])
    plugins = installed(bad)
    assert "do" not in {operation.name for operation in plugins.operations()}
    assert bad.error is not None
    assert bad.error.startswith(
        "spark_register_operations: PluginError: operation do: Calling.call has no JSON schema"
    )


# -------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/a-b_c.d~e",
        "/api/x/",
        "/api/{text}",
        "/{text}/{number}",
        "/api/{text}.{number}",
        "/api/{in}",
        "/api/{colour}",
    ],
)
def test_a_path_of_the_requests_fields_is_one(path: str) -> None:
    """By the names that callers use."""
    check_operation(taking(Flat, path=path))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/api/{id}", "there is no 'id' in its request Flat"),
        ("/api/{other}", "there is no 'other' in its request Flat"),
        ("/api/{number:int}", "is none"),
        ("/api/{1a}", "is none"),
        ("/api/{a b}", "is none"),
        ("/api/{}", "is none"),
        ("/api/{text", "is none"),
        ("/api/text}", "is none"),
        ("/api/{{text}}", "is none"),
        ("/api//x", "is none"),
        ("//x", "is none"),
        ("/api/a b", "is none"),
        ("/api/x?y=z", "is none"),
        ("/api/x#y", "is none"),
        ("/api/ü", "is none"),
        ("/api/%20", "is none"),
        ("/api/x\n", "is none"),
        ("/{text}/{text}", "'text' is twice in its path"),
        ("/{tags}", "the field 'tags' does not fit into a path"),
    ],
)
def test_an_impossible_path_is_refused(path: str, reason: str) -> None:
    """It would make the document of all invalid, or could not be called."""
    with pytest.raises(PluginError, match="operation do: ") as caught:
        check_operation(taking(Flat, path=path))
    assert reason in str(caught.value)


# --------------------------------------------------------------------------------- GET is flat


def nested(annotation: Any) -> type[BaseModel]:
    """A request with one field of this type."""
    return type("Nested", (BaseModel,), {"__annotations__": {"field": annotation}})


@pytest.mark.parametrize(
    "annotation",
    [
        Part,
        Part | None,
        Part | str,
        Tree,
        dict[str, int],
        dict[str, int] | None,
        list[Part],
        list[dict[str, str]],
        list[list[int]],
        tuple[int, list[int]],
        Annotated[list[Part] | None, Field(description="Parts.")],
    ],
)
def test_what_does_not_fit_into_a_query_needs_a_body(annotation: Any) -> None:
    """With GET it could never be given."""
    with pytest.raises(PluginError, match=r"operation do: the field 'field' .* POST"):
        check_operation(taking(nested(annotation), method="GET"))
    check_operation(taking(nested(annotation)))


def test_single_values_and_lists_of_them_fit_into_a_query() -> None:
    """Whatever their types."""
    check_operation(taking(Flat, method="GET"))
    check_operation(taking(RootModel[dict[str, int]], method="POST"))


def test_a_request_that_holds_itself_is_looked_into() -> None:
    """Its schema is a reference to itself."""
    check_operation(taking(Tree, path="/api/{name}"))
    with pytest.raises(PluginError, match="'inner'"):
        check_operation(taking(Tree, method="GET"))
