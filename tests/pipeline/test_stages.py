"""What the stage scripts share: parameters that are checked before anything runs, and one clear line for bad input."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from ruamel.yaml import YAML

import stages
from spikevaediff.records import BLANK, Features, ImageSplit, Responses, Stimuli, UnitTable


def fit(x: int, y: int, *, alphas: list[float], seed: int, y_row: int, block_mb: float = 1.0) -> None:
    """A function with options."""


SECTION = {"method": "fit", "alphas": [1.0], "seed": 0}


def check(options: Any) -> None:
    stages.check_options(fit, options, "regress.a", stage=["method"], passed=["y_row"])


def test_the_keys_of_a_section_are_the_options_of_its_function_and_of_its_stage() -> None:
    check(SECTION)
    check(SECTION | {"block_mb": 2.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            SECTION | {"sede": 1},
            r"section regress.a has sede, which does not exist. Its keys are alphas, block_mb, met",
        ),
        ({"method": "fit", "seed": 0}, "section regress.a lacks alphas. Its keys are"),
        ({"alphas": [1.0], "sede": 0}, "has sede, which does not exist and lacks method, seed"),
        (SECTION | {"y_row": 3}, "has y_row, which does not exist"),
        (SECTION | {"x": 3}, "has x, which does not exist"),
        (7, "section regress.a is 7, expected keys with values"),
        (None, "section regress.a is None"),
    ],
)
def test_a_misspelt_or_missing_key_is_named_with_those_there_are(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(options)


def typed(
    *,
    folds: int,
    share: float,
    how: str,
    one: Literal["a", "b"],
    alphas: Sequence[float] | np.ndarray,
    sizes: list[int],
    limit: float | None,
    block: str | int = 1,
    devices: Sequence[np.ndarray] | None = None,
) -> None:
    """A function with options of every kind that params.yaml can write."""


TYPED = {"folds": 3, "share": 1, "how": "x", "one": "a", "alphas": [1, 2.5], "sizes": [1], "limit": None}


def test_a_value_of_the_right_kind_is_taken() -> None:
    stages.check_options(typed, TYPED, "a")
    stages.check_options(typed, TYPED | {"block": "auto", "limit": 0.5, "share": 0.5, "sizes": [], "one": "b"}, "a")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"folds": "ten"}, "params.yaml: a.folds is 'ten', expected a whole number"),
        ({"folds": 2.5}, "params.yaml: a.folds is 2.5, expected a whole number"),
        ({"folds": True}, "params.yaml: a.folds is True, expected a whole number"),
        ({"folds": None}, "params.yaml: a.folds is None, expected a whole number"),
        ({"share": "1e-6x"}, "params.yaml: a.share is '1e-6x', expected a number"),
        ({"how": 3}, "params.yaml: a.how is 3, expected text"),
        ({"one": "c"}, "params.yaml: a.one is 'c', expected 'a' or 'b'"),
        ({"alphas": 10.0}, "params.yaml: a.alphas is 10.0, expected a list, each a number"),
        ({"alphas": [1.0, "x"]}, r"params.yaml: a.alphas is \[1.0, 'x'\], expected a list, each a number"),
        ({"sizes": [1.5]}, r"params.yaml: a.sizes is \[1.5\], expected a list, each a whole number"),
        ({"limit": "none"}, "params.yaml: a.limit is 'none', expected a number or null"),
        ({"block": [1]}, r"params.yaml: a.block is \[1\], expected text or a whole number"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_place(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}$"):
        stages.check_options(typed, TYPED | wrong, "a")


def test_what_a_stage_declares_is_checked_as_in_the_first_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    for declared, message in (
        ({"quality": {"n_draws": 0}}, "quality.n_draws is 0, expected a whole number, 1 or more"),
        (
            {"curves": {"counts": {"units": [5, 0]}}},
            r"curves.counts.units is \[5, 0\], expected a list, each a whole n",
        ),
        ({"evaluate": {"n_draws": 99}}, "evaluate.n_draws is 99, expected a whole number, 100 or more"),
        ({"regions": {"seed": -1}}, "regions.seed is -1, expected a whole number, 0 or more"),
    ):
        monkeypatch.setattr(stages, "of_stage", lambda stage, root, declared=declared: declared)
        with pytest.raises(ValueError, match=f"^params.yaml: {message}"):
            stages.declared("quality")


@pytest.fixture
def params_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A params.yaml that the test fills."""
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    return tmp_path / "params.yaml"


def test_a_section_that_is_not_there_is_answered_with_those_that_are(params_yaml: Path) -> None:
    params_yaml.write_text("model: mini\nmodels:\n  mini:\n    vdvae: 1\n  published:\n    vdvae: 2\n")
    declared = {"models": {"mini": {"vdvae": 1}}}
    assert stages.section(declared, "models", "mini", "vdvae") == 1
    with pytest.raises(KeyError, match=r"params.yaml has no models.minni; models has mini, published"):
        stages.section(declared, "models", "minni", "vdvae")
    with pytest.raises(KeyError, match=r"params.yaml has no models.mini.clip; models.mini has vdvae"):
        stages.section(declared, "models", "mini", "clip")
    with pytest.raises(KeyError, match=r"params.yaml has no seed; it has model, models"):
        stages.section(declared, "seed")
    with pytest.raises(KeyError, match=r"params.yaml has no models.minni; models has mini, published"):
        stages.section({}, "models", "minni", "vdvae")  # DVC gives nothing of a path that does not exist
    with pytest.raises(KeyError, match=r"params.yaml has no model.mini; model has 'mini'"):
        stages.section({"model": "mini"}, "model", "mini")
    with pytest.raises(KeyError, match=r"dvc.yaml does not declare the parameter models.published for this stage"):
        stages.section(declared, "models", "published")


def test_how_to_compute_is_read_without_being_declared(params_yaml: Path) -> None:
    params_yaml.write_text("compute:\n  device: cpu\n  batch_size: 7\n")
    assert stages.compute() == {"device": "cpu", "batch_size": 7}
    params_yaml.write_text("compute:\n  device: auto\n  batch_size: 7\n")
    assert stages.compute()["device"] in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\n", "params.yaml has no compute; it has seed"),
        ("compute:\n  device: cpu\n", "section compute lacks batch_size"),
        (
            "compute:\n  device: cpu\n  batch_size: 0\n",
            "compute.batch_size is 0, expected a whole number, 1 or more, or auto",
        ),
        ("compute:\n  device: cpu\n  batch_size: 1.5\n", "compute.batch_size is 1.5, expected"),
    ],
)
def test_how_to_compute_is_checked(params_yaml: Path, text: str, message: str) -> None:
    params_yaml.write_text(text)
    with pytest.raises((KeyError, ValueError), match=message):
        stages.compute()


def test_declared_parameters_are_those_of_dvc_yaml_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stages.ROOT)
    assert set(stages.declared("split")) == {"split", "movies"}
    assert set(stages.declared("decode@control")) == {"model", "models", "decode", "seed"}


def test_halves_of_the_presentations_are_decoded_with_different_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stages.ROOT)
    declared = stages.declared("decode@half_b")
    one, other = (stages.decoder(declared, "vdvae", other_noise=other) for other in (False, True))
    assert (one.keywords["seed"], other.keywords["seed"]) == (declared["seed"], declared["seed"] + 1)  # type: ignore[attr-defined]


def test_weights_are_a_path_below_vendor_or_an_asset(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikevaediff.files import assets

    assert stages.weights_path("vendor/data/weights/a.safetensors") == stages.ROOT / "vendor/data/weights/a.safetensors"
    monkeypatch.setattr(assets, "fetch", lambda name: Path("/cache") / name)
    assert stages.weights_path("vdvae_imagenet64_ema") == Path("/cache/vdvae_imagenet64_ema")
    options = {"unet_weights": "vdvae_imagenet64_ema", "weights": [0.5, 2.0], "layer_weights": None, "weight": "x"}
    found = stages.with_weights(options)  # those of a module of one's own may be anything
    assert found == options | {"unet_weights": Path("/cache/vdvae_imagenet64_ema")}


def report(error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    stages._one_clear_error(type(error), error, error.__traceback__)
    return capsys.readouterr().err


def test_bad_input_is_one_line_and_a_mistake_of_ours_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPIKEVAEDIFF_TRACEBACK", raising=False)
    assert report(ValueError("alphas are [-1]"), capsys) == "ValueError: alphas are [-1]\n"
    assert report(KeyError("a lacks image_id 3"), capsys) == "KeyError: a lacks image_id 3\n"  # without quotes
    full = OSError(28, "No space left on device", "a.npz")
    assert report(full, capsys) == "OSError: [Errno 28] No space left on device: 'a.npz'\n"
    assert report(UnicodeDecodeError("utf-8", b"", 0, 1, "bad"), capsys).startswith("UnicodeDecodeError: ")

    def fail() -> None:
        raise TypeError("a mistake")

    with pytest.raises(TypeError, match="a mistake") as caught:
        fail()
    said = report(caught.value, capsys)
    assert "Traceback" in said
    assert said.endswith("TypeError: a mistake\n")
    monkeypatch.setenv("SPIKEVAEDIFF_TRACEBACK", "1")
    assert report(ValueError("x"), capsys) == "ValueError: x\n"


def test_a_process_of_a_stage_answers_bad_input_in_one_line() -> None:
    command = [sys.executable, "-c", "import stages; raise ValueError('alphas are [-1]')"]
    environment = {name: value for name, value in os.environ.items() if name != "SPIKEVAEDIFF_TRACEBACK"}
    done = subprocess.run(command, cwd=stages.ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "ValueError: alphas are [-1]\n")


def test_a_step_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    stages.done("split: 118 images")
    assert capsys.readouterr().out.startswith("split: 118 images [")


def responses(image_id: list[int]) -> Responses:
    n = len(image_id)
    columns = {name: np.zeros(1) for name in ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio")}
    return Responses.make(
        counts=np.zeros((n, 1, 1), np.uint16),
        image_id=np.array(image_id),
        presentation_id=np.arange(n)[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.1]]),
        units=UnitTable(np.array([1]), np.array([1]), np.array(["CA1"]), firing_rate=np.zeros(1), **columns),
    )


def features(image_id: list[int]) -> Features:
    return Features("vdvae", np.array(image_id), np.zeros((len(image_id), 1), np.float32), np.array(["0"]), np.ones(1))


def test_a_regression_takes_records_of_one_set_of_images_only() -> None:
    from spikevaediff.regression.task import check_same_images

    split = ImageSplit(np.arange(4), np.array([0, 1, 0, 1]))
    every = [3, 0, 1, 2]
    check_same_images(responses([*every, BLANK, 0]), split, features(every), "visual")
    check_same_images(responses([*every, 7]), split, features([*every, 7]), "visual")  # 7 is left out of the split
    with pytest.raises(
        ValueError, match=r"images.npz lacks image_id 8, 9 \(2 of 6 that the sessions show\).*dvc repro"
    ):
        check_same_images(responses([*every, 9, 8]), split, features(every), "visual")
    with pytest.raises(ValueError, match=r"responses/control.npz lacks image_id 3 \(1 of 4 that artifacts/images.npz"):
        check_same_images(responses([0, 1, 2]), split, features(every), "control")
    with pytest.raises(ValueError, match=r"feature space vdvae lacks image_id 0 \(1 of 4 .* dvc repro features"):
        check_same_images(responses(every), split, features([1, 2, 3]), "visual")


def test_bands_name_every_column_of_the_response_matrix() -> None:
    from spikevaediff.regression.task import bands_of

    units = UnitTable(*[np.arange(2)] * 2, np.array(["VISp", "LP"]), *[np.ones(2)] * 5)
    responses = Responses.make(
        counts=np.zeros((1, 2, 2), np.uint16),
        image_id=np.zeros(1, np.int64),
        presentation_id=np.zeros((1, 1), np.int64),
        session_id=np.zeros(1, np.int64),
        window_s=np.array([[0.0, 0.1], [0.1, 0.2]]),
        units=units,
    )
    assert bands_of(responses, "area").tolist() == ["VISp", "LP", "VISp", "LP"]
    early, late = "0.000 to 0.100 s", "0.100 to 0.200 s"
    assert bands_of(responses, "time_bin").tolist() == [early, early, late, late]
    with pytest.raises(ValueError, match="bands are 'layer', expected area or time_bin"):
        bands_of(responses, "layer")


def test_where_images_were_shown_once_no_half_is_decoded_or_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import decode, evaluate

    monkeypatch.chdir(tmp_path)
    params = YAML(typ="safe").load(stages.ROOT / "params.yaml")
    monkeypatch.setattr(stages, "declared", lambda _: params)
    ids = np.arange(4)
    ImageSplit(ids, np.array([0, 1, 0, 1])).save("artifacts/split.npz")
    Stimuli("pictures", ids, np.zeros((4, 8, 8), np.uint8)).save("artifacts/images.npz")
    no_image = Features("vdvae", ids[:0], np.empty((0, 3), np.float32), np.array(["0"]), np.array([3]))
    no_image.save("artifacts/predicted/vdvae_half_a.npz")
    decode.main("half_a", "vdvae", "artifacts/predicted/vdvae_half_a.npz")
    assert [path.name for path in Path("artifacts/decoded/half_a").iterdir()] == ["absent.txt"]
    Path("artifacts/noise_ceiling").mkdir()
    Path("artifacts/noise_ceiling/vdvae.json").write_text('{"absent": "images were shown once", "lengthening": null}')
    evaluate.main("halves")
    scores = json.loads(Path("artifacts/scores/halves.json").read_text())
    assert scores["n_images"] == 0
    assert set(scores["metrics"]) == set(params["evaluate"]["metrics"])
    nothing = {"absent": "images were shown once", "agreement": None, "ceiling": None}
    assert all(metric == nothing for metric in scores["metrics"].values())
