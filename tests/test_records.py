"""Records refuse what does not fit together, come back from disk as they were, and are found by id."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spikevaediff.records import (
    BLANK,
    Features,
    ImageSplit,
    Reconstructions,
    Responses,
    Samples,
    Stimuli,
    UnitTable,
    few,
    group_edges,
    read_npz,
    rows_of,
)


def units(n: int) -> UnitTable:
    metrics = {name: np.linspace(0, 1, n) for name in UnitTable.METRICS}
    metrics["snr"][0] = np.nan
    return UnitTable.make(np.arange(n) + 10, 7, np.array(["VISp", "LGd", "CA1"])[np.arange(n) % 3], **metrics)


def test_units_of_which_little_is_known_have_nan_for_the_rest() -> None:
    table = UnitTable.make(np.arange(2), 3, "V4", snr=np.array([1.0, 2.0]))
    assert (table.session_id.tolist(), table.area.tolist(), table.snr.tolist()) == ([3, 3], ["V4", "V4"], [1.0, 2.0])
    assert [field.name for field in dataclasses.fields(UnitTable)] == ["unit_id", "session_id", "area", *table.METRICS]
    assert all(np.isnan(getattr(table, name)).all() for name in table.METRICS if name != "snr")
    with pytest.raises(ValueError, match="UnitTable: columns differ in length"):
        UnitTable.make(np.arange(2), 3, np.array(["V4"]))
    with pytest.raises(TypeError, match="quality"):
        UnitTable.make(np.arange(2), 3, "V4", quality=np.ones(2))


def responses(**changes: Any) -> Responses:
    rng = np.random.default_rng([0])
    parts: dict[str, Any] = {
        "counts": rng.poisson(2.0, (5, 3, 2)).astype(np.uint16),
        "image_id": np.array([4, BLANK, 0, 4, 0]),
        "presentation_id": np.arange(5)[:, None],
        "session_id": np.array([7]),
        "window_s": np.array([[0.0, 0.1], [0.1, 0.2]]),
        "units": units(3),
    }
    return Responses.make(**parts | changes)


def features(**changes: Any) -> Features:
    parts: dict[str, Any] = {
        "space": "vdvae",
        "image_id": np.array([9, 2, 5]),
        "values": np.arange(12, dtype=np.float32).reshape(3, 4),
        "group_name": np.array(["00", "01"]),
        "group_size": np.array([1, 3]),
    }
    return Features(**parts | changes)


def stimuli(**changes: Any) -> Stimuli:
    pixels = np.random.default_rng([1]).integers(0, 256, (3, 6, 8), dtype=np.uint8)
    parts: dict[str, Any] = {"source": "a test", "image_id": np.array([3, 1, 2]), "pixels": pixels}
    return Stimuli(**parts | changes)


def reconstructions(**changes: Any) -> Reconstructions:
    pixels = np.random.default_rng([2]).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    parts: dict[str, Any] = {"image_id": np.array([0, 12, 117]), "pixels": pixels}
    return Reconstructions(**parts | changes)


def split() -> ImageSplit:
    return ImageSplit(np.array([1, 2, 5, 9]), np.array([0, 1, -1, 0]))


RECORDS = [responses(), stimuli(), split(), features()]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_disk_as_it_was_and_twice_in_the_same_bytes(record: Any, tmp_path: Path) -> None:
    record.save(tmp_path / "a.npz")
    record.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = type(record).load(tmp_path / "a.npz")
    for field in dataclasses.fields(record):
        before, after = getattr(record, field.name), getattr(again, field.name)
        assert type(before) is type(after)
        np.testing.assert_array_equal(before, after)
        assert np.asarray(before).dtype == np.asarray(after).dtype


def test_a_file_of_another_record_is_refused(tmp_path: Path) -> None:
    split().save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a.npz holds \['fold', 'image_id'\], expected the fields of Stimuli"):
        Stimuli.load(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=f"{tmp_path} is a folder, expected a file"):
        Features.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none.npz does not exist. Make it with: dvc repro"):
        Stimuli.load(tmp_path / "none.npz")


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    features().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a.npz is damaged \(.*\). Write it again"):
            Features.load(path)


def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    features().save(path)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = Features.load(path)
        except ValueError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.values, features().values)
            np.testing.assert_array_equal(found.image_id, features().image_id)
    assert refused > 0.5 * len(whole)  # the others are times, attributes and other fields of the archive's directory


def test_an_array_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"a.npy is no npz file"):
        Features.load(tmp_path / "a.npy")


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features().save(tmp_path / "a.npz")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "a.npz")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: 'a.npz'"):
        Features.load(tmp_path / "a.npz")


@pytest.mark.parametrize("n", [1, 5, 50])
def test_rows_are_found_by_id(n: int) -> None:
    rng = np.random.default_rng([n])
    present = rng.permutation(10 * n)[:n]
    wanted = rng.choice(present, 2 * n)  # in any order, repeated
    expected = [present.tolist().index(i) for i in wanted.tolist()]
    assert rows_of(wanted, present, "x").tolist() == expected
    assert rows_of(np.array([], np.int64), present, "x").tolist() == []


def test_missing_ids_are_counted_and_named() -> None:
    with pytest.raises(KeyError, match=r"the file lacks image_id 7, 8 \(2 of 3 asked for\)"):
        rows_of(np.array([7, 1, 8]), np.array([1, 2]), "the file")
    with pytest.raises(KeyError, match=r"7, \.\.\. \(20 of 20 asked for\)"):
        rows_of(np.arange(20), np.array([30]), "the file")


def test_records_give_rows_by_id() -> None:
    np.testing.assert_array_equal(features().rows(np.array([5, 9])), features().values[[2, 0]])
    np.testing.assert_array_equal(stimuli().rows(np.array([2, 3])), stimuli().pixels[[2, 0]])
    np.testing.assert_array_equal(reconstructions().rows(np.array([117])), reconstructions().pixels[[2]])
    for record, name in (
        (features(), "feature space vdvae"),
        (stimuli(), "Stimuli"),
        (reconstructions(), "Reconstructions"),
    ):
        with pytest.raises(KeyError, match=f"{name} lacks image_id 99"):
            record.rows(np.array([99]))


def test_units_are_taken_by_position_or_mask() -> None:
    table = units(4)
    assert len(table.take(np.array([2, 0]))) == 2
    assert table.take(table.area == "LGd").unit_id.tolist() == [11]
    assert responses().units.area.tolist() == units(3).area.tolist()


def test_a_split_gives_each_fold_all_other_images_to_train_on() -> None:
    train, test = split().ids(0)
    assert (train.tolist(), test.tolist()) == ([2, 5], [1, 9])
    train, test = split().ids(1)
    assert (train.tolist(), test.tolist()) == ([1, 5, 9], [2])
    assert split().test_ids.tolist() == [1, 2, 9]
    assert split().n_folds == 2


REFUSED = [
    (lambda: responses(counts=np.zeros((5, 3), np.uint16)), "counts has shape (5, 3), expected 3 axes"),
    (lambda: responses(counts=np.zeros((5, 3, 2), bool)), "counts is bool, not whole numbers"),
    (lambda: responses(image_id=np.arange(4)), "differ in length: {'counts': 5, 'image_id': 4"),
    (lambda: responses(presentation_id=np.arange(10).reshape(5, 2)), "does not match 1 sessions"),
    (lambda: responses(window_s=np.array([[0.0, 0.1]])), "window_s (1, 2) does not match 2 windows"),
    (lambda: responses(units=units(4)), "4 units listed, 3 counted"),
    (lambda: units(3).take(np.array([1, 1])), "(session_id, unit_id) must be unique, but [[7, 11]]"),
    (lambda: dataclasses.replace(units(3), area=np.array(["LP"])), "columns differ in length"),
    (lambda: stimuli(pixels=np.zeros((3, 2, 2, 3), np.uint8)), "expected (image, row, column)"),
    (lambda: stimuli(pixels=np.zeros((3, 2, 2))), "pixels is float64, expected uint8 in 0..255"),
    (lambda: stimuli(image_id=np.array([1, 1, 2])), "image_id must be unique, but [1] occur"),
    (lambda: ImageSplit(np.array([2, 1]), np.array([0, 1])), "image_id must be sorted"),
    (lambda: ImageSplit(np.array([BLANK, 1]), np.array([0, 1])), "the blank (-1) is not an image"),
    (lambda: ImageSplit(np.arange(3), np.array([0, 2, 2])), "0, 1, ... without a gap, got [0, 2]"),
    (lambda: ImageSplit(np.arange(3), np.full(3, -1)), "without a gap, got []"),
    (lambda: ImageSplit(np.arange(3), np.zeros(3, int)), "fold 0 leaves no image to train on"),
    (lambda: features(values=np.zeros((3, 4))), "values is float64, expected float32"),
    (lambda: features(values=np.zeros(3, np.float32)), "expected (image, dim)"),
    (lambda: features(group_size=np.array([1, 1])), "groups add up to 2 dims, values has 4"),
    (lambda: features(values=np.full((3, 4), np.nan, np.float32)), "not finite for image_id [9, 2, 5]"),
    (lambda: reconstructions(pixels=np.zeros((3, 2, 2), np.uint8)), "expected uint8 (image, row, column, 3)"),
    (lambda: reconstructions(pixels=np.zeros((3, 2, 2, 3))), "pixels is float64"),
    (lambda: reconstructions(image_id=np.array([1, 1, 2])), "image_id must be unique"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_parts_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_reconstructions_come_back_from_their_folder(tmp_path: Path) -> None:
    reconstructions().save(tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["0000.png", "0012.png", "0117.png"]
    again = Reconstructions.load(tmp_path / "run")
    np.testing.assert_array_equal(again.image_id, reconstructions().image_id)
    np.testing.assert_array_equal(again.pixels, reconstructions().pixels)


def test_reconstructions_are_loaded_in_the_order_of_their_ids(tmp_path: Path) -> None:
    reconstructions(image_id=np.array([10_000, 9_999, 3])).save(tmp_path / "run")
    assert Reconstructions.load(tmp_path / "run").image_id.tolist() == [3, 9_999, 10_000]


def test_saving_again_removes_images_of_before(tmp_path: Path) -> None:
    reconstructions().save(tmp_path / "run")
    reconstructions(image_id=np.array([1, 2, 3])).save(tmp_path / "run")
    assert Reconstructions.load(tmp_path / "run").image_id.tolist() == [1, 2, 3]


def test_a_folder_that_is_not_one_of_reconstructions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none holds no PNG. Make it with: dvc repro"):
        Reconstructions.load(tmp_path / "none")
    folder = tmp_path / "run"
    reconstructions().save(folder)
    whole = (folder / "0012.png").read_bytes()
    for length in (0, 10, len(whole) // 2):
        (folder / "0012.png").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"0012.png is damaged .* Delete .*run and run: dvc repro"):
            Reconstructions.load(folder)
    (folder / "0012.png").rename(folder / "a view.png")
    with pytest.raises(ValueError, match=r"a view.png is not named after an image_id, as in 0042.png. Remove it"):
        Reconstructions.load(folder)
    (folder / "a view.png").unlink()
    Image.new("RGB", (2, 2)).save(folder / "0012.png")
    with pytest.raises(ValueError, match=r"run mixes image sizes \[\(2, 2, 3\), \(6, 5, 3\)\]"):
        Reconstructions.load(folder)


def test_the_fold_of_an_image_is_found_by_its_id() -> None:
    assert split().fold_of(np.array([9, 5, 2])).tolist() == [0, -1, 1]
    with pytest.raises(KeyError, match="the split lacks image_id 3"):
        split().fold_of(np.array([1, 3]))


def test_a_changed_byte_of_a_compressed_archive_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path, a = tmp_path / "a.npz", np.arange(40)
    np.savez_compressed(path, a=a)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = read_npz(path)
        except ValueError as error:
            assert "a.npz is damaged" in str(error)  # noqa: PT017
        else:
            np.testing.assert_array_equal(next(iter(found.values())), a)


def test_groups_of_columns_begin_where_those_before_them_end() -> None:
    edges = group_edges(np.array([2, 1, 3]))
    assert edges.tolist() == [0, 2, 3, 6]
    assert edges.dtype == np.int64
    assert group_edges(np.empty(0, np.int64)).tolist() == [0]


def test_a_message_names_eight_values_at_most() -> None:
    assert few([3]) == "3"
    assert few(np.arange(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert few(np.arange(9)) == "0, 1, 2, 3, 4, 5, 6, 7, ..."


def test_samples_of_a_search_that_diverged_are_refused_and_not_black() -> None:
    samples = np.full((3, 2, 4, 4), 0.5)
    samples[1, 0, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"samples for image_id 8 are not finite: the search for an image diverged"):
        Samples.rounded(np.array([7, 8, 9]), samples)
    assert (Samples.rounded(np.array([7, 9]), samples[::2]).pixels == 128).all()
