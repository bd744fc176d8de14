"""Captions by BLIP-2: the classes of the published network, tiny and drawn at random, through their own files."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

# isort: split
import spikevaediff.networks.torchvision_ops  # noqa: F401, before transformers imports torchvision

# isort: split
from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2QFormerConfig, Blip2VisionConfig, OPTConfig

from spikevaediff.captioning import blip2
from spikevaediff.records import Stimuli

WORDS = ["<pad>", "</s>", "<image>", "a", "photo", "of", "dog", "tree", "house", "sea", "on", "the", "old", "small"]
OPTIONS = {"prompt": "", "max_new_tokens": 6, "num_beams": 1, "dtype": "float32", "device": "cpu"}


def build(folder: Path, seed: int = 0, scale: float = 4.0) -> Path:
    """A BLIP-2 with an OPT language model, as transformers saves it, and the tokenizer beside it."""
    torch.manual_seed(seed)
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        ).to_dict(),
        qformer_config=Blip2QFormerConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            encoder_hidden_size=16,
            vocab_size=len(WORDS),
        ).to_dict(),
        text_config=OPTConfig(
            hidden_size=16,
            ffn_dim=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            vocab_size=len(WORDS),
            word_embed_proj_dim=16,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        ).to_dict(),
        num_query_tokens=4,
        image_token_index=2,
    )
    model = Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # stronger, so that captions depend on the image
            if parameter.ndim > 1 and "embed_tokens" not in name:
                parameter.normal_(0, scale / parameter.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.add_special_tokens(["<pad>", "</s>", "<image>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 1)])
    tokenizer.decoder = decoders.Fuse()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("blip2"))


@pytest.fixture(scope="module")
def stimuli() -> Stimuli:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 6, 6), dtype=np.uint8)
    return Stimuli("noise", np.array([5, 3, 0, 9, 11, 2, 7]), np.kron(pixels, np.ones((1, 8, 8), np.uint8)))


def test_every_image_has_a_sentence_and_the_images_differ(network: Path, stimuli: Stimuli, tmp_path: Path) -> None:
    made = blip2.describe(stimuli, folder=network, unfinished=tmp_path, batch_size="auto", **OPTIONS)
    assert set(made) == set(stimuli.image_id.tolist())
    assert all(set(caption.split()) <= set(WORDS[3:]) for caption in made.values())
    assert len(set(made.values())) > 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("beams", [1, 3])
def test_captions_do_not_depend_on_batches_or_order(
    network: Path, stimuli: Stimuli, tmp_path: Path, beams: int
) -> None:
    options = OPTIONS | {"num_beams": beams}
    made = [
        blip2.describe(given, folder=network, unfinished=tmp_path, batch_size=size, **options)
        for given, size in (
            (stimuli, 1),
            (stimuli, 3),
            (Stimuli("noise", stimuli.image_id[::-1], stimuli.pixels[::-1]), 7),
        )
    ]
    assert made[0] == made[1] == made[2]


def test_a_caption_is_what_the_most_likely_tokens_say(network: Path, stimuli: Stimuli, tmp_path: Path) -> None:
    """The search repeated by hand: one forward pass for each token."""
    made = blip2.describe(stimuli, folder=network, unfinished=tmp_path, batch_size=2, **OPTIONS)
    model = Blip2ForConditionalGeneration.from_pretrained(network).eval()
    for image_id in stimuli.image_id[:3]:
        pixels = blip2.prepared(stimuli.rows(np.array([image_id])), 28)
        tokens = [2, 2, 2, 2, 1]
        for _ in range(OPTIONS["max_new_tokens"]):
            with torch.no_grad():
                logits = model(pixel_values=pixels, input_ids=torch.tensor([tokens])).logits
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] == 1:
                break
        said = [WORDS[token] for token in tokens[5:] if token > 2]
        assert made[int(image_id)].split() == said


def test_images_are_prepared_as_by_the_networks_own_processor(stimuli: Stimuli) -> None:
    processor = pytest.importorskip("transformers.models.blip.image_processing_pil_blip").BlipImageProcessorPil(
        size={"height": 28, "width": 28}
    )
    grey = stimuli.pixels[:2]
    theirs = processor([np.repeat(image[..., None], 3, 2) for image in grey], return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(blip2.prepared(grey, 28).numpy(), theirs, atol=2e-6)


def test_a_prompt_is_continued_and_not_repeated(network: Path, stimuli: Stimuli, tmp_path: Path) -> None:
    plain = blip2.describe(stimuli, folder=network, unfinished=tmp_path, batch_size=7, **OPTIONS)
    prompted = blip2.describe(
        stimuli, folder=network, unfinished=tmp_path, batch_size=7, **OPTIONS | {"prompt": "a photo of"}
    )
    assert prompted != plain
    assert not any(caption.startswith("a photo of") for caption in prompted.values())


def test_a_call_that_was_broken_off_goes_on_where_it_was(
    network: Path, stimuli: Stimuli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OPTIONS | {"folder": network, "unfinished": tmp_path, "batch_size": 2}
    whole = blip2.describe(stimuli, **options)
    asked: list[int] = []
    sentences = blip2._sentences

    def killed_at(n: int) -> None:
        asked.clear()

        def some(*arguments: object) -> list[str]:
            if len(asked) == n:
                raise KeyboardInterrupt
            asked.append(len(arguments[3]))  # type: ignore[arg-type]
            return sentences(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(blip2, "_sentences", some)

    for n in (2, 1):  # broken off twice
        killed_at(n)
        with pytest.raises(KeyboardInterrupt):
            blip2.describe(stimuli, **options)
        (journal,) = tmp_path.iterdir()
        with journal.open("a") as file:
            file.write('{"image": "cut o')  # what a process killed while writing leaves
    killed_at(-1)
    assert blip2.describe(stimuli, **options) == whole
    assert sum(asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_unfinished_with_other_options_is_not_used(
    network: Path, stimuli: Stimuli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OPTIONS | {"folder": network, "unfinished": tmp_path, "batch_size": 7}
    prompted = blip2.describe(stimuli, **options | {"prompt": "the old"})

    def killed(*_: object) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(blip2, "_sentences", killed)
        with pytest.raises(KeyboardInterrupt):
            blip2.describe(stimuli, **options)
    (journal,) = tmp_path.iterdir()
    journal.write_text(json.dumps({"image": "x", "caption": "y"}) + "\n")
    assert blip2.describe(stimuli, **options | {"prompt": "the old"}) == prompted
    assert list(tmp_path.iterdir()) == [journal]


def test_weights_that_are_missing_are_not_drawn_at_random(network: Path, stimuli: Stimuli, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "copy"
    shutil.copytree(network, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["language_projection.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"do not fit its config.json: .*language_projection.bias"):
        blip2.describe(stimuli, folder=folder, unfinished=tmp_path, batch_size=1, **OPTIONS)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"weights of .* cannot be loaded"):
        blip2.describe(stimuli, folder=folder, unfinished=tmp_path, batch_size=1, **OPTIONS)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights of .* cannot be loaded"):
        blip2.describe(stimuli, folder=folder, unfinished=tmp_path, batch_size=1, **OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoConfig": "own.Config"}}, r"names code of its own \(auto_map\). It was not run; do not use"),
        ({"auto_map": {"AutoConfig": "own.Config"}, "model_type": "own"}, "names code of its own"),
        ({"model_type": "own"}, "is of model_type 'own', expected blip-2 with an image_token_index"),
        ({"image_token_index": None}, "is of model_type 'blip-2', expected blip-2 with an image_token_index"),
        (None, r"config.json is damaged \(.*Fetch or restore it again"),
    ],
)
def test_a_folder_that_brings_code_is_refused_and_its_code_not_run(
    network: Path, stimuli: Stimuli, tmp_path: Path, change: dict | None, message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(network, folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text("{" if change is None else json.dumps(written | change))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(ValueError, match=message):
        blip2.describe(stimuli, folder=folder, unfinished=tmp_path, batch_size=1, **OPTIONS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "dtype", "message"),
    [
        (
            lambda x: x.fill_(torch.nan),
            "float32",
            "as float32: 1 tensors hold NaN or infinity, first language",
        ),
        (
            lambda x: x.fill_(1e6),
            "float16",
            "as float16: 1 tensors hold NaN or infinity, first language",
        ),
        (lambda x: x.long(), "float32", r"not floating point \(16 to 64 bits\), language_projection.bias is I64"),
    ],
)
def test_weights_that_no_network_computes_with_are_refused(
    network: Path, stimuli: Stimuli, tmp_path: Path, change: Callable, dtype: str, message: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "copy"
    shutil.copytree(network, folder)
    weights = load_file(folder / "model.safetensors")
    weights["language_projection.bias"] = change(weights["language_projection.bias"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    options = OPTIONS | {"dtype": dtype}
    with pytest.raises(ValueError, match=message):
        blip2.describe(stimuli, folder=folder, unfinished=tmp_path, batch_size=1, **options)


def test_a_folder_without_a_network_and_another_network_are_refused(
    network: Path, stimuli: Stimuli, tmp_path: Path
) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"holds no config.json with tokenizer.json. Expected the files of a BLIP"
    ):
        blip2.describe(stimuli, folder=tmp_path, unfinished=tmp_path, batch_size=1, **OPTIONS)
    (tmp_path / "config.json").write_text("{}")
    for damaged in ('{"version": "1.0"', '{"version": "1.0"}', "[]"):
        (tmp_path / "tokenizer.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"tokenizer.json describes no tokenizer: .*Fetch or restore it again"):
            blip2._load(tmp_path, "", "float32", "cpu")
    OPTConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    shutil.copy(network / "tokenizer.json", tmp_path)
    with pytest.raises(ValueError, match="model_type 'opt', expected blip-2"):
        blip2.describe(stimuli, folder=tmp_path, unfinished=tmp_path, batch_size=1, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "captions.dtype is 'int8', expected float32"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, num_beams 1, expected 1 or more"),
        ({"num_beams": 0}, "num_beams 0"),
    ],
)
def test_options_that_cannot_be_are_refused(
    network: Path, stimuli: Stimuli, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        blip2.describe(stimuli, folder=network, unfinished=tmp_path, batch_size=1, **OPTIONS | options)


# ---- the stage


@pytest.fixture
def checkout(stimuli: Stimuli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the stage can run, with captions of images 3 (two observers) and 9."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    stimuli.save("artifacts/images.npz")
    (tmp_path / "artifacts/captions_given.csv").write_text("image_id,caption\n9,A given one.\n3,One.\n3,Another.\n")
    return tmp_path


def run_stage(model: object, monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, ...]]:
    import stages
    from spikevaediff.records import Captions
    from stages import captions

    section = {name: value for name, value in OPTIONS.items() if name != "device"} | {"model": str(model)}
    monkeypatch.setattr(stages, "declared", lambda stage: {stage: section})
    monkeypatch.setattr(stages, "compute", lambda: {"device": "cpu", "batch_size": 2})
    captions.main()
    found = Captions.load("artifacts/captions.csv")
    return dict(zip(found.image_id.tolist(), found.sentences, strict=True))


def test_given_captions_are_kept_and_the_others_made(
    network: Path, stimuli: Stimuli, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run_stage(network, monkeypatch)
    whole = blip2.describe(stimuli, folder=network, unfinished=checkout / "j", batch_size=7, **OPTIONS)
    assert list(found) == sorted(stimuli.image_id.tolist())
    assert found[9] == ("A given one.",)
    assert found[3] == ("One.", "Another.")
    assert all(found[i] == ((whole[i],) if whole[i] else ()) for i in found if i not in (3, 9))
    assert sorted(path.name for path in (checkout / "artifacts").iterdir()) == [
        "captions.csv",
        "captions_given.csv",
        "images.npz",
    ]


def test_a_data_set_that_brings_all_captions_needs_no_network(
    checkout: Path, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{image_id},Image {image_id}." for image_id in stimuli.image_id.tolist()]
    (checkout / "artifacts/captions_given.csv").write_text("\n".join(["image_id,caption", *lines, "77,Not shown.", ""]))
    found = run_stage("no such network", monkeypatch)
    assert found == {image_id: (f"Image {image_id}.",) for image_id in sorted(stimuli.image_id.tolist())}


def test_without_the_weights_the_user_is_told_their_size_and_the_other_way(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikevaediff.files import assets

    def no_connection(*_: object, **__: object) -> None:
        raise OSError("no connection")

    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(checkout / "cache"))
    monkeypatch.setattr(assets, "download", no_connection)
    with pytest.raises(FileNotFoundError) as caught:
        run_stage("blip2_opt_2.7b", monkeypatch)
    for part in (
        r"^5 images have no caption, and the network that describes images is not here",
        r"blip2_opt_2.7b \(5 files, 15 GB\) is not all there: asset blip2_config",
        r"huggingface.co/Salesforce/blip2-opt-2.7b",
        r"Or bring captions of your own in .*: a column caption in images.csv .*, or else captions.csv \(image_id,capt",
    ):
        assert re.search(part, str(caught.value))
    with pytest.raises(KeyError, match=r"there is no folder of assets 'blip3'; there are .*blip2_opt_2.7b"):
        run_stage("blip3", monkeypatch)
