"""``transcripts.label`` as hosts call it."""

from __future__ import annotations

from typing import Any

import pytest
import spark_core_transcripts

from spark_core import Spark
from spark_core.errors import InvalidRequest
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import Source
from spark_core.spark import compose

pytestmark = pytest.mark.anyio


@pytest.fixture
def spark(tmp_path: Any) -> Spark:
    plugin = Plugin("transcripts", "spark-core-transcripts", "", module=spark_core_transcripts)
    return compose(Source(None, tmp_path, {}, {}, {}), plugins=Plugins([plugin]))


TURN = {"start": 0, "end": 1, "speaker": "A"}


async def test_the_operation_answers_words_and_segments(spark: Spark) -> None:
    """And passes over fields that it does not know, as recognisers have many."""
    word = {"word": "so", "start": 0.1, "end": 0.4, "probability": 0.9}
    request = {"words": [word], "turns": [TURN], "language": "en", "duration": 9}
    answer: Any = await spark.call("transcripts.label", request)
    assert [w.speaker for w in answer.words] == ["A"]
    assert [s.speaker for s in answer.segments] == ["A"]
    assert (answer.language, answer.duration) == ("en", 9.0)


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        ({"turns": [{**TURN, "start": -1}]}, "/turns/0/start"),
        ({"turns": [{**TURN, "start": 2}]}, "/turns/0"),
        ({"turns": [{**TURN, "end": float("nan")}]}, "/turns/0/end"),
        ({"turns": [{**TURN, "speaker": ""}]}, "/turns/0/speaker"),
        ({"words": [{"word": "so", "start": -0.1}]}, "/words/0/start"),
        ({"words": [{"word": "so", "end": float("inf")}]}, "/words/0/end"),
        ({"segments": [{"start": 1}]}, "/segments/0/text"),
        ({"turns": [TURN], "chunks": [{"offset": 0, "segments": []}]}, ""),
        ({"turns": [{**TURN, "speaker": str(n)} for n in range(1001)]}, ""),
        ({"turn": [TURN]}, "/turn"),
    ],
)
async def test_what_cannot_be_is_refused(
    spark: Spark, request_: dict[str, object], pointer: str
) -> None:
    """With the place of it."""
    with pytest.raises(InvalidRequest) as caught:
        await spark.call("transcripts.label", request_)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


async def test_chunks_are_joined(spark: Spark) -> None:
    """And the answer says who may be the same as somebody else."""
    chunk = {"segments": [{**TURN, "speaker": "x"}]}
    voice = {"speakers": {"x": {"embedding": [1.0, 0.0]}}}
    said = [{"word": "so", "start": n, "end": n + 0.5} for n in (0, 60, 120)]
    chunks = [{**chunk, **voice, "offset": 0}, {**chunk, **voice, "offset": 60}]
    request = {"words": said, "chunks": [*chunks, {**chunk, "offset": 120}]}
    answer: Any = await spark.call("transcripts.label", request)
    assert [w.speaker for w in answer.words] == ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01"]
    assert "SPEAKER_01" in answer.notes[0]
