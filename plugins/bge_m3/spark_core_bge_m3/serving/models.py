"""The models, run by torch. Everything here blocks: it runs in the worker's thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

# Nothing tells anybody that it runs, and where.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from .batching import Models, Row, Tokens

__all__ = ["load"]

#: Characters of a text for each token that a model reads: more than texts have, but for long
#: runs of blanks.
CHARACTERS = 16


def load(embedder: str, reranker: str, device: str | None, max_length: int) -> Models:
    """Both models on *device* (by default a GPU, if there is one), after a first run of each.

    The names are those of a model hub, or folders. Texts are cut at *max_length* tokens, or
    where the model ends.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    vectors = Embedder(AutoModel, embedder, device, max_length)
    scores = Reranker(AutoModelForSequenceClassification, reranker, device, max_length)
    # The first run is slower than all others, and finds out whether the device works.
    vectors.run(vectors.tokens(["ready"]))
    scores.run(scores.tokens([("ready", "ready")]))
    return Models(vectors, scores, vectors.dimension)


class Transformer:
    """A tokenizer and a model."""

    def __init__(self, kind: Any, name: str, device: str, max_length: int) -> None:
        # Half of the precision is what the models are published for, and twice as fast.
        dtype = torch.float32 if device == "cpu" else torch.float16
        self._tokenizer = AutoTokenizer.from_pretrained(name)
        self._model = kind.from_pretrained(name, dtype=dtype).to(device).eval()
        self._device = device
        self._max_length = min(max_length, _positions(self._model.config))

    def _read(self, *texts: list[str]) -> list[Tokens]:
        cut = [[text[: self._max_length * CHARACTERS] for text in column] for column in texts]
        read = self._tokenizer(*cut, truncation=True, max_length=self._max_length)
        return [{key: read[key][n] for key in read} for n in range(len(texts[0]))]

    def _run(self, batch: Sequence[Tokens]) -> Any:
        columns = {key: [tokens[key] for tokens in batch] for key in batch[0]}
        padded = self._tokenizer.pad(columns, return_tensors="pt")
        with torch.inference_mode():
            return self._model(**padded.to(self._device))


def _positions(config: Any) -> int:
    """How many tokens the model reads: the family of RoBERTa counts from behind the padding."""
    return int(config.max_position_embeddings) - int(config.pad_token_id or 0) - 1


class Embedder(Transformer):
    """Dense vectors: the state of the first token, of length one."""

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self._model.config.hidden_size)

    def tokens(self, inputs: Sequence[str]) -> list[Tokens]:
        """See :class:`.batching.Model`."""
        return self._read(list(inputs))

    def run(self, batch: Sequence[Tokens]) -> list[Row]:
        """See :class:`.batching.Model`."""
        first = self._run(batch).last_hidden_state[:, 0].float()
        rows: list[Row] = torch.nn.functional.normalize(first, dim=-1).tolist()
        return rows


class Reranker(Transformer):
    """Scores from 0 to 1: the sigmoid of a classifier's only class."""

    def tokens(self, inputs: Sequence[tuple[str, str]]) -> list[Tokens]:
        """See :class:`.batching.Model`."""
        return self._read([query for query, _ in inputs], [text for _, text in inputs])

    def run(self, batch: Sequence[Tokens]) -> list[Row]:
        """See :class:`.batching.Model`."""
        rows: list[Row] = self._run(batch).logits.float().sigmoid().tolist()
        return rows
