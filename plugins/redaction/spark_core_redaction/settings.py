"""``[plugins.redaction]``"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from spark_core import Env, Section

__all__ = ["RedactionSettings"]

#: What a key must have at least, so that nobody can guess it.
KEY_CHARACTERS = 32


def _long_enough(keys: SecretStr | None) -> SecretStr | None:
    """*keys*, where each of them is usable; none where they are blank."""
    if keys is None or not keys.get_secret_value().strip():
        return None
    if any(len(key.strip()) < KEY_CHARACTERS for key in keys.get_secret_value().split(",")):
        raise ValueError(f"a key has at least {KEY_CHARACTERS} characters")
    return keys


_Keys = Annotated[SecretStr | None, AfterValidator(_long_enough)]


class RedactionSettings(Section):
    """``[plugins.redaction]``: the vault, and how long what is in it is kept."""

    vault_key: Annotated[_Keys, Env("SPARK_VAULT_KEY")] = Field(
        default=None,
        description="What the vault is sealed with: at least 32 random characters. After a "
        "comma, former keys that it may still be sealed with. By default a file in the data "
        "directory, made once.",
    )
    scope_idle_s: float = Field(
        default=86400.0,
        gt=0,
        allow_inf_nan=False,
        description="For how many seconds a scope is kept after it was last scrubbed into.",
    )
    scope_max_s: float = Field(
        default=30 * 86400.0,
        gt=0,
        allow_inf_nan=False,
        description="For how many seconds a scope is kept at most.",
    )
