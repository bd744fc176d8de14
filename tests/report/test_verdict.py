"""Every sentence of the verdict follows from the numbers, and says the opposite where they are the opposite."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from test_page import V4

from spikevaediff.parameters.runs import read_runs
from spikevaediff.records import BLANK, Features, ImageSplit, Responses, Stimuli
from spikevaediff.report import facts, verdict

WANTED = read_runs(ROOT / "runs.yaml")


def worth(mean: float, p_holm: float | None, chance: float | None = 0.01) -> dict[str, Any]:
    found = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "chance": chance, "p": p_holm, "p_holm": p_holm}
    return found | {"n": 118}


def evidence(
    p: float | None = 0.001, p_control: float | None = 1.0, gain: float = 0.4, above_mean: float = 0.403
) -> dict[str, Any]:
    about = {"larger_is_better": True, "network": None, "absent": None}
    metrics = {
        "pixcorr": about,
        "alexnet2": about | {"network": "AlexNet, second convolution"},
        "lpips": about | {"larger_is_better": False, "network": "AlexNet, with heads"},
        "clip": about | {"network": "CLIP", "absent": "asset clip is not on this machine"},
    }
    there = ("pixcorr", "alexnet2", "lpips")
    chance = None if p is None else 0.01
    runs = {
        "posterior": {name: worth(0.5, p, chance) for name in there},
        "posterior_control": {name: worth(0.1, p_control, chance) for name in there},
        "ceiling": {name: worth(0.8, None) for name in there},
        "mean": {name: worth(0.097, None) for name in there},
    }
    of_pair, of_mean = (
        {name: {"mean": by, "low": by - 0.1, "high": by + 0.1} for name in there} for by in (gain, above_mean)
    )
    one = {"n_candidates": 118.0, "top1": 0.57, "top1_interval": [0.48, 0.66], "chance": 1 / 118, "p_value": 0.0}
    sets = dict.fromkeys(("fold", "all", "library"), one)
    lost = sets | dict.fromkeys(("all", "library"), one | {"top1": 0.01, "top1_interval": [0, 0.05], "p_value": 0.63})
    return {
        "n_images": 118,
        "runs": runs,
        "features": {"vdvae": worth(0.1, p)},
        "differences": {
            "posterior - posterior_control": of_pair,
            "posterior - vdvae": of_pair,
            "posterior - mean": of_mean,
        },
        "ceilings": {"pixcorr": {"noise": 0.909, "generator": 0.8}},
        "metrics": metrics,
        "identification": {"visual": sets, "control": lost},
    }


def found(**changes: Any) -> str:
    return "\n".join(verdict.found(evidence(**changes), V4, WANTED, rank_by="pixcorr"))


def test_a_run_above_chance_is_told_with_interval_control_and_ceilings() -> None:
    text = found()
    for said in (
        "above chance in all 3 scores of the posterior mean (p < 0.05 after correction for all 7 tests of the run)",
        "pixel correlation of 0.500 (95 % interval 0.450 to 0.550)",
        "wrong images of the same fold it is 0.010",
        "From 89 units in V4, encoding models identify 57 % (48 to 66 %) of the unseen images among 118 candidates",
        "chance is 0.85 %",
        "is at chance in all 3 scores",
        "differs from that of the control by +0.400 (95 % interval +0.300 to +0.500, which excludes zero)",
        "true latents has a pixel correlation of 0.800, of which the posterior mean reaches 62 % (56 to 69 %)",
        "because of noise, the regression cannot be expected to have one above 0.909",
        "The mean training image, which knows nothing of the responses, has a pixel correlation of 0.097",
        "The posterior mean differs from it by +0.403 (95 % interval +0.303 to +0.503, which excludes zero).",
    ):
        assert said in text, said
    assert "chance is 0.85 %; this is not distinguishable from it (p = 0.63)" in text


def test_a_run_at_chance_a_lost_control_and_no_difference_are_told() -> None:
    none = found(p=0.2)
    assert "No score of the posterior mean is above chance" in none
    assert "whether it shows anything of the images is open" in none
    assert "above chance in 3 of 3 scores, which it must not be" in found(p_control=0.001)
    assert "-0.050 to +0.150, which includes zero" in found(gain=0.05)
    assert "which includes zero): by this score it may be no better than the mean image." in found(above_mean=0.0)
    assert "excludes zero): by this score it is worse than a picture made without the responses" in found(
        above_mean=-0.15
    )
    by_distance = verdict.found(evidence(above_mean=0.15), V4, WANTED, rank_by="lpips")[-1]
    assert "excludes zero): by this score it is worse than" in by_distance
    some = evidence()
    for of_run in some["runs"].values():
        of_run.pop("alexnet2"), of_run.pop("lpips")
    alone = "\n".join(verdict.found(some, V4, WANTED, rank_by="pixcorr"))
    assert "above chance in the one score of the posterior mean" in alone
    assert "is at chance in the one score" in alone
    some = evidence()
    some["runs"]["posterior"]["lpips"]["p_holm"] = 0.3
    assert "in 2 of 3 scores of the posterior mean" in verdict.found(some, V4, WANTED, rank_by="pixcorr")[0]


def test_folds_of_one_image_leave_chance_unknown() -> None:
    text = found(p=None, p_control=None)
    assert "Whether the reconstructions are above chance is not known: each fold tests a single image." in text
    assert "wrong images" not in text
    assert "at chance in all" not in text


def test_results_are_compared_in_the_sense_of_each_metric() -> None:
    (told,) = verdict.compared(evidence(), WANTED)
    assert told.startswith(
        "Compared with regression to latents, the posterior mean is better in pixcorr and alexnet2 and worse in lpips"
    )
    (told,) = verdict.compared(evidence(gain=0.05), WANTED)
    assert "is not distinguishable in 3 of 3 scores" in told


def test_what_is_not_shown_follows_from_the_run() -> None:
    options = {"families": ["luminance", "alexnet"], "model": "mini", "rank_by": "pixcorr"}
    text = "\n".join(verdict.not_shown(evidence(), V4, WANTED, **options))
    assert "less than about 0.05 in pixel correlation" in text
    assert "there is one session" in text
    assert "Independence of alexnet2 and lpips: alexnet is both" in text
    assert "Anything about clip: their networks are not on this machine." in text
    undefined = evidence()
    undefined["metrics"]["lpips"] |= {"absent": "protocol mindeye does not define it"}
    assert "Anything about lpips: protocol mindeye does not define it." in verdict.not_shown(
        undefined, V4, WANTED, **options
    )
    assert "mini models are small" in text
    other = "\n".join(
        verdict.not_shown(evidence(), V4, WANTED, families=["luminance"], model="published", rank_by="pixcorr")
    )
    assert "Independence" not in other
    assert "library" not in other
    alike = evidence()
    alike["identification"]["control"]["library"] |= {"top1": 0.12, "p_value": 0.001}
    told = "\n".join(verdict.not_shown(alike, V4, WANTED, **options))
    assert "the control is identified there too (12 %; chance 0.85 %)" in told
    assert "mini" not in other
    assert not [word for word in ("mouse", "mice", "CA1", "hippocamp") if word in text]


def responses(counts: np.ndarray, image_id: list[int]) -> Responses:
    n, n_units = len(image_id), counts.shape[1]
    numbers = dict.fromkeys(
        ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio", "firing_rate"), np.full(n_units, np.nan)
    )
    units = {"unit_id": np.arange(n_units), "session_id": np.full(n_units, 7), "area": np.full(n_units, "V4")}
    return Responses(
        counts[:, :, None],
        np.array(image_id),
        np.arange(n)[:, None],
        np.array([7]),
        np.array([[0.05, 0.15]]),
        **{f"unit_{name}": column for name, column in (units | numbers).items()},
    )


def test_means_over_presentations_are_not_called_presentations() -> None:
    means = responses(np.full((3, 2), 1.5), [0, 1, 2])
    assert facts.is_averaged(means)
    assert facts.repeated(means) == "one response of each image, a mean over presentations or a single one"
    once = responses(np.ones((4, 2), np.uint16), [0, 1, BLANK, 2])
    assert not facts.is_averaged(once)
    assert facts.repeated(once) == "1 presentation of each image"
    assert facts.measured(once) == "spike counts between 0.05 and 0.15 s after onset"
    assert (
        facts.repeated(responses(np.ones((5, 2), np.uint16), [0, 1, 1, 1, 0])) == "2 to 3 presentations of each image"
    )


@pytest.mark.parametrize(
    ("dataset", "units", "said", "sessions", "alone"),
    [
        (
            "nsd",
            "2 units (voxels) in V4",
            "betas",
            "one subject",
            "another subject would give the same: there is one subj",
        ),
        ("tvsd", "2 units (electrodes) in V4", "multi-unit activity", "one monkey", "another monkey"),
        (
            "cowley_v4",
            "2 units in V4",
            "responses between",
            "session 7",
            "another recording would give the same: there is",
        ),
    ],
)
def test_voxels_and_electrodes_are_called_so(
    dataset: str, units: str, said: str, sessions: str, alone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    activity = responses(np.array([[0.5, -1], [0.1, 0], [2, 1]], np.float32), [0, 1, 2])
    for population in ("visual", "control"):
        activity.save(f"artifacts/responses/{population}.npz")
    Stimuli("photographs", np.arange(3), np.zeros((3, 8, 8), np.uint8)).save("artifacts/images.npz")
    ImageSplit(np.arange(3), np.array([0, -1, -1])).save("artifacts/split.npz")
    Features("text", np.arange(3), np.eye(3, dtype=np.float32), np.array(["00"]), np.array([3])).save(
        "artifacts/features/text.npz"
    )
    (tmp_path / "artifacts/movies").mkdir()
    (tmp_path / "artifacts/movies/gain.csv").write_text("tested\n")
    about = facts.of_run(dataset, {"visual": ["V4"], "control": "shuffled"}, "given")
    assert about.visual == units
    assert about.control.startswith(f"the same {units.removesuffix(' in V4')}, with the responses")
    assert said in about.responses
    assert about.sessions == sessions
    assert alone in about.alone
    assert about.spikes == (dataset == "cowley_v4")


def test_parameters_of_what_nobody_measured_or_repeated_are_without_effect() -> None:
    means = responses(np.full((3, 2), 1.5), [0, 1, 2])
    limits = {"responses.isi_violations_max", "responses.amplitude_cutoff_max", "responses.presence_ratio_min"}
    assert set(facts.without_effect(means)) == limits | set(facts.OF_REPEATS)
    counted = responses(np.ones((4, 2), np.uint16), [0, 1, 1, 0])
    assert set(facts.without_effect(counted)) == limits
    measured = replace(counted, unit_isi_violations=np.array([0.1, np.nan]))
    assert set(facts.without_effect(measured)) == limits - {"responses.isi_violations_max"}
    plain = {"described": False, "filmed": False}
    assert set(facts.without_effect(counted, **plain)) == limits | {"captions", "regress.text", "movies"}
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for path in facts.without_effect(means, **plain):  # they are there
        found = params
        for name in path.split("."):
            found = found[name]


@pytest.mark.parametrize(
    ("areas", "long", "few"),
    [
        (["V4"], "89 units in V4", "V4"),
        (["VISp", "LP", "LGd", "VISl"], "89 units in VISp, LP, LGd, VISl", "VISp, LP and 2 more"),
        ("shuffled", "the same 89 units, with the responses to each image assigned to another one", "shuffled"),
    ],
)
def test_a_population_is_told_by_its_areas(areas: Any, long: str, few: str) -> None:
    assert facts.population(areas, 89) == long
    assert facts.short(areas) == few
