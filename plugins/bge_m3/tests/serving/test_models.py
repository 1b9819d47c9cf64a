"""The real server with real, tiny models, which are made here: of random weights, on the CPU.

They need torch and transformers (the extra ``server``), and run with ``-m slow``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from spark_core_bge_m3.providers import open_embedder, open_reranker
from spark_core_bge_m3.serving.batching import Models
from spark_core_bge_m3.settings import BgeM3Settings

from spark_core.contracts.embedding import Embedder
from spark_core.contracts.reranking import Reranker
from spark_core.testing.embedding import EmbedderConformance, cosine
from spark_core.testing.reranking import ANSWER, QUERY, TEXTS, RerankerConformance

pytestmark = pytest.mark.slow

DIMENSION = 32
READS = 128


@pytest.fixture(scope="module", autouse=True)
def torch() -> Any:
    """Nothing here works without it."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    return pytest.importorskip("torch", reason="torch is not installed")


def make_tokenizer(folder: Path) -> int:
    """A tokenizer of bytes that marks texts and pairs as XLM-R does; how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(vocabulary)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    return len(vocabulary)


def make_config(tokens: int) -> Any:
    """XLM-R with very few numbers, which are large enough to tell texts apart."""
    from transformers import XLMRobertaConfig

    return XLMRobertaConfig(
        vocab_size=tokens,
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=READS + 2,
        type_vocab_size=1,
        num_labels=1,
        initializer_range=0.5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, torch: Any) -> tuple[str, str]:
    """The embedder and the reranker, saved as from a hub."""
    from transformers import XLMRobertaForSequenceClassification, XLMRobertaModel

    embedder, reranker = tmp_path_factory.mktemp("bge-m3"), tmp_path_factory.mktemp("reranker")
    torch.manual_seed(7)
    config = make_config(make_tokenizer(embedder))
    make_tokenizer(reranker)
    XLMRobertaModel(config).save_pretrained(embedder)
    model = XLMRobertaForSequenceClassification(config)
    teach(torch, model, reranker)
    model.save_pretrained(reranker)
    return str(embedder), str(reranker)


def teach(torch: Any, model: Any, folder: Path) -> None:
    """Let *model* learn the suite's one question: chance knows no better text."""
    from transformers import AutoTokenizer

    texts = [
        f"{text}{note}"
        for note in ("", *(f" Note {n}." for n in range(0, 200, 40)))
        for text in TEXTS
    ]
    read = AutoTokenizer.from_pretrained(folder)(
        [QUERY] * len(texts), texts, padding=True, return_tensors="pt"
    )
    wanted = torch.tensor([float(n % 3 == ANSWER) for n in range(len(texts))])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            model(**read).logits[:, 0], wanted
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="module")
def models(folders: tuple[str, str]) -> Models:
    """Both, loaded as the command loads them."""
    from spark_core_bge_m3.serving.models import load

    return load(*folders, "cpu", 8192)


@pytest.fixture(scope="module")
def load(models: Models) -> Callable[[], Models]:
    return lambda: models


class TestEmbeddings(EmbedderConformance):
    @pytest.fixture(scope="class")
    @classmethod
    async def embedder(cls, serving: Any, load: Any) -> AsyncIterator[Embedder]:
        async with (
            serving(load, batch_tokens=2048) as url,
            open_embedder(BgeM3Settings(url=url, batch=64)) as embedder,
        ):
            yield embedder


class TestRerank(RerankerConformance):
    @pytest.fixture(scope="class")
    @classmethod
    async def reranker(cls, serving: Any, load: Any) -> AsyncIterator[Reranker]:
        async with (
            serving(load, batch_tokens=2048) as url,
            open_reranker(BgeM3Settings(url=url, batch=64)) as reranker,
        ):
            yield reranker


def test_a_vector_is_the_first_tokens_state_of_length_one(
    models: Models, folders: tuple[str, str], torch: Any
) -> None:
    """As transformers compute it alone, without padding, whatever else is in the batch."""
    from transformers import AutoModel, AutoTokenizer

    texts = ["north pump", "a much longer neighbour " * 4, ""]
    rows = models.embedder.run(models.embedder.tokens(texts))
    model = AutoModel.from_pretrained(folders[0]).eval()
    for text, row in zip(texts, rows, strict=True):
        read = AutoTokenizer.from_pretrained(folders[0])(text, return_tensors="pt")
        with torch.no_grad():
            state = model(**read).last_hidden_state[0, 0]
        assert row == pytest.approx((state / state.norm()).tolist(), abs=1e-5)
        assert cosine(row, row) == pytest.approx(1.0)
        assert sum(x * x for x in row) == pytest.approx(1.0, abs=1e-5)


def test_a_score_is_the_sigmoid_of_the_only_class(
    models: Models, folders: tuple[str, str], torch: Any
) -> None:
    """As transformers compute it for the pair alone."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    pairs = [(QUERY, TEXTS[0]), (QUERY, ""), ("pump", TEXTS[ANSWER])]
    rows = models.reranker.run(models.reranker.tokens(pairs))
    model = AutoModelForSequenceClassification.from_pretrained(folders[1]).eval()
    for (query, text), row in zip(pairs, rows, strict=True):
        read = AutoTokenizer.from_pretrained(folders[1])([query], [text], return_tensors="pt")
        with torch.no_grad():
            score = torch.sigmoid(model(**read).logits[0, 0])
        assert row == pytest.approx([float(score)], abs=1e-5)


@pytest.mark.parametrize(("asked", "reads"), [(8192, READS), (16, 16)])
def test_texts_are_cut_where_the_model_ends(
    folders: tuple[str, str], asked: int, reads: int
) -> None:
    """Or at the length that was asked for, if that is less; a pair's longer part is cut first."""
    from spark_core_bge_m3.serving.models import load

    models = load(*folders, "cpu", asked)
    (tokens,) = models.embedder.tokens(["x" * 10_000])
    (pair,) = models.reranker.tokens([("q", "x" * 10_000)])
    assert len(tokens["input_ids"]) == len(pair["input_ids"]) == reads
    assert len(models.embedder.run([tokens])[0]) == DIMENSION
    assert pair["input_ids"][:4] == models.embedder.tokens(["q"])[0]["input_ids"]


@pytest.mark.anyio
async def test_a_model_of_nan_is_told(serving: Any, folders: tuple[str, str], torch: Any) -> None:
    """Spoilt weights spoil every vector; none of them leaves."""
    from spark_core_bge_m3.serving.models import load

    models: Any = load(*folders, "cpu", 8192)
    with torch.no_grad():
        models.embedder._model.embeddings.word_embeddings.weight.fill_(float("nan"))
    async with serving(lambda: models) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/v1/embeddings", json={"input": ["a", "b"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "not_finite")


def test_the_command_serves(folders: tuple[str, str]) -> None:
    """``spark-embed`` as it is run, with its models in folders."""
    asyncio.run(_served(folders))


async def _served(folders: tuple[str, str]) -> None:
    import re
    import sys

    words = ["--model", folders[0], "--rerank-model", folders[1], "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from spark_core_bge_m3.serving import main; main()", *words),
        env={"PATH": "", "SPARK_EMBED_DEVICE": "cpu"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        address = None
        while address is None:
            line = (await process.stderr.readline()).decode()
            assert line, "it ended"
            address = re.search(r"listening at (\S+)", line)
        async with httpx.AsyncClient(base_url=f"http://{address[1]}", timeout=60) as client:
            while (await client.get("/health")).status_code == 503:
                pass
            name = Path(folders[0]).name
            listed = (await client.get("/v1/models")).json()["data"]
            found = await client.post("/v1/embeddings", json={"model": name, "input": "pump"})
        assert listed[0]["id"] == name
        assert len(found.json()["data"][0]["embedding"]) == DIMENSION
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
