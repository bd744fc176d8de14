"""CLIP as Versatile Diffusion looks through it: recorded contexts of the published code, weights of three layouts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MODEL_TOLERANCE, close
from golden_weights import arrays, checkpoint, largest
from PIL import Image
from safetensors.torch import save_file

from spikevaediff.features import clip_text, clip_vision
from spikevaediff.files import assets
from spikevaediff.networks import clip, small
from spikevaediff.records import Captions, Stimuli

TINY = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 56, "layers": 3, "width": 80, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3},
}
# Those of the published code; a second implementation stayed within 4e-7.
TEXT_TOLERANCE, VISION_TOLERANCE, PIXEL_TOLERANCE = 5e-6, 2e-5, 1e-5
IDS = np.array([8, 1, 40, 3])


@pytest.fixture(scope="module", autouse=True)
def tiny_is_known() -> Any:
    """The small configuration of the recordings, known as `tiny` while these tests run."""
    clip.CONFIGS["tiny"] = TINY
    yield
    del clip.CONFIGS["tiny"]


@pytest.fixture(scope="module")
def recorded_weights(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the small recordings under Hugging Face's names."""
    path = tmp_path_factory.mktemp("recorded") / "model.safetensors"
    save_file({k: v.contiguous() for k, v in checkpoint(shared, "clip_tiny_hf", prefix="clip.model.").items()}, path)
    return path


@pytest.fixture(scope="module")
def random_network() -> torch.nn.Module:
    """open_clip's network of the small configuration, random weights, all of which matter."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    sizes = (CLIPVisionCfg(**TINY["vision_cfg"]), CLIPTextCfg(**TINY["text_cfg"]))
    network = CLIP(TINY["embed_dim"], *sizes, quick_gelu=True).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="module")
def weights(random_network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random weights, under OpenAI's names."""
    path = tmp_path_factory.mktemp("random") / "openai.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in random_network.state_dict().items()}, path)
    return path


def text(sentences: list[str], weights: Path, **changes: Any) -> np.ndarray:
    options = {"config": "tiny", "batch_size": "auto", "device": "cpu"}
    return clip_text.contexts(sentences, weights=weights, **options | changes)


def vision(pixels: np.ndarray, weights: Path, **changes: Any) -> np.ndarray:
    options = {"config": "tiny", "published_rounding": True, "batch_size": "auto", "device": "cpu"}
    return clip_vision.contexts(pixels, weights=weights, **options | changes)


# ---- Recorded contexts


@pytest.mark.parametrize(
    ("name", "config"), [("clip_tiny", "tiny"), pytest.param("clip_vit_l14", "vit_l14", marks=pytest.mark.slow)]
)
def test_contexts_equal_those_of_the_published_code(
    name: str, config: str, shared: Path, recorded_weights: Path, tmp_path: Path
) -> None:
    recorded, note = arrays(shared, name)
    path = recorded_weights
    if config != "tiny":
        path = tmp_path / "model.safetensors"
        state = checkpoint(shared, f"{name}_hf", prefix="clip.model.")
        save_file({key: value.contiguous() for key, value in state.items()}, path)
        del state
    found = torch.tensor(text(note["captions"], path, config=config))
    assert largest(found, recorded["text"]) < TEXT_TOLERANCE
    found = torch.tensor(vision(recorded["image_uint8"].numpy(), path, config=config))
    assert largest(found, recorded["vision"]) < VISION_TOLERANCE
    found = torch.tensor(clip_vision.unconditional(weights=path, config=config, published_rounding=True, device="cpu"))
    assert largest(found, recorded["vision_uncond"][0]) < VISION_TOLERANCE
    found = torch.tensor(clip_text.unconditional(weights=path, config=config, device="cpu"))
    assert largest(found, recorded["text"][note["captions"].index("")]) < TEXT_TOLERANCE
    side = recorded["pixel_values_first"].shape[-1]
    found = clip_vision.prepared(recorded["image_uint8"].numpy()[:1], side, published_rounding=True)
    assert largest(found, recorded["pixel_values_first"]) < PIXEL_TOLERANCE


def test_token_ids_equal_those_of_the_published_code(shared: Path) -> None:
    recorded, note = arrays(shared, "clip_tiny")
    torch.testing.assert_close(clip_text.token_ids(note["captions"]), recorded["token_ids"], rtol=0, atol=0)


def test_names_are_those_of_the_key_map(shared: Path) -> None:
    key_map = json.loads((shared / "golden/keymaps/clip_hf_to_open_clip.json").read_text())
    shapes = json.loads((shared / "golden/manifests/clip_vit_l14_hf.json").read_text())
    targets = json.loads((shared / "golden/manifests/clip_vit_l14_open_clip.json").read_text())
    # One number that tells which tensor it was, in each of them.
    state = {name: torch.full(shape, float(i), device="meta") for i, (name, (shape, _)) in enumerate(shapes.items())}
    renamed = clip.open_clip_names(state, "a test")
    assert {name: list(tensor.shape) for name, tensor in renamed.items()} == {n: s for n, (s, _) in targets.items()}
    state = {name: torch.tensor([[float(i)]]) for i, name in enumerate(shapes)}
    renamed = clip.open_clip_names(state, "a test")
    for i, (name, (target, _, slot)) in enumerate(key_map.items()):
        if target is not None:
            assert renamed[target][slot or 0].item() == i, name


# ---- Text


def test_ids_are_a_start_words_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = clip_text.token_ids(["", "a cat", "cat " * 200])
    assert "1 of 3 captions are longer than 77 tokens and lose their last words" in capsys.readouterr().out
    assert ids.shape == (3, 77)
    assert ids[0].tolist() == [49406] + [49407] * 76
    assert ids[1].tolist() == [49406, 320, 2368] + [49407] * 74
    assert ids[2].tolist() == [49406] + [2368] * 75 + [49407]
    assert clip_text.token_ids([]).shape == (0, 77)


def test_the_end_token_of_a_text_context_has_norm_one_and_padding_is_part_of_it(weights: Path) -> None:
    context = text(["a cat", ""], weights)
    assert context.shape == (2, 77, 48)
    np.testing.assert_allclose(np.linalg.norm(context[0, 3]), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(context[1, 1]), 1, atol=1e-6)
    assert (np.linalg.norm(context[:, 4:], axis=2) > 0.1).all()


def test_text_equals_the_public_encoder_of_open_clip(random_network: torch.nn.Module, weights: Path) -> None:
    """The pooled token is the embedding that CLIP compares with images, whatever the padding."""
    from open_clip.tokenizer import SimpleTokenizer

    sentences = ["a cat", "two dogs, one ball"]
    with torch.inference_mode():
        expected = random_network.encode_text(SimpleTokenizer()(sentences), normalize=True)
    context = text(sentences, weights)
    ends = clip_text.token_ids(sentences).argmax(dim=1).numpy()
    close(context[np.arange(2), ends], expected.numpy(), MODEL_TOLERANCE)


def test_captions_are_averaged_by_image_and_none_is_the_unconditional_context(weights: Path) -> None:
    captions = Captions(IDS, (("a cat", "a dog"), (), ("A cat",), ("a castle on a hill",)))
    options: dict[str, Any] = {"weights": weights, "config": "tiny", "batch_size": "auto", "device": "cpu"}
    found = clip_text.extract(captions, **options)
    assert (found.space, found.values.shape, len(found.group_name)) == ("text", (4, 77 * 48), 77)
    cat, dog, castle = text(["a cat", "a dog", "a castle on a hill"], weights)
    nothing = clip_text.unconditional(weights=weights, config="tiny", device="cpu")
    expected = {8: (cat + dog) / 2, 1: nothing, 40: cat, 3: castle}  # letters are made small
    for image_id, context in expected.items():
        close(found.tokens(np.array([image_id]))[0], context, MODEL_TOLERANCE)
    few = clip_text.extract(captions.of(IDS[2:0:-1]), **options | {"batch_size": 1})
    close(few.values, found.rows(IDS[2:0:-1]), MODEL_TOLERANCE)


# ---- Vision


def stimuli(ids: np.ndarray = IDS) -> Stimuli:
    pixels = [np.random.default_rng([2, i]).integers(0, 256, (40, 60), dtype=np.uint8) for i in ids.tolist()]
    return Stimuli("a test", ids, np.stack(pixels))


def test_vision_equals_the_public_encoder_of_open_clip(random_network: torch.nn.Module, weights: Path) -> None:
    from spikevaediff.images import rgb

    pixels = rgb(stimuli().pixels)
    with torch.inference_mode():
        x = clip_vision.prepared(pixels, 56, published_rounding=True)
        expected = random_network.encode_image(x, normalize=True)
    close(vision(pixels, weights)[:, 0], expected.numpy(), MODEL_TOLERANCE)


def test_vision_contexts_of_an_image_are_its_own(weights: Path) -> None:
    options: dict[str, Any] = {"config": "tiny", "published_rounding": True, "batch_size": "auto", "device": "cpu"}
    every = clip_vision.extract(stimuli(), weights=weights, **options)
    assert (every.space, every.values.shape, len(every.group_name)) == ("vision", (4, 17 * 48), 17)
    for batch_size in (1, 3):
        few = clip_vision.extract(stimuli(IDS[2:0:-1]), weights=weights, **options | {"batch_size": batch_size})
        close(few.values, every.rows(IDS[2:0:-1]), MODEL_TOLERANCE)


def test_the_rounding_of_the_published_code_lowers_dark_pixels_by_one() -> None:
    levels = np.arange(256, dtype=np.uint8)
    x = np.float32(2) * (levels.astype(np.float32) / np.float32(255)) - np.float32(1)  # to [-1, 1] and back, in float32
    through = ((x + np.float32(1)) / np.float32(2) * np.float32(255)).astype(np.uint8)
    lowered = levels - ((levels >= 1) & (levels <= 63))
    np.testing.assert_array_equal(through, lowered)
    flat = np.broadcast_to(levels[:, None, None, None], (256, 8, 8, 3))
    for rounding, expected in ((True, lowered), (False, levels)):
        found = clip_vision.prepared(flat, 16, published_rounding=rounding)[:, :, 0, 0].numpy()
        expected = (expected[:, None] / 255 - np.array(small.CLIP_MEAN)) / np.array(small.CLIP_STD)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_images_are_squashed_to_512_and_then_to_the_size_of_the_network() -> None:
    pixels = np.random.default_rng(3).integers(64, 256, (1, 700, 400, 3), dtype=np.uint8)  # too light to be lowered
    seen = Image.fromarray(pixels[0]).resize((512, 512), Image.Resampling.BILINEAR)
    squashed = np.asarray(seen.resize((224, 224), Image.Resampling.BICUBIC)) / 255
    expected = (squashed - np.array(small.CLIP_MEAN)) / np.array(small.CLIP_STD)
    found = clip_vision.prepared(pixels, 224, published_rounding=False)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.eye(8).reshape(1, 8, 8, 1).repeat(3, 3), r"images must be uint8 in 0..255, got float64 in \[0, 1\]"),
        (np.zeros((2, 8, 8), np.uint8), r"images must be \(image, row, column, 3\), got \(2, 8, 8\); for grey ones"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"images must be \(image, row, column, 3\), got \(2, 8, 8, 4\)"),
        (np.zeros((2, 0, 8, 3), np.uint8), r"images must be \(image, row, column, 3\), got \(2, 0, 8, 3\)"),
    ],
)
def test_what_is_no_stack_of_images_is_refused_before_weights_are_read(pixels: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        vision(pixels, Path("none.safetensors"))


# ---- Weights


def test_all_layouts_give_the_same_network(
    random_network: torch.nn.Module, recorded_weights: Path, shared: Path, tmp_path: Path
) -> None:
    state = checkpoint(shared, "clip_tiny_hf", prefix="clip.model.")
    expected = clip.load(recorded_weights, "tiny").state_dict()
    whole = {f"clip.model.{name}": tensor for name, tensor in state.items()}
    torch.save({"betas": torch.zeros(3), **whole, "optimus.x": torch.ones(2)}, tmp_path / "vd.pth")
    found = clip.load(tmp_path / "vd.pth", "tiny").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    # Buffers of positions came and went with versions of the Hugging Face library.
    torch.save({n: t for n, t in state.items() if "position_ids" not in n}, tmp_path / "without.pth")
    found = clip.load(tmp_path / "without.pth", "tiny").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


class Published(torch.nn.Module):
    """What OpenAI's archive holds beside the network: its sizes, as buffers."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        for name in ("positional_embedding", "text_projection", "logit_scale"):
            self.register_parameter(name, getattr(network, name))
        for name, size in (("input_resolution", 56), ("context_length", 77), ("vocab_size", 49408)):
            self.register_buffer(name, torch.tensor(size))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.visual(image) * self.logit_scale


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_torchscript_archive_in_half_precision_is_read_as_it_is(
    random_network: torch.nn.Module, weights: Path, tmp_path: Path
) -> None:
    import copy

    whole = copy.deepcopy(random_network)
    archive = torch.jit.trace(Published(whole), torch.zeros(1, 3, 56, 56), check_trace=False).half()
    archive.save(tmp_path / "ViT-tiny.pt")
    found = clip.load(tmp_path / "ViT-tiny.pt", "tiny")
    expected = {name: tensor.half().float() for name, tensor in random_network.state_dict().items()}
    assert found.state_dict().keys() == expected.keys()
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in expected.items())
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert not [name for name, tensor in found.named_buffers() if tensor.is_meta]
    assert not found.training


def test_weights_that_are_not_these_are_refused(weights: Path, random_network: torch.nn.Module, tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in random_network.state_dict().items()}

    def saved(name: str, tensors: dict[str, torch.Tensor]) -> Path:
        save_file(tensors, tmp_path / f"{name}.safetensors")
        return tmp_path / f"{name}.safetensors"

    with pytest.raises(KeyError, match=r"CLIP configuration 'vit_b32' is unknown; there are vit_l14, tiny"):
        clip.load(weights, "vit_b32")
    with pytest.raises(FileNotFoundError, match=r"weight file none\.pt does not exist"):
        clip.load("none.pt", "tiny")
    with pytest.raises(ValueError, match=r"is not CLIP vit_l14: .*size mismatch|Missing key"):
        clip.load(weights, "vit_l14")
    short = saved("short", {name: tensor for name, tensor in state.items() if name != "ln_final.bias"})
    with pytest.raises(ValueError, match=r"short.safetensors is not CLIP tiny: .*Missing key.*ln_final\.bias"):
        clip.load(short, "tiny")
    with pytest.raises(ValueError, match=r"long.safetensors is not CLIP tiny: .*Unexpected key.*logit_bias"):
        clip.load(saved("long", {**state, "logit_bias": torch.zeros(1)}), "tiny")
    with pytest.raises(
        ValueError, match=r"other.safetensors holds no CLIP: conv1.weight, \.\.\. Expected the names of"
    ):
        clip.load(saved("other", {"conv1.weight": torch.zeros(1)}), "tiny")
    for name in ("cut.safetensors", "cut.pt"):
        (tmp_path / name).write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(ValueError, match=rf"{name} is damaged or of another format .* assets fetch clip_vit_l14"):
            clip.load(tmp_path / name, "tiny")


def test_hugging_face_names_that_do_not_belong_are_refused() -> None:
    known = {"vision_model.embeddings.patch_embedding.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"a file holds text_model.encoder.layers.0.mlp.fc3.weight, which no part of"):
        clip.open_clip_names({**known, "text_model.encoder.layers.0.mlp.fc3.weight": torch.zeros(1)}, "a file")
    with pytest.raises(
        ValueError, match=r"a file has only self_attn.k_proj for transformer.resblocks.0.attn.in_proj_b"
    ):
        clip.open_clip_names({**known, "text_model.encoder.layers.0.self_attn.k_proj.bias": torch.zeros(1)}, "a file")


def test_a_pickle_that_names_anything_but_tensors_is_refused_and_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"visual.conv1.weight": Malicious()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"bad\.pt holds more than tensors"):
        clip.load(tmp_path / "bad.pt", "tiny")
    assert not (tmp_path / "ran").exists()


def test_the_asset_is_the_file_whose_hash_openai_put_into_its_address() -> None:
    asset = assets.ASSETS["clip_vit_l14"]
    assert asset.sha256 is not None
    assert f"/{asset.sha256}/{asset.file}" in asset.source
