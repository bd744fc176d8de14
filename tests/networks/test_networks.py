import os
import pickle
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import MODEL_TOLERANCE, close
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from spikevaediff.evaluation import protocols
from spikevaediff.files import assets
from spikevaediff.networks import small


def fetched(asset: str, load: Callable) -> object:
    try:
        return load(assets.fetch(asset))
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def alexnet() -> small.AlexNet:
    return fetched("alexnet_convolutions", small.alexnet)


@pytest.fixture(scope="module")
def lite0() -> small.EfficientNetLite0:
    return fetched("efficientnet_lite0", small.efficientnet_lite0)


def pixels(n: int, size_px: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size_px, size_px, 3), dtype=np.uint8)


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int = 1, n_groups: int = 1) -> np.ndarray:
    """Convolution without padding in float64; x (channel, row, column), kernel (out, in of a group, row, column)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    windows = windows.reshape(n_groups, -1, *windows.shape[1:])
    kernel = kernel.reshape(n_groups, -1, *kernel.shape[1:]).astype(np.float64)
    return np.einsum("gixyhw,goihw->goxy", windows, kernel, optimize=True).reshape(-1, *windows.shape[2:4])


def test_alexnet_equals_a_float64_computation_layer_by_layer(alexnet):
    with assets.fetch("alexnet_convolutions").open("rb") as file:
        arrays = small._ArraysOnly(file).load()["AlexNet_0"]
    x = np.random.default_rng(1).normal(size=(3, 70, 66))
    with torch.inference_mode():
        actual = [layer[0].numpy() for layer in alexnet(torch.tensor(x[None]).float())]
    for i, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
        if i in (1, 2):
            x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(3, 4))
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        layer = arrays[f"Conv_{i}"]
        x = convolved(x, layer["kernel"].transpose(3, 2, 0, 1), stride) + layer["bias"][:, None, None]
        x = np.maximum(x, 0)
        close(actual[i], x, MODEL_TOLERANCE)


def alexnet_input(images: np.ndarray) -> torch.Tensor:
    return protocols.network_input(images, protocols.named("strict"), "alexnet", shown=True)


def test_alexnet_has_the_layers_of_torchvision(alexnet):
    activations = small.run(alexnet, alexnet_input, pixels(1), 1)
    assert [a.shape[1:] for a in activations] == [
        (64, 55, 55),
        (192, 27, 27),
        (384, 13, 13),
        (256, 13, 13),
        (256, 13, 13),
    ]
    assert [i for i, module in enumerate(alexnet.features) if isinstance(module, torch.nn.ReLU)] == [1, 4, 7, 9, 11]
    assert sum(p.numel() for p in alexnet.parameters()) == 2_469_696


def test_the_networks_say_what_those_of_torchvision_and_timm_say(alexnet, lite0):
    import spikevaediff.networks.torchvision_ops  # noqa: F401, before torchvision

    models, timm = pytest.importorskip("torchvision.models"), pytest.importorskip("timm")
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    theirs = models.alexnet(weights=None).eval().features
    theirs.load_state_dict(alexnet.features.state_dict())
    # In float64: ours keep to one routine for all batches, channels last, and two routines round float32 differently.
    with torch.inference_mode():
        layer = x.double()
        ours = iter(deepcopy(alexnet).double()(layer))
        for module in theirs.double()[:12]:
            layer = module(layer)
            if isinstance(module, torch.nn.ReLU):
                torch.testing.assert_close(next(ours), layer.clone(), rtol=1e-9, atol=1e-9)
        of_timm = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
        # Other names in the same order, of the same shapes.
        names = zip(of_timm.state_dict(), lite0.state_dict().values(), strict=True)
        of_timm.load_state_dict(dict(names))
        found = deepcopy(lite0).double()(x.double())
        expected = of_timm.double().forward_features(x.double())
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_lite0_with_its_normalisations_folded_in_is_the_same_network(lite0):
    x = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    quick = small.fused(deepcopy(lite0))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in quick.modules())
    with torch.inference_mode():
        close(quick(x).numpy(), lite0(x).numpy(), MODEL_TOLERANCE)
        exact = small.fused(deepcopy(lite0).double())(x.double())
        torch.testing.assert_close(exact, deepcopy(lite0).double()(x.double()), rtol=1e-9, atol=1e-9)


def test_lite0_equals_a_float64_computation(lite0):
    state = torch.load(assets.fetch("efficientnet_lite0"), weights_only=True)
    state = {name: tensor.double().numpy() for name, tensor in state.items()}

    def normalised(x: np.ndarray, name: str) -> np.ndarray:
        mean, var, scale, shift = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + 1e-3) * scale + shift

    def same(x: np.ndarray, name: str, stride: int, n_groups: int = 1) -> np.ndarray:
        kernel = state[f"{name}.weight"]
        # TensorFlow's rule: as many outputs as strides begin inside; what is odd is padded at the end.
        before, after = zip(*[_padding(n, kernel.shape[2], stride) for n in x.shape[1:]], strict=True)
        x = np.pad(x, ((0, 0), (before[0], after[0]), (before[1], after[1])))
        return convolved(x, kernel, stride, n_groups)

    def _padding(n: int, kernel: int, stride: int) -> tuple[int, int]:
        last = (n - 1) // stride * stride  # where the last window begins, counted without padding
        total = max(last + kernel - n, 0)
        return total // 2, total - total // 2

    x = np.random.default_rng(2).normal(size=(3, 64, 96))
    with torch.inference_mode():
        grid = lite0(torch.tensor(x[None]).float())
        logits = lite0.logits(grid)
    x = np.clip(normalised(same(x, "_conv_stem", 2), "_bn0"), 0, 6)
    for i in range(16):
        y, name = x, f"_blocks.{i}"
        if i > 0:
            y = np.clip(normalised(same(y, f"{name}._expand_conv", 1), f"{name}._bn0"), 0, 6)
        stride = 2 if i in (1, 3, 5, 11) else 1
        y = np.clip(normalised(same(y, f"{name}._depthwise_conv", stride, len(y)), f"{name}._bn1"), 0, 6)
        y = normalised(same(y, f"{name}._project_conv", 1), f"{name}._bn2")
        x = x + y if y.shape == x.shape else y
    x = np.clip(normalised(same(x, "_conv_head", 1), "_bn1"), 0, 6)
    close(grid[0].numpy(), x, MODEL_TOLERANCE)
    close(logits[0].numpy(), state["_fc.weight"] @ x.mean(axis=(1, 2)) + state["_fc.bias"], MODEL_TOLERANCE)


def test_lite0_gives_a_grid_of_7_by_7(lite0):
    with torch.inference_mode():
        grid = lite0(small.lite0_input(pixels(2)))
    assert grid.shape == (2, 1280, 7, 7)
    assert sum(p.numel() for p in lite0.parameters()) == 4_652_008


# Classes of ImageNet and the probabilities that the weights are known to give after the usual preparation.
KNOWN = {
    "cat": {282: 0.38, 285: 0.36, 281: 0.17},  # tiger cat, Egyptian cat, tabby
    "coffee": {967: 0.95},  # espresso
    "china": {698: 0.32, 442: 0.14, 663: 0.08},  # palace, bell cote, monastery
    "flower": {985: 0.37},  # daisy
}


@pytest.mark.parametrize("photograph", KNOWN)
def test_lite0_names_photographs_with_the_known_probabilities(lite0, photograph):
    if photograph in ("cat", "coffee"):
        image = Image.fromarray(getattr(data, photograph)())
    else:
        image = Image.fromarray(load_sample_image(f"{photograph}.jpg"))
    scale = 256 / min(image.size)
    image = image.resize(tuple(round(side * scale) for side in image.size), Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in image.size)
    image = image.crop((left, top, left + 224, top + 224))
    with torch.inference_mode():
        probabilities = lite0.logits(lite0(small.lite0_input(np.asarray(image)[None]))).softmax(dim=1)[0].numpy()
    assert np.argsort(-probabilities)[: len(KNOWN[photograph])].tolist() == list(KNOWN[photograph])
    for index, expected in KNOWN[photograph].items():
        assert abs(probabilities[index] - expected) < 0.011


def test_batches_and_order_change_nothing(alexnet, lite0):
    five, quick = pixels(5), small.fused(deepcopy(lite0))
    for look in (lambda p, b: small.run(alexnet, alexnet_input, p, b)[4],
                 lambda p, b: small.run(lambda x: [lite0(x)], small.lite0_input, p, b)[0],
                 lambda p, b: small.run(lambda x: [quick(x)], small.lite0_input, p, b)[0]):  # fmt: skip
        whole = look(five, 16)
        close(look(five, 1), whole)
        close(look(five, 2), whole)
        close(look(five[::-1], 3)[::-1], whole)


def test_lite0_sees_images_resized_once_and_scaled_to_minus_one_to_one():
    black_and_white = np.stack([np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 255, np.uint8)])
    x = small.lite0_input(black_and_white)
    assert x.shape == (2, 3, 224, 224)
    assert (x[0] == -1).all()
    assert (x[1] == 1).all()


def test_the_input_scaling_of_lpips_is_that_of_imagenet():
    images = pixels(2, 224)
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    expected = (images / 127.5 - 1 - shift) / scale
    x = small.scaled(images, small.IMAGENET_MEAN, small.IMAGENET_STD)
    close(x.numpy(), expected.transpose(0, 3, 1, 2), 1e-6)


def test_grey_or_scaled_images_are_refused():
    with pytest.raises(ValueError, match=r"images must be \(image, row, column, 3\), got \(2, 64, 64\); for grey ones"):
        small.lite0_input(pixels(2)[..., 0])
    with pytest.raises(ValueError, match=r"images must be uint8 in 0..255, got float64 in \[0, 1\]"):
        small.lite0_input(pixels(2) / 255)


def test_lpips_heads_are_five_layers_without_negative_weights():
    heads = fetched("lpips_heads", small.lpips_heads)
    assert [w.shape for w in heads] == [(64,), (192,), (384,), (256,), (256,)]
    assert all(w.dtype == np.float32 and w.min() >= 0 for w in heads)


def test_heads_of_another_network_are_refused(tmp_path):
    torch.save({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="expected the linear heads of LPIPS with AlexNet"):
        small.lpips_heads(tmp_path / "vgg.pth")


def test_a_pickle_that_names_anything_but_arrays_is_refused_and_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps({"AlexNet_0": Malicious()}))
    with pytest.raises(ValueError, match=r"names \w+.mkdir, expected NumPy arrays only; do not use this file"):
        small.alexnet(path)
    assert not (tmp_path / "ran").exists()


def test_weights_with_a_tensor_missing_or_left_over_are_refused(tmp_path, lite0):
    state = {f"_{name}": tensor for name, tensor in lite0.state_dict().items()}
    torch.save({name: tensor for name, tensor in state.items() if name != "_fc.bias"}, tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"Missing key\(s\) in state_dict: \"fc.bias\""):
        small.efficientnet_lite0(tmp_path / "short.pth")
    torch.save({**state, "_se.weight": torch.zeros(1)}, tmp_path / "long.pth")
    with pytest.raises(ValueError, match=r"Unexpected key\(s\) in state_dict: \"se.weight\""):
        small.efficientnet_lite0(tmp_path / "long.pth")
