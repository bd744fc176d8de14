"""Scores of the second stage over its settings, on the session of development.py: python -m stages.pretrain.choose

Run in a clone whose pipeline has decoded that session's images. Only images 0 to 31 are scored, the crops that the UNet
was not trained on. Prints a table; the first row is the first stage.
"""

import sys
from typing import Any

import numpy as np
from ruamel.yaml import YAML

import stages
from spikevaediff.decoders.second_stage import given, unconditional
from spikevaediff.decoders.versatile_diffusion import Guides, samples
from spikevaediff.evaluation import scores
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli

N_SCORED = 32
# strength, mixing, guidance, steps
GRID = [
    *[(strength, 0.6, 2.0, 20) for strength in (0.3, 0.45, 0.6, 0.75, 0.9)],
    *[(0.6, 0.6, guidance, 20) for guidance in (1.0, 1.5, 3.0, 5.0)],
    *[(0.6, mixing, 2.0, 20) for mixing in (0.3, 0.8, 1.0)],
]


def main(*which: str) -> None:
    params = YAML(typ="safe").load(stages.ROOT / "params.yaml")
    model = params["model"]
    ids = np.arange(N_SCORED)
    shown = Stimuli.load("artifacts/images.npz")
    split = ImageSplit.load("artifacts/split.npz")
    start = Reconstructions.load("artifacts/decoded/vdvae")
    guides = Guides.predicted(
        ids,
        start=start,
        vision=Features.load("artifacts/predicted/vision.npz"),
        text=Features.load("artifacts/predicted/text.npz"),
    )
    weights = {k: stages.weights_path(v) for k, v in params["models"][model]["diffusion"].items() if "weights" in k}
    options = params["models"][model]["diffusion"] | {"n_samples": 1, "seed": params["seed"]} | weights
    del options["module"]
    compute = stages.compute()
    spaces = params["models"][model]
    empty = given.nothing(unconditional.contexts(spaces, stages.weights_path, compute["device"]))
    options |= {"unconditional": empty, "kept": None} | compute
    metrics = ["pixcorr", "ssim", "alexnet2", "alexnet5", "efficientnet_lite0", "lpips"]

    def show(name: str, pixels: np.ndarray) -> None:
        scored = Reconstructions(ids, pixels)
        settings: dict[str, Any] = {"protocol": "strict", "size_px": 128, "n_draws": 100, "seed": 0}
        result = scores.score_run(shown, scored, split, metrics=metrics, **settings)
        values = "  ".join(f"{metric} {result['metrics'][metric]['mean']:.3f}" for metric in metrics)
        print(f"{name:34s} {values}", flush=True)

    show("first stage", start.rows(ids))
    grid = [tuple(map(float, one.split(","))) for one in which] or GRID
    for strength, mixing, guidance, steps in grid:
        options |= {"strength": strength, "mixing": mixing, "guidance": guidance, "steps": int(steps)}
        pixels = samples(guides, **options)
        show(f"{strength:g} {mixing:g} {guidance:g} {steps:g}", pixels[:, 0])


if __name__ == "__main__":
    print("strength, mixing, guidance, steps")
    main(*sys.argv[1:])
