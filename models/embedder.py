"""Embedders: texts in, one vector each out, so that texts that mean the same lie close together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.minilm import DIMENSIONS, MiniLM, model_directory, reads_latin

#: One row per text, each of length 1, so that a dot product is a cosine.
Vectors: TypeAlias = NDArray[np.float32]

#: A pass longer than this gains nothing more from company and makes a waiting query wait.
PASS_CHARACTERS_MAX = 600


class Embedder(Protocol):
    """What turns texts into vectors. Vectors of two embedders are never compared: `name` is stored beside each."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def dimensions(self) -> int:
        """Numbers per vector."""
        ...

    def reads(self, text: str) -> bool:
        """Whether this model knows the script of `text`; the vector of a text that it cannot read means nothing."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector per text, in order."""
        ...


@dataclass(eq=False, slots=True)
class _Portion:
    """A few texts that one caller waits for."""

    texts: Sequence[str]
    characters: int
    vectors: Vectors | None = None


class LocalEmbedder:
    """MiniLM on this machine's processor, in a thread, loaded when first used.

    Whoever is next embeds for everybody who waits: two queries together take 1.3 times as long as one, eight 3.3 times.
    """

    name = "all-MiniLM-L6-v2"
    dimensions = DIMENSIONS

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._model: MiniLM | None = None
        self._turn = asyncio.Lock()
        self._waiting: list[_Portion] = []

    def reads(self, text: str) -> bool:
        """Whether `text` is in Latin letters: Hindi in Devanagari and Tamil become unknown words."""
        return reads_latin(text)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector per text, in order; of a long text the first 256 tokens count.

        Raises:
            SettingInvalid: the model's weights are not installed.
        """
        parts = [await self._embed_portion(portion) for portion in _portions(texts)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    async def warm_up(self) -> None:
        """Load the model and bring its weights into memory, so that the first customer does not wait for it.

        Raises:
            SettingInvalid: the model's weights are not installed.
        """
        await self.embed(["warm up"])

    async def _embed_portion(self, portion: _Portion) -> Vectors:
        self._waiting.append(portion)
        try:
            async with self._turn:
                if portion.vectors is None:
                    await self._embed_waiting()
        finally:
            self._waiting = [waiting for waiting in self._waiting if waiting is not portion]
        assert portion.vectors is not None
        return portion.vectors

    async def _embed_waiting(self) -> None:
        """One pass over what waits, oldest first. A pass that fails fails its caller alone; the others try again."""
        served: list[_Portion] = []
        characters = 0
        for portion in self._waiting:
            characters += portion.characters
            if served and characters > PASS_CHARACTERS_MAX:
                break
            served.append(portion)
        texts = [text for portion in served for text in portion.texts]
        vectors = await asyncio.to_thread(self._pass, texts)
        start = 0
        for portion in served:
            portion.vectors = vectors[start : start + len(portion.texts)]
            start += len(portion.texts)
        self._waiting = [portion for portion in self._waiting if portion.vectors is None]

    def _pass(self, texts: Sequence[str]) -> Vectors:
        if self._model is None:
            self._model = MiniLM(self._directory or model_directory())
        return self._model.embed(texts)


@cache
def local_embedder() -> LocalEmbedder:
    """The embedder of this process."""
    return LocalEmbedder()


def _portions(texts: Sequence[str]) -> list[_Portion]:
    portions: list[_Portion] = []
    for text in texts:
        if portions and portions[-1].characters + len(text) <= PASS_CHARACTERS_MAX:
            last = portions[-1]
            portions[-1] = _Portion([*last.texts, text], last.characters + len(text))
        else:
            portions.append(_Portion([text], len(text)))
    return portions
