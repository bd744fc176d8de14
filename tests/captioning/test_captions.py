"""Captions by image_id, one or several per image, and what is said of files that are not such a table."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from spikevaediff.records import Captions


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "captions.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_the_embedded_captions_are_one_sentence_an_image() -> None:
    captions = Captions.load(ROOT / "vendor/data/simulated/captions.csv")
    np.testing.assert_array_equal(captions.image_id, np.arange(118))
    assert {len(sentences) for sentences in captions.sentences} == {1}


def test_captions_are_found_by_id_and_not_by_position(tmp_path: Path) -> None:
    path = written(tmp_path, 'image_id,caption\n7,"A dog, a ball."\n3, Café at night \n7,Two dogs\n12,\n')
    captions = Captions.load(path)
    assert captions.image_id.tolist() == [7, 3, 12]
    assert captions.sentences == (("A dog, a ball.", "Two dogs"), ("Café at night",), ())
    chosen = captions.of(np.array([12, 7]))
    assert chosen.image_id.tolist() == [12, 7]
    assert chosen.sentences == ((), ("A dog, a ball.", "Two dogs"))


def test_an_image_without_a_line_is_named(tmp_path: Path) -> None:
    captions = Captions.load(written(tmp_path, "image_id,caption\n1,A cat\n2,\n"))
    with pytest.raises(KeyError, match=r"captions.csv lacks image_id 5, 8 \(2 of 4 asked for\)"):
        captions.of(np.array([1, 2, 5, 8]))


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert Captions.load(written(tmp_path, "image_id,caption\r\n1,A cat\r\n", "utf-8-sig")).sentences == (("A cat",),)


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        ("", "utf-8", r"begins with '', expected image_id,caption"),
        ("id,text\n1,a\n", "utf-8", r"begins with 'id,text', expected image_id,caption"),
        ("image_id,caption\n1,a\n2,a, b\n", "utf-8", r"line 3 has 3 values, expected .* commas in \"double quotes\""),
        ("image_id,caption\n1\n", "utf-8", "line 2 has 1 values"),
        ("image_id,caption\none,a\n", "utf-8", "line 2: image_id is 'one', expected a whole number"),
        ("image_id,caption\n-1,a\n", "utf-8", "line 2: image_id is '-1', expected a whole number"),
        ('image_id,caption\n1,"a\n', "utf-8", r"line 2 cannot be read \(unexpected end of data\): check its quotes"),
        ("image_id,caption\n1,café\n", "latin-1", r"captions.csv is not UTF-8 .* Save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_captions_is_refused(tmp_path: Path, text: str, encoding: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Captions.load(written(tmp_path, text, encoding))


def test_no_file_and_records_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"captions.csv does not exist. Make it with: dvc repro acquire"):
        Captions.load(tmp_path / "captions.csv")
    with pytest.raises(ValueError, match="2 image_id, 1 lists"):
        Captions(np.array([1, 2]), (("a",),))
    with pytest.raises(ValueError, match="image_id must be unique"):
        Captions(np.array([1, 1]), (("a",), ("b",)))


def test_each_distinct_sentence_is_asked_for_once_and_images_have_the_mean_of_theirs() -> None:
    asked: list[list[str]] = []

    def contexts(sentences: list[str]) -> np.ndarray:
        asked.append(sentences)
        return np.array([[[len(sentence), ord(sentence[0])] if sentence else [0, -1]] for sentence in sentences], "f4")

    captions = Captions(np.array([5, 2, 9, 7]), (("a", "bbb"), (), ("bbb",), ()))
    found = captions.mean_context(contexts)
    assert asked == [["a", "bbb", ""]]
    np.testing.assert_array_equal(found[:, 0], [[2, (97 + 98) / 2], [0, -1], [3, 98], [0, -1]])
    assert found.dtype == np.float32
