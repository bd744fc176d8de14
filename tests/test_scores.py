import json

import dvc.api
import numpy as np
import pytest
import torch
from conftest import close

from spikevaediff import assets, images, networks, scores
from spikevaediff.metrics import pixcorr, ssim, two_way
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli
from stages import evaluate

IDS = np.array([3, 7, 20, 21, 40, 58])
PIXELS = ["pixcorr", "ssim"]


@pytest.fixture
def shown() -> Stimuli:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 6, 6), dtype=np.uint8)
    return Stimuli("invented", IDS[::-1].copy(), images.resize(small, 48))


@pytest.fixture
def reconstructed(shown) -> Reconstructions:
    rng = np.random.default_rng(1)
    noisy = np.clip(images.rgb(shown.rows(IDS)) + rng.normal(0, 60, (6, 48, 48, 3)), 0, 255)
    return Reconstructions(IDS, noisy.astype(np.uint8))


@pytest.fixture
def split() -> ImageSplit:
    return ImageSplit(IDS, np.array([0, 1, 2, 0, 1, 2]))


@pytest.fixture
def without_network(monkeypatch):
    def refuse(name: str) -> None:
        raise FileNotFoundError(f"asset {name} cannot be had now")

    monkeypatch.setattr(assets, "fetch", refuse)


def with_weights(**arguments) -> dict:
    result = scores.score_run(**arguments)
    missing = [metric["absent"] for metric in result["metrics"].values() if metric["absent"]]
    if missing:
        pytest.skip(missing[0])
    return result


def test_scores_are_the_diagonal_and_the_mean_off_it(shown, reconstructed):
    result = scores.score_run(shown, reconstructed, size_px=24, metrics=PIXELS)
    x = images.resize(images.rgb(shown.rows(IDS)), 24)
    y = images.resize(reconstructed.rows(IDS), 24)
    for name, module in (("pixcorr", pixcorr), ("ssim", ssim)):
        matrix, metric = module.pairwise(x, y), result["metrics"][name]
        assert list(metric["scores"]) == IDS.tolist()
        close(np.array(list(metric["scores"].values())), matrix.diagonal())
        close(np.float64(metric["mean"]), np.mean([matrix[i, i] for i in range(6)]))
        wrong = np.mean([matrix[i, j] for i in range(6) for j in range(6) if i != j])
        close(np.float64(metric["shuffled_mean"]), wrong)
    assert result["n_images"] == 6
    assert result["source"] == "invented"


def test_images_are_joined_by_id_in_whatever_order_they_come(shown, reconstructed):
    order = np.array([4, 0, 5, 2, 1, 3])
    shuffled = Reconstructions(reconstructed.image_id[order], reconstructed.pixels[order])
    options = {"size_px": 24, "metrics": PIXELS}
    assert scores.score_run(shown, shuffled, **options) == scores.score_run(shown, reconstructed, **options)


def test_images_that_were_not_reconstructed_are_no_competitors(shown, reconstructed):
    half = Reconstructions(IDS[:3], reconstructed.pixels[:3])
    only = Stimuli("invented", IDS[:3], shown.rows(IDS[:3]))
    options = {"size_px": 48, "metrics": list(scores.METRICS)}
    assert with_weights(shown=shown, reconstructed=half, **options) == scores.score_run(only, half, **options)


def test_perfect_reconstructions_have_the_best_score_of_every_metric(shown):
    perfect = Reconstructions(IDS, images.rgb(shown.rows(IDS)))
    result = with_weights(shown=shown, reconstructed=perfect, size_px=48, metrics=list(scores.METRICS))
    best = {"pixcorr": 1, "ssim": 1, "alexnet2": 1, "alexnet5": 1, "lpips": 0, "efficientnet_lite0": 0}
    for name, expected in best.items():
        metric = result["metrics"][name]
        assert metric["mean"] == pytest.approx(expected, abs=1e-6)
        better = metric["mean"] > metric["shuffled_mean"]
        assert better == metric["larger_is_better"]


def test_the_batch_size_changes_nothing(shown, reconstructed):
    arguments = {"shown": shown, "reconstructed": reconstructed, "size_px": 24, "metrics": ["alexnet5", "lpips"]}
    one, four = (with_weights(**arguments, batch_size=n)["metrics"] for n in (1, 4))
    assert one["alexnet5"] == four["alexnet5"]
    close(np.float64(one["lpips"]["mean"]), np.float64(four["lpips"]["mean"]), 1e-5)


@pytest.mark.parametrize(("name", "position"), [("alexnet2", 4), ("alexnet5", 11)])
def test_alexnet_metrics_look_at_the_rectified_second_and_fifth_convolution(shown, reconstructed, name, position):
    # Each image is paired with the reconstruction of another one, since all right pairs are identified perfectly.
    x, y = images.rgb(shown.rows(IDS)), np.roll(reconstructed.pixels, 1, axis=0)
    wrong = Reconstructions(IDS, y)
    result = with_weights(shown=shown, reconstructed=wrong, size_px=24, metrics=[name])["metrics"][name]
    network = networks.alexnet(assets.fetch("alexnet_convolutions"))
    with torch.inference_mode():
        u, v = (network.features[: position + 1](networks.imagenet_input(p)).flatten(1).numpy() for p in (x, y))
    expected = two_way.identification(np.corrcoef(u, v)[:6, 6:])
    close(np.array(list(result["scores"].values())), expected)
    assert len(np.unique(expected)) > 2


def test_settings_say_what_the_numbers_depend_on(shown, reconstructed):
    settings = with_weights(shown=shown, reconstructed=reconstructed, size_px=24, metrics=["lpips"])["settings"]
    names = ("alexnet_convolutions", "lpips_heads")
    assert settings["weights_sha256"] == {name: assets.ASSETS[name].sha256 for name in names}
    assert settings["size_px"] == 24
    assert settings["network_input_px"] == 224
    assert settings["resize_rule"] == images.RESIZE_RULE
    assert set(settings["versions"]) == {"numpy", "pillow", "scipy", "torch"}


def test_a_metric_without_its_network_is_absent_and_the_others_are_computed(shown, reconstructed, without_network):
    result = scores.score_run(shown, reconstructed, size_px=24, metrics=["lpips", "pixcorr"])["metrics"]
    assert result["lpips"] == {
        "larger_is_better": False,
        "absent": "asset alexnet_convolutions cannot be had now\nasset lpips_heads cannot be had now",
        "scores": None,
        "mean": None,
        "shuffled_mean": None,
    }
    assert result["pixcorr"]["absent"] is None
    assert result["pixcorr"]["mean"] > 0.5


def test_weights_with_wrong_bytes_are_an_error_and_not_an_absence(shown, reconstructed, monkeypatch):
    def damaged(name: str) -> None:
        raise ValueError(f"{name}: another archive than the pinned one")

    monkeypatch.setattr(assets, "fetch", damaged)
    with pytest.raises(ValueError, match="efficientnet_lite0: another archive than the pinned one"):
        scores.score_run(shown, reconstructed, size_px=24, metrics=["efficientnet_lite0"])


def test_an_unknown_metric_is_answered_with_those_there_are(shown, reconstructed):
    names = "pixcorr, ssim, alexnet2, alexnet5, lpips, efficientnet_lite0"
    with pytest.raises(KeyError, match=f"there is no metric inception; there are {names}"):
        scores.score_run(shown, reconstructed, size_px=24, metrics=["ssim", "inception"])


def test_a_metric_named_twice_is_refused(shown, reconstructed):
    with pytest.raises(ValueError, match="names one twice"):
        scores.score_run(shown, reconstructed, size_px=24, metrics=["ssim", "ssim"])


def test_a_reconstruction_of_an_image_that_was_not_shown_is_named(shown, reconstructed):
    stranger = Reconstructions(np.array([3, 99]), reconstructed.pixels[:2])
    with pytest.raises(KeyError, match="99"):
        scores.score_run(shown, stranger, size_px=24, metrics=PIXELS)


def test_a_single_reconstruction_is_refused(shown, reconstructed):
    with pytest.raises(ValueError, match="1 reconstructions leave no wrong pairing to compare with"):
        scores.score_run(shown, Reconstructions(IDS[:1], reconstructed.pixels[:1]), size_px=24, metrics=PIXELS)


def test_grey_says_nothing(shown):
    baseline = scores.grey(IDS, size_px=24)
    assert (baseline.pixels == 128).all()
    metrics = ["pixcorr", "alexnet2", "alexnet5", "lpips"]
    result = with_weights(shown=shown, reconstructed=baseline, size_px=24, metrics=metrics)["metrics"]
    assert result["pixcorr"]["mean"] == 0
    assert result["alexnet2"]["mean"] == pytest.approx(0.5, abs=1e-12)
    assert result["lpips"]["mean"] == pytest.approx(result["lpips"]["shuffled_mean"], abs=1e-12)


def test_the_mean_image_is_that_of_the_images_trained_on(shown, split):
    baseline = scores.mean_training_image(shown, split, size_px=24)
    assert baseline.image_id.tolist() == IDS.tolist()
    small = images.resize(shown.rows(IDS), 24).astype(np.float64)
    for position, fold in enumerate(split.fold):
        expected = np.rint(small[split.fold != fold].mean(axis=0))
        assert np.array_equal(baseline.pixels[position], np.repeat(expected[..., None], 3, axis=2))


def test_the_mean_image_of_a_fold_does_not_see_its_test_images(shown, split):
    pixels = shown.pixels.copy()
    pixels[np.isin(shown.image_id, split.ids(1)[1])] ^= 255
    changed = Stimuli("invented", shown.image_id, pixels)
    before, after = (scores.mean_training_image(s, split, size_px=24).pixels for s in (shown, changed))
    assert np.array_equal(before[split.fold == 1], after[split.fold == 1])
    assert not np.array_equal(before[split.fold == 0], after[split.fold == 0])


def test_the_file_has_sorted_keys_and_six_digits_and_is_the_same_every_time(shown, reconstructed, tmp_path):
    for name in ("a.json", "b.json"):
        scores.save(scores.score_run(shown, reconstructed, size_px=24, metrics=PIXELS), tmp_path / name)
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    read = json.loads(text)
    assert text == json.dumps(read, indent=1, sort_keys=False) + "\n"
    assert list(read) == sorted(read)
    assert list(read["metrics"]["ssim"]["scores"]) == [str(i) for i in IDS]
    value = read["metrics"]["ssim"]["mean"]
    assert value == float(f"{value:.6g}")


def test_a_score_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        scores.save({"metrics": {"ssim": {"mean": float("nan")}}}, tmp_path / "scores.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("stage", "run"), [("evaluate", "vdvae"), ("baseline", "grey"), ("baseline", "mean")])
def test_the_stage_scores_the_test_images_of_the_split(stage, run, shown, reconstructed, split, tmp_path, monkeypatch):
    asked = []

    def params_show(*, stages: str) -> dict:
        asked.append(stages)
        return {"evaluate": {"size_px": 24, "metrics": PIXELS}}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc.api, "params_show", params_show)
    fixed = ImageSplit(split.image_id, np.array([-1, -1, 0, 0, 0, 0]))
    shown.save("artifacts/images.npz")
    fixed.save("artifacts/split.npz")
    if run == "vdvae":
        reconstructed.save("artifacts/decoded/vdvae")
    evaluate.main(run)
    result = json.loads((tmp_path / f"artifacts/scores/{run}.json").read_text())
    assert list(result["metrics"]["ssim"]["scores"]) == ["20", "21", "40", "58"]
    assert asked == [f"{stage}@{run}"]


def test_the_stage_names_the_test_images_that_a_run_lacks(shown, reconstructed, split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc.api, "params_show", lambda stages: {"evaluate": {"size_px": 24, "metrics": PIXELS}})
    shown.save("artifacts/images.npz")
    split.save("artifacts/split.npz")
    Reconstructions(IDS[1:], reconstructed.pixels[1:]).save("artifacts/decoded/vdvae")
    with pytest.raises(KeyError, match=r"3 \(1 of 6"):
        evaluate.main("vdvae")
