"""Anybody's recordings, as a folder of plain files: `module: plain` in its section of `datasets`, and no code.

    vendor/data/<name>/
      images.csv            image_id,file,caption   (and split: train or test, where a test set is fixed)
      images/               the pictures: PNG, JPEG, TIFF or BMP of any size; colour becomes grey
      units.csv             session_id,unit_id,area   (and quality metrics, where they are known)
      sessions/
        1.npz               responses (presentation, unit[, window]), image_id, unit_id[, window_s]
        2.csv               image_id,<unit_id>,<unit_id>,...   one line per presentation
        3.nwb               a recording in the layout of Allen Visual Coding; its units need no units.csv

Rows of a session are presentations in the order of the session. Where they are grouped by image instead, drift and
course are not known. image_id -1 is a blank screen. Responses that are all
whole numbers from 0 to 32767 are spike counts; others (two-photon activity, means over presentations) are taken as
they are.

`acquire` refuses what plain_folder.examine refuses, which says everything that is wrong at once.
"""

from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.datasets.plain_format import csv_file, plain_folder
from spikevaediff.files import json_file, tables
from spikevaediff.files.atomic import replacing
from spikevaediff.images import check_size, read_grey, resize
from spikevaediff.recordings import identity, nwb_extract
from spikevaediff.records import LONGEST_WINDOW_S, Captions, Stimuli, few


def acquire(
    data_dir: Path, out_dir: Path, *, source: str, size_px: int, window_s: list[float], margin_s: float
) -> None:
    """Check a folder of the plain format and write what the pipeline needs of it.

    Parameters
    ----------
    data_dir : Path
        The folder, see the module.
    out_dir : Path
        Gets sessions/<session_id>.npz (a records.Responses of all units) or .nwb (an extract), sessions/sources.json
        where the order of presentations is not known, images.npz, captions_given.csv and, where images.csv has a column
        split, split_given.csv. Images that not every session shows are left out.
    source : str
        What this is, for the titles of all pictures: "macaque V4, photographs".
    size_px : int
        Side of the images, squashed to squares by the one resize rule.
    window_s : two of float
        Start and stop, seconds after onset, in which the responses of tables were counted; not for tables that
        hold window_s themselves.
    margin_s : float
        As datasets.allen: spikes of recordings are kept from this long before each presentation to as long after it.

    Raises
    ------
    ValueError
        The folder is not of the format; the message counts the problems and begins with the first. An option is out of
        range.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    window = np.asarray(window_s, np.float64)
    if window.shape != (2,) or not window[0] < window[1] or np.abs(window).max() > LONGEST_WINDOW_S:
        raise ValueError(
            f"window_s is {window_s}, expected a start and a later stop in seconds after onset, up to "
            f"{LONGEST_WINDOW_S:g}"
        )
    nwb_extract.check_margin(margin_s)
    check_size(size_px)
    found = plain_folder.examine(data_dir, rehearse=False)
    if found.problems:
        n = len(found.problems)
        raise ValueError(
            f"{data_dir} has {n} problem{'s' * (n > 1)}; see all with: spikevaediff check-data {data_dir}. "
            f"The first: {found.problems[0]}"
        )
    pixels = [resize(read_grey(found.files[image_id])[None], size_px)[0] for image_id in found.shared.tolist()]
    with replacing(out_dir / "sessions", folder=True) as folder:
        for session_id, table in found.tables.items():
            plain_folder.responses_of(session_id, table, found, window).save(folder / f"{session_id}.npz")
        if grouped := [i for i, table in found.tables.items() if identity.grouped_by_image(table.image_id)]:
            why = f"rows of session {few(grouped)} are grouped by image, and not in the order of the session"
            json_file.write(folder / "sources.json", {"order_unknown": why})
        for session_id, path in found.recordings.items():
            nwb_extract.extract(path, folder / f"{session_id}.nwb", margin_s=margin_s)
    Stimuli(source, found.shared, np.stack(pixels)).save(out_dir / "images.npz")
    given = {} if found.captions is None else {i: found.captions[i] for i in found.shared.tolist()}
    sentences = tuple((sentence,) * bool(sentence) for sentence in given.values())
    Captions(np.array(list(given), np.int64), sentences).save(out_dir / "captions_given.csv")
    if found.tested is not None:
        folds = [{"image_id": i, "fold": 0 if found.tested[i] else -1} for i in found.shared.tolist()]
        tables.write(out_dir / "split_given.csv", folds)


def lacks_captions(data_dir: Path, **others: Any) -> bool:
    """Whether acquisition leaves images for the stage `captions` to describe: images.csv has no column for captions."""
    return "caption" not in csv_file.read(data_dir / "images.csv", "images.csv").header
