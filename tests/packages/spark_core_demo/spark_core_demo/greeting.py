"""The operation that greets."""

from __future__ import annotations

from pydantic import BaseModel, Field

from .settings import DemoSettings


class Visitor(BaseModel):
    """Whom to greet."""

    name: str = Field(min_length=1, description="What they are called.")


class Greeting(BaseModel):
    """What to say to them."""

    text: str


async def say(request: Visitor, settings: DemoSettings) -> Greeting:
    """Greet somebody by name."""
    return Greeting(text=f"{settings.greeting}, {request.name}!")
