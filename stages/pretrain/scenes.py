"""What VDVAEs make of the 118 scenes, on which none was trained: python -m stages.pretrain.scenes WEIGHTS ..."""

import argparse
from pathlib import Path

import stages
from spikevaediff.datasets import simulated
from stages.pretrain.train_vdvae import evaluate, whole
from vdvae import weights
from vdvae.config import CONFIGS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+", type=Path, help="files of the mini64 configuration")
    config = CONFIGS["mini64"]
    _, crops = simulated.crops(stages.ROOT / "vendor" / "data" / "simulated", role="scene")
    scenes = whole(crops, config.image_size)
    for path in parser.parse_args().weights:
        figures = evaluate(weights.load(path, config), scenes)
        print(f"{path}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
