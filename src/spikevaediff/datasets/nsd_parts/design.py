"""Which photograph was shown in which trial: nsd_expdesign.mat, and the splits that follow from it.

Matlab counts from 1, here everything counts from 0: the image_id of a photograph is its row in nsd_stimuli.hdf5.
Trial t of a subject is row t % 750 of session t // 750 + 1. All subjects have one order of their own 10,000 images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from spikevaediff.records import few


@dataclass(frozen=True)
class Design:
    """What one subject would have seen in all sessions.

    image_id : int64, (n_trials,); of every trial in its order.
    shared : int64, (n_shared,), sorted; photographs that are planned for all subjects.
    """

    image_id: np.ndarray
    shared: np.ndarray


def read(path: Path, subject: int, n_images: int) -> Design:
    """The design of a subject, 1 to 8, of `n_images` photographs in all.

    image_id[t] = subjectim[subject - 1, masterordering[t] - 1] - 1.

    Raises
    ------
    ValueError
        It is not such a file, numbers are out of range, or `masterordering` and `sharedix` contradict each other.
    """
    names = ("masterordering", "subjectim", "sharedix")
    try:
        found = loadmat(path, variable_names=names)
    except (MatReadError, ValueError, OSError, NotImplementedError, TypeError) as error:
        raise ValueError(f"{path} is no .mat file up to version 7, or damaged ({error}). Delete it") from error
    if lacking := [name for name in names if name not in found]:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: it is not nsd_expdesign.mat")
    order, of_subjects, shared = (np.asarray(found[name]).astype(np.int64) for name in names)
    order, shared = order.ravel(), shared.ravel()
    if of_subjects.ndim != 2 or not 1 <= subject <= len(of_subjects):
        raise ValueError(f"{path}: subjectim is {of_subjects.shape}, expected a row for each subject up to {subject}")
    mine = of_subjects[subject - 1]
    for name, values, most in (
        ("masterordering", order, len(mine)),
        ("subjectim", mine, n_images),
        ("sharedix", shared, n_images),
    ):
        if values.min() < 1 or values.max() > most:
            raise ValueError(f"{path}: {name} spans {values.min()} to {values.max()}, expected 1 to {most}")
    if len(np.unique(mine)) < len(mine):
        raise ValueError(f"{path}: subjectim lists a photograph of subject {subject} twice")
    # Two ways to say which photographs are shared; they part where rows were read as columns, or ids count from 0.
    if set(mine[: len(shared)].tolist()) != set(shared.tolist()):
        raise ValueError(
            f"{path}: the first {len(shared)} photographs of subject {subject} are not those of sharedix, which they "
            f"are in nsd_expdesign.mat"
        )
    return Design(mine[order - 1] - 1, np.sort(shared - 1))


def sessions_of(row: Mapping[str, Any], wanted: int | Sequence[int] | str) -> list[int]:
    """The numbers, from 1, of the sessions that the option `sessions` asks for: all, the first n, or a list.

    Raises
    ------
    ValueError
        There are no such sessions, or one is named twice.
    """
    n = row["sessions"]
    if wanted == "all":
        return list(range(1, n + 1))
    if isinstance(wanted, int) and 1 <= wanted <= n:
        return list(range(1, wanted + 1))
    if isinstance(wanted, list) and wanted and len(set(wanted)) == len(wanted) and 1 <= min(wanted) <= max(wanted) <= n:
        return sorted(wanted)
    raise ValueError(
        f"datasets.nsd.sessions is {wanted!r}, expected all, a number n (the first n), or a list of different "
        f"ones, of the {n} sessions of subject {row['subject']}"
    )


def trials_of(design: Design, sessions: Sequence[int], n_trials: int) -> np.ndarray:
    """The trials of some sessions of `n_trials` each, int64 (n_sessions * n_trials,), in their order.

    Raises
    ------
    ValueError
        The design ends before.
    """
    trials = (np.array(sessions)[:, None] - 1) * n_trials + np.arange(n_trials)
    if trials.max() >= len(design.image_id):
        raise ValueError(f"the design has {len(design.image_id)} trials, too few for session {max(sessions)}")
    return trials.ravel()


def facts(design: Design, trials: np.ndarray) -> dict[str, int]:
    """What is known of a subject from publications, as found here."""
    images, times = np.unique(design.image_id[trials], return_counts=True)
    return {
        "trials": len(trials),
        "images": len(images),
        "images_three_times": int(np.sum(times == 3)),
        "shared": int(np.isin(images, design.shared).sum()),
    }


def shared_test(design: Design, images: np.ndarray) -> np.ndarray:
    """Which images the split shared1000 tests, bool (n_images,): whatever was shown of the shared ones.

    Raises
    ------
    ValueError
        All of them, or none.
    """
    tested = np.isin(images, design.shared)
    if tested.all() or not tested.any():
        raise ValueError(
            f"{int(tested.sum())} of {len(images)} photographs of these sessions are shared ones ({few(images)}), so "
            f"that there is nothing to train on, or nothing to test. Take more sessions: datasets.nsd.sessions"
        )
    return tested
