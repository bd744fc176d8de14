"""Time and memory of scoring runs: python benchmarks/bench_evaluate.py [--images 118] [--runs 16]

Random pictures, shown in folds and "reconstructed" with noise, by the metrics of params.yaml whose
networks are here. One look at the shown images serves all runs. Prints processor seconds and the peak of memory.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "vendor")]

from spikevaediff.threads import set_once

set_once()  # as in stages

import numpy as np
from ruamel.yaml import YAML

from spikevaediff import images
from spikevaediff.evaluation import scores
from spikevaediff.evaluation.looking import Shown
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=118)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--size", type=int, default=64, help="of a picture, pixels")
    parser.add_argument("--folds", type=int, default=10, help="1: a hold-out, as of the Natural Scenes Dataset")
    given = parser.parse_args()
    options = YAML(typ="safe").load(ROOT / "params.yaml")["evaluate"]
    rng, ids = np.random.default_rng(0), np.arange(given.images)
    pixels = images.resize(rng.integers(0, 256, (len(ids), 8, 8), dtype=np.uint8), given.size)
    split = ImageSplit(np.append(ids, len(ids)), np.append(ids % given.folds, -1))  # the last is trained on alone
    started = time.process_time()
    looking = {name: options[name] for name in ("protocol", "size_px", "metrics")}
    shown = Shown.of(Stimuli("random pictures", ids, pixels), ids, **looking)
    print(
        f"shown images looked at: {time.process_time() - started:.1f} s; absent: {', '.join(shown.absent)}", flush=True
    )
    worth = {name: options[name] for name in ("metrics", "n_draws", "seed")}
    for run in range(given.runs):
        begun = time.process_time()
        noisy = np.clip(images.rgb(pixels) + rng.normal(0, 60, (*pixels.shape, 3)), 0, 255).astype(np.uint8)
        scores.score(shown, Reconstructions(ids, noisy), split, **worth)
        print(f"run {run + 1}: {time.process_time() - begun:.1f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{given.runs} runs of {len(ids)} images: {time.process_time() - started:.1f} s, at most {peak:.1f} GB")


if __name__ == "__main__":
    main()
