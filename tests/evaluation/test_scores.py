import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import close

import stages
from spikevaediff import images
from spikevaediff.evaluation import baselines, looking, protocols, registry, scores, statistics
from spikevaediff.evaluation.metrics import pixcorr, ssim, two_way
from spikevaediff.files import assets
from spikevaediff.networks import small
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli
from stages import evaluate, looks

IDS = np.array([3, 7, 20, 21, 40, 58])
PIXELS = ["pixcorr", "ssim"]
EMBEDDED = ["pixcorr", "ssim", "alexnet2", "alexnet5", "lpips", "efficientnet_lite0"]


def of_grey(x, y):
    """Both metrics of pixels for every pair of colour images."""
    return {"pixcorr": pixcorr.of_images(x, y), "ssim": ssim.of_grey(images.grey(x), images.grey(y))}


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
        raise FileNotFoundError(f"asset {name} cannot be fetched now")

    monkeypatch.setattr(assets, "fetch", refuse)


OPTIONS = {"protocol": "strict", "n_draws": 50, "seed": 0}


def score_run(shown, reconstructed, **options) -> dict:
    """With one split of these images and few draws."""
    split = ImageSplit(IDS, np.array([0, 1, 2, 0, 1, 2]))
    return scores.score_run(shown, reconstructed, split, **OPTIONS | options)


def with_weights(**arguments) -> dict:
    result = score_run(arguments.pop("shown"), arguments.pop("reconstructed"), **arguments)
    missing = [metric["absent"] for metric in result["metrics"].values() if metric["absent"]]
    if missing:
        pytest.skip(missing[0])
    return result


def test_scores_are_the_diagonal_and_the_mean_off_it(shown, reconstructed):
    result = score_run(shown, reconstructed, size_px=24, metrics=PIXELS)
    x = images.resize(images.rgb(shown.rows(IDS)), 24)
    y = images.resize(reconstructed.rows(IDS), 24)
    for name, matrix in of_grey(x, y).items():
        metric = result["metrics"][name]
        assert list(metric["scores"]) == IDS.tolist()
        close(np.array(list(metric["scores"].values())), matrix.diagonal())
        close(np.float64(metric["mean"]), np.mean([matrix[i, i] for i in range(6)]))
        wrong = np.mean([matrix[i, (i + 3) % 6] for i in range(6)])  # folds of two images each
        close(np.float64(metric["chance"]), wrong)
        low, high = metric["interval"]
        assert low < metric["mean"] < high
        assert 1 / 51 <= metric["p"] <= 1
    assert result["n_images"] == 6
    assert result["source"] == "invented"


def test_a_metric_says_where_true_latents_do_not_bound_it(shown, reconstructed, monkeypatch):
    monkeypatch.setattr(ssim, "BOUNDED", False, raising=False)
    metrics = score_run(shown, reconstructed, size_px=24, metrics=PIXELS)["metrics"]
    assert metrics["ssim"]["bounded"] is False
    assert "bounded" not in metrics["pixcorr"]


def test_images_are_joined_by_id_in_whatever_order_they_come(shown, reconstructed):
    order = np.array([4, 0, 5, 2, 1, 3])
    shuffled = Reconstructions(reconstructed.image_id[order], reconstructed.pixels[order])
    options = {"size_px": 24, "metrics": PIXELS}
    assert score_run(shown, shuffled, **options) == score_run(shown, reconstructed, **options)


def test_images_that_were_not_reconstructed_are_no_competitors(shown, reconstructed):
    half = Reconstructions(IDS[:3], reconstructed.pixels[:3])
    only = Stimuli("invented", IDS[:3], shown.rows(IDS[:3]))
    options = {"size_px": 48, "metrics": EMBEDDED}
    assert with_weights(shown=shown, reconstructed=half, **options) == score_run(only, half, **options)


def test_perfect_reconstructions_have_the_best_score_of_every_metric(shown):
    perfect = Reconstructions(IDS, images.rgb(shown.rows(IDS)))
    result = with_weights(shown=shown, reconstructed=perfect, size_px=48, metrics=EMBEDDED)
    best = {"pixcorr": 1, "ssim": 1, "alexnet2": 1, "alexnet5": 1, "lpips": 0, "efficientnet_lite0": 0}
    for name, expected in best.items():
        metric = result["metrics"][name]
        assert metric["mean"] == pytest.approx(expected, abs=1e-6)
        better = metric["mean"] > metric["chance"]
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
    network = small.alexnet(assets.fetch("alexnet_convolutions"))
    inputs = [protocols.network_input(p, protocols.named("strict"), "alexnet", shown=True) for p in (x, y)]
    with torch.inference_mode():
        u, v = (network.features[: position + 1](z).flatten(1).numpy() for z in inputs)
    expected = two_way.identification(np.corrcoef(u, v)[:6, 6:])
    close(np.array(list(result["scores"].values())), expected)
    assert len(np.unique(expected)) > 2


def test_settings_say_what_the_numbers_depend_on(shown, reconstructed):
    result = with_weights(shown=shown, reconstructed=reconstructed, size_px=24, metrics=["lpips", "ssim"])
    settings, lpips, ssim_ = result["settings"], result["metrics"]["lpips"], result["metrics"]["ssim"]
    names = ("alexnet_convolutions", "lpips_heads")
    assert lpips["weights_sha256"] == {name: assets.ASSETS[name].sha256 for name in names}
    assert lpips["network"] == "AlexNet, five convolutions, with the heads of LPIPS 0.1"
    assert (lpips["protocol"], lpips["resize"], lpips["input_px"]) == ("strict", images.RESIZE_RULE, 224)
    assert (ssim_["network"], ssim_["weights_sha256"], ssim_["input_px"]) == (None, {}, 24)
    assert settings["size_px"] == 24
    assert settings["resize_rule"] == images.RESIZE_RULE
    assert set(settings["versions"]) == {"numpy", "pillow", "scipy", "torch"}


def test_a_metric_without_its_network_is_absent_and_the_others_are_computed(shown, reconstructed, without_network):
    result = score_run(shown, reconstructed, size_px=24, metrics=["lpips", "pixcorr"])["metrics"]
    absent = "asset alexnet_convolutions cannot be fetched now\nasset lpips_heads cannot be fetched now"
    assert result["lpips"]["absent"] == absent
    assert [result["lpips"][key] for key in scores.EMPTY] == [None] * 5
    assert result["lpips"]["weights_sha256"] == {}
    assert result["pixcorr"]["absent"] is None
    assert result["pixcorr"]["mean"] > 0.5


def test_a_network_that_was_there_for_the_shown_images_and_is_not_here_makes_a_metric_absent(
    shown, reconstructed, split, request
):
    seen = looking.Shown.of(shown, IDS, protocol="strict", size_px=24, metrics=["lpips", "pixcorr"])
    assert seen.absent == {}
    request.getfixturevalue("without_network")
    found = scores.score(seen, reconstructed, split, metrics=["lpips", "pixcorr"], n_draws=50, seed=0)["metrics"]
    assert found["lpips"]["absent"].startswith("asset alexnet_convolutions cannot be fetched now")
    assert found["lpips"]["mean"] is None
    assert found["pixcorr"]["mean"] > 0.5


def test_weights_with_wrong_bytes_are_an_error_and_not_an_absence(shown, reconstructed, monkeypatch):
    def damaged(name: str) -> None:
        raise ValueError(f"{name}: another archive than the pinned one")

    monkeypatch.setattr(assets, "fetch", damaged)
    with pytest.raises(ValueError, match="efficientnet_lite0: another archive than the pinned one"):
        score_run(shown, reconstructed, size_px=24, metrics=["efficientnet_lite0"])


def test_an_unknown_metric_is_answered_with_those_there_are(shown, reconstructed):
    names = "efficientnet_b1, swav, efficientnet_lite0, lpips, pixcorr, ssim, alexnet2_top1, .*, alexnet2, alexnet5"
    with pytest.raises(KeyError, match=f"there is no metric dreamsim; there are {names}"):
        score_run(shown, reconstructed, size_px=24, metrics=["ssim", "dreamsim"])


def test_a_metric_named_twice_is_refused(shown, reconstructed):
    with pytest.raises(ValueError, match="names one twice"):
        score_run(shown, reconstructed, size_px=24, metrics=["ssim", "ssim"])


def test_a_reconstruction_of_an_image_that_was_not_shown_is_named(shown, reconstructed):
    stranger = Reconstructions(np.array([3, 99]), reconstructed.pixels[:2])
    with pytest.raises(KeyError, match="99"):
        score_run(shown, stranger, size_px=24, metrics=PIXELS)


def test_a_single_reconstruction_is_refused(shown, reconstructed):
    with pytest.raises(ValueError, match="1 reconstructions leave no wrong pairing to compare with"):
        score_run(shown, Reconstructions(IDS[:1], reconstructed.pixels[:1]), size_px=24, metrics=PIXELS)


def test_an_unknown_protocol_is_answered_with_those_there_are(shown, reconstructed):
    with pytest.raises(KeyError, match="no protocol 'lenient'; there are strict, brain_diffuser_2023, mindeye"):
        score_run(shown, reconstructed, size_px=24, metrics=PIXELS, protocol="lenient")


def test_a_network_that_only_metrics_need_is_never_downloaded_by_a_run(shown, reconstructed, monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(assets, "fetch", lambda name: pytest.fail(f"fetches {name}"))
    result = score_run(shown, reconstructed, size_px=24, metrics=["inception", "clip_top1", "pixcorr"])["metrics"]
    assert "inception_v3 (109 MB) is not on this machine. Get it with: python -m" in result["inception"]["absent"]
    assert "assets fetch clip_vit_l14" in result["clip_top1"]["absent"]
    assert result["pixcorr"]["absent"] is None


def test_retrieval_counts_the_images_that_are_first_or_among_the_first(shown, reconstructed):
    result = with_weights(shown=shown, reconstructed=reconstructed, size_px=24, metrics=["alexnet2", "alexnet2_top1"])
    found = {name: np.array(list(m["scores"].values())) for name, m in result["metrics"].items()}
    assert np.array_equal(found["alexnet2"] == 1, found["alexnet2_top1"] == 1)
    few = score_run(shown, Reconstructions(IDS[:3], reconstructed.pixels[:3]), size_px=24, metrics=["alexnet2_top5"])
    assert few["metrics"]["alexnet2_top5"]["absent"] == "there are 3 images to retrieve from"


def test_grey_says_nothing(shown, split):
    baseline = baselines.grey(split, size_px=24)
    assert (baseline.pixels == 128).all()
    metrics = ["pixcorr", "alexnet2", "alexnet2_top1", "lpips"]
    result = with_weights(shown=shown, reconstructed=baseline, size_px=24, metrics=metrics)["metrics"]
    assert result["pixcorr"]["mean"] == 0
    assert result["alexnet2"]["mean"] == pytest.approx(0.5, abs=1e-12)
    assert result["alexnet2_top1"]["mean"] == pytest.approx(1 / 6, abs=1e-12)
    assert result["lpips"]["mean"] == pytest.approx(result["lpips"]["chance"], abs=1e-12)
    assert result["lpips"]["p"] == 1


def test_the_file_has_sorted_keys_and_six_digits_and_is_the_same_every_time(shown, reconstructed, tmp_path):
    for name in ("a.json", "b.json"):
        scores.save(score_run(shown, reconstructed, size_px=24, metrics=PIXELS), tmp_path / name)
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


def test_a_look_at_the_shown_images_comes_back_from_its_file_and_gives_the_same_scores(
    shown, reconstructed, split, tmp_path
):
    metrics = ["pixcorr", "alexnet2", "inception"]
    seen = looking.Shown.of(shown, IDS, protocol="strict", size_px=24, metrics=metrics)
    seen.save(tmp_path / "looks.npz")
    found = looking.Shown.load(tmp_path / "looks.npz")
    assert (found.source, found.protocol, found.size_px, found.absent) == ("invented", "strict", 24, seen.absent)
    some = Reconstructions(IDS[1:], reconstructed.pixels[1:])
    given = {"metrics": metrics, "n_draws": 50, "seed": 0}
    assert scores.score(found, some, split, **given) == score_run(shown, some, size_px=24, metrics=metrics)
    with pytest.raises(KeyError, match=r"lpips compares alexnet_0, .*, which looks.npz lacks. Run: dvc repro -f looks"):
        scores.score(found, some, split, metrics=["lpips"], n_draws=50, seed=0)
    with pytest.raises(KeyError, match=r"what was looked at lacks image_id 99 \(1 of 2"):
        found.rows(np.array([3, 99]))


def test_two_modules_that_declare_one_metric_are_refused(monkeypatch):
    monkeypatch.setattr(ssim, "LOOKS_AT", pixcorr.LOOKS_AT)
    with pytest.raises(ValueError, match=r"the metric pixcorr is declared twice, by pixcorr.py and by ssim.py"):
        registry.find()


def test_matrices_are_computed_in_folds_unless_shown_images_compete(shown, reconstructed, split):
    protocol, weights, _ = looking.prepared("strict", ["ssim", "alexnet5"])
    given = {"size_px": 24, "metrics": ["ssim", "alexnet5"], "weights": weights}
    x, y = (
        looking.look(p, protocol, shown=k == 0, **given)
        for k, p in enumerate((images.rgb(shown.rows(IDS)), reconstructed.pixels))
    )
    found = scores.compare(x, y, split.fold_of(IDS), protocol, metrics=["ssim", "alexnet5"])
    same = split.fold_of(IDS)[:, None] == split.fold_of(IDS)
    assert np.array_equal(np.isfinite(found["ssim"]), same)
    assert np.isfinite(found["alexnet5"]).all()
    close(found["ssim"][same], ssim.pairwise(x["pixels"], y["pixels"], protocol)[same])
    close(found["alexnet5"], two_way.pairwise(x["alexnet_4"], y["alexnet_4"], protocol))


def test_pairs_of_many_images_are_compared_in_groups():
    ids, rng = np.arange(140), np.random.default_rng(5)
    stimuli = Stimuli("invented", ids, images.resize(rng.integers(0, 256, (140, 6, 6), dtype=np.uint8), 16))
    noisy = np.clip(images.rgb(stimuli.pixels) + rng.normal(0, 60, (140, 16, 16, 3)), 0, 255).astype(np.uint8)
    split = ImageSplit(np.append(ids, 140), np.append(0 * ids, -1))
    options = {"protocol": "strict", "size_px": 16, "metrics": PIXELS, "n_draws": 99, "seed": 3}
    result = scores.score_run(stimuli, Reconstructions(ids, noisy), split, **options)
    group = statistics.groups(0 * ids, seed=3)
    wrong = (group[:, None] == group) & ~np.eye(140, dtype=bool)
    for name, matrix in of_grey(images.rgb(stimuli.pixels), noisy).items():
        metric = result["metrics"][name]
        close(np.array(list(metric["scores"].values())), matrix.diagonal())
        close(np.float64(metric["chance"]), np.mean([matrix[wrong[:, j], j].mean() for j in range(140)]))
        assert abs(metric["chance"] - matrix[~np.eye(140, dtype=bool)].mean()) < 0.005  # of all wrong pairs
        assert metric["p"] == 0.01


PARAMS = {"evaluate": {"protocol": "strict", "size_px": 24, "metrics": PIXELS, "n_draws": 100, "seed": 0}}


@pytest.fixture
def artifacts(shown, split, tmp_path, monkeypatch):
    """A folder in which four of six images are tested; asks for parameters are recorded."""
    asked = []

    def of_stage(stage: str, root: Path) -> dict:
        asked.append(stage)
        return copy.deepcopy(PARAMS)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "of_stage", of_stage)
    shown.save("artifacts/images.npz")
    ImageSplit(split.image_id, np.array([-1, -1, 0, 0, 0, 0])).save("artifacts/split.npz")
    return asked


def test_the_stage_scores_the_test_images_of_the_split(artifacts, reconstructed, tmp_path):
    reconstructed.save("artifacts/decoded/vdvae")
    looks.main()
    evaluate.main("vdvae")
    result = json.loads((tmp_path / "artifacts/scores/vdvae.json").read_text())
    assert list(result["metrics"]["ssim"]["scores"]) == ["20", "21", "40", "58"]
    assert result["protocol"] == "strict"
    assert artifacts == ["looks", "evaluate@vdvae"]


def test_halves_are_scored_against_each_other(artifacts, reconstructed, tmp_path):
    for name, change in (("half_a", 0), ("half_b", 20)):
        noisy = np.clip(reconstructed.pixels + np.random.default_rng(3).normal(0, change + 1, (6, 48, 48, 3)), 0, 255)
        Reconstructions(IDS, noisy.astype(np.uint8)).save(f"artifacts/decoded/{name}")
    (tmp_path / "artifacts/noise_ceiling").mkdir()
    for absent in (None, "shown once"):
        (tmp_path / "artifacts/noise_ceiling/vdvae.json").write_text(
            json.dumps({"absent": absent, "lengthening": None})
        )
        evaluate.main("halves")
        result = json.loads((tmp_path / "artifacts/scores/halves.json").read_text())["metrics"]
        if absent is None:
            r = result["pixcorr"]["agreement"]
            assert 0.5 < r < 1
            assert result["pixcorr"]["ceiling"] == pytest.approx((2 * r / (1 + r)) ** 0.5, abs=1e-5)
            assert result["ssim"]["ceiling"] == result["ssim"]["agreement"]
        else:
            assert result["ssim"] == {"absent": "shown once", "agreement": None, "ceiling": None}


def test_the_stage_names_the_test_images_that_a_run_lacks(artifacts, reconstructed):
    Reconstructions(IDS[:3], reconstructed.pixels[:3]).save("artifacts/decoded/vdvae")
    looks.main()
    with pytest.raises(KeyError, match=r"21, 40, 58 \(3 of 4") as caught:
        evaluate.main("vdvae")
    assert "Reconstructions lacks" in str(caught.value)
