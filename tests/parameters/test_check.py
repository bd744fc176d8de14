"""All that is wrong with params.yaml is said at once, each with its place, what was expected and what was meant."""

import copy
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

import stages
from spikevaediff.evaluation import looking
from spikevaediff.parameters import check
from spikevaediff.recordings.unit_filter import Limits

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")


def changed(path: str, value: Any) -> dict[str, Any]:
    params = copy.deepcopy(PARAMS)
    *above, key = path.split(".")
    section = params
    for name in above:
        section = section[name]
    section[key] = value
    return params


def problems(params: dict[str, Any]) -> list[str]:
    return [*check.of_sections(params), *check.of_choices(params)]


def test_nothing_is_wrong_with_params_yaml_and_its_other_choices() -> None:
    assert problems(PARAMS) == []
    for path, value in (
        ("model", "published"),
        ("dataset", "allen"),
        ("dataset", "cowley_v4"),
        ("regress.text.method", "banded"),
        ("regress.text.folds", 5),
        ("regress.vision.kernel_ridge", {"widths": [1.0]}),
        ("datasets.allen.sessions", "all"),
        ("datasets.allen.sessions", 791319847),
        ("areas.control", "shuffled"),
        ("areas.deep", ["LP"]),  # another population, where dvc.yaml knows one
        ("responses", PARAMS["responses"] | {"start_s": None, "duration_s": None, "n_bins": None}),
        ("responses.presence_ratio_min", None),
        ("compute.batch_size", 7),
        ("decode.posterior.step_size", 1),  # a whole number is a number
        (
            "datasets.mine",
            {"module": "plain", "source": "mine", "size_px": 64, "window_s": [0.0, 0.1], "margin_s": 1.0},
        ),
    ):
        assert problems(changed(path, value)) == [], path


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # another kind, or out of range
        ("seed", "ten", "seed is 'ten', expected a whole number, 0 or more"),
        ("seed", 1.5, "seed is 1.5, expected a whole number, 0 or more"),
        ("seed", True, "seed is True, expected a whole number, 0 or more"),
        ("seed", None, "seed is None, expected a whole number, 0 or more"),
        ("seed", -1, "seed is -1, expected a whole number, 0 or more"),
        ("decode.posterior.n_samples", 0, "decode.posterior.n_samples is 0, expected a whole number, 1 or more"),
        ("curves.n_resamples", 1, "curves.n_resamples is 1, expected a whole number, 100 or more"),
        ("evaluate.n_draws", 99, "evaluate.n_draws is 99, expected a whole number, 100 or more"),
        ("models.mini.diffusion.strength", 1.5, "models.mini.diffusion.strength is 1.5, expected a number, 0 to 1"),
        ("models.published.vdvae.n_layers", 0, "models.published.vdvae.n_layers is 0, expected a whole number, 1 or"),
        (
            "datasets.simulated.shared_correlation",
            1.0,
            "datasets.simulated.shared_correlation is 1.0, expected a number, 0 or more, below 1",
        ),
        (
            "regress.vdvae.alphas",
            [0.0],
            "regress.vdvae.alphas is [0.0], expected a list of one or more, each a number, above 0, all different",
        ),
        ("quality.shrinkage", 0.0, "quality.shrinkage is 0.0, expected a number, above 0, 1 or less"),
        (
            "split",
            PARAMS["split"] | {"method": "hold_out", "n_test": 1},
            "split.n_test is 1, expected 2 or more: with one image, there is no wrong one to compare with",
        ),
        ("regress.common.alphas", [1.0, 1.0], "regress.common.alphas is [1.0, 1.0], expected a list of one or more"),
        ("regress.common.library_weights", [-0.1], "regress.common.library_weights is [-0.1], expected a list, each a"),
        ("regress.common.library_weights", [float("inf")], "regress.common.library_weights is [inf], expected a list"),
        ("regress.text.library", -1, "regress.text.library is -1, expected a whole number, 0 or more"),
        ("regress.text.library", "all", "regress.text.library is 'all', expected a whole number, 0 or more"),
        (
            "regress.text.kernel_ridge",
            {"widths": []},
            "regress.text.kernel_ridge.widths is [], expected a list of one or more, each a number, above 0",
        ),
        (
            "quality.anchor_window_s",
            [0.25, 0.0],
            "quality.anchor_window_s is [0.25, 0.0], expected a start and a later stop, two numbers in a list",
        ),
        (
            "quality.anchor_window_s",
            [0.25],
            "quality.anchor_window_s is [0.25], expected a start and a later stop, two",
        ),
        ("encoding.families", [], "encoding.families is [], expected a list of one or more, each text, all different"),
        ("encoding.families", ["gabor"] * 2, "encoding.families is ['gabor', 'gabor'], expected a list of one or more"),
        ("responses.presence_ratio_min", "low", "responses.presence_ratio_min is 'low', expected a number or null"),
        ("responses.presence_ratio_min", float("nan"), "responses.presence_ratio_min is nan, expected a number or nul"),
        (
            "areas.visual",
            "VISp",
            "areas.visual is 'VISp', expected a list of one or more, each text, all different, or",
        ),
        ("areas.deep", 3, "areas.deep is 3, expected a list of one or more, each text, all different, or shuffled"),
        ("compute.batch_size", 1.5, "compute.batch_size is 1.5, expected a whole number, 1 or more, or auto"),
        ("split", 7, "section split is 7, expected keys with values"),
        ("split", None, "section split is None, expected keys with values"),
        ("regress", [], "section regress is [], expected keys with values"),
        ("models.mini", 3, "section models.mini is 3, expected keys with values"),
        # words
        (
            "split.method",
            "kfold",
            "split.method is 'kfold', expected k_fold, hold_out, given or as_published; did you mean k_fold?",
        ),
        (
            "regress.common.folds",
            "imge",
            "regress.common.folds is 'imge', expected a whole number, 2 or more, or image",
        ),
        ("regress.vdvae.alpha_scope", "targets", "expected target, group, global or component; did you mean target?"),
        ("datasets.allen.fetch", "htps", "datasets.allen.fetch is 'htps', expected https, stream or allensdk; did you"),
        ("models.mini.vdvae.config", "mini46", "imagenet32, imagenet64, ffhq256 or mini64; did you mean mini64?"),
        # keys
        ("splits", {"n_folds": 5}, "the file has splits, which does not exist. Its keys are dataset, model, seed, "),
        (
            "split.n_fold",
            5,
            "section split has n_fold, which does not exist. Its keys are method, n_folds, n_test, seed; did you mean",
        ),
        ("regress.vdvae.metod", "ridge", "section regress.vdvae has metod, which does not exist. Its keys are"),
        (
            "regress.text.kernel_ridge",
            {"degre": 1},
            "section regress.text.kernel_ridge has degre, which does not exist",
        ),
        ("datasets.mine", {"module": "plain"}, "section datasets.mine lacks source, size_px, window_s, margin_s"),
        ("decode.posterior", {"steps": 8}, "section decode.posterior lacks n_samples, shared_steps, step_size"),
        # names that nothing has
        (
            "dataset",
            "simulatd",
            "dataset is 'simulatd', expected a section of datasets: simulated, allen, cowley_v4, nsd or tvsd; did",
        ),
        ("datasets.simulated", {"module": "plian"}, "'plian', expected a module of src/spikevaediff/datasets: allen, "),
        ("model", "minni", "model is 'minni', expected a section of models: mini or published; did you mean mini?"),
        (
            "models.mini.text",
            {"module": "minilmm"},
            "models.mini.text.module is 'minilmm', expected a module of src/spikevaediff/features: clip_text, ",
        ),
        (
            "models.mini.diffusion",
            {"module": "vd"},
            "models.mini.diffusion.module is 'vd', expected a module of src/spikevaediff/decoders: versatile_diffusion",
        ),
        (
            "regress.text",
            PARAMS["regress"]["text"] | {"method": "banded", "alpha_scope": "component"},
            "regress.text.alpha_scope is component, which banded does not know: target, group or global",
        ),
        (
            "models.mini.diffusion.module",
            "vdvae",
            "models.mini.diffusion.module is 'vdvae', expected a module of src/spikevaediff/decoders: versatile_",
        ),
        (
            "decode.vdvae.module",
            "vdave",
            "decode.vdvae.module is 'vdave', expected a module of src/spikevaediff/decoders: vdvae; did you mean ",
        ),
        ("decode.mine", {"module": "versatile_diffusion"}, "decode.mine.module is 'versatile_diffusion', expected a"),
        ("decode.vdvae", {"module": "vdvae"}, "section decode.vdvae lacks temperature"),
        ("decode.posteriors", {"steps": 8}, "section decode.posteriors lacks module"),
        ("decode.posteriors", 8, "section decode.posteriors is 8, expected keys with values"),
        ("decode", {"vdvae": PARAMS["decode"]["vdvae"]}, "section decode lacks posterior, posterior_images, diffusion"),
        ("regress", {"vdvae": PARAMS["regress"]["vdvae"]}, "section regress lacks common"),
        (
            "regress.vdvae.method",
            "rigde",
            "regress.vdvae.method is 'rigde', expected a module of src/spikevaediff/regression/methods: banded, "
            "kernel_ridge or ridge; did you mean ridge?",
        ),
        ("regress.vision.method", "rigde", "regress.vision.method is 'rigde', expected a module of src/spikevaediff/"),
        (
            "encoding.families",
            ["gabor", "gabro"],
            "encoding.families is 'gabro', expected a module of src/spikevaediff",
        ),
        (
            "evaluate.metrics",
            ["pixcor", "ssim"],
            "evaluate.metrics is 'pixcor', expected one that a module of src/spikevaediff/evaluation/metrics declares",
        ),
        ("report.rank_by", "ssmi", "report.rank_by is 'ssmi', expected one of evaluate.metrics: pixcorr, ssim, "),
        (
            "regress.visoin",
            {"method": "ridge", "library": 0},
            "regress has visoin, which is not a feature space of model mini; did you mean vision?",
        ),
        # what does not go together
        ("library.n_images", 20, "regress.vdvae.library is 1200, expected 0 to 20 (library.n_images)"),
        ("regress.text.library", 1300, "regress.text.library is 1300, expected 0 to 1200 (library.n_images)"),
        (
            "regress.vdvae.transform",
            "square_root",
            "regress.vdvae.transform is square_root, but encoding models, which answer the library, predict counts: "
            "choose none, or set regress.vdvae.library to 0",
        ),
        (
            "models.mini.diffusion.strength",
            0.05,
            "models.mini.diffusion.strength is 0.05, less than one of 10 steps: raise one of them, or set strength",
        ),
        ("models.mini.diffusion.guidance", -1, "models.mini.diffusion.guidance is -1, expected a number, 0 or more"),
        ("models.mini.diffusion.steps", 2000, "models.mini.diffusion.steps is 2000, expected a whole number, 1 to 500"),
        (
            "models.mini.diffusion.protocol",
            "brain_diffuser_2023",
            "models.mini.diffusion.guidance is 2.0, but protocol brain_diffuser_2023 has 7.5",
        ),
        (
            "regress.vdvae",
            PARAMS["regress"]["vdvae"] | {"library_weights": [0.0, 1.0]},
            "regress.vdvae.library_weights needs regress.common.library_weights, for which responses to the "
            "library are predicted",
        ),
        ("regress.common.folds", "none", "regress.vdvae.folds is none, which chooses nothing, but 11 alphas are"),
        ("regress.text.folds", "none", "regress.text.renormalise is train, which needs scores of left-out images: "),
        (
            "regress.text",
            PARAMS["regress"]["text"] | {"method": "banded", "folds": "none"},
            "regress.text.folds is none, which only ridge knows: image, or a number of folds",
        ),
        (
            "regress.text",
            PARAMS["regress"]["text"] | {"method": "kernel_ridge", "kernel_ridge": {"kernel": "linear"}},
            "regress.text.kernel_ridge.widths is [0.5, 1.0, 2.0, 4.0], expected a single one: the linear kernel has no",
        ),
        (
            "regress.vision",
            PARAMS["regress"]["vision"] | {"method": "kernel_ridge", "kernel_ridge": {"width_search": "gradient"}},
            "regress.vision.kernel_ridge.width_search is gradient, which takes no library: choose grid, or library 0",
        ),
        ("regress.common.transform", "square_root", "regress.vision.transform is square_root, but encoding models, "),
        ("areas.control", ["VISp"], "VISp is in areas.visual and in areas.control"),
    ],
)
def test_what_is_not_possible_is_said_with_its_place(path: str, value: Any, message: str) -> None:
    assert [one for one in problems(changed(path, value)) if message in one]


# What the stages themselves refuse, which read no more than they declare.
OF_STAGES = [
    (
        "areas.visual",
        "areas.visual",
        [],
        r"areas.visual is \[\], expected a list of one or more, each text, all different, or shuffled",
    ),
    ("responses.n_bins", "responses.n_bins", 1.5, r"responses.n_bins is 1.5, expected a whole number"),
    (
        "split.n_folds",
        "split.n_fold",
        5,
        r"section split has n_fold, which does not exist. Its keys are .*; did you mean n_folds\?",
    ),
    (
        "regress.vdvae.alphas",
        "regress.vdvae.alphas",
        [0.0, 1.0],
        r"regress.vdvae.alphas is \[0.0, 1.0\], expected a list of one or more, each a number, above 0",
    ),
    (
        "regress.vdvae.alpha_scope",
        "regress.vdvae.alpha_scoop",
        "target",
        r"section regress.vdvae has alpha_scoop, which does not exist. Its keys are .*; did you mean alpha_scope\?",
    ),
    (
        "decode.vdvae.temperature",
        "decode.vdvae.temprature",
        0.0,
        r"section decode.vdvae has temprature, which does not exist. .*; did you mean temperature\?",
    ),
    ("layers.n_images", "layers.n_images", 0, r"layers.n_images is 0, expected a whole number, 1 or more"),
]


@pytest.mark.parametrize(("path", "written", "value", "message"), OF_STAGES, ids=[case[1] for case in OF_STAGES])
def test_a_stage_refuses_what_it_declares_in_one_line(path: str, written: str, value: Any, message: str) -> None:
    """`written` stands in the place of `path`."""
    params = copy.deepcopy(PARAMS)
    *above, key = path.split(".")
    section = params
    for name in above:
        section = section[name]
    section.pop(key, None)
    section[written.split(".")[-1]] = value
    with pytest.raises(ValueError, match=f"^params.yaml: {message}") as error:
        check.refuse(check.of_sections({above[0]: params[above[0]]}, whole=False))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("folder", "name", "message"),
    [
        (
            "regression/methods",
            "rigde",
            r"'rigde', which is not in src/spikevaediff/regression/methods; there are .*ridge",
        ),
        ("features", "minilmm", r"'minilmm', which is not in src/spikevaediff/features; there are .*clip_text.*minilm"),
    ],
)
def test_a_module_that_does_not_exist_is_refused(folder: str, name: str, message: str) -> None:
    with pytest.raises(KeyError, match=f"asks for {message}"):
        stages.module(folder, name)


def test_a_section_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match=r"params.yaml has no models.minni; models has mini, published"):
        stages.section({"models": {}}, "models", "minni", "vdvae")


def test_a_metric_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match=r"there is no metric pixcor; there are .*pixcorr, ssim"):
        looking.prepared("strict", ["pixcor"])


def test_a_part_that_is_left_out_may_hold_what_does_not_go_together() -> None:
    params = changed("parts.second_stage", False)
    params["models"]["mini"]["diffusion"]["strength"] = 0.05
    params["regress"]["text"]["library"] = 1300
    assert list(problems(params)) == []
    params["regress"]["vdvae"]["library"] = 1300
    assert list(problems(params)) == ["regress.vdvae.library is 1300, expected 0 to 1200 (library.n_images)"]


def test_all_problems_are_said_at_once_and_one_in_a_line() -> None:
    params = changed("seed", -1)
    with pytest.raises(ValueError, match=r"^params.yaml: seed is -1, expected a whole number, 0 or more$"):
        check.refuse(problems(params))
    params["split"]["n_fold"] = params["split"].pop("n_folds")
    params["model"] = "minni"
    with pytest.raises(ValueError, match=r"^params.yaml has 4 problems:\n  ") as error:
        check.refuse(problems(params))
    assert [line.split(" ")[:3] for line in str(error.value).splitlines()[1:]] == [
        ["", "", "seed"],
        ["", "", "section"],  # has n_fold
        ["", "", "section"],  # lacks n_folds
        ["", "", "model"],
    ]
    check.refuse([])


def test_of_a_part_of_params_yaml_nothing_is_missed() -> None:
    part = {"regress": {"common": PARAMS["regress"]["common"], "vdvae": {"library": 4}}, "curves": {"seed": 1}}
    assert list(check.of_sections(part, whole=False)) == []
    part["regress"]["vdvae"]["library"] = -4
    assert list(check.of_sections(part, whole=False)) == [
        "regress.vdvae.library is -4, expected a whole number, 0 or more"
    ]


def test_options_of_a_module_of_your_own_are_left_to_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "modules", lambda folder: ["ridge", "kernel_ridge", "banded", "own", "lasso"])
    params = changed("datasets.own", {"anything": 3})
    params["regress"]["common"]["lasso"] = {"max_steps": 3}
    assert list(check.of_sections(params)) == []


def test_an_alias_is_refused_since_experiments_would_not_change_it(tmp_path: Path) -> None:
    check.refuse_aliases(ROOT / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: &same\n  b: 1\nc: *same\n")
    with pytest.raises(ValueError, match=r"params.yaml, line 3: \*same repeats another place.* Write the values out"):
        check.refuse_aliases(tmp_path / "params.yaml")


@pytest.mark.parametrize("value", ["low", True, [0.5], float("nan")])
def test_a_limit_of_units_is_a_number_or_null(value: Any) -> None:
    assert Limits.of(PARAMS["responses"] | {"presence_ratio_min": None}).presence_ratio_min is None
    with pytest.raises(
        ValueError, match=r"responses.presence_ratio_min is .*, expected a number, or null for no limit"
    ):
        Limits.of(PARAMS["responses"] | {"presence_ratio_min": value})
