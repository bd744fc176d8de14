"""What people wrote about the photographs: the captions of COCO 2017, found by the table of the data set.

Every photograph of COCO has five captions, some have six or seven; the first five in the order of their numbers are
taken, so that each weighs alike. Features of texts are averaged over them.
"""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np

from spikevaediff.records import Captions, few

N_CAPTIONS = 5
_SPLITS = ("train2017", "val2017")


def captions(table: Path, annotations: Path, image_id: np.ndarray) -> Captions:
    """Captions of these photographs.

    Parameters
    ----------
    table : Path
        nsd_stim_info_merged.csv: nsdId, from 0, with cocoId and cocoSplit.
    annotations : Path
        annotations_trainval2017.zip of COCO.
    image_id : int64, (n_images,)

    Raises
    ------
    ValueError
        A file is damaged or lacks a column; a photograph is not in the table, or has no caption.
    """
    coco = _numbers(table)
    if absent := [i for i in image_id.tolist() if i not in coco]:
        raise ValueError(f"{table} lacks nsdId {few(absent)} ({len(absent)} photographs that were shown)")
    sentences = _sentences(annotations)
    found = [tuple(sentences.get(coco[i], [])[:N_CAPTIONS]) for i in image_id.tolist()]
    if silent := [i for i, of_image in zip(image_id.tolist(), found, strict=True) if not of_image]:
        raise ValueError(f"{annotations} has no caption of nsdId {few(silent)} ({len(silent)} photographs)")
    return Captions(image_id, tuple(found))


def _numbers(table: Path) -> dict[int, tuple[str, int]]:
    """Split and number in COCO, by nsdId."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        columns = ("nsdId", "cocoId", "cocoSplit")
        if lacking := sorted(set(columns) - set(lines.fieldnames or ())):
            raise ValueError(f"{table} lacks the column {', '.join(lacking)}: it is not nsd_stim_info_merged.csv")
        found = {}
        for row in lines:
            try:
                number, coco = int(row["nsdId"]), int(row["cocoId"])
            except (TypeError, ValueError) as error:
                raise ValueError(f"{table}, line {lines.line_num}: nsdId and cocoId must be whole numbers") from error
            if row["cocoSplit"] not in _SPLITS:
                expected = " or ".join(_SPLITS)
                raise ValueError(
                    f"{table}, line {lines.line_num}: cocoSplit is {row['cocoSplit']!r}, expected {expected}"
                )
            found[number] = (row["cocoSplit"], coco)
    return found


def _sentences(annotations: Path) -> dict[tuple[str, int], list[str]]:
    """Captions by split and number in COCO, in the order of their own numbers."""
    found: dict[tuple[str, int], list[str]] = {}
    try:
        with zipfile.ZipFile(annotations) as archive:
            for split in _SPLITS:
                listed = json.loads(archive.read(f"annotations/captions_{split}.json"))["annotations"]
                for one in sorted(listed, key=lambda one: one["id"]):
                    # Some end in a line break.
                    if sentence := " ".join(one["caption"].split()):
                        found.setdefault((split, one["image_id"]), []).append(sentence)
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{annotations} is not annotations_trainval2017.zip, or damaged ({error}). Delete it"
        ) from error
    return found
