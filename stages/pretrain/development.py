"""A second simulated session for choosing settings of the second stage: python -m stages.pretrain.development FOLDER

The settings of models.mini.diffusion in params.yaml must not be chosen by the scores of the scenes that are reported.
This writes the boxes and captions of a data set that shares no photograph's crop with them: its 118 "scenes" are
training crops, the first 32 of them those that the UNet has been validated on and not trained; the others stay
training crops. Put them in the place of data/simulated in another clone, run the pipeline there, and score the images 0
to 31.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

import stages
from spikevaediff.captioning.class_captions import captions_of
from spikevaediff.datasets import simulated
from spikevaediff.features import efficientnet
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.images import resize, rgb
from stages.pretrain.train_vdvae import training_crops

HERE = Path(__file__).resolve().parent


def main(folder: str) -> None:
    data = stages.ROOT / "vendor" / "data" / "simulated"
    crops = training_crops(data)
    n_validation = YAML(typ="safe").load(HERE / "params.yaml")["unet"]["n_validation"]
    held_out = list(range(0, len(crops), max(1, len(crops) // n_validation))[:n_validation])
    others = np.setdiff1d(np.arange(len(crops)), held_out)
    spread_out = others[np.linspace(0, len(others) - 1, simulated.N_SCENES - n_validation).astype(int)]
    chosen = [crops[i] for i in [*held_out, *spread_out.tolist()]]

    with (data / "scene_boxes.csv").open(newline="") as file:
        boxes = [row for row in csv.DictReader(file) if row["role"] == "train"]
    _, every = simulated.crops(data, "train")
    box_of = {crop.tobytes(): box for crop, box in zip(every, boxes, strict=True)}
    path = assets.fetch("efficientnet_lite0")
    pixels = rgb(np.concatenate([resize(crop[None], simulated.SIZE_PX) for crop in chosen]))
    grid = efficientnet.contexts(pixels, weights=path, batch_size="auto", device="cpu")
    with replacing(Path(folder) / "scene_boxes.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, boxes[0], lineterminator="\n")
        writer.writeheader()
        scenes = [box_of[crop.tobytes()] for crop in chosen]
        writer.writerows(box | {"role": "scene", "scene": str(number)} for number, box in enumerate(scenes))
        writer.writerows(box for box in boxes if box not in scenes)  # for the library and the movie
    with replacing(Path(folder) / "captions.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image_id", "caption"])
        rows.writerows(enumerate(captions_of(grid)))
    with replacing(Path(folder) / "photographs.csv") as temporary:
        temporary.write_bytes((data / "photographs.csv").read_bytes())


if __name__ == "__main__":
    main(sys.argv[1])
