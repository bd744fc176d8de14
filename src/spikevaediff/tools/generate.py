"""Images from an image, words or nothing, with the diffusion model of the second stage: what it can do without spikes.

given                     | flow
--------------------------|------------------------------------------------------------
--image                   | image variation
--text                    | text to image
--image and --text        | dual-guided, mixed as --mixing says
--start with any of them  | image to image; --strength says how much of it is noised away, --start-share how much of its
                          | coarse luminance comes back at the end
--mean                    | what mean spikes would give: the mean contexts of the images of the data set
nothing                   | the prior of the generator: what it draws by itself

The last two are controls. A generator trained on few photographs can remember them; `--nearest` finds, for every
picture, the training crop of the mini models that is most like it, beside the value that photographs never trained on
reach. What only the training of the UNet fetched, squares of wallpapers, is not on this machine and not searched.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spikevaediff import images
from spikevaediff.datasets import simulated
from spikevaediff.decoders import versatile_diffusion as diffusion
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.files.replaceable import check_ours, mark
from spikevaediff.parameters.file import model, read
from spikevaediff.parameters.options import is_weights
from spikevaediff.records import Features
from spikevaediff.regression.split import near_copies
from spikevaediff.tools import copies
from versatile_diffusion.sampler import Schedule, Steps

NEAREST_PX = 64  # at which pictures are compared with training photographs
N_SQUARES, N_WALLPAPERS = 693, 81  # that the mini UNet was also trained on: stages/pretrain/photographs.csv


@dataclass(frozen=True)
class Wish:
    """What one call of the command asks for; None stands for the value of params.yaml."""

    start: Path | None = None
    image: Path | None = None
    text: str | None = None
    mean: bool = False
    strength: float | None = None
    start_share: float | None = None
    mixing: float | None = None
    guidance: float | None = None
    steps: int | None = None
    eta: float | None = None
    samples: int | None = None
    seed: int | None = None
    nearest: bool = False


def generate(wish: Wish, root: Path, out: Path) -> str:
    """Make the pictures and write OUT: 0.png, 1.png, ... the samples, sheet.png all side by side, spread.png.

    Parameters
    ----------
    wish : Wish
    root : Path
        The checkout: params.yaml says which models there are, vendor/data holds the mini weights.
    out : Path
        A new folder, or one that this command wrote, which is replaced whole.

    Returns
    -------
    str
        What was made, one line per picture.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        `out` holds something else; a file that is not there or is not an image; contradictory wishes; options out of
        range (as the decoder says).
    """
    check_ours(out, "generate", r"(\d+|sheet|spread)\.png")
    for path in (wish.start, wish.image):
        if path is not None and path.resolve().parent == out.resolve():
            raise ValueError(f"{path} lies in {out}, which is replaced whole. Name a new folder")
    if wish.seed is not None and wish.seed < 0:
        raise ValueError(f"--seed is {wish.seed}, expected 0 or more")
    params = read(root)
    models = model(params)
    if (second := models["diffusion"]["module"]) != "versatile_diffusion":
        raise ValueError(
            f"models.{params['model']}.diffusion names the module {second}, but pictures are drawn by "
            "versatile_diffusion alone"
        )
    if wish.nearest and models["diffusion"]["unet"] != "mini":
        raise ValueError(
            f"--nearest knows what the mini models were trained on, and models.{params['model']}.diffusion names the "
            f"UNet {models['diffusion']['unet']}: leave it out, or choose the mini model"
        )
    if wish.mean and (wish.image is not None or wish.text is not None):
        raise ValueError("--mean is a context of its own: leave out --image and --text, or --mean")
    chosen = {"start_share": 0.0} | params["decode"]["diffusion"]  # an older params.yaml has none
    chosen |= {name: value for name, value in models["diffusion"].items() if name != "module"}
    asked = {"strength": wish.strength, "mixing": wish.mixing, "guidance": wish.guidance, "steps": wish.steps}
    asked |= {"eta": wish.eta, "n_samples": wish.samples, "start_share": wish.start_share}
    chosen |= {name: value for name, value in asked.items() if value is not None}
    chosen["protocol"] = "strict"  # no publication is repeated without spikes
    _check_options(chosen, starts=wish.start is not None)
    if wish.start is None and (wish.start_share is not None or wish.strength is not None):
        option = "--strength" if wish.start_share is None else "--start-share"
        raise ValueError(f"{option} needs a picture to start from: name one with --start, or leave {option} out")
    start = None if wish.start is None else images.read_image(wish.start)
    shown = None if wish.image is None else images.read_image(wish.image)
    modules = {s: importlib.import_module(f"spikevaediff.features.{models[s]['module']}") for s in ("vision", "text")}
    options = {s: {k: v for k, v in models[s].items() if k != "module"} for s in modules}
    for one in options.values():
        one |= {name: assets.weights(value, root) for name, value in one.items() if is_weights(name, value)}
    empty = {s: modules[s].unconditional(device="cpu", **options[s])[None] for s in modules}
    contexts: dict[str, np.ndarray | None] = {"vision": None, "text": None}
    if wish.mean:
        for space in contexts:
            features = Features.load(root / "artifacts" / "features" / f"{space}.npz")
            if features.varies:  # without captions there is no text to guide by
                contexts[space] = features.tokens(features.image_id).mean(0, keepdims=True)
    if shown is not None:
        contexts["vision"] = modules["vision"].contexts(shown, batch_size=1, device="cpu", **options["vision"])
    if wish.text is not None:
        contexts["text"] = modules["text"].contexts([wish.text], batch_size=1, device="cpu", **options["text"])
    if wish.mixing is None and (contexts["vision"] is None) != (contexts["text"] is None):
        chosen["mixing"] = 0.0 if contexts["vision"] is None else 1.0  # one context alone
    for name in ("unet_weights", "autoencoder_weights"):
        chosen[name] = assets.weights(chosen[name], root)
    pixels = diffusion.samples(
        Guides(np.array([0]), start, contexts["vision"], contexts["text"]),
        unconditional=Guides(np.array([0]), None, empty["vision"], empty["text"]),
        seed=params["seed"] if wish.seed is None else wish.seed,
        kept=None,
        batch_size="auto",
        device="cpu",
        **chosen,
    )[0]

    deviation = diffusion.spread(pixels[None])[0]
    several = f"s of {pixels.shape[1]} px, {deviation.mean():.1f} grey levels between samples"
    told = [f"{out}: {len(pixels)} picture" + (several if len(pixels) > 1 else f" of {pixels.shape[1]} px")]
    size = pixels.shape[1]
    rows = [list(pixels)]
    given = [images.resize(picture, size)[0] for picture in (start, shown) if picture is not None]
    rows[0] = given + rows[0]
    if wish.nearest:
        crops = searched(root)
        row, r = copies.nearest(images.resize(pixels, NEAREST_PX), images.resize(crops, NEAREST_PX))
        usual = usual_nearest(root, crops)
        told += [f"{k}.png: nearest training photograph {row[k]}, correlation {r[k]:.3f}" for k in range(len(row))]
        middle, high = np.quantile(usual, [0.5, 0.95])
        told += [f"(photographs never trained on: {middle:.3f} in the middle, {high:.3f} for one in twenty)"]
        told += [
            f"(searched: {len(crops) // 5} training crops and their quarters; the UNet was also trained on {N_SQUARES} "
            f"squares of {N_WALLPAPERS} wallpaper photographs, which are not on this machine and not searched)"
        ]
        blank = [np.full((size, size, 3), 255, np.uint8)] * len(given)
        rows.append(blank + list(images.resize(images.rgb(crops[row]), size)))
    width = max(map(len, rows))
    white = np.full((size, size, 3), 255, np.uint8)
    sheet = np.concatenate([np.concatenate(r + [white] * (width - len(r)), 1) for r in rows], 0)
    with replacing(out, folder=True) as folder:
        for k, picture in enumerate(pixels):
            Image.fromarray(picture).save(folder / f"{k}.png")
        Image.fromarray(sheet).save(folder / "sheet.png")
        # Four times, since samples rarely differ by more than 64 levels.
        Image.fromarray(np.clip(deviation * 4, 0, 255).astype(np.uint8)).save(folder / "spread.png")
        mark(folder, "generate")
    return "\n".join(told)


def _check_options(options: Mapping[str, Any], *, starts: bool) -> None:
    """Refuse numbers that the decoder would refuse, which it sees only after the networks of both contexts have run."""
    for name in ("strength", "mixing", "start_share"):
        if not 0 <= options[name] <= 1:
            raise ValueError(f"{name} is {options[name]}, expected 0 to 1")
    if not 0 <= options["guidance"] < np.inf:
        raise ValueError(f"guidance is {options['guidance']}, expected 0 or more; 1 follows the contexts, 7.5 is usual")
    if options["n_samples"] < 1:
        raise ValueError(f"samples is {options['n_samples']}, expected a whole number from 1")
    grid = Steps.ddim(Schedule.published(), options["steps"], options["eta"])
    if starts:
        grid.n_taken(options["strength"])


def searched(root: Path) -> np.ndarray:
    """The training crops of the mini models, whole and in four quarters each: uint8 (5 n_crops, 256, 256).

    Those of role `train` without those that show what a scene shows, as in training. The squares of wallpapers that the
    UNet was also trained on are not among them: only stages/pretrain fetches these photographs.
    """
    data = root / "vendor/data/simulated"
    (_, scenes), (_, crops) = (simulated.crops(data, role) for role in ("scene", "train"))
    small = [np.concatenate([images.resize(one[None], simulated.SIZE_PX) for one in some]) for some in (scenes, crops)]
    left_out = set(near_copies(*small)[:, 1].tolist())
    found = []
    for crop in (crop for number, crop in enumerate(crops) if number not in left_out):
        half = len(crop) // 2
        parts = [crop, *(crop[y : y + half, x : x + half] for y in (0, half) for x in (0, half))]
        found += [images.resize(part[None], simulated.SIZE_PX)[0] for part in parts]
    return np.stack(found)


def usual_nearest(root: Path, crops: np.ndarray) -> np.ndarray:
    """The correlation of each scene, none of them trained on, with the nearest training crop; float64 (118,)."""
    _, scenes = simulated.crops(root / "vendor/data/simulated", "scene")
    small = np.concatenate([images.resize(scene[None], NEAREST_PX) for scene in scenes])
    return copies.nearest(images.rgb(small), images.resize(crops, NEAREST_PX))[1]
