"""Real recordings of the shared folder, written as somebody would write their own: in the plain format."""

import csv
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def macaque_v4(shared: Path, folder: Path, session: str = "210325", n_images: int = 1200) -> Path:
    """Presentations of session 210325 (640 photographs in colour, JPEG), or means of 201025; first images."""
    source = shared / "data/cowley_macaque_v4"
    (folder / "sessions").mkdir(parents=True)
    with zipfile.ZipFile(source / f"session_{session}_images.zip") as archive:
        names = sorted(archive.namelist())[:n_images]
        archive.extractall(folder / "images", names)
    write_table(folder / "images.csv", ["image_id", "file"], [[i, name] for i, name in enumerate(names)])
    with np.load(source / f"session_{session}.npz") as file:
        if "single_trial_counts_255_is_missing" in file:
            trials = file["single_trial_counts_255_is_missing"][:n_images]
            # Nothing is known of the order of presentations: repetition by repetition.
            trials = trials.transpose(1, 0, 2)
            shown = (trials != 255).all(2)
            image_id = np.nonzero(shown)[1]
            responses = trials[shown]
        else:
            responses = file["mean_counts"][:n_images]
            image_id = np.arange(len(responses))
    n_units = responses.shape[1]
    np.savez(folder / f"sessions/{session}.npz", responses=responses, image_id=image_id, unit_id=np.arange(n_units))
    write_table(
        folder / "units.csv", ["session_id", "unit_id", "area"], [[session, unit, "V4"] for unit in range(n_units)]
    )
    return folder


def mouse_v1_two_photon(shared: Path, folder: Path, regions: tuple[int, ...] = (1,)) -> Path:
    """Regions of Antolik et al., each a session: deconvolved calcium activity, as CSV, of 50 images of 31 x 31."""
    (folder / "sessions").mkdir(parents=True)
    (folder / "images").mkdir()
    units: list[list[object]] = []
    for region in regions:
        with np.load(shared / f"data/antolik2016_mouse_v1/region{region}.npz") as file:
            images, responses = file["images"], file["responses"]
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / f"images/{i}.png")
        n_trials, n_images, n_units = responses.shape
        # Nothing is known of the order of presentations: repetition by repetition.
        rows = [[i, *responses[trial, i].tolist()] for trial in range(n_trials) for i in range(n_images)]
        write_table(folder / f"sessions/{region}.csv", ["image_id", *map(str, range(n_units))], rows)
        units += [[region, unit, "V1"] for unit in range(n_units)]
    write_table(folder / "images.csv", ["image_id", "file", "caption"], [[i, f"{i}.png", ""] for i in range(n_images)])
    write_table(folder / "units.csv", ["session_id", "unit_id", "area"], units)
    return folder
