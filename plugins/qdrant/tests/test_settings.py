"""Which engine the settings mean."""

from __future__ import annotations

import pytest
from spark_core_qdrant.settings import QdrantSettings


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, None),
        ({"url": "http://a:1"}, "http://a:1"),
        ({"host": "10.0.0.2"}, "http://10.0.0.2:6333"),
        ({"url": "http://a:1", "host": "10.0.0.2"}, "http://a:1"),
        ({"url": "", "host": "10.0.0.2"}, None),
        ({"host": ""}, None),
    ],
)
def test_a_url_wins_over_the_host_and_a_blank_one_means_the_embedded_engine(
    given: dict[str, str], address: str | None
) -> None:
    assert QdrantSettings.model_validate(given).address() == address
