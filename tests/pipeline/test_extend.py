"""docs/extend.md is run: its files are written, its lines put into the YAML files, and its commands run."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from small_profile import SMALL, Run, copied, environment, succeeded

from spikevaediff.encoding import of_folds
from spikevaediff.images import grey, resize, rgb
from spikevaediff.parameters.runs import read_runs
from spikevaediff.records import Features, ImageSplit, Reconstructions, Responses, Stimuli

SIDE = SMALL["evaluate.size_px"]
PAGE = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
FIRST = ("A metric", "A feature space", "A regression", "A decoder")
THEN = ("A data set", "A family of encoding models")


def blocks(section: str) -> Iterator[tuple[str, str, str]]:
    """Language, file and text of every block of a section; the file is the last one that the page names before it."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (found,) = [part for part in text if part.startswith(f"{section}\n")]
    for block in re.finditer(r"^```(\w+)\n(.*?)^```", found, re.MULTILINE | re.DOTALL):
        named = re.findall(r"`((?:src/\S+\.py)|(?:\w+\.yaml))`", found[: block.start()])
        yield block[1], named[-1] if named else "", block[2]


def merge(into: dict[str, Any], lines: CommentedMap) -> None:
    """As a reader does: lines at their place, an item of a list as one more; what is in brackets is the whole value."""
    for key, value in lines.items():
        if isinstance(value, dict) and key in into and not value.fa.flow_style():
            merge(into[key], value)
        elif isinstance(value, list) and key in into and not value.fa.flow_style():
            into[key] = [*into[key], *value]
        else:
            into[key] = value


def follow(clone: Path, sections: tuple[str, ...]) -> list[str]:
    """Everything that sections of the page say but running the pipeline; the commands that do that."""
    written, yaml, repro = YAML(), YAML(typ="safe", pure=True), []
    yaml.sort_base_mapping_type_on_output = False
    for section in sections:
        for language, name, text in blocks(section):
            path = clone / name
            if language == "python":
                assert not path.exists()
                path.write_text(text, encoding="utf-8")
            elif language == "yaml":
                content = yaml.load(path)
                merge(content, written.load(text))
                path.unlink()  # it may be a link
                yaml.dump(json.loads(json.dumps(content)), path)
            else:
                repro += text.splitlines()
    return repro


def means(clone: Path) -> dict[str, dict[str, float]]:
    ((_, of_runs),) = json.loads((clone / "metrics/metrics.json").read_text(encoding="utf-8")).items()
    return of_runs


@pytest.mark.parametrize("section", [*FIRST, *THEN])
def test_examples_are_formatted_as_the_code_of_the_project(section: str) -> None:
    sources = [text for language, _, text in blocks(section) if language == "python"]
    assert len(sources) == 1
    for words in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--stdin-filename", "src/spikevaediff/example.py", "-"],
            cwd=ROOT,
            input=sources[0],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def extended(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    clone = copied(pristine, tmp_path_factory.mktemp("extended") / "clone")
    (command,) = follow(clone, FIRST)
    return clone, succeeded(clone, *command.split()[1:])


@pytest.mark.slow
def test_nothing_runs_that_the_examples_do_not_change(extended: tuple[Path, Run], first: Run) -> None:
    stages = {"start", "looks", "halves", "baselines", "report"}  # which know metrics
    stages |= {f"{stage}@light" for stage in ("features", "library_features", "regress", "decode", "evaluate")}
    stages |= {name for name in first.ran if name.startswith(("evaluate@", "checks@", "checks_posterior@"))}
    assert extended[1].ran == stages


@pytest.mark.slow
def test_a_metric_is_scored_and_shown_of_every_run(extended: tuple[Path, Run], pristine: Path) -> None:
    clone, split = extended[0], ImageSplit.load(extended[0] / "artifacts/split.npz")
    shown = grey(resize(rgb(Stimuli.load(clone / "artifacts/images.npz").rows(split.test_ids)), SIDE)).std(axis=(1, 2))
    ((_, worth),) = json.loads((clone / "metrics/statistics.json").read_text(encoding="utf-8")).items()
    with (clone / "plots/scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for run in ("vdvae", "light"):
        decoded = Reconstructions.load(clone / f"artifacts/decoded/{run}").rows(split.test_ids)
        made = grey(resize(decoded, SIDE)).std(axis=(1, 2))
        expected = float(np.mean(np.minimum(shown, made) / np.maximum(shown, made)))
        assert means(clone)[run]["contrast"] == pytest.approx(expected, abs=6e-4)  # three digits
        assert worth["runs"][run]["contrast"]["low"] < expected < worth["runs"][run]["contrast"]["high"]
        listed = [float(row["contrast"]) for row in rows if row["run"] == run]
        assert np.mean(listed) == pytest.approx(expected, abs=1e-4)
    scored = {name for name, values in means(clone).items() if "contrast" in values}
    assert scored == {*read_runs(clone / "runs.yaml").scored, "noise_ceiling", "shuffled"}
    assert means(clone)["grey"]["contrast"] == 0.0
    page = (clone / "plots/report.html").read_text(encoding="utf-8")
    assert page.count('<th scope="col">contrast ↑</th>') == 2  # of scores, and of differences between runs
    before = means(pristine)
    assert all(means(clone)[run]["pixcorr"] == before[run]["pixcorr"] for run in before if "pixcorr" in before[run])


@pytest.mark.slow
def test_a_feature_space_is_predicted_by_the_regression_and_decoded_by_the_decoder(extended: tuple[Path, Run]) -> None:
    artifacts = extended[0] / "artifacts"
    stimuli, split = Stimuli.load(artifacts / "images.npz"), ImageSplit.load(artifacts / "split.npz")
    y = np.stack([np.array([[b.mean() for b in np.hsplit(a, 4)] for a in np.vsplit(image / 255, 4)]).ravel()
                  for image in stimuli.rows(split.image_id)])  # fmt: skip
    np.testing.assert_allclose(Features.load(artifacts / "features/light.npz").rows(split.image_id), y, atol=1e-6)

    responses = Responses.load(artifacts / "responses/visual.npz")
    x = np.stack([responses.counts[responses.image_id == i, :, 0].mean(0) for i in split.image_id])
    expected = np.empty((len(split.test_ids), 16))
    for fold in range(split.n_folds):
        test = split.fold == fold
        mean, deviation = x[~test].mean(0), x[~test].std(0)
        z = (x[:, deviation > 0] - mean[deviation > 0]) / deviation[deviation > 0]
        z = np.sign(z) * np.sqrt(np.abs(z))
        train, target = z[~test] - z[~test].mean(0), y[~test] - y[~test].mean(0)
        weights = np.linalg.solve(train.T @ train + 100 * np.eye(z.shape[1]), train.T @ target)
        expected[split.fold[split.fold >= 0] == fold] = (z[test] - z[~test].mean(0)) @ weights + y[~test].mean(0)
    predicted = Features.load(artifacts / "predicted/light.npz").rows(split.test_ids)
    np.testing.assert_allclose(predicted, expected, atol=2e-5)

    decoded = Reconstructions.load(artifacts / "decoded/light").rows(split.test_ids)
    assert decoded.shape == (len(split.test_ids), 64, 64, 3)
    levels = decoded[:, 8::16, 8::16, 1].reshape(len(decoded), 16)
    np.testing.assert_array_equal(levels, np.clip(np.rint(255 * predicted), 0, 255))
    np.testing.assert_array_equal(decoded, np.repeat(np.repeat(decoded[:, 8::16, 8::16], 16, 1), 16, 2))


@pytest.mark.slow
def test_a_run_of_its_own_stands_in_every_table(extended: tuple[Path, Run]) -> None:
    clone, split = extended[0], ImageSplit.load(extended[0] / "artifacts/split.npz")
    shown = grey(resize(rgb(Stimuli.load(clone / "artifacts/images.npz").rows(split.test_ids)), SIDE))
    decoded = grey(resize(Reconstructions.load(clone / "artifacts/decoded/light").rows(split.test_ids), SIDE))
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(shown, decoded, strict=True)]
    assert means(clone)["light"]["pixcorr"] == pytest.approx(np.mean(correlation), abs=6e-4)
    assert np.mean(correlation) > 2 * means(clone)["mean"]["pixcorr"]  # which knows nothing of the responses
    page = (clone / "plots/report.html").read_text(encoding="utf-8")
    assert '<th scope="row">light<small>squares of light, predicted from spikes</small></th>' in page


@pytest.mark.slow
def test_a_data_set_is_acquired_and_a_family_fitted_to_it(extended: tuple[Path, Run]) -> None:
    clone = extended[0]
    *before, command = follow(clone, THEN)
    for line in before:
        subprocess.run(line, shell=True, cwd=clone, env=environment(clone.parent), check=True)
    run = succeeded(clone, *command.split()[1:])
    assert run.ran == {"start", "acquire", "split", "responses@visual", "encode@visual"}
    stimuli = Stimuli.load(clone / "artifacts/images.npz")
    assert stimuli.pixels.shape == (120, 64, 64)
    responses = Responses.load(clone / "artifacts/responses/visual.npz")
    assert responses.counts.shape == (1200, 32, 1)
    grey_level = stimuli.rows(responses.image_id)[:, ::4, ::4].reshape(1200, 256)[:, ::8].ravel() / 255
    design = np.column_stack([np.ones(len(grey_level)), grey_level])
    found, *_ = np.linalg.lstsq(design, responses.counts.ravel().astype(float), rcond=None)
    np.testing.assert_allclose(found, [3, 9], atol=0.15)
    models = of_folds.load(clone / "artifacts/encoders/visual", ImageSplit.load(clone / "artifacts/split.npz").n_folds)
    assert all(model.family_name.tolist() == ["luminance", "edges"] for model in models)
    assert np.median(models[-1].r2) > 0.1  # of images that were left out
    spec = importlib.util.spec_from_file_location("edges", clone / "src/spikevaediff/encoding/families/edges.py")
    assert spec is not None
    assert spec.loader is not None
    edges = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(edges)
    step = torch.zeros(1, 64, 64)
    step[:, :, 32:] = 1
    (layer,) = edges.build()(step)
    wanted = torch.zeros(1, 2, 16, 16)
    wanted[0, 0, :, 7] = 0.25  # one pixel of four
    assert torch.equal(layer, wanted)
