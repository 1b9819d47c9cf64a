"""What is sent to a receiver, and signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime

from .outbox import Delivery
from .settings import Webhook, key_of

__all__ = ["body_of", "headers_of"]


def body_of(delivery: Delivery) -> bytes:
    """The event as JSON: the same bytes however often it is sent."""
    body = {
        "type": delivery.kind,
        "id": delivery.id,
        "timestamp": delivery.at.isoformat(),
        "data": delivery.data,
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(webhook: Webhook, delivery: Delivery, body: bytes, now: datetime) -> dict[str, str]:
    """The headers of *body*, sent *now*: with signatures, where there are secrets.

    ``webhook-signature`` has one for each secret. ``x-spark-signature`` has room for one: that
    of the first secret.
    """
    timestamp = str(int(now.timestamp()))
    headers = {
        "content-type": "application/json",
        "user-agent": "spark-core-coordination",
        "webhook-id": delivery.id,
        "webhook-timestamp": timestamp,
    }
    secrets = [secret.get_secret_value() for secret in webhook.secrets]
    if secrets:
        signed = f"{delivery.id}.{timestamp}.".encode() + body
        plain = hmac.new(secrets[0].encode(), body, hashlib.sha256).hexdigest()
        headers["x-spark-signature"] = f"sha256={plain}"
        headers["webhook-signature"] = " ".join(_standard(secret, signed) for secret in secrets)
    return headers


def _standard(secret: str, signed: bytes) -> str:
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
