"""A plan says what a run will fetch, write and take; its numbers are those of the table, of stages and of a probe."""

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from spikevaediff.__main__ import main
from spikevaediff.files import assets
from spikevaediff.parameters.file import read
from spikevaediff.tools import disk, needs, plan, recorded_run, stage_costs
from vdvae.config import CONFIGS

GB = 10**9
# Of the machine whose run is recorded: the mini model as it was measured there.
RECORDED = stage_costs.Speed(
    matrix=recorded_run.MATRIX_S, encode=0.0066, decode=0.0054, descend=0.0107, vision=0.015, text=0.02, denoise=0.0218,
    unguided=0.0109, coder=0.029,
)  # fmt: skip


def planned(*settings: str, memory: int = 64 * GB, speed: stage_costs.Speed = RECORDED) -> plan.Plan:
    return plan.plan(read(ROOT, settings), ROOT, speed=speed, device="cpu", memory=memory)


def stage(found: plan.Plan, name: str) -> stage_costs.Stage:
    return next(one for one in found.stages if one.name == name)


# ---- Files


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        ([], {name for name, asset in assets.ASSETS.items() if asset.embedded}),
        (
            ["model=published", "evaluate.metrics=[pixcorr]", "encoding.families=[gabor]"],
            {"mvtb_data", "scikit_learn_photographs", "vdvae_imagenet64_ema", "clip_vit_l14", "kl_f8"}
            | {"versatile_diffusion_fp16"},
        ),
        (
            ["regress.text.library=6", "evaluate.metrics=[lpips]", "encoding.families=[efficientnet]"],
            {"mvtb_data", "scikit_learn_photographs", "efficientnet_lite0", "all_minilm_l6_v2", "lpips_heads"}
            | {"alexnet_convolutions", "imagenet_class_names"},
        ),
    ],
)
def test_a_run_needs_what_its_parameters_name(settings: list[str], required: set[str]) -> None:
    found = needs.needs(read(ROOT, settings), ROOT)
    assert {need.name for need in found if need.required} == required
    assert not {need.name for need in found if not need.required} & required


def test_networks_that_only_metrics_need_are_not_required() -> None:
    found = {need.name: need.required for need in needs.needs(read(ROOT), ROOT)}
    assert [name for name, required in found.items() if not required] == [
        "inception_v3", "clip_vit_l14", "efficientnet_b1_v2", "swav_resnet50"
    ]  # fmt: skip


def test_recordings_and_captions_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path))
    found = needs.needs(read(ROOT, ["dataset=allen", "datasets.allen.sessions=[791319847]"]), ROOT)
    sizes = {need.name: need.n_bytes for need in found if need.required}
    assert sizes["allen/session_791319847/session_791319847.nwb"] == 2_317_463_664
    assert sum(name.startswith("allen/natural_scene_templates/") for name in sizes) == 118
    assert sizes["blip2_weights_1"] == 9_996_328_120, "nobody has described the scenes"
    assert {need.state for need in found} == {"need"}
    everything = needs.needs(read(ROOT, ["dataset=allen", "datasets.allen.sessions=all"]), ROOT)
    assert sum(need.name.endswith(".nwb") for need in everything) == 31
    macaque = needs.needs(read(ROOT, ["dataset=cowley_v4"]), ROOT)
    assert sum(need.name.startswith("cowley_v4/") for need in macaque) == 2
    assert not [need for need in macaque if need.name.startswith("blip2")]
    described = needs.needs(read(ROOT, ["dataset=cowley_v4", "datasets.cowley_v4.captions=automatic"]), ROOT)
    assert sum(need.name.startswith("blip2") for need in described) == 5


def test_of_a_session_that_stays_on_its_server_parts_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path))
    whole, stream = ("dataset=allen",), ("dataset=allen", "datasets.allen.fetch=stream")
    of_whole, of_stream = planned(*whole), planned(*stream)
    assert of_whole.parts == []
    (part,) = of_stream.parts
    assert part.about == pytest.approx(0.367 * 2_317_463_664, rel=1e-3)  # spike times of 715093703 are 36.7 % of it
    spared = of_whole.disk["downloads"][1] - of_stream.disk["downloads"][1]
    assert spared == 2_317_463_664 - part.about
    assert not any(tmp_path.rglob("*")), "a plan writes nothing"
    every = planned(*stream, "datasets.allen.sessions=all")
    assert len(every.parts) == 31
    assert stage(every, "quality").seconds == stage(planned(*whole, "datasets.allen.sessions=all"), "quality").seconds


def test_what_does_not_exist_is_refused() -> None:
    for setting, says in (
        ("model=maxi", "model is 'maxi'; there are mini, published"),
        ("dataset=alien", "dataset is 'alien'; there are simulated, allen"),
        ("captions.model=blip9", "captions.model is 'blip9', which is neither a folder nor known here"),
    ):
        with pytest.raises(ValueError, match=says):
            needs.needs(read(ROOT, ["dataset=allen", setting]), ROOT)
    with pytest.raises(KeyError, match="encoding family 'wavelet' does not exist"):
        needs.needs(read(ROOT, ["encoding.families=[wavelet]"]), ROOT)


# ---- Time, memory and disk

UNMOVED = "models.mini.diffusion.guidance_likelihood=0.0"


def test_the_recorded_run_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds that stages of the embedded run took on two quiet processors, and their peak memory in MB."""
    monkeypatch.setattr(stage_costs, "processors", lambda: 2)
    took = {
        "encode@visual": (30.1, None),
        "decode_posterior@posterior": (60.1, 1673),
        "decode_posterior@posterior_control": (54.2, None),
        "decode_diffusion@diffusion": (27.0, 1620),
        "decode_diffusion@prior_mean_spikes": (12.0, None),
        "library_features@vdvae": (6.1, 548),
        "regress@vdvae": (2.8, 857),
        "regress@vision": (7.4, 1480),
        "evaluate@vdvae": (2.4, 1206),
        "decode@vdvae": (0.8, 419),
        "layers": (2.7, 518),
    }
    found = planned()
    for name, (seconds, megabytes) in took.items():
        said = stage(found, name)
        assert said.seconds - recorded_run.OVERHEAD_S == pytest.approx(seconds, rel=0.4, abs=1.5), name
        assert megabytes is None or 0.75 < said.memory / 1e6 / megabytes < 1.5, name
    assert found.disk["results"][1] == pytest.approx(1200e6, rel=0.1)
    assert 6 * 60 < found.seconds < 8 * 60
    assert found.problems == []


def test_time_follows_the_probe_and_the_numbers_of_images_and_steps() -> None:
    def seconds(name: str, *settings: str, **changes: float) -> float:
        speed = stage_costs.Speed(**vars(RECORDED) | changes)
        loading = 0.0 if name.startswith("regress") else recorded_run.LOADING_S
        found = stage(planned(UNMOVED, *settings, speed=speed), name).seconds
        return found - recorded_run.OVERHEAD_S - recorded_run.START_S - loading

    name = "decode_diffusion@diffusion"
    assert seconds(name, coder=0.0, denoise=10 * RECORDED.denoise) == pytest.approx(10 * seconds(name, coder=0.0))
    assert seconds(name, "models.mini.diffusion.steps=20", coder=0.0) == pytest.approx(2 * seconds(name, coder=0.0))
    assert seconds(name, "decode.diffusion.n_samples=3") == pytest.approx(3 * seconds(name))
    guided = "models.mini.diffusion.guidance_likelihood=1.0"
    assert 2 * seconds(name) < seconds(name, guided) < 10 * seconds(name)
    assert seconds("decode_diffusion@diffusion_ceiling", guided) > seconds("decode_diffusion@diffusion_ceiling")
    assert seconds("decode_diffusion@prior_mean_spikes", guided) == seconds("decode_diffusion@prior_mean_spikes")
    few = ("split.method=hold_out", "split.n_test=59")
    assert seconds("decode@vdvae", *few) == pytest.approx(seconds("decode@vdvae") / 2)
    assert stage(planned(*few), "evaluate@vdvae").seconds < 0.6 * stage(planned(), "evaluate@vdvae").seconds
    assert seconds("decode_diffusion@prior_no_spikes") < seconds("decode_diffusion@prior_mean_spikes")
    assert seconds("regress@vdvae", "split.n_folds=5") == pytest.approx(seconds("regress@vdvae") / 2)


@pytest.mark.parametrize(
    ("method", "rows", "n_tested"),
    [
        ("k_fold", "", 40),
        ("hold_out", "", 7),
        ("given", "", 4),
        ("given", "split\n0,a.png,test\n1,b.png,train\n2,c.png,test\n", 2),
        ("k_fold", "split\n0,a.png,test\n", 40),
    ],
)
def test_tested_images_are_those_of_the_split(method: str, rows: str, n_tested: int, tmp_path: Path) -> None:
    folder = tmp_path / "vendor/data/mine"
    folder.mkdir(parents=True)
    (folder / "images.csv").write_text(f"image_id,file,{rows or 'caption'}")
    params = {"dataset": "mine", "split": {"method": method, "n_test": 7}}
    assert stage_costs.n_tested_of(params, tmp_path, 40) == n_tested


def test_every_stage_of_the_pipeline_is_known() -> None:
    found = planned()
    assert len(found.stages) == len(plan.stage_parts(ROOT)) > 60
    guessed = {one.name for one in found.stages if one.how not in ("probe", "recorded")}
    assert not guessed, "a stage without a recorded time is taken for one of 10 s"
    assert all(0 < one.seconds < math.inf and one.memory > 10**8 for one in found.stages)
    assert sum(int(row[1]) for row in plan.lines(found)) == len(found.stages)


def test_stages_are_known_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a downloaded archive of the repository."""
    (tmp_path / ".dvc").mkdir()
    for name in (".dvc/config", "dvc.yaml", "runs.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = plan.stage_parts(tmp_path)
    assert len(found) > 60
    assert {"start", "report", "encode@visual"} <= set(found)


def test_stages_of_folders_that_git_ignores_are_no_stages_of_the_project(tmp_path: Path) -> None:
    """As site/, which holds a copy of dvc.yaml after `make docs`."""
    for name in (".dvc/config", "dvc.yaml", "runs.yaml", "params.yaml"):
        for folder in (tmp_path, tmp_path / "site"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.rmtree(tmp_path / "site/.dvc")
    (tmp_path / ".gitignore").write_text("/site/\n")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    assert not [name for name in plan.stage_parts(tmp_path) if "site" in name]


def test_what_is_left_out_takes_a_moment() -> None:
    settings = [f"parts.{part}=false" for part in ("second_stage", "controls", "analyses")]
    found = planned(*settings)
    left_out = {one.name for one in found.stages if one.how == "left out"}
    assert {"captions", "regress@text", "decode_diffusion@diffusion_control", "encode@control", "layers"} <= left_out
    assert not left_out & {"encode@visual", "decode_posterior@posterior", "evaluate@vdvae", "identify", "report"}
    assert found.seconds < 0.7 * planned().seconds
    assert all(
        one.seconds == pytest.approx(recorded_run.OVERHEAD_S + recorded_run.START_S)
        for one in found.stages
        if one.name in left_out
    )


def test_files_of_parts_that_are_left_out_are_not_needed() -> None:
    settings = ["parts.second_stage=false", "model=published", "dataset=allen", "regress.text.library=6"]
    names = {need.name for need in needs.needs(read(ROOT, settings), ROOT) if need.required}
    assert "vdvae_imagenet64_ema" in names
    assert "allen/session_791319847/session_791319847.nwb" in names
    assert not {"kl_f8", "versatile_diffusion_fp16", "blip2_config", "imagenet_class_names"} & names


@pytest.mark.parametrize("at_once", [1, 2])
def test_what_does_not_fit_is_named_with_what_would(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_costs, "workers", lambda device: at_once)
    published = planned("model=published", memory=6 * GB)
    said = "\n".join(published.problems)
    assert "decode_diffusion@diffusion takes" in said
    assert "The mini model needs less: -S model=mini" in said
    assert planned("model=published", memory=16 * GB).problems == []
    large = planned("model=published", "compute.batch_size=48", memory=24 * GB)
    (posterior,) = [problem for problem in large.problems if problem.startswith("decode_posterior@posterior takes")]
    n = int(posterior.rpartition("=")[2])
    assert 1 <= n < 48
    fitting = planned("model=published", f"compute.batch_size={n}", memory=24 * GB)
    assert not [problem for problem in fitting.problems if problem.startswith("decode_posterior")]
    tight = planned("model=published", memory=3 * GB)
    assert [p for p in tight.problems if p.startswith("regress@vdvae") and p.endswith("-S regress.vdvae.library=0")]


def test_a_full_disk_is_said_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 3 * GB}))
    (problem,) = planned("dataset=allen", "datasets.allen.sessions=[791319847,798911424]").problems
    assert problem.startswith("downloads and results take 2")
    assert "3 GB are free. Fewer sessions need less: -S 'datasets.allen.sessions=[...]'" in problem
    (problem,) = planned("model=published").problems
    assert "-S model=mini" in problem


def test_sizes_of_weights_are_those_of_the_configuration() -> None:
    from spikevaediff.tools import probe

    assert sum(shape.numel() for shape in probe.shapes("imagenet64").values()) == 125_005_860
    assert CONFIGS["imagenet64"].width == 512


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (125, "2.1 min"), (1200, "20 min"), (9000, "2.5 h"), (4e5, "4.6 days")]
)
def test_times_are_said_to_two_digits(seconds: float, text: str) -> None:
    assert plan.time_text(seconds) == text


# ---- The command


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("seed=abc", "seed is 'abc', expected a whole number, 0 or more"),
        ("areas.visual=[]", "areas.visual is [], expected a list of one or more"),
        ("responses.start_s=nan", "responses.start_s is 'nan', expected a number or null"),
    ],
)
def test_what_the_first_stage_refuses_is_not_planned(
    setting: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["plan", "-S", setting]) == 1
    assert f"params.yaml: {says}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_probes_and_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["plan", "--all", "-S", "split.n_folds=3"]) == 0
    said: Any = capsys.readouterr().out
    assert "mvtb_data" in said
    assert "results: " in said
    assert "│ evaluate " in said
    assert "in all, when nothing comes from the cache" in said
    assert main(["plan", "-S", "model=maxi"]) == 1
    assert "model is 'maxi', expected a section of models: mini or published" in capsys.readouterr().err


def test_modules_of_ones_own_are_a_guess_and_said_to_be_one() -> None:
    params = read(ROOT, ())
    model = params["models"]["mini"]
    own = {"vision": {"module": "mine"}, "diffusion": {"module": "mine"}}
    changed = params | {"models": {"mini": model | own}, "decode": params["decode"] | {"vdvae": {"module": "mine"}}}
    found = plan.plan(changed, ROOT, speed=RECORDED, device="cpu", memory=64 * GB)
    guessed = {one.name for one in found.stages if one.how.startswith("a guess")}
    assert {"features@vision", "library_features@vision", "regress@vision", "regress@control_vision"} <= guessed
    assert {"decode@vdvae", "decode_diffusion@diffusion", "known_mistakes"} <= guessed
    assert "unconditional" in guessed, "half of it is not known"
    assert not guessed & {"features@text", "regress@text", "regress@vdvae", "decode_posterior@posterior"}
    own |= {"text": {"module": "mine"}}
    both = plan.plan(changed | {"models": {"mini": model | own}}, ROOT, speed=RECORDED, device="cpu", memory=64 * GB)
    assert {one.name for one in both.stages if one.how.startswith("a guess")} >= {"unconditional", "features@text"}
