"""What units respond to: an encoder of known places, and its table, pictures and application to new pictures."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import close
from PIL import Image

from spikevaediff.__main__ import main
from spikevaediff.encoding import encoder as encoders
from spikevaediff.encoding import receptive_fields
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.recordings import quality
from spikevaediff.report.figures import encoding_plots
from spikevaediff.tools import encode

IDS = np.arange(20)
NOTHING = np.zeros((20, 3))  # mean training response


def model() -> Encoder:
    """Three units of luminance: the first reads two windows, the second one, the third keeps its mean."""
    weights = np.array([2.0, 4.0, -3.0], np.float32)
    return Encoder(
        family_name=np.array(["luminance"]),
        family=np.array([0, 0, -1]),
        row_column=np.array([0, 0, 1]),
        row_family=np.zeros(3, np.int64),
        row_layer=np.zeros(3, np.int64),
        row_window=np.array([[0.1, 0.25, 0.5], [0.1, 0.75, 0.5], [0.05, 0.25, 0.75]]),
        row_start=np.array([0, 1, 2, 3]),
        weight=weights,
        intercept=np.array([1.0, 2.0, 5.0]),
        covariance=np.eye(3),
        shrinkage=np.array(0.1),
        image_id=IDS,
        left_out=np.zeros((20, 3)),
        r2=np.array([0.5, 0.4, 0.0]),
        n_best=np.array(2),
        unit_id=np.array([7, 8, 9]),
        session_id=np.array([1, 1, 1]),
        area=np.array(["VISp", "VISp", "VISl"]),
    )


def responses() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and measured means, single responses and their images."""
    rng = np.random.default_rng([1])
    signal = rng.normal(size=(20, 3))
    image_id = np.repeat(IDS, 6)
    x = signal[image_id] + rng.normal(size=(120, 3))
    return signal, np.stack([x[image_id == i].mean(0) for i in IDS]), x, image_id


def test_a_row_per_unit_with_place_correlation_and_ceiling() -> None:
    predicted, mean, x, image_id = responses()
    predicted[:, 2] = 5.0  # keeps its mean
    rows = receptive_fields.table(model(), predicted, mean, NOTHING, x, image_id, n_draws=4, seed=0)
    assert [(r["session_id"], r["unit_id"], r["area"], r["family"]) for r in rows] == [
        (1, 7, "VISp", "luminance"),
        (1, 8, "VISp", "luminance"),
        (1, 9, "VISl", "none"),
    ]
    # Two windows half an image apart: a mixture of variance 0.1^2 along columns and 0.1^2 + 0.25^2 along rows.
    close(np.array([rows[0][k] for k in ("row", "column", "size")]), np.array([0.5, 0.5, np.sqrt(0.01 + 0.25**2 / 2)]))
    close(np.array([rows[1][k] for k in ("row", "column", "size")]), np.array([0.25, 0.75, 0.05]))
    assert [rows[2][k] for k in ("row", "column", "size", "r")] == [None] * 4
    expected = [np.corrcoef(predicted[:, k], mean[:, k])[0, 1] for k in (0, 1)]
    close(np.array([row["r"] for row in rows[:2]]), np.array(expected))
    reliability = quality.split_half(x, image_id, n_draws=4, seed=0)[0]
    close(np.array([row["ceiling"] for row in rows]), np.sqrt(reliability))


def test_predictions_of_the_training_mean_are_worth_nothing_and_not_less() -> None:
    _, mean, x, image_id = responses()
    fold = IDS % 4
    trained = np.stack([mean[fold != k].mean(0) for k in range(4)])[fold]
    predicted = trained.astype(np.float32)
    predicted[:, 1] += mean[:, 1] - trained[:, 1]
    assert np.corrcoef(predicted[:, 0], mean[:, 0])[0, 1] < -0.1
    rows = receptive_fields.table(model(), predicted, mean, trained, x, image_id, n_draws=2, seed=0)
    assert [row["r"] for row in rows] == [0, pytest.approx(1), 0]


def test_time_windows_of_a_unit_are_added_up() -> None:
    predicted, mean, x, image_id = responses()
    one = replace(model(), unit_id=np.array([7, 7, 9]), area=np.array(["VISp", "VISp", "VISl"]))
    rows = receptive_fields.table(one, predicted, mean, NOTHING, x, image_id, n_draws=2, seed=0)
    assert [row["unit_id"] for row in rows] == [7, 9]
    assert rows[0]["r"] == pytest.approx(np.corrcoef(predicted[:, :2].sum(1), mean[:, :2].sum(1))[0, 1])
    assert rows[0]["row"] == pytest.approx((0.25 + 0.75 + 0.25) / 3)


def test_images_shown_once_have_no_ceiling_and_other_columns_are_refused() -> None:
    predicted, mean, _, _ = responses()
    rows = receptive_fields.table(model(), predicted, mean, NOTHING, mean, IDS, n_draws=2, seed=0)
    assert [row["ceiling"] for row in rows] == [None] * 3
    with pytest.raises(ValueError, match="predicted has 2 columns, the encoding model 3"):
        receptive_fields.table(model(), predicted[:, :2], mean, NOTHING, mean, IDS, n_draws=2, seed=0)


UNITS = [
    {"population": p, "area": a, "family": f, "r": r, "ceiling": c, "row": y, "column": "0.5", "size": "0.1"}
    for p, a, f, r, c, y in (
        ("visual", "VISp", "gabor", "0.8", "0.9", "0.2"),
        ("visual", "VISl", "alexnet", "0.5", "0.9", "0.7"),
        ("visual", "VISl", "none", "", "", ""),
        ("control", "CA1", "none", "-0.1", "0.0", ""),
        ("control", "VISl", "none", "-0.1", "0.0", ""),
    )
]
SETS = {
    name: {"top1": 0.5, "top1_interval": [0.3, 0.7], "chance": chance, "p_value": 0.1}
    for name, chance in (("fold", 1 / 12), ("all", 1 / 118), ("library", 1 / 2001))
}
CURVES = [
    {"population": p, "of": of, "n": n, "top1": "0.5", "low": "0.4", "high": "0.6", "chance": "0.1"}
    for p in ("visual", "control")
    for of in ("units", "presentations", "time")
    for n in ("5", "50")
]


def drawn() -> list[bytes]:
    rows = encoding_plots.identification_rows({"visual": SETS, "control": SETS}, CURVES)
    return [encoding_plots.draw_encoding(UNITS, "a test"), encoding_plots.draw_identification(rows, "a test")]


def test_pictures_have_the_same_bytes_every_time_and_no_text_at_their_edges() -> None:
    for png, again in zip(drawn(), drawn(), strict=True):
        assert png == again
        picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
            assert (edge == 255).all()
        assert picture.min() < 100


def test_a_recording_without_ceilings_is_drawn() -> None:
    assert encoding_plots.draw_encoding([row | {"ceiling": ""} for row in UNITS], "a test").startswith(b"\x89PNG")


def test_without_ceilings_the_correlations_are_shown_all_the_same() -> None:
    without = [row | {"ceiling": ""} for row in UNITS]
    others = [row | {"r": "0.4"} if row["r"] else row for row in without]
    assert encoding_plots.draw_encoding(without, "a test") != encoding_plots.draw_encoding(others, "a test")


def test_one_response_of_each_image_has_no_course_over_presentations() -> None:
    def picture(top: str) -> bytes:
        both = {"visual": SETS, "control": SETS}
        once = [row | {"n": "1", "top1": top} if row["of"] == "presentations" else row for row in CURVES]
        return encoding_plots.draw_identification(encoding_plots.identification_rows(both, once), "a test")

    assert picture("0.5") == picture("0.9")


def test_responses_without_spike_times_have_no_course_over_time() -> None:
    both = {"visual": SETS, "control": SETS}
    without = [row for row in CURVES if row["of"] != "time"]
    png = encoding_plots.draw_identification(encoding_plots.identification_rows(both, without), "a test")
    assert png.startswith(b"\x89PNG")
    assert png != drawn()[1]


def test_what_is_not_known_is_said_without_spikes_and_long_names_of_areas_have_two_lines() -> None:
    once = [row | {"n": "1"} for row in CURVES if row["of"] == "presentations"] + CURVES[:2]
    rows = encoding_plots.identification_rows({"visual": SETS}, [row for row in once if row["population"] == "visual"])
    figure = encoding_plots.draw_identification.figure(rows, "a test")
    said = [text.get_text() for axes in figure.axes for text in axes.texts if "not known" in text.get_text()]
    assert said == [
        "not known: all or some images\nhave one response",
        "not known: responses are of\none window, without times within it",
    ]
    figure = encoding_plots.draw_encoding.figure([row | {"area": "nsdgeneral"} for row in UNITS], "a test")
    titles = [axes.get_title() for axes in figure.axes]
    assert "nsdgeneral (control):\n0 of 2 units" in titles


def test_the_table_of_identification_has_candidates_then_curves() -> None:
    rows = encoding_plots.identification_rows({"visual": SETS}, CURVES[:1])
    assert [(row["of"], row["n"]) for row in rows] == [
        ("among_fold", 12),
        ("among_all", 118),
        ("among_library", 2001),
        ("units", 5),
    ]
    assert rows[-1]["top1"] == 0.5


def test_encode_writes_the_responses_of_a_saved_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model().save(tmp_path / "encoder.npz")
    rng = np.random.default_rng([4])
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((64, 64), (90, 140))]
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    out = str(tmp_path / "responses.csv")
    assert main(["encode", str(tmp_path / "encoder.npz"), *paths, "--out", out]) == 0
    assert capsys.readouterr().out == f"{out}: pictures: 2, columns: 3\n"
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["picture", "1.7", "1.8", "1.9"]
    assert [row["picture"] for row in rows] == paths
    found = np.array([[float(row[name]) for name in ("1.7", "1.8", "1.9")] for row in rows])
    expected = [encoders.predict(model(), one[None], lambda name: Path(name))[0] for one in pictures]
    close(found, np.array(expected), tolerance=1e-5)
    assert found[0, 2] == 5.0


def test_columns_of_several_windows_are_told_apart() -> None:
    assert encode.columns(replace(model(), unit_id=np.array([7, 8, 7]))) == ["1.7.0", "1.8.0", "1.7.1"]


@pytest.mark.parametrize(
    ("encoder", "picture", "message"),
    [
        ("none.npz", "a.png", "none.npz does not exist"),
        ("encoder.npz", "none.png", "none.png does not exist"),
        ("encoder.npz", "text.png", "text.png is not an image that can be read"),
        ("text.png", "a.png", "text.png is no npz file"),
        ("fit.npz", "a.png", "fit.npz is a fit, which predicts features from responses, not an encoding model"),
        ("encoder.npz", ".", " is a folder, expected a file"),
    ],
)
def test_bad_input_is_one_line(
    encoder: str, picture: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model().save(tmp_path / "encoder.npz")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no picture")
    np.savez(tmp_path / "fit.npz", method="ridge", coupling=np.zeros((1, 2, 2)))
    out = tmp_path / "out.csv"
    assert main(["encode", str(tmp_path / encoder), str(tmp_path / picture), "--out", str(out)]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not out.exists()
