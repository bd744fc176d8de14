"""What params.yaml asks of a folder of the plain format is compared with its tables before a run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from spikevaediff.__main__ import main
from spikevaediff.parameters import check, of_folder

N_IMAGES, UNITS = 8, np.array([3, 5, 8, 9, 11, 12])
SECTION = {"module": "plain", "source": "macaque V4", "size_px": 32, "window_s": [0.05, 0.15], "margin_s": 1.0}
GOOD = {
    "areas.visual": ["V4"],
    "areas.control": "shuffled",
    "responses.start_s": 0.05,
    "responses.duration_s": 0.1,
    "split.n_folds": 4,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """vendor/data with a folder of eight images and six units in V4, of which pictures and responses are not there."""
    folder = tmp_path / "vendor/data/mine"
    (folder / "sessions").mkdir(parents=True)
    rows = "".join(f"{number},{number}.png,\n" for number in range(N_IMAGES))
    (folder / "images.csv").write_text(f"image_id,file,caption\n{rows}")
    with_units(folder, "V4")
    table(folder / "sessions/1.npz")
    return folder.parent


def with_units(folder: Path, *areas: str) -> None:
    """Units of as many sessions as there are areas."""
    rows = "".join(f"{session},{unit},{area}\n" for session, area in enumerate(areas, start=1) for unit in UNITS)
    (folder / "units.csv").write_text(f"session_id,unit_id,area\n{rows}")


def table(path: Path, **arrays: Any) -> None:
    np.savez(path, **{"image_id": np.tile(np.arange(N_IMAGES), 3), "unit_id": UNITS} | arrays)


def asked(changes: Mapping[str, Any]) -> dict[str, Any]:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["dataset"], params["datasets"]["mine"] = "mine", dict(SECTION)
    for path, value in (GOOD | dict(changes)).items():
        section, key = path.split(".")
        params[section][key] = value
    check.refuse(check.of_sections(params))
    return params


def problems(data: Path, changes: Mapping[str, Any]) -> list[str]:
    return list(of_folder.problems(asked(changes), data))


def test_what_the_folder_holds_is_no_problem(data: Path) -> None:
    assert problems(data, {}) == []
    whole = dict.fromkeys(("responses.start_s", "responses.duration_s", "responses.n_bins"))
    table(data / "mine/sessions/1.npz", window_s=np.array([[0.0, 0.1], [0.2, 0.3]]))
    assert problems(data, whole) == []
    assert list(of_folder.problems(YAML(typ="safe").load(ROOT / "params.yaml"), data)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"areas.visual": ["V4", "VISp"]},
            "areas.visual: {}: no unit in VISp. Units that pass / were recorded, by area: V4 6/6. Choose areas among "
            "these, without sub-structure",
        ),
        ({"areas.control": ["CA1"]}, "areas.control: {}: no unit in CA1. Units that pass"),
        ({"responses.min_units": 7}, "areas.visual: {}: 6 units pass in V4, fewer than min_units = 7 (of 6 recorded:"),
        (
            {"responses.start_s": 0.0},
            "{} is a table, counted from 0.05 to 0.15 s in 1 window(s), but params.yaml says 0 to 0.1 s in 1. Set the "
            "window of the table: -S responses.start_s=0.05 -S responses.duration_s=0.1 -S responses.n_bins=1",
        ),
        ({"responses.n_bins": 2}, "{} is a table, counted from 0.05 to 0.15 s in 1 window(s), but params.yaml says"),
        ({"responses.start_s": None}, "responses.start_s is None, expected a number of seconds"),
        (
            {"split.method": "hold_out", "split.n_test": 500},
            "split.n_test is 500, expected 1 to 7 of 8 images",
        ),
        ({"split.n_folds": 9}, "split.n_folds is 9, expected 2 to 8, the number of images"),
        ({"split.method": "given"}, "macaque V4 brings no split of its own; set split.method to k_fold or hold_out"),
    ],
)
def test_what_the_folder_lacks_is_said_as_the_later_stage_would(changes: dict[str, Any], says: str, data: Path) -> None:
    (problem,) = problems(data, changes)
    assert problem.startswith(says.format(data / "mine/sessions/1.npz"))


def test_images_are_those_that_every_table_shows(data: Path) -> None:
    rows = "".join(f"{image},1,0,2,0,1,4\n" for image in (0, 1, 2, 3, 4))
    (data / "mine/sessions/2.csv").write_text(f"image_id,{','.join(map(str, UNITS))}\n{rows}")
    with_units(data / "mine", "V4", "V4")
    assert problems(data, {}) == []
    (problem,) = problems(data, {"split.method": "hold_out", "split.n_test": 5})
    assert problem == "split.n_test is 5, expected 1 to 4 of 5 images"


def test_of_several_sessions_each_area_is_in_one_at_least(data: Path) -> None:
    table(data / "mine/sessions/2.npz")
    with_units(data / "mine", "V4", "IT")
    assert problems(data, {"areas.visual": ["V4", "IT"]}) == []
    assert problems(data, {"areas.visual": ["V4", "IT", "V1"]}) == [
        "areas.visual: no unit in V1 passes in any of 2 sessions. There are IT, V4"
    ]
    (problem,) = problems(data, {})
    assert problem == f"areas.visual: no unit in V4 passes in {data / 'mine/sessions/2.npz'}. Leave it out"


def test_a_control_that_is_left_out_needs_no_units(data: Path) -> None:
    assert problems(data, {"areas.control": ["CA1"], "parts.controls": False}) == []


def test_a_split_of_the_folder_wants_its_method(data: Path) -> None:
    rows = "".join(f"{i},{i}.png,{'test' if i < 2 else 'train'}\n" for i in range(N_IMAGES))
    (data / "mine/images.csv").write_text(f"image_id,file,split\n{rows}")
    assert problems(data, {"split.method": "given"}) == []
    (problem,) = problems(data, {})
    assert problem.startswith("macaque V4 brings a split of its own")


def test_areas_of_recordings_are_left_to_the_later_stage(data: Path) -> None:
    with h5py.File(data / "mine/sessions/2.nwb", "w"):
        pass
    assert problems(data, {"areas.visual": ["VISp"]}) == []
    (problem,) = problems(data, {"responses.start_s": 0.0})
    assert "1.npz is a table, counted from 0.05 to 0.15 s" in problem


@pytest.mark.parametrize("name", ["images.csv", "units.csv", "sessions/1.npz"])
def test_a_folder_that_cannot_be_read_is_left_to_the_stage_that_judges_it(name: str, data: Path) -> None:
    (data / "mine" / name).write_text("nothing of the kind")
    assert problems(data, {"areas.visual": ["VISp"]}) == []
    (data / "mine" / name).unlink()
    problems(data, {"areas.visual": ["VISp"]})


def test_a_short_line_is_left_to_it_as_well(data: Path) -> None:
    lines = (data / "mine/images.csv").read_text().splitlines()
    turned = [",".join(reversed(line.split(",")[:2])) for line in lines]
    (data / "mine/images.csv").write_text("\n".join([*turned, "19.png"]) + "\n")
    assert problems(data, {"areas.visual": ["VISp"]}) == []


def test_a_plan_refuses_what_the_folder_lacks(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parents[1])
    YAML().dump(asked({}), Path("params.yaml"))
    assert main(["plan", "-S", "areas.visual=[VISp]"]) == 1
    said = capsys.readouterr().err
    assert re.match(r"params.yaml: areas.visual: vendor/data/mine/sessions/1.npz: no unit in VISp\. Units that", said)
