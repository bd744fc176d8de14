"""Versatile Diffusion as a decoder: an image is its own, whatever is made beside it, and is never made twice."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save_file

from spikevaediff.coarse import exchanged
from spikevaediff.decoders import versatile_diffusion as decoder
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.decoders.second_stage.protocols import PROTOCOLS, protocol_of
from spikevaediff.records import Features, Reconstructions
from spikevaediff.tools import copies
from versatile_diffusion import memory, weights
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS, AutoencoderConfig, UNetConfig
from versatile_diffusion.unet import UNet

IDS = np.array([8, 1, 40, 3, 12])
ROUNDING = 2  # grey levels: kernels sum in another order for another batch size

Generate = Callable[..., np.ndarray]


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Random weights, all of which matter, of configurations that are known as `tiny` while these tests run."""
    folder = tmp_path_factory.mktemp("weights")
    AUTOENCODERS["tiny"] = AutoencoderConfig(8, (1, 2), 1, 16, 1.0, image_channels=request.param, groups=4)
    UNETS["tiny"] = UNetConfig(16, (1, 2), (True, False), 1, 2, vision_width=12, text_width=6, latent_size=8, groups=8)
    torch.manual_seed(request.param)
    models = {"unet_weights": UNet(UNETS["tiny"]), "autoencoder_weights": Autoencoder(AUTOENCODERS["tiny"])}
    for name, model in models.items():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=float(parameter[0].numel() ** -0.5))
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    yield {name: folder / f"{name}.safetensors" for name in models}
    del AUTOENCODERS["tiny"], UNETS["tiny"]


def guides(ids: np.ndarray = IDS, **changes: Any) -> Guides:
    def drawn(kind: int, *shape: int) -> np.ndarray:
        return np.stack([np.random.default_rng([kind, i]).normal(size=shape) for i in ids.tolist()])

    start = np.clip(drawn(0, 16, 16, 3) * 40 + 128, 0, 255).astype(np.uint8)
    parts = {"start": start, "vision": drawn(1, 5, 12).astype(np.float32), "text": drawn(2, 4, 6).astype(np.float32)}
    return Guides(ids, **parts | changes)


EMPTY = Guides(np.array([0]), None, np.zeros((1, 5, 12), np.float32), np.ones((1, 4, 6), np.float32))


@pytest.fixture
def generate(files: dict[str, Path]) -> Generate:
    def call(some: Guides, **changes: Any) -> np.ndarray:
        options: dict[str, Any] = {"unet": "tiny", "autoencoder": "tiny", "unconditional": EMPTY, "strength": 0.6}
        options |= {"protocol": "strict"}
        options |= {"mixing": 0.6, "guidance": 2.0, "steps": 5, "eta": 0.0, "n_samples": 1, "seed": 0, "kept": None}
        return decoder.samples(some, **options | {"batch_size": 2, "device": "cpu"} | files | changes)

    return call


def grey_levels(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("batch_size", [1, 3, 100, "auto"])
def test_pixels_do_not_depend_on_the_batch_size(generate: Generate, eta: float, batch_size: int | str) -> None:
    found = generate(guides(), eta=eta, batch_size=batch_size)
    assert found.shape == (5, 1, 16, 16, 3)
    assert found.std() > 5
    assert grey_levels(found, generate(guides(), eta=eta)) <= ROUNDING


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_pixels_of_an_image_do_not_depend_on_the_others_or_their_order(generate: Generate, eta: float) -> None:
    every = dict(zip(IDS.tolist(), generate(guides(), eta=eta), strict=True))
    for ids in (IDS[::-1].copy(), IDS[1:4], IDS[:1]):
        for i, pixels in zip(ids.tolist(), generate(guides(ids), eta=eta), strict=True):
            assert grey_levels(pixels, every[i]) <= ROUNDING


def test_the_seed_the_image_and_the_sample_decide_what_is_drawn(generate: Generate) -> None:
    twins = guides(IDS[:2]).take(np.array([0, 0]))
    twins = Guides(np.array([5, 6]), twins.start, twins.vision, twins.text)
    found = generate(twins, n_samples=3)
    assert found.shape[:2] == (2, 3)
    flat = found.reshape(6, -1)
    assert min(grey_levels(flat[i], flat[j]) for i in range(6) for j in range(i)) > 5
    np.testing.assert_array_equal(generate(twins, n_samples=3), found)
    assert grey_levels(generate(twins, n_samples=1), found[:, :1]) <= ROUNDING  # sample k, however many there are
    assert grey_levels(generate(twins, seed=1), found[:, :1]) > 5
    assert decoder.spread(found).shape == (2, 16, 16)
    assert (decoder.spread(found[:, :1]) == 0).all()


def test_decode_gives_the_first_sample_by_id(files: dict[str, Path], generate: Generate) -> None:
    options = {"unet": "tiny", "autoencoder": "tiny", "unconditional": EMPTY, "strength": 0.6, "mixing": 0.6}
    options |= {"guidance": 2.0, "steps": 5, "eta": 0.0, "n_samples": 2, "seed": 0, "kept": None, "batch_size": 2}
    options |= {"protocol": "strict", "guidance_likelihood": 0.0, "start_share": 0.0, "explained": None}
    found = decoder.decode(guides(), device="cpu", **options | files)
    np.testing.assert_array_equal(found.image_id, IDS)
    assert grey_levels(found.pixels, generate(guides())[:, 0]) <= ROUNDING


def test_strength_goes_from_the_start_to_its_being_forgotten(generate: Generate, files: dict[str, Path]) -> None:
    model, _ = weights.load_autoencoder(files["autoencoder_weights"], AUTOENCODERS["tiny"])
    start = guides().start
    assert start is not None
    grey = start if model.config.image_channels == 3 else np.stack([luma(image) for image in start])[..., None]
    back = model.decode(model.encode(grey))
    assert grey_levels(generate(guides(), strength=0.0)[:, 0], np.broadcast_to(back, start.shape)) <= ROUNDING
    few, many = (generate(guides(), strength=strength) for strength in (0.2, 1.0))
    assert grey_levels(few, many) > 5
    # Without a start there is nothing that strength could keep.
    np.testing.assert_array_equal(
        generate(guides(start=None), strength=0.2), generate(guides(start=None), strength=1.0)
    )


def test_the_coarse_part_can_be_that_of_the_start(generate: Generate, files: dict[str, Path]) -> None:
    plain, shared = (generate(guides(), start_share=share) for share in (0.0, 0.8))
    start = guides().start
    assert start is not None
    model, _ = weights.load_autoencoder(files["autoencoder_weights"], AUTOENCODERS["tiny"])
    if model.config.image_channels == 1:
        start = np.stack([luma(image) for image in start])[..., None]
    expected = exchanged(plain[:, 0].astype(np.float64), np.broadcast_to(start, plain[:, 0].shape), share=0.8)
    assert np.abs(shared[:, 0] - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-3
    assert grey_levels(plain, shared) > 5
    # An image's own, whatever is made beside it; and nothing where there is no start.
    assert grey_levels(generate(guides(IDS[1:3]), start_share=0.8), shared[1:3]) <= ROUNDING
    np.testing.assert_array_equal(generate(guides(start=None), start_share=0.8), generate(guides(start=None)))
    with pytest.raises(ValueError, match=r"start_share is 1\.5, expected 0 to 1"):
        generate(guides(), start_share=1.5)


def test_kept_images_of_another_share_are_made_again(generate: Generate, tmp_path: Path) -> None:
    for share in (0.0, 0.8):
        np.testing.assert_array_equal(
            generate(guides(), start_share=share, kept=tmp_path), generate(guides(), start_share=share)
        )
    assert len(list(tmp_path.iterdir())) == 2 * len(IDS)


def luma(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L"))


def test_mixing_decides_which_context_counts(generate: Generate) -> None:
    other = guides(IDS + 100)
    image_only, text_only = {"mixing": 1.0}, {"mixing": 0.0}
    np.testing.assert_array_equal(generate(guides(), **image_only), generate(guides(text=other.text), **image_only))
    np.testing.assert_array_equal(generate(guides(), **text_only), generate(guides(vision=other.vision), **text_only))
    assert grey_levels(generate(guides()), generate(guides(vision=other.vision))) > 3
    assert grey_levels(generate(guides()), generate(guides(text=other.text))) > 3


def test_a_context_that_is_not_given_is_the_unconditional_one(generate: Generate) -> None:
    n = len(IDS)
    vision, text = EMPTY.vision, EMPTY.text
    assert vision is not None
    assert text is not None
    found = generate(guides(text=None))
    np.testing.assert_array_equal(found, generate(guides(text=np.repeat(text, n, 0))))
    # The prior: no guidance away from itself.
    prior = generate(guides(start=None, vision=None, text=None))
    nothing = guides(start=None, vision=np.repeat(vision, n, 0), text=np.repeat(text, n, 0))
    assert grey_levels(prior, generate(nothing, guidance=1.0)) <= ROUNDING
    assert grey_levels(prior, generate(guides(start=None, vision=None, text=None), guidance=5.0)) == 0


def test_brain_diffuser_is_repeated_step_by_step(
    generate: Generate, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the published steps written out in float64: the draw from the posterior, the noise of the step before the
    first one, the schedule as float16 holds it, 37 of 50 steps, and grey levels that are cut off."""
    network, _ = weights.load_unet(files["unet_weights"], UNETS["tiny"])
    coder, _ = weights.load_autoencoder(files["autoencoder_weights"], AUTOENCODERS["tiny"])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    stored = torch.cumprod(1 - betas, 0).half()
    names = weights.unet_names(network, "deprecated")
    whole = {names[name]: value for name, value in network.state_dict().items()} | {"alphas_cumprod": stored}
    torch.save(whole, tmp_path / "whole.pth")
    changes = PUBLISHED | {"unet_weights": tmp_path / "whole.pth", "seed": 4}
    seen: list[torch.Tensor] = []
    decode = Autoencoder.decode
    monkeypatch.setattr(Autoencoder, "decode", lambda self, x, **rest: (seen.append(x), decode(self, x, **rest))[1])
    some = guides(IDS[:2])
    found = generate(some, **changes)[:, 0]
    monkeypatch.undo()

    generators = [torch.Generator().manual_seed(decoder.sample_seed(4, i, 0)) for i in IDS[:2].tolist()]
    drawn = [torch.stack([torch.randn(4, 8, 8, generator=g) for g in generators]) for _ in range(2)]
    assert some.start is not None
    grey = some.start if coder.config.image_channels == 3 else np.stack([luma(x) for x in some.start])[..., None]
    alpha, times = stored.double(), list(range(1, 1000, 20))
    with torch.no_grad():
        given = [(np.repeat(EMPTY.vision, 2, 0), np.repeat(EMPTY.text, 2, 0)), (some.vision, some.text)]
        empty, contexts = (network.contexts(*(torch.tensor(context) for context in pair)) for pair in given)
        posterior = coder.posterior(coder.network_input(grey))
        x0 = posterior.mean.double() + torch.exp(posterior.log_variance.double() / 2) * drawn[0]
        noised = alpha[times[37]]
        x = noised.sqrt() * coder.config.scale * x0 + (1 - noised).sqrt() * drawn[1]
        for i in reversed(range(37)):
            now, then = alpha[times[i]], alpha[times[i - 1]] if i else alpha[0]
            t = torch.tensor([float(times[i])])
            without, towards = (network(x.float(), t, c, mixed_ratio=0.6).double() for c in (empty, contexts))
            e = without + 7.5 * (towards - without)
            x = then.sqrt() * (x - (1 - now).sqrt() * e) / now.sqrt() + (1 - then).sqrt() * e
    assert torch.cat(seen).shape == x.shape
    assert float((torch.cat(seen) - x).abs().max() / x.abs().max()) < 1e-4
    with torch.no_grad():
        shades = (coder.pixels(torch.cat(seen)).clamp(-1, 1) + 1) / 2 * 255
    expected = np.broadcast_to(shades.permute(0, 2, 3, 1).numpy(), found.shape)
    assert ((found <= expected + 1e-3) & (found > expected - 1 - 1e-3)).all()  # cut off
    assert grey_levels(found, generate(some, **changes | {"protocol": "strict"})[:, 0]) > 3


def test_settings_stand_with_their_model_and_the_published_ones_are_those_of_the_protocol() -> None:
    models = YAML(typ="safe").load(ROOT / "params.yaml")["models"]
    options = {name: model["diffusion"] for name, model in models.items()}
    numbers = PROTOCOLS["brain_diffuser_2023"].numbers
    assert {name: options["published"][name] for name in numbers} == numbers
    assert {name: options["mini"][name] for name in numbers} != numbers
    assert {one["protocol"] for one in options.values()} == {"strict"}


def test_where_there_is_no_text_a_protocol_has_nothing_to_say_of_mixing() -> None:
    name = "brain_diffuser_2023"
    numbers = {key: value for key, value in PROTOCOLS[name].numbers.items() if key != "mixing"}
    assert protocol_of(name, **numbers) is PROTOCOLS[name]
    with pytest.raises(ValueError, match=r"protocol brain_diffuser_2023: mixing is 1.0, not 0.6"):
        protocol_of(name, **numbers, mixing=1.0)


def test_guidance_away_from_one_changes_the_image(generate: Generate) -> None:
    assert grey_levels(generate(guides(), guidance=1.0), generate(guides(), guidance=4.0)) > 3


def test_finished_images_are_not_made_again(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    seen: list[int] = []
    denoise = decoder.denoise

    def counted(unet: UNet, contexts: Any, *rest: Any, **options: Any) -> Any:
        if len(seen) == 1 and not kept_run:
            raise KeyboardInterrupt
        seen.append(len(contexts))
        return denoise(unet, contexts, *rest, **options)

    monkeypatch.setattr(decoder, "denoise", counted)
    kept_run = False
    with pytest.raises(KeyboardInterrupt):
        generate(guides(), kept=kept)
    assert len(list(kept.glob("*.png"))) == 2
    kept_run = True
    seen.clear()
    found = generate(guides(), kept=kept)
    assert sum(seen) == 3
    assert "2 of 5 images were finished before" in capsys.readouterr().out
    monkeypatch.undo()
    np.testing.assert_array_equal(found, generate(guides()))
    # A damaged piece is made again, and other options, contexts or weights make other pieces.
    next(iter(kept.glob("*.png"))).write_bytes(b"damaged")
    np.testing.assert_array_equal(generate(guides(), kept=kept), found)
    assert len(list(kept.glob("*.png"))) == 5
    generate(guides(), kept=kept, guidance=3.0)
    assert len(list(kept.glob("*.png"))) == 10
    generate(guides(vision=guides(IDS + 1).vision), kept=kept)
    assert len(list(kept.glob("*.png"))) == 15


def test_a_batch_that_was_broken_off_between_two_images_ends_with_the_same_bytes(
    generate: Generate, tmp_path: Path
) -> None:
    whole = generate(guides(), kept=tmp_path, batch_size=3)
    sorted(tmp_path.glob("*.png"))[1].unlink()
    np.testing.assert_array_equal(generate(guides(), kept=tmp_path, batch_size=3), whole)


def test_progress_is_told_where_no_terminal_shows_it(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(decoder, "TELL_S", 0.0)
    generate(guides(), batch_size=2)
    said = capsys.readouterr().out
    assert "1 of 3 batches of 2 images are done" in said
    assert "2 of 3 batches of 2 images are done" in said


def nan_at(row: int) -> np.ndarray:
    vision = guides().vision
    assert vision is not None
    vision[row, 2, 3] = np.nan
    return vision


PUBLISHED = {"protocol": "brain_diffuser_2023", "strength": 0.75, "mixing": 0.6, "guidance": 7.5, "steps": 50}
BAD = [
    ({}, {"strength": 1.2}, "strength is 1.2, expected 0 to 1"),
    ({}, {"strength": -0.1}, "strength is -0.1, expected"),
    ({}, {"strength": float("nan")}, "strength is nan, expected"),
    ({}, {"strength": 0.1}, "strength 0.1 of 5 steps is less than one step"),
    ({}, {"mixing": 1.5}, "mixing is 1.5, expected 0 to 1"),
    ({}, {"steps": 0}, "steps is 0, expected a whole number from 1"),
    ({}, {"eta": 2.0}, "eta is 2.0, expected 0"),
    ({}, {"guidance": -1.0}, "guidance is -1.0, expected 0 or more"),
    # Before any weights are read.
    ({}, {"guidance": float("nan"), "unet_weights": Path("absent")}, "guidance is nan, expected 0 or more"),
    ({}, {"n_samples": 0}, "n_samples is 0, expected a whole number from 1"),
    ({"vision": np.zeros((5, 4, 12), np.float32)}, {}, r"vision contexts are \(5, 4, 12\), expected \(5, 5, 12\)"),
    ({"text": np.zeros((5, 4, 7), np.float32)}, {}, r"text contexts are \(5, 4, 7\), expected \(5, 4, 6\)"),
    ({"text": np.zeros((4, 4, 6), np.float32)}, {}, r"text contexts are \(4, 4, 6\), expected \(5, 4, 6\)"),
    ({"vision": nan_at(1)}, {}, r"vision contexts of image_id 1 hold NaN or infinity \(1 of 5\)"),
    ({"start": np.zeros((5, 16, 16, 3))}, {}, "start images are float64"),
    ({}, {"unet_weights": Path("absent.safetensors")}, "absent.safetensors does not exist"),
    ({}, {"unet": "huge"}, "unet configuration 'huge' is unknown; there are four_flow, mini"),
    ({}, {"protocol": "published"}, "no diffusion protocol 'published'; there are strict, brain_diffuser_2023"),
    ({}, PUBLISHED | {"mixing": 0.4}, "protocol brain_diffuser_2023: mixing is 0.4, not 0.6. Set the numbers of the"),
    ({}, PUBLISHED | {"steps": 20, "eta": 1.0}, "steps is 20, not 50; eta is 1.0, not 0.0"),
    ({}, PUBLISHED, r"holds no schedule \(alphas_cumprod\): use the formula, .* \(protocol: strict\), or a whole"),
]


@pytest.mark.parametrize(("parts", "changes", "message"), BAD, ids=[message[:40] for _, _, message in BAD])
def test_bad_input_is_refused(generate: Generate, parts: Any, changes: Any, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError, KeyError), match=message):
        generate(guides(**parts), **changes)


def test_weights_of_the_other_network_are_refused(generate: Generate, files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="expected a UNet"):
        generate(guides(), unet_weights=files["autoencoder_weights"])


def features(space: str, n_tokens: int, width: int) -> Features:
    values = np.arange(len(IDS) * n_tokens * width, dtype=np.float32).reshape(len(IDS), -1)
    return Features(space, IDS, values, np.arange(n_tokens).astype(str), np.full(n_tokens, width))


def test_guides_are_joined_by_id() -> None:
    start = Reconstructions(IDS, np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((5, 2, 2, 3), np.uint8))
    vision, text = features("vision", 5, 12), features("text", 4, 6)
    wanted = np.array([3, 8])
    found = Guides.predicted(wanted, start=start, vision=vision, text=text)
    assert found.start is not None
    assert found.vision is not None
    assert found.text is not None
    assert found.start[:, 0, 0, 0].tolist() == [3, 0]
    np.testing.assert_array_equal(found.vision, vision.rows(wanted).reshape(2, 5, 12))
    np.testing.assert_array_equal(found.text[1], text.values[0].reshape(4, 6))
    with pytest.raises(KeyError, match="lacks image_id 7"):
        Guides.predicted(np.array([7]), start=start, vision=vision, text=text)
    with pytest.raises(ValueError, match="the vision context is of the feature space text"):
        Guides.predicted(wanted, start=start, vision=text, text=text)
    uneven = Features("text", IDS, text.values, np.array(["0", "1"]), np.array([6, 18]))
    with pytest.raises(ValueError, match=r"groups of \[6, 18\] dims, not tokens"):
        Guides.predicted(wanted, start=start, vision=vision, text=uneven)


def test_the_nearest_training_image_is_found_mirrored_or_not() -> None:
    training = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    pixels = np.repeat(np.stack([training[3], training[7][:, ::-1], 255 - training[1]])[..., None], 3, 3)
    row, r = copies.nearest(pixels, training)
    assert row[:2].tolist() == [3, 7]
    np.testing.assert_allclose(r[:2], 1)
    assert r[2] < 0.6
    with pytest.raises(ValueError, match="resize one"):
        copies.nearest(pixels, training[:, :4])


def test_the_autoencoder_takes_as_many_images_as_it_has_memory_for(
    files: dict[str, Path], generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of more images in the UNet than in the autoencoder, as every one for the published networks is."""
    monkeypatch.setattr(memory, "CACHED", 1 << 14)
    plan: dict[str, Any] = {"size_px": 16, "n_tokens": 9, "guided": False, "dtype": torch.float32, "device": "cpu"}
    planned = memory.plan(UNETS["tiny"], AUTOENCODERS["tiny"], batch_size="auto", **plan)
    assert (planned.n_images, planned.n_decoded) == (4, 2)
    sizes: dict[str, list[int]] = {"encode": [], "decode": []}
    for name in sizes:
        method = getattr(Autoencoder, name)

        def counted(self: Autoencoder, x: Any, *, _name: str = name, _method: Any = method, **options: Any) -> Any:
            sizes[_name].append(len(x))
            return _method(self, x, **options)

        monkeypatch.setattr(Autoencoder, name, counted)
    ids = np.arange(7)
    found = generate(guides(ids), batch_size="auto", eta=1.0, guidance=1.0)
    assert {name: sorted(each) for name, each in sizes.items()} == {"encode": [1, 2, 2, 2], "decode": [1, 2, 2, 2]}
    monkeypatch.undo()
    for i in ids.tolist():
        assert (
            grey_levels(found[i], generate(guides(ids[i : i + 1]), batch_size=1, eta=1.0, guidance=1.0)[0]) <= ROUNDING
        )
