"""A folder of recordings of one's own in params.yaml: what is written, what is left, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from ruamel.yaml import YAML
from small_profile import edit

from spikevaediff.__main__ import main
from spikevaediff.parameters import check


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a folder of its own: six images, two areas, one table that does not say its window."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    data = tmp_path / "vendor/data/mine"
    for name in ("images", "sessions"):
        (data / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).save(data / f"images/{number}.png")
    rows = "".join(f"{number},{number}.png,\n" for number in range(6))
    (data / "images.csv").write_text(f"image_id,file,caption\n{rows}")
    (data / "units.csv").write_text("session_id,unit_id,area\n1,3,V4\n1,5,IT\n1,8,V4\n")
    table(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(data: Path, **window: np.ndarray) -> None:
    shape = (18, 3) + ((len(window["window_s"]),) if window else ())
    counts = np.random.default_rng(1).poisson(4.0, shape)
    shown = np.tile(np.arange(6), 3)
    np.savez(data / "sessions/1.npz", responses=counts, image_id=shown, unit_id=np.array([3, 5, 8]), **window)


def written(project: Path) -> dict:
    return YAML(typ="safe").load(project / "params.yaml")


def test_section_areas_and_window_are_written_and_the_next_commands_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "params.yaml").read_text()
    assert main(["check-data", "vendor/data/mine", "--write-params", "--window", "0.05,0.15"]) == 0
    said = capsys.readouterr().out
    params = written(project)
    assert params["dataset"] == "mine"
    assert params["datasets"]["mine"] == {
        "module": "plain",
        "source": "mine",
        "size_px": 128,
        "window_s": [0.05, 0.15],
        "margin_s": 1.0,
    }
    assert params["areas"] == {"visual": ["IT", "V4"], "control": "shuffled"}
    assert {key: params["responses"][key] for key in ("start_s", "duration_s", "n_bins")} == {
        "start_s": 0.05,
        "duration_s": 0.1,
        "n_bins": 1,
    }
    check.refuse([*check.of_sections(params), *check.of_choices(params)])
    assert "\ndvc exp run   # everything; -S parts.second_stage=false -S parts.analyses=false: a first look" in said
    # What is recommended for real recordings is what macaque V4 has, as far as it does not name the data.
    advised = set(re.findall(r"-S (\S+)", said.splitlines()[-1]))
    of_v4 = re.search(r"^WITH_cowley_v4 := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert of_v4 is not None
    others = ("areas.", "responses.", "regress.common.library_weights")
    used = {one.strip("'") for one in re.findall(r"-S (\S+)", of_v4[1])}
    assert advised == {one for one in used if not one.startswith(others)}
    assert "git add vendor/data/mine params.yaml && git commit -m mine" in said
    assert "queues and sweeps see only what is committed" in said
    # Whatever else is there stays, comments included.
    after = (project / "params.yaml").read_text()
    assert set(re.findall("#.*", before)) <= set(re.findall("#.*", after))
    assert re.findall(r"\n\n(\w+):", before) == re.findall(r"\n\n *(\w+):", after), "sections stay apart"
    others = YAML(typ="safe").load(before)
    for changed in (params, others):
        del changed["dataset"], changed["areas"], changed["datasets"]
        for key in ("start_s", "duration_s", "n_bins"):
            del changed["responses"][key]
    assert params == others
    # Again, after the source was said: it is kept.
    text = (project / "params.yaml").read_text().replace("source: mine", "source: macaque IT")
    (project / "params.yaml").write_text(text)
    assert main(["check-data", "vendor/data/mine", "--write-params", "--window", "0.05,0.15"]) == 0
    assert (project / "params.yaml").read_text() == text


def test_who_has_no_captions_is_told_what_they_would_cost(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = project / "vendor/data/mine/images.csv"
    assert main(["check-data", "vendor/data/mine", "--write-params", "--window", "0.05,0.15"]) == 0
    assert "BLIP-2" not in capsys.readouterr().out
    pictures.write_text(pictures.read_text().replace(",caption", "").replace(".png,", ".png"))
    assert main(["check-data", "vendor/data/mine", "--write-params", "--window", "0.05,0.15"]) == 0
    assert "takes 15 GB. To go without, add a column `caption`" in capsys.readouterr().out


def test_a_table_that_says_its_windows_needs_no_option(project: Path) -> None:
    table(project / "vendor/data/mine", window_s=np.array([[0.0, 0.1], [0.1, 0.2]]))
    assert main(["check-data", "vendor/data/mine", "--write-params"]) == 0
    params = written(project)
    assert params["datasets"]["mine"]["window_s"] == [0.0, 0.2]
    assert [params["responses"][key] for key in ("start_s", "duration_s", "n_bins")] == [None, None, None]
    check.refuse([*check.of_sections(params), *check.of_choices(params)])


def test_a_split_of_images_csv_is_the_one_that_is_used(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = ("train", "test", "train", "train", "test", "train")
    rows = "".join(f"{number},{number}.png,,{name}\n" for number, name in enumerate(split))
    (project / "vendor/data/mine/images.csv").write_text(f"image_id,file,caption,split\n{rows}")
    before = written(project)["split"]
    assert main(["check-data", "vendor/data/mine", "--write-params", "--window", "0.05,0.15"]) == 0
    assert ", responses between 0.05 and 0.15 s, split given by images.csv\n" in capsys.readouterr().out
    assert written(project)["split"] == before | {"method": "given"}


@pytest.mark.parametrize("method", ["given", "as_published"])
def test_the_split_of_another_data_set_is_not_left_to_a_folder_without_one(
    method: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project / "params.yaml", {"split.method": method})
    before = written(project)["split"]
    assert main(["check-data", "vendor/data/mine", "--write-params", "--window", "0.05,0.15"]) == 0
    said = f", responses between 0.05 and 0.15 s, split k_fold instead of {method} (images.csv has no column split)\n"
    assert said in capsys.readouterr().out
    assert written(project)["split"] == before | {"method": "k_fold"}
    edit(project / "params.yaml", {"split.method": "hold_out"})
    assert main(["check-data", "vendor/data/mine", "--write-params", "--window", "0.05,0.15"]) == 0
    assert ", split " not in capsys.readouterr().out
    assert written(project)["split"]["method"] == "hold_out"


def test_what_cannot_be_written_is_refused_and_nothing_is_changed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "params.yaml").read_text()

    def refused(*words: str) -> str:
        assert main(["check-data", *words, "--write-params"]) == 1
        assert (project / "params.yaml").read_text() == before
        return capsys.readouterr().err

    assert "no table says in which window it was counted. Add it: --window START,STOP" in refused("vendor/data/mine")
    table(project / "vendor/data/mine", window_s=np.array([[0.0, 0.1]]))
    said = refused("vendor/data/mine", "--window", "0.05,0.15")
    assert "tables were counted in different windows: [[0.0, 0.1]], [[0.05, 0.15]]" in said
    (project / "elsewhere").symlink_to(project / "vendor/data/mine")
    (project / "copy").mkdir()
    for name in ("images", "sessions", "images.csv", "units.csv"):
        (project / "copy" / name).symlink_to(project / "vendor/data/mine" / name)
    assert "stages read vendor/data/NAME" in refused("copy")
    for name in ("nsd", "tvsd"):
        (project / f"vendor/data/{name}").symlink_to(project / "vendor/data/mine")
        assert f"{name} is a data set of the project" in refused(f"vendor/data/{name}")
    (project / "vendor/data/mine").rename(project / "vendor/data/allen")
    assert "allen is a data set of the project. Give the folder another name" in refused("vendor/data/allen")
    (project / "vendor/data/allen/units.csv").unlink()
    assert main(["check-data", "vendor/data/allen", "--write-params"]) == 1
    assert (project / "params.yaml").read_text() == before
    with pytest.raises(SystemExit):
        main(["check-data", "vendor/data/allen", "--window", "0.2,0.1"])
    assert "'0.2,0.1' is not a start and later stop in seconds" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nsd", "tvsd"])
def test_a_folder_does_not_take_the_section_of_another_data_set(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "vendor/data/mine").rename(project / f"vendor/data/{name}")
    before = (project / "params.yaml").read_bytes()
    assert main(["check-data", f"vendor/data/{name}", "--write-params", "--window", "0.05,0.15"]) == 1
    assert f"{name} is a data set of the project. Give the folder another name" in capsys.readouterr().err
    assert (project / "params.yaml").read_bytes() == before


def test_windows_in_any_order_span_from_the_first_to_the_last(project: Path) -> None:
    table(project / "vendor/data/mine", window_s=np.array([[0.1, 0.2], [0.0, 0.1]]))
    assert main(["check-data", "vendor/data/mine", "--write-params"]) == 0
    assert written(project)["datasets"]["mine"]["window_s"] == [0.0, 0.2]
