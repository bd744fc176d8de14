"""Token contexts of MiniLM: known sentence embeddings, what padding does, and captions joined by image_id."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MODEL_TOLERANCE, close
from safetensors.torch import load as tensors_of

from spikevaediff.features import minilm
from spikevaediff.files import assets
from spikevaediff.records import Captions

SENTENCE = "This is an example sentence"
# The first numbers of its pooled embedding as the model's authors print them.
EMBEDDING = [0.0677, 0.0635, 0.0487, 0.0793, 0.0374]
WORDS = (("A cat.", "An old castle on a hill"), (), ("A kitten",), (SENTENCE,))
IDS = np.array([40, 8, 12, 3])
OPTIONS: dict[str, Any] = {"n_tokens": 24, "batch_size": "auto", "device": "cpu"}


@pytest.fixture(scope="module")
def weights() -> Path:
    try:
        return assets.fetch("all_minilm_l6_v2")
    except FileNotFoundError as error:
        pytest.skip(str(error))


def contexts(sentences: list[str], weights: Path, **changes: Any) -> np.ndarray:
    return minilm.contexts(sentences, weights=weights, **OPTIONS | changes)


def pooled(context: np.ndarray) -> np.ndarray:
    """Mean over the tokens of a caption, of norm 1."""
    mean = context[np.any(context != 0, axis=1)].mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_the_pooled_embedding_is_the_published_one(weights: Path) -> None:
    found = pooled(contexts([SENTENCE], weights)[0])
    np.testing.assert_allclose(found[:5], EMBEDDING, atol=1e-4)


def test_hidden_states_are_those_of_transformers(weights: Path) -> None:
    pytest.importorskip("spikevaediff.networks.torchvision_ops")  # before transformers imports torchvision
    transformers = pytest.importorskip("transformers")
    with zipfile.ZipFile(weights) as archive:
        config = transformers.BertConfig(**json.loads(archive.read("config.json")))
        state = tensors_of(archive.read("model.safetensors"))
    network = transformers.BertModel(config, add_pooling_layer=False).eval()
    network.load_state_dict({name: value for name, value in state.items() if name not in minilm.UNUSED})
    sentences = ["cat", "An old castle on a hill, seen from below", ""]
    words, _ = minilm._load(weights, 24)
    batch = words.encode_batch(sentences)
    ids, shown = (torch.tensor([getattr(one, name) for one in batch]) for name in ("ids", "attention_mask"))
    with torch.inference_mode():
        states = network(input_ids=ids, attention_mask=shown).last_hidden_state * shown[:, :, None]
    close(contexts(sentences, weights), states.numpy(), MODEL_TOLERANCE)


def test_captions_of_like_meaning_are_alike(weights: Path) -> None:
    cat, kitten, castle = map(pooled, contexts(["cat", "kitten", "castle"], weights))
    assert cat @ kitten == pytest.approx(0.79, abs=0.01)
    assert cat @ castle < 0.4


def test_positions_behind_the_last_token_are_zero_and_those_before_do_not_depend_on_the_length(weights: Path) -> None:
    short, long = contexts([SENTENCE, "A cat"], weights), contexts([SENTENCE, "A cat"], weights, n_tokens=60)
    assert [int(np.any(context != 0, axis=1).sum()) for context in short] == [7, 4]  # [CLS] and [SEP] among them
    assert not long[:, 24:].any()
    close(long[:, :24], short, MODEL_TOLERANCE)


def test_a_caption_that_is_too_long_loses_words_and_keeps_its_end(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long, cut = contexts(["cat " * 50, "cat " * 22], weights)
    assert "1 of 2 captions are longer than 24 tokens and lose their last words" in capsys.readouterr().out
    close(long, cut, MODEL_TOLERANCE)
    assert np.any(long != 0, axis=1).all()


def test_the_empty_caption_is_the_unconditional_context(weights: Path) -> None:
    nothing = minilm.unconditional(weights=weights, n_tokens=24, device="cpu")
    assert nothing.shape == (24, minilm.WIDTH)
    assert np.any(nothing != 0, axis=1).tolist() == [True, True] + [False] * 22
    close(contexts(["", "  "], weights), np.stack([nothing, nothing]), MODEL_TOLERANCE)


def test_features_are_joined_by_id_and_several_captions_are_averaged(weights: Path) -> None:
    found = minilm.extract(Captions(IDS, WORDS), weights=weights, **OPTIONS)
    assert (found.space, found.values.shape, found.values.dtype) == ("text", (4, 24 * 384), np.float32)
    assert found.group_name[[0, -1]].tolist() == ["00", "23"]
    one, other, kitten, example, nothing = contexts([*WORDS[0], *WORDS[2], *WORDS[3], ""], weights)
    expected = {40: (one + other) / 2, 8: nothing, 12: kitten, 3: example}
    for image_id, context in expected.items():
        close(found.rows(np.array([image_id]))[0], context.ravel(), MODEL_TOLERANCE)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_caption_does_not_depend_on_the_others_or_their_number(weights: Path, batch_size: int) -> None:
    captions = Captions(IDS, WORDS)
    every = minilm.extract(captions, weights=weights, **OPTIONS)
    few = minilm.extract(captions.of(IDS[2:0:-1]), weights=weights, **OPTIONS | {"batch_size": batch_size})
    np.testing.assert_array_equal(few.image_id, IDS[2:0:-1])
    close(few.values, every.rows(few.image_id), MODEL_TOLERANCE)
    np.testing.assert_array_equal(minilm.extract(captions, weights=weights, **OPTIONS).values, every.values)


@pytest.mark.parametrize("n_tokens", [1, 513])
def test_lengths_that_cannot_be_are_refused(weights: Path, n_tokens: int) -> None:
    with pytest.raises(ValueError, match=rf"n_tokens is {n_tokens}, expected 2 \(\[CLS\] and \[SEP\]\) to 512"):
        contexts(["cat"], weights, n_tokens=n_tokens)


def test_weights_that_are_not_these_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weight file .*none.zip does not exist"):
        contexts(["cat"], tmp_path / "none.zip")
    (tmp_path / "short.zip").write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"short.zip is damaged or is not all-MiniLM-L6-v2: .* assets fetch all_min"):
        contexts(["cat"], tmp_path / "short.zip")
    with zipfile.ZipFile(weights) as whole, zipfile.ZipFile(tmp_path / "wordless.zip", "w") as wordless:
        for member in ("config.json", "tokenizer.json", "model.safetensors"):
            wordless.writestr(member, b"{}" if member == "tokenizer.json" else whole.read(member))
    with pytest.raises(ValueError, match=r"wordless.zip is damaged .*: tokenizer.json describes no tokenizer"):
        contexts(["cat"], tmp_path / "wordless.zip")
    for old, new, said in (
        (b'hidden_layers": 6', b'hidden_layers": 7', "is not the network of its config.json: .*Missing key"),
        (b'hidden_layers": 6', b'hidden_layers": 5', "is not the network of its config.json: .*Unexpected key"),
        (b'"gelu"', b'"relu"', "is damaged .*config.json says hidden_act 'relu', expected 'gelu'"),
        (b'"absolute"', b'"rotary"', "is damaged .*config.json says position_embedding_type 'rotary'"),
        (b'"hidden_size": 384,', b"", "is damaged .*hidden_size"),
    ):
        with zipfile.ZipFile(weights) as whole, zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
            for member in ("config.json", "tokenizer.json", "model.safetensors"):
                content = whole.read(member)
                other.writestr(member, content.replace(old, new) if member == "config.json" else content)
        with pytest.raises(ValueError, match=rf"other.zip {said}"):
            contexts(["cat"], tmp_path / "other.zip")
