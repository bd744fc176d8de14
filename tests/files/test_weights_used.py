"""Which bytes the weights of a run are: one file per space, whose content follows them."""

from pathlib import Path
from typing import Any

import pytest

from spikevaediff.files.checksums import sha256_of
from spikevaediff.files.weights_used import write_weights


def params(second_stage: bool = True, **changed: Any) -> dict[str, Any]:
    spaces: dict[str, dict[str, Any]] = {
        "vdvae": {"config": "mini64", "weights": "mine/vdvae.safetensors"},
        "text": {"module": "minilm", "weights": "all_minilm_l6_v2"},
        "diffusion": {"unet_weights": "mine/unet", "autoencoder_weights": "mine/coder.safetensors", "steps": 10},
    }
    spaces["vdvae"] |= changed
    return {
        "model": "own",
        "models": {"own": spaces, "other": {"vdvae": {"weights": "not/there"}}},
        "captions": {"model": "blip2"},
        "parts": {"second_stage": second_stage},
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("vdvae.safetensors", "coder.safetensors", "unet/config.json", "unet/part/weights.safetensors"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def written(root: Path, **options: Any) -> dict[str, str]:
    write_weights(root, params(**options))
    return {path.name: path.read_text() for path in (root / "artifacts/weights").iterdir()}


def test_other_bytes_change_the_file_of_their_space_and_no_other(root: Path) -> None:
    first = written(root)
    assert set(first) == {"vdvae", "text", "diffusion", "captions"}
    assert first["vdvae"] == f"weights sha256 {sha256_of(root / 'mine/vdvae.safetensors')}\n"
    assert (first["text"], first["captions"]) == ("weights asset all_minilm_l6_v2\n", "model asset blip2\n")
    (root / "mine/vdvae.safetensors").write_text("others")
    second = written(root)
    assert [use for use in first if first[use] != second[use]] == ["vdvae"]
    (root / "mine/unet/part/weights.safetensors").write_text("others of a folder")
    third = written(root)
    assert [use for use in first if second[use] != third[use]] == ["diffusion"]
    (root / "mine/unet/part/weights.safetensors").rename(root / "mine/unet/part/renamed.safetensors")
    assert written(root)["diffusion"] != third["diffusion"]


def test_an_option_of_a_module_of_your_own_that_is_no_name_is_left_alone(root: Path) -> None:
    assert written(root, layer_weights=[1.0, 0.5], weights=None)["vdvae"] == ""


def test_a_path_may_be_absolute_or_in_the_home_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = written(root)["vdvae"]
    for value in (str(root / "mine/vdvae.safetensors"), "~/mine/vdvae.safetensors"):
        assert written(root, weights=value)["vdvae"] == expected


def test_weights_that_are_not_there_are_named_where_they_are_read(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"models.own.vdvae.weights is mine/absent.pt, where there is no file"):
        written(root, weights="mine/absent.pt")
    (root / "mine/coder.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"models.own.diffusion.autoencoder_weights is mine/coder.safetensors"):
        written(root)
    assert "autoencoder_weights nothing\n" in written(root, second_stage=False)["diffusion"]
