"""The bodies of requests, checked."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from .refusals import Refusal

__all__ = ["EmbeddingsRequest", "RerankRequest", "parsed"]

#: Texts of one request; OpenAI's API has the same bound.
MOST_TEXTS: Final = 2048

T = TypeVar("T", bound=BaseModel)


class _Request(BaseModel):
    """What is not known is left alone: clients send more than they need to."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str | None = None


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and any(isinstance(item, int | list) for item in value):
        raise ValueError("tokens are not read, as they are another model's: send text")
    return value


def _text_of(value: Any) -> Any:
    return value.get("text") if isinstance(value, dict) else value


Text = Annotated[str, BeforeValidator(_text_of)]


class EmbeddingsRequest(_Request):
    """``POST /v1/embeddings``"""

    input: Annotated[list[str], BeforeValidator(_texts), Field(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class RerankRequest(_Request):
    """``POST /v1/rerank``; a document is text, or an object that has one."""

    query: str
    documents: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = False


def parsed(model: type[T], body: bytes) -> T:
    """*body* as *model*.

    :raises Refusal: it is not JSON (400), has too many texts (413), or is something else (422).
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # Not chained: pydantic's own message quotes what it found.
        raise _refusal(error.errors()[0]) from None


def _refusal(problem: ErrorDetails) -> Refusal:
    place = ".".join(map(str, problem["loc"])) or None
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "json_invalid":
        return Refusal(HTTPStatus.BAD_REQUEST, "the body is not valid JSON", "invalid_json")
    if problem["type"] == "too_long":
        text = f"{place}: more than {MOST_TEXTS} texts in one request"
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, "too_large", param=place)
    text = f"{place or 'the body'}: {message}"
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, text, "invalid_request", param=place)
