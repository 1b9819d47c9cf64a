"""What is sent can be verified by whoever has the secret, as Standard Webhooks says."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from spark_core_coordination.outbox import Delivery
from spark_core_coordination.settings import CoordinationSettings, Webhook
from spark_core_coordination.signing import body_of, headers_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DELIVERY = Delivery(
    "msg_1", "r", "pending", 0, NOW, NOW, None, "", "lock_acquired", NOW, {"holder": "Zoë"}
)
NEW, OLD = "whsec_" + base64.b64encode(b"n" * 32).decode(), "an old secret of ours"


def webhook(*signing: str, **more: Any) -> Webhook:
    return Webhook.model_validate(
        {"url": "https://hooks.example/x?token=abc", "secrets": list(signing), **more}
    )


def standard(key: bytes, headers: dict[str, str], body: bytes) -> str:
    signed = b".".join(
        [headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body]
    )
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def test_the_signature_is_that_of_the_published_example() -> None:
    """The numbers that libraries for Standard Webhooks test themselves with."""
    at = datetime.fromtimestamp(1614265330, UTC)
    delivery = Delivery("msg_p5jXN8AQM9LWM0D4loKWxJek", "r", "", 0, at, at, None, "", "", at, {})
    hook = webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = headers_of(hook, delivery, b'{"test": 2432232314}', at)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_item_4_the_plain_signature_is_that_of_the_raw_body() -> None:
    body = body_of(DELIVERY)
    headers = headers_of(webhook(OLD), DELIVERY, body, NOW)
    expected = hmac.new(OLD.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-spark-signature"] == f"sha256={expected}"


def test_while_secrets_rotate_both_sign() -> None:
    body = body_of(DELIVERY)
    headers = headers_of(webhook(NEW, OLD), DELIVERY, body, NOW)
    expected = [standard(b"n" * 32, headers, body), standard(OLD.encode(), headers, body)]
    assert headers["webhook-signature"].split(" ") == expected
    plain = hmac.new(NEW.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-spark-signature"] == f"sha256={plain}"


def test_item_4_without_a_secret_nothing_is_signed() -> None:
    headers = headers_of(webhook(), DELIVERY, body_of(DELIVERY), NOW)
    assert not [name for name in headers if "signature" in name]
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1893456000")


def test_the_body_is_the_same_bytes_each_time() -> None:
    assert (
        body_of(DELIVERY)
        == (
            '{"type":"lock_acquired","id":"msg_1","timestamp":"2030-01-01T00:00:00+00:00",'
            '"data":{"holder":"Zoë"}}'
        ).encode()
    )


# ----------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x"}, {"url": "https://"}, {"url": "https://x:99999/"}, {"url": "nothing"},
        {"url": "https://x/ y"}, {"url": "https://x/\n"}, {"secrets": ["short"]},
        {"secrets": ["whsec_###"]}, {"secrets": [OLD, NEW, OLD]}, {"events": ["swap"]},
        {"name": "a b"}, {"urls": []},
    ],
)  # fmt: skip
def test_a_receiver_that_cannot_be_is_refused_without_showing_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        webhook(**{"url": "https://x/y", **wrong})
    assert all("###" not in str(error["msg"]) for error in caught.value.errors())


def test_a_receiver_s_url_and_secrets_are_not_shown() -> None:
    hook = webhook(OLD)
    for text in (repr(hook), hook.model_dump_json(), hook.called):
        assert "abc" not in text
        assert OLD not in text
    assert hook.called.startswith("hooks.example-")


def test_two_receivers_have_two_names() -> None:
    one = {"url": "https://x/1"}
    CoordinationSettings.model_validate({"webhooks": [one, {"url": "https://x/2"}]})
    with pytest.raises(ValidationError, match="two are called"):
        CoordinationSettings.model_validate({"webhooks": [one, one]})
