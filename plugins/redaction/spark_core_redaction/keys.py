"""The vault's keys: from the settings, else from a file that is made once.

A key seals the secrets of scopes, nothing else; so another key takes its place quickly.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spark_core.errors import SettingsError

from .settings import KEY_CHARACTERS

__all__ = ["KeyRing", "Unsealable", "VaultKey", "derived", "opened", "sealed"]

_NONCE = 12


class Unsealable(Exception):
    """What is sealed was not sealed with this key, or not in this place."""


def derived(secret: bytes, purpose: str) -> bytes:
    """The key of 256 bits that *secret* has for *purpose*."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, None, f"spark-core redaction {purpose}".encode()).derive(secret)


def sealed(key: bytes, value: bytes, place: bytes) -> bytes:
    """*value*, readable with *key* alone, and only as what stands at *place*."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, value, place)


def opened(key: bytes, value: bytes, place: bytes) -> bytes:
    """What :func:`sealed` was given.

    :raises Unsealable: it was another key or place, or somebody changed it.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(value[:_NONCE], value[_NONCE:], place)
    except (InvalidTag, ValueError):
        raise Unsealable from None


@dataclass(frozen=True)
class VaultKey:
    """A key: what it is called in the vault, and what it seals and digests names with."""

    id: str
    sealing: bytes
    naming: bytes

    @classmethod
    def of(cls, text: str) -> VaultKey:
        """The key that is written as *text*."""
        secret = text.encode()
        return cls(
            derived(secret, "id").hex()[:16],
            derived(secret, "scopes"),
            derived(secret, "names"),
        )

    def name(self, name: str) -> bytes:
        """A digest of *name* that nobody can make without the key."""
        return hmac.digest(self.naming, name.encode("utf-8", "surrogatepass"), hashlib.sha256)


class KeyRing:
    """The keys, of which the first is used from now on; the others only open.

    *configured* are those of the settings, with commas between, else None; *file* is where the
    vault's own are. It is read each time: another process may have put a new one there.
    """

    def __init__(self, configured: str | None, file: Path) -> None:
        self._configured = [key.strip() for key in (configured or "").split(",") if key.strip()]
        self._file = file

    @property
    def own(self) -> bool:
        """Whether the key is the vault's own, and in its file."""
        return not self._configured

    def all(self) -> Sequence[VaultKey]:
        """All of them. The file is made if it is needed.

        :raises SettingsError: the file cannot be made or read, or others may read it.
        """
        return [VaultKey.of(text) for text in self._texts()]

    def begin(self) -> None:
        """Put a new key before the one in the file, unless that was done and not ended."""
        if len(texts := self._texts()) == 1:
            self._write([_new(), *texts])

    def end(self) -> None:
        """Leave nothing but the newest key in the file."""
        self._write(self._texts()[:1])

    def _texts(self) -> list[str]:
        if self._configured and not self._file.exists():
            return self._configured
        try:
            return [*self._configured, *self._read()]
        except OSError as error:
            raise SettingsError(
                f"the vault's key {self._file} cannot be used: {error.strerror}"
            ) from error

    def _read(self) -> list[str]:
        if not self._file.exists():
            self._make()
        with self._file.open(encoding="ascii", errors="replace") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SettingsError(
                    f"others than its owner may read the vault's key {self._file}",
                    hint=f"chmod 600 {self._file}",
                )
            texts = file.read().split()
        if not texts or any(len(text) < KEY_CHARACTERS for text in texts):
            raise SettingsError(
                f"the vault's key {self._file} is not whole",
                hint="put it back from a backup; without it, what was sealed with it is lost, and "
                "the next start makes a new one where the file is not there",
            )
        return texts

    def _make(self) -> None:
        """Make the file with a key. Of several who do so at once one succeeds."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._temporary([_new()])
        try:
            with suppress(FileExistsError):
                os.link(temporary, self._file)
        finally:
            temporary.unlink()

    def _write(self, texts: Sequence[str]) -> None:
        self._temporary(texts).replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _temporary(self, texts: Sequence[str]) -> Path:
        path = self._file.with_name(f".{self._file.name}-{secrets.token_hex(8)}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(texts) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return path


def _new() -> str:
    return secrets.token_urlsafe(32)
