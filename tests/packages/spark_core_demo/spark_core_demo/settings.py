"""``[plugins.demo]``"""

from __future__ import annotations

from pydantic import Field

from spark_core import Section


class DemoSettings(Section):
    """How people are greeted, and how texts are embedded."""

    greeting: str = Field(default="Hello", description="The word before the name.")
    dimension: int = Field(default=256, ge=2, description="How long the vectors are.")
