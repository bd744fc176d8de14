"""Published layouts against their manifests, all layouts against each other, and what the loader refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from golden_weights import largest
from safetensors.torch import load_file, save_file
from test_versatile_diffusion_unet import inputs, small
from torch import Tensor

from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS, AutoencoderConfig
from versatile_diffusion.sampler import Schedule
from versatile_diffusion.unet import UNet
from versatile_diffusion.weights import (
    UNET,
    autoencoder_names,
    convert,
    load_autoencoder,
    load_schedule,
    load_unet,
    select,
    unet_names,
)

Tensors = dict[str, Tensor]
LAYOUTS = ["own", "deprecated", "v1_0", "diffusers"]


@pytest.fixture(scope="module")
def unet() -> UNet:
    return small()


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    config = AutoencoderConfig(width=8, multipliers=(1, 2, 2), n_blocks=1, image_size=16, scale=0.5, groups=4)
    return Autoencoder(config).eval().requires_grad_(False)


def manifest(shared: Path, name: str, prefix: str = "") -> Tensors:
    """Every tensor of a published file without its values."""
    entries = json.loads((shared / "golden" / "manifests" / f"{name}.json").read_text())
    return {prefix + key: torch.empty(s, dtype=getattr(torch, d), device="meta") for key, (s, d) in entries.items()}


def published(kind: type[UNet] | type[Autoencoder]) -> UNet | Autoencoder:
    with torch.device("meta"):
        return UNet(UNETS["four_flow"]) if kind is UNet else Autoencoder(AUTOENCODERS["kl_f8"])


def in_layout(unet: UNet, layout: str) -> Tensors:
    """A checkpoint of the small network with some of what a published file holds besides."""
    names = unet_names(unet, layout)
    tensors = {names[name]: value.clone() for name, value in unet.state_dict().items()}
    if layout == "deprecated":
        tensors |= {
            f"{UNET}unet_text.input_blocks.0.0.weight": torch.zeros(2, 2),
            f"{UNET}unet_text.middle_block.0.in_layers.0.bias": torch.zeros(2),
            f"{UNET}unet_text.out.2.weight": torch.zeros(2, 2),
            "optimus.encoder.pooler.dense.bias": torch.full((3,), torch.nan),  # never looked at
            "clip.model.text_model.embeddings.position_ids": torch.arange(7)[None],
            "autokl.quant_conv.bias": torch.zeros(8),
            "betas": torch.zeros(1000),
            "alphas_cumprod": torch.from_numpy(Schedule.published().alphas_cumprod).half(),
        }
    if layout == "v1_0":
        tensors["diffuser.text.data_blocks.1.0.in_layers.0.bias"] = torch.zeros(2)
    return tensors


def write(tensors: Tensors, path: Path) -> Path:
    """A torch file, or for names of diffusers a folder with one file of each kind."""
    if not any(name.startswith("image_unet.") for name in tensors):
        torch.save(tensors, path)
        return path
    for part, extra in (("image_unet", {}), ("text_unet", {"conv_in.weight": torch.zeros(2)})):
        (path / part).mkdir(parents=True)
        names = [name for name in tensors if name.startswith(part + ".")]
        inside = {name.removeprefix(part + "."): tensors[name].contiguous() for name in names}
        if part == "text_unet":
            extra |= {f"time_embedding.linear_{i}.{end}": torch.zeros(1) for i in (1, 2) for end in ("weight", "bias")}
            torch.save(inside | extra, path / part / "diffusion_pytorch_model.bin")
        else:
            save_file(
                {k: v.contiguous() for k, v in inside.items()}, path / part / "diffusion_pytorch_model.safetensors"
            )
    return path


@pytest.mark.parametrize(
    ("files", "kind", "n_unused"),
    [
        ({"vd_deprecated": ""}, UNet, {"unet_text.": 266, "autokl.": 248, "optimus.": 363, "clip.": 592, "sch": 12}),
        ({"vd_deprecated": ""}, Autoencoder, {"model.": 1368, "optimus.": 363, "clip.model.": 592, "schedule": 12}),
        ({"vd_v1_0": ""}, UNet, {"diffuser.text.data_blocks.": 266}),
        ({"diffusers_image_unet": "image_unet.", "diffusers_text_unet": "text_unet."}, UNet, {"but": 266, "time": 4}),
        ({"kl_f8": ""}, Autoencoder, {}),
        ({"diffusers_vae": ""}, Autoencoder, {}),
    ],
)
def test_published_files_fit_exactly_and_what_is_left_is_known(
    files: dict[str, str], kind: type, n_unused: dict[str, int], shared: Path
) -> None:
    tensors: Tensors = {}
    for name, prefix in files.items():
        tensors |= manifest(shared, name, prefix)
    model = published(kind)
    found, report = select(tensors, model, "manifest")
    model.load_state_dict(found, strict=True, assign=True)
    expected = (1102, 1_126_760_324) if kind is UNet else (248, 83_653_863)
    assert (report.n_tensors, report.n_values) == expected
    assert len(report.unused) == len(n_unused)
    for (what, n), (label, why, count) in zip(n_unused.items(), report.unused, strict=True):
        assert what in label
        assert count == n
        assert why
    assert report.n_tensors + sum(n for *_, n in report.unused) == len(tensors)
    assert "optimus" not in " ".join(found)


@pytest.mark.parametrize("dropped", [["position_ids"], ["betas", "alphas", "posterior"], ["optimus."], ["clip."]])
def test_position_numbers_schedule_and_other_models_may_be_absent(dropped: list[str], shared: Path) -> None:
    tensors = {
        name: value for name, value in manifest(shared, "vd_deprecated").items() if not any(d in name for d in dropped)
    }
    _, report = select(tensors, published(UNet), "manifest")
    assert report.n_tensors == 1102


def test_rules_give_the_recorded_maps_between_the_layouts(shared: Path) -> None:
    def recorded(name: str) -> dict[str, str]:
        return json.loads((shared / "golden" / "keymaps" / f"{name}.json").read_text())

    unet, autoencoder = published(UNet), published(Autoencoder)
    assert isinstance(unet, UNet)
    assert isinstance(autoencoder, Autoencoder)
    v1_0 = recorded("vd_deprecated_to_vd_v1_0")
    assert unet_names(unet, "v1_0") == {name: v1_0[UNET + name] for name in unet.state_dict()}
    image, text = (recorded(f"vd_deprecated_to_diffusers_{kind}_unet") for kind in ("image", "text"))
    assert unet_names(unet, "diffusers") == {
        name: f"text_unet.{text[UNET + name]}" if name.startswith("unet_text.") else f"image_unet.{image[UNET + name]}"
        for name in unet.state_dict()
    }
    assert autoencoder_names(autoencoder, "diffusers") == recorded("kl_f8_to_diffusers_vae")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_network(layout: str, unet: UNet, tmp_path: Path) -> None:
    path = write(in_layout(unet, layout), tmp_path / "weights.pth")
    loaded, report = load_unet(path, unet.config)
    assert report.layout == layout
    x, vision, text = inputs()
    with torch.no_grad():
        found, expected = (
            model(x, torch.tensor([5.0]), model.contexts(vision, text), mixed_ratio=0.6) for model in (loaded, unet)
        )
    assert largest(found, expected) < 1e-5
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("layout", ["own", "deprecated", "diffusers"])
def test_every_layout_gives_the_same_autoencoder(layout: str, autoencoder: Autoencoder, tmp_path: Path) -> None:
    names = autoencoder_names(autoencoder, layout)
    tensors = {names[name]: value for name, value in autoencoder.state_dict().items()}
    if layout == "diffusers":  # matrices instead of 1x1 convolutions
        tensors = {k: v[:, :, 0, 0] if "attentions" in k and v.ndim == 4 else v for k, v in tensors.items()}
    if layout == "deprecated":
        tensors |= {f"{UNET}unet_image.out.0.bias": torch.zeros(1)}
    path = tmp_path / "vae" / "diffusion_pytorch_model.bin" if layout == "diffusers" else tmp_path / "kl.pth"
    path.parent.mkdir(exist_ok=True)
    torch.save(tensors, path)
    loaded, report = load_autoencoder(path.parent if layout == "diffusers" else path, autoencoder.config)
    assert report.layout == layout
    for name, value in autoencoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_converted_checkpoint_holds_the_used_part_alone(dtype: torch.dtype, unet: UNet, tmp_path: Path) -> None:
    source, target = write(in_layout(unet, "deprecated"), tmp_path / "whole.pth"), tmp_path / "unet.safetensors"
    report = convert(source, target, unet.config, dtype=dtype)
    assert "optimus." in str(report)
    tensors = load_file(target)
    assert set(tensors) == set(unet.state_dict())
    assert {value.dtype for value in tensors.values()} == {dtype}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["unet.safetensors", "whole.pth"]
    loaded, _ = load_unet(target, unet.config)
    for name, value in unet.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.to(dtype).float())


def test_a_checkpoint_beyond_the_range_of_float16_is_not_converted(autoencoder: Autoencoder, tmp_path: Path) -> None:
    source, target = tmp_path / "kl.pth", tmp_path / "autoencoder.safetensors"
    torch.save(autoencoder.state_dict(), source)
    convert(source, target, autoencoder.config, dtype=torch.float16)
    loaded, _ = load_autoencoder(target, autoencoder.config)
    assert largest(loaded.quant_conv.weight, autoencoder.quant_conv.weight) < 1e-3
    before = target.read_bytes()
    torch.save(autoencoder.state_dict() | {"quant_conv.bias": torch.full((8,), 1e6)}, source)
    with pytest.raises(ValueError, match=r"1 tensors hold NaN or infinity as torch.float16, first quant_conv.bias"):
        convert(source, target, autoencoder.config, dtype=torch.float16)
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [target.name, source.name]


def test_the_schedule_of_a_checkpoint_keeps_its_rounding(unet: UNet, tmp_path: Path) -> None:
    found = load_schedule(write(in_layout(unet, "deprecated"), tmp_path / "weights.pth")).alphas_cumprod
    exact = Schedule.published().alphas_cumprod
    assert (found == torch.from_numpy(exact).half().double().numpy()).all()
    with pytest.raises(ValueError, match=r"holds no schedule \(alphas_cumprod\): use the formula"):
        load_schedule(write(in_layout(unet, "own"), tmp_path / "own.pth"))


def test_files_of_old_torch_versions_are_read(unet: UNet, tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(unet.state_dict(), path, _use_new_zipfile_serialization=False)
    assert load_unet(path, unet.config)[1].n_tensors == len(unet.state_dict())


def without(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


def with_value(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: value(tensors.get(name, torch.zeros(2)))})


IN = "unet_image.out.2.bias"


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("own", without(IN), rf"1 tensors missing \['{IN}'\], 0 unexpected"),
        ("v1_0", without("diffuser.image.time_embed.0.bias"), r"missing \['diffuser.image.time_embed.0.bias'\]"),
        ("own", with_value("unet_image.extra", torch.zeros_like), r"1 unexpected \['unet_image.extra'\]"),
        ("deprecated", with_value(f"{UNET}unet_text.input_blocks.1.1.extra", abs), "1 unexpected"),
        ("deprecated", with_value("ema.decay", abs), r"1 unexpected \['ema.decay'\]"),
        ("own", with_value(IN, lambda x: x[:2]), rf"1 of another shape \['{IN} \(2,\) instead of \(4,\)'\]"),
        (
            "own",
            with_value(IN, lambda x: x * torch.nan),
            f"hold NaN or infinity, first {IN}. Fetch or restore",
        ),
        (
            "own",
            with_value(IN, lambda x: x.long()),
            rf"point \(float16, bfloat16, float32\), {IN} is torch.int64",
        ),
        ("own", with_value(IN, lambda x: x.double()), f"{IN} is torch.float64"),
    ],
)
def test_damaged_checkpoints_are_refused(
    layout: str, damage: Callable[[Tensors], object], message: str, unet: UNet, tmp_path: Path
) -> None:
    tensors = in_layout(unet, layout)
    damage(tensors)
    path = tmp_path / "weights.pth"
    torch.save(tensors, path)
    with pytest.raises(ValueError, match=message):
        load_unet(path, unet.config)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["encoder.down.0.block.0.norm1.weight"], "holds an autoencoder of the kl-f family .*expected a UNet"),
        (["encoder.down_blocks.0.resnets.0.norm1.weight"], "holds an autoencoder, diffusers layout"),
        (["encoder.enc_blocks.0.c1.weight"], "holds a VDVAE"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "holds a Stable Diffusion"),
        (["text_model.embeddings.position_ids"], "holds a CLIP"),
        (["fc.weight"], r"holds no model known here \(first name 'fc.weight'\)"),
        ([], r"first name 'none'"),
    ],
)
def test_checkpoints_of_other_models_are_named(names: list[str], message: str, unet: UNet, tmp_path: Path) -> None:
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message):
        load_unet(tmp_path / "weights.pth", unet.config)


@pytest.mark.parametrize("layout", ["own", "v1_0", "diffusers"])
def test_a_unet_is_no_autoencoder(layout: str, unet: UNet, autoencoder: Autoencoder, tmp_path: Path) -> None:
    path = write(in_layout(unet, layout), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"expected an autoencoder of the kl-f family"):
        load_autoencoder(path, autoencoder.config)


def test_another_configuration_is_refused(unet: UNet, tmp_path: Path) -> None:
    path = write(in_layout(unet, "own"), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"does not fit the configuration: .* Choose the configuration"):
        load_unet(path, UNETS["mini"])


class Code:
    """What a pickle could run."""


@pytest.mark.parametrize("content", ["truncated", "text", "object", "list", "wrapped"])
def test_files_that_are_no_state_dict_are_refused(content: str, unet: UNet, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    given = {"object": Code(), "list": [1, 2], "wrapped": {"state_dict": unet.state_dict()}}
    torch.save(given.get(content, unet.state_dict()), path)
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-5000])
    if content == "text":
        path.write_text("404: not found")
    message = {
        "object": r"weights.pth holds more than tensors \([\w.]*Code\). It was not run; do not use it",
        "list": "weights.pth holds list, expected a bare state dict of tensors",
        "wrapped": "weights.pth holds dict of state_dict, expected a bare state dict of tensors",
    }.get(content, "damaged or of another format")
    with pytest.raises(ValueError, match=message):
        load_unet(path, unet.config)


def test_truncated_safetensors_are_refused(unet: UNet, tmp_path: Path) -> None:
    path = tmp_path / "unet.safetensors"
    save_file(unet.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged or of another format"):
        load_unet(path, unet.config)


def test_missing_files_are_named(unet: UNet, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weight file .*none.pth does not exist"):
        load_unet(tmp_path / "none.pth", unet.config)
    with pytest.raises(FileNotFoundError, match=r"holds none of diffusion_pytorch_model.safetensors"):
        load_unet(tmp_path, unet.config)
    (tmp_path / "image_unet").mkdir()
    with pytest.raises(FileNotFoundError, match="holds image_unet and lacks text_unet: both are needed"):
        load_unet(tmp_path, unet.config)
