"""VDVAE as a feature space and as a decoder: an image's latents and pixels are its own, however they are computed."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tiny_vdvae
from conftest import MODEL_TOLERANCE, close

from spikevaediff.decoders import vdvae as decoder
from spikevaediff.features import clip_text, clip_vision, efficientnet, minilm
from spikevaediff.features import vdvae as features
from spikevaediff.images import resize, rgb
from spikevaediff.records import Features, Stimuli
from vdvae.config import CONFIGS

N_LAYERS = 3  # of 5
SHAPES = [(3, 1, 1), (3, 4, 4), (3, 8, 8)]
IDS = np.array([8, 1, 40, 3, 12, 7, 0])


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_vdvae.checkpoint(tmp_path_factory.mktemp("weights"), request.param) as path:
        yield path


@pytest.fixture
def extract(checkpoint: Path) -> Callable[..., Features]:
    def call(stimuli: Stimuli, **changes: Any) -> Features:
        options = {"config": "tiny", "weights": checkpoint, "n_layers": N_LAYERS, "batch_size": 4, "device": "cpu"}
        return features.extract(stimuli, **options | changes)

    return call


@pytest.fixture
def decode(checkpoint: Path) -> Callable[..., np.ndarray]:
    def call(predicted: Features, **changes: Any) -> np.ndarray:
        options = {"config": "tiny", "weights": checkpoint, "n_layers": N_LAYERS, "batch_size": 4, "device": "cpu"}
        images = decoder.decode(predicted, **{"temperature": 0.0, "seed": 0} | options | changes)
        np.testing.assert_array_equal(images.image_id, predicted.image_id)
        return images.pixels

    return call


def stimuli(ids: np.ndarray = IDS) -> Stimuli:
    pixels = [np.random.default_rng([2, i]).integers(0, 256, (20, 30), dtype=np.uint8) for i in ids.tolist()]
    return Stimuli("a test", ids, np.stack(pixels))


def predicted(ids: np.ndarray = IDS, **changes: Any) -> Features:
    n_dims = sum(int(np.prod(shape)) for shape in SHAPES)
    values = np.stack([np.random.default_rng([3, i]).normal(size=n_dims) for i in ids.tolist()]).astype(np.float32)
    sizes = np.array([np.prod(shape) for shape in SHAPES])
    parts: dict[str, Any] = {"space": "vdvae", "image_id": ids, "values": values, "group_size": sizes}
    return Features(**{"group_name": np.array(["0", "1", "2"])} | parts | changes)


def grey_levels(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


def test_latents_are_posterior_means_layer_after_layer(extract: Callable[..., Features], checkpoint: Path) -> None:
    found = extract(stimuli())
    assert found.group_name.tolist() == ["00 (1x1)", "01 (4x4)", "02 (8x8)"]
    assert found.group_size.tolist() == [3, 48, 192]
    from vdvae import weights

    model = weights.load(checkpoint, CONFIGS["tiny"])
    small = resize(stimuli().pixels, 16)
    latents = model.encode(rgb(small) if model.config.image_channels == 3 else small[..., None], n_layers=N_LAYERS)
    by_hand = np.concatenate([z.numpy().reshape(len(IDS), -1) for z in latents], axis=1)
    close(found.values, by_hand, MODEL_TOLERANCE)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_latents_do_not_depend_on_the_batch_size(extract: Callable[..., Features], batch_size: int) -> None:
    close(extract(stimuli(), batch_size=batch_size).values, extract(stimuli()).values, MODEL_TOLERANCE)


def test_latents_of_an_image_do_not_depend_on_the_others_or_their_order(extract: Callable[..., Features]) -> None:
    every = extract(stimuli())
    for ids in (IDS[::-1].copy(), IDS[2:5], IDS[:1]):
        close(extract(stimuli(ids)).values, every.rows(ids), MODEL_TOLERANCE)


def test_fewer_layers_are_the_first_ones(extract: Callable[..., Features]) -> None:
    close(extract(stimuli(), n_layers=2).values, extract(stimuli()).values[:, :51], MODEL_TOLERANCE)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_pixels_do_not_depend_on_the_batch_size(
    decode: Callable[..., np.ndarray], temperature: float, batch_size: int
) -> None:
    changes = {"temperature": temperature, "batch_size": batch_size}
    assert grey_levels(decode(predicted(), **changes), decode(predicted(), temperature=temperature)) <= 1


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_pixels_of_an_image_do_not_depend_on_the_others_or_their_order(
    decode: Callable[..., np.ndarray], temperature: float
) -> None:
    every = dict(zip(IDS.tolist(), decode(predicted(), temperature=temperature), strict=True))
    for ids in (IDS[::-1].copy(), IDS[2:5], IDS[:1]):
        for i, pixels in zip(ids.tolist(), decode(predicted(ids), temperature=temperature), strict=True):
            assert grey_levels(pixels, every[i]) <= 1


def test_the_seed_and_the_image_decide_what_is_drawn(decode: Callable[..., np.ndarray]) -> None:
    same = np.repeat(predicted().values[:1], 2, axis=0)
    twins = predicted(np.array([5, 6]), values=same)
    drawn = decode(twins, temperature=0.9)
    assert grey_levels(*drawn) > 5  # two images with the same latents draw their own finer layers
    np.testing.assert_array_equal(drawn, decode(twins, temperature=0.9))
    assert grey_levels(drawn, decode(twins, temperature=0.9, seed=1)) > 5
    assert decoder.image_seed(0, 1) != decoder.image_seed(1, 0)


def test_without_temperature_nothing_is_drawn(decode: Callable[..., np.ndarray]) -> None:
    same = np.repeat(predicted().values[:1], 2, axis=0)
    means = decode(predicted(np.array([5, 6]), values=same))
    assert grey_levels(*means) == 0
    np.testing.assert_array_equal(decode(predicted()), decode(predicted(), seed=1))


def test_images_are_three_channels_of_the_size_of_the_model(decode: Callable[..., np.ndarray]) -> None:
    pixels = decode(predicted())
    assert pixels.shape == (len(IDS), 16, 16, 3)
    assert pixels.dtype == np.uint8
    if CONFIGS["tiny"].image_channels == 1:
        assert (pixels == pixels[..., :1]).all()


def test_what_is_extracted_can_be_decoded(
    extract: Callable[..., Features], decode: Callable[..., np.ndarray], checkpoint: Path
) -> None:
    from vdvae import weights

    model = weights.load(checkpoint, CONFIGS["tiny"])
    found = extract(stimuli())
    by_hand = model.decode(found.values, N_LAYERS)
    assert grey_levels(decode(found), by_hand) <= 1


@pytest.mark.parametrize("n_layers", [0, 6])
def test_layers_that_the_model_does_not_have_are_refused(
    extract: Callable[..., Features], decode: Callable[..., np.ndarray], n_layers: int
) -> None:
    with pytest.raises(ValueError, match=f"{n_layers} layers asked for, this configuration has 1 to 5"):
        extract(stimuli(), n_layers=n_layers)
    with pytest.raises(ValueError, match=f"{n_layers} layers asked for, this configuration has 1 to 5"):
        decode(predicted(), n_layers=n_layers)


def test_configurations_and_weights_that_do_not_exist_are_refused(
    extract: Callable[..., Features], decode: Callable[..., np.ndarray], checkpoint: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(checkpoint.read_bytes()[:1000])
    for call, given in ((extract, stimuli()), (decode, predicted())):
        with pytest.raises(KeyError, match=r"VDVAE configuration 'tinny' is unknown; there are cifar10, .*tiny"):
            call(given, config="tinny")
        with pytest.raises(FileNotFoundError, match=r"weight file .*none.safetensors does not exist"):
            call(given, weights=tmp_path / "none.safetensors")
        with pytest.raises(ValueError, match=r"broken.safetensors is damaged or of another format"):
            call(given, weights=broken)


def test_features_that_the_decoder_cannot_read_are_refused(decode: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ValueError, match="the VDVAE decodes the feature space vdvae, got clip_text"):
        decode(predicted(space="clip_text"))
    with pytest.raises(ValueError, match=r"latents are \(4, 243\), expected \(image, 51\) for 2 layers"):
        decode(predicted(), n_layers=2)
    for temperature in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"temperature must be 0 or more, got {temperature}"):
            decode(predicted(), temperature=temperature)


@pytest.mark.parametrize("module", [clip_text, clip_vision, efficientnet, minilm], ids=lambda module: module.__name__)
def test_the_context_without_content_takes_the_options_of_its_module(module: ModuleType) -> None:
    """One section of params.yaml serves all functions of a module; only how many images at once is not for it."""
    options = {
        name: set(inspect.getfullargspec(getattr(module, name)).kwonlyargs)
        for name in ("extract", "contexts", "unconditional")
    }
    assert options["unconditional"] | {"batch_size"} == options["contexts"] == options["extract"]
