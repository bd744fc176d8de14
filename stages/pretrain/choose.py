"""Scores of the second stage over its settings, on the session of development.py: python -m stages.pretrain.choose

Run in a clone whose pipeline has decoded that session's images. Only images 0 to 31 are scored, the crops that the UNet
was not trained on. Prints a table; the first row is the first stage. `misfit` is the mean of minus the log likelihood
of the responses, up to a constant, and `CPU s` are processor seconds per image.
"""

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from ruamel.yaml import YAML

import stages
from spikevaediff.decoders.second_stage import given, unconditional
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.decoders.versatile_diffusion import best, samples
from spikevaediff.evaluation import scores
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli

N_SCORED = 32
# strength, mixing, guidance, steps, samples of which the likeliest is scored, guidance by likelihood, and the share of
# the start in what is coarse
SETTINGS = ("strength", "mixing", "guidance", "steps", "n_samples", "guidance_likelihood", "start_share")
GRID = [
    *[(strength, 0.6, 2.0, 10, 1, 1.0, share) for share in (0.0, 1.0) for strength in (0.4, 0.5, 0.6, 0.7, 0.8)],
    *[(0.5, 0.6, guidance, 10, 1, 1.0, 1.0) for guidance in (1.0, 1.5, 3.0, 5.0)],
    *[(0.5, mixing, 2.0, 10, 1, 1.0, 1.0) for mixing in (0.3, 0.8, 1.0)],
    *[(0.5, 0.6, 2.0, 10, k, w, 1.0) for w in (0.0, 1.0) for k in (1, 2, 4, 8)],
]


def main(*which: str) -> None:
    params = YAML(typ="safe").load(stages.ROOT / "params.yaml")
    model = params["model"]
    ids = np.arange(N_SCORED)
    shown = Stimuli.load("artifacts/images.npz")
    split = ImageSplit.load("artifacts/split.npz")
    start = Reconstructions.load("artifacts/decoded/posterior")
    guides = Guides.predicted(
        ids,
        start=start,
        vision=Features.load("artifacts/predicted/vision.npz"),
        text=Features.load("artifacts/predicted/text.npz"),
    )
    weights = {k: stages.weights_path(v) for k, v in params["models"][model]["diffusion"].items() if "weights" in k}
    options = params["models"][model]["diffusion"] | {"seed": params["seed"]} | weights
    del options["module"]
    compute = stages.compute()
    spaces = params["models"][model]
    empty = given.nothing(unconditional.contexts(spaces, stages.weights_path, compute["device"]))
    options |= {"unconditional": empty, "kept": None} | compute
    asked = given.explained(
        "artifacts/encoders/visual", "artifacts/responses/visual.npz", split, {"n_samples": 2}, stages.weights_path
    )
    assert asked is not None
    rows = np.searchsorted(asked.image_id, ids)
    asked = replace(asked, fold=asked.fold[rows], image_id=ids, response=asked.response[rows])
    metrics = ["pixcorr", "ssim", "alexnet2", "alexnet5", "efficientnet_lite0", "lpips"]

    def show(name: str, scored: Reconstructions, seconds: float) -> None:
        settings: dict[str, Any] = {"protocol": "strict", "size_px": 128, "n_draws": 100, "seed": 0}
        result = scores.score_run(shown, scored, split, metrics=metrics, **settings)
        values = "  ".join(f"{metric} {result['metrics'][metric]['mean']:.3f}" for metric in metrics)
        gap = result["metrics"]["efficientnet_lite0"]["chance"] - result["metrics"]["efficientnet_lite0"]["mean"]
        misfit = -asked.likelihoods(scored.pixels[:, None]).mean()
        print(f"{name:24s} {values}  gap {gap:.3f}  misfit {misfit:.0f}  CPU s {seconds / N_SCORED:.2f}", flush=True)

    show("first stage", Reconstructions(ids, start.rows(ids)), 0.0)
    for values in [tuple(map(float, one.split(","))) for one in which] or GRID:
        options |= dict(zip(SETTINGS, values, strict=True))
        options |= {name: int(options[name]) for name in ("steps", "n_samples")}
        began = time.process_time()
        found = best(guides, samples(guides, **options, explained=asked), asked)
        show(" ".join(f"{value:g}" for value in values), found, time.process_time() - began)


if __name__ == "__main__":
    print(*SETTINGS, sep=", ")
    main(*sys.argv[1:])
