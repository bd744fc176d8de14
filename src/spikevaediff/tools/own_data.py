"""What params.yaml must say of a folder of recordings of your own: `spikevaediff check-data FOLDER --write-params`."""

import io
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from spikevaediff.datasets.plain_format.examination import Examination
from spikevaediff.datasets.plain_format.units import areas_of_tables
from spikevaediff.files.atomic import replacing

_SIZE_PX = 128
_MARGIN_S = 1.0


def write_params(root: Path, folder: Path, found: Examination, *, window_s: tuple[float, float] | None = None) -> str:
    """Write the section of the data set, its areas, window and split into params.yaml, and say what comes next.

    All areas of tables are decoded together, and the control is shuffled: the same responses, taken for those of other
    images. All else in params.yaml stays as it is, comments included.

    Parameters
    ----------
    root : Path
        The project.
    folder : Path
        vendor/data/NAME of the project.
    found : Examination
        Without problems.
    window_s : start and stop, optional
        Seconds after onset in which tables were counted that do not say so themselves.

    Returns
    -------
    str
        What was written, and the next commands.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no params.yaml; the folder is elsewhere, or its name is none for a data set; the window is not known,
        or differs between tables or from `window_s`.
    """
    path, name = root / "params.yaml", folder.name
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Run this in a project, or write one: spikevaediff init FOLDER")
    if folder.resolve() != (root / "vendor/data" / name).resolve() or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(
            f"stages read vendor/data/NAME, with letters, digits and _ in NAME; {folder} is not there. Move or link it"
        )
    windows = _windows(found, window_s)
    round_trip = YAML()  # builds plain values and keeps comments; never objects
    round_trip.width, round_trip.preserve_quotes = 4096, True  # lines that are not ours stay as they are
    params: dict[str, Any] = round_trip.load(path)
    kept = params["datasets"].get(name)
    if kept is not None and kept.get("module") != "plain":
        raise ValueError(f"{name} is a data set of the project. Give the folder another name")
    whole = [0.0, 0.25] if windows is None else [float(windows[:, 0].min()), float(windows[:, 1].max())]
    section = {"module": "plain", "source": name, "size_px": _SIZE_PX, "window_s": whole, "margin_s": _MARGIN_S}
    if kept is None:
        params["datasets"][name] = section
    else:
        kept["window_s"] = whole
    areas = sorted(set(areas_of_tables(found)))
    params["dataset"] = name
    if areas:
        params["areas"]["visual"] = areas
    params["areas"]["control"] = "shuffled"
    if windows is not None:
        one = len(windows) == 1
        # Several windows are those of the tables and nothing else: null says so.
        counted = (whole[0], round(whole[1] - whole[0], 9), 1) if one else (None, None, None)
        for key, value in zip(("start_s", "duration_s", "n_bins"), counted, strict=True):
            params["responses"][key] = value
    split = ", split given by images.csv" if found.tested is not None else ""
    if found.tested is not None:
        params["split"]["method"] = "given"
    elif (method := params["split"]["method"]) in ("given", "as_published"):
        params["split"]["method"] = "k_fold"
        split = f", split k_fold instead of {method} (images.csv has no column split)"
    dumped = io.StringIO()
    round_trip.dump(params, dumped)
    with replacing(path) as temporary:
        temporary.write_text(_spaced(dumped.getvalue(), as_in=path.read_text(encoding="utf-8")), encoding="utf-8")
    lines = [
        f"{path.name}: dataset {name}, datasets.{name}, areas {', '.join(areas) or 'as they were'}, control shuffled"
        + (f", responses between {whole[0]:g} and {whole[1]:g} s" if windows is not None else "")
        + split,
        *(
            ["Units of recordings have their areas in the files: name those to decode in areas.visual."]
            if found.recordings
            else []
        ),
        *(
            []
            if found.captions is not None
            else [
                "No captions: BLIP-2 would write them and takes 15 GB. To go without, add a column `caption` to "
                "images.csv and leave it empty."
            ]
        ),
        f"datasets.{name}.source is in the title of every picture: say there what this is.",
        "Next:",
        f"git add {shlex.quote((Path('vendor/data') / name).as_posix())} params.yaml && git commit -m {name}"
        "   # queues and sweeps see only what is committed; large: dvc add",
        "spikevaediff plan   # what the run will fetch and how long it takes here",
        "dvc exp run   # everything; -S parts.second_stage=false -S parts.analyses=false: a first look, sooner",
        "Real recordings usually want another prior as well (docs/recordings.md):",
        "-S decode.posterior.prior=photographs -S decode.posterior.prior_weight=0.03 -S decode.posterior.steps=12 "
        "-S decode.posterior.luminance_weight=0.1 -S decode.posterior_images.regression_share=0.5 "
        "-S models.mini.diffusion.start_share=0.5",
    ]
    return "\n".join(lines)


def _spaced(text: str, *, as_in: str) -> str:
    """With the empty lines between sections that a file had, which follow values and go with them."""
    apart = "|".join(re.findall(r"^\n(\w+):", as_in, re.MULTILINE))
    text = re.sub(r"\n\n(?=  \w+:\n    module: plain)", r"\n", text)
    return re.sub(rf"(?<!\n)\n(?=(?:{apart}):)", "\n\n", text) if apart else text


def _windows(found: Examination, given: tuple[float, float] | None) -> np.ndarray | None:
    """The windows of all tables, float64 (n_windows, 2); None where there are only recordings."""
    if not found.tables:
        return None
    known = {session: table.window_s for session, table in found.tables.items() if table.window_s is not None}
    said = [*known.values(), *([] if given is None else [np.array([given], np.float64)])]
    if not said:
        raise ValueError(
            "no table says in which window it was counted. Add it: --window START,STOP in seconds after onset"
        )
    first = np.asarray(said[0], np.float64)
    if any(one.shape != first.shape or not np.allclose(one, first) for one in said[1:]):
        raise ValueError(f"tables were counted in different windows: {', '.join(str(one.tolist()) for one in said)}")
    return first
