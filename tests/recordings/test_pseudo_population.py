"""Sessions joined as if recorded at once: presentations are paired by image and turn, and nothing else is changed."""

import dataclasses

import numpy as np
import pytest

from spikevaediff.recordings.pseudo_population import concatenate
from spikevaediff.records import BLANK, Responses


def responses(session_id, image_id, n_units, *, windows_s=((0.0, 0.25),)):
    """Counts that name their origin: session digit, then row, then unit."""
    image_id = np.array(image_id)
    rows = np.arange(len(image_id))
    columns = {
        "unit_unit_id": np.arange(n_units),
        "unit_session_id": np.full(n_units, session_id),
        "unit_area": np.full(n_units, "VISp"),
    } | {
        f"unit_{c}": np.zeros(n_units)
        for c in ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio", "firing_rate")
    }
    counts = session_id * 1000 + 10 * rows[:, None, None] + np.arange(n_units)[None, :, None]
    return Responses(
        counts=np.repeat(counts, len(windows_s), 2).astype(np.uint16),
        image_id=image_id,
        presentation_id=rows[:, None] + 100 * session_id,
        session_id=np.array([session_id]),
        window_s=np.array(windows_s),
        **columns,
    )


def test_the_kth_presentation_of_an_image_is_paired_with_the_kth_of_the_other_session():
    one = responses(1, [4, BLANK, 4, 9, 4], 2)
    two = responses(2, [9, 4, 9, 4, BLANK], 3)
    joined = concatenate([one, two])
    assert joined.image_id.tolist() == [
        4,
        BLANK,
        4,
        9,
    ]  # the third 4 of session 1 and the second 9 of session 2 are cut
    assert joined.presentation_id.tolist() == [[100, 201], [101, 204], [102, 203], [103, 200]]
    assert joined.session_id.tolist() == [1, 2]
    assert joined.unit_session_id.tolist() == [1, 1, 2, 2, 2]
    np.testing.assert_array_equal(joined.counts[:, 1, 0], [1001, 1011, 1021, 1031])
    np.testing.assert_array_equal(joined.counts[:, 4, 0], [2012, 2042, 2032, 2002])


def test_concatenation_is_associative_and_one_session_stays_as_it_is():
    a, b, c = responses(1, [0, 1, 0, 1], 2), responses(2, [1, 1, 0, 0, 0], 1), responses(3, [0, 1, 1], 4)
    for joined in (concatenate([concatenate([a, b]), c]), concatenate([a, concatenate([b, c])])):
        for field in dataclasses.fields(Responses):
            np.testing.assert_array_equal(getattr(joined, field.name), getattr(concatenate([a, b, c]), field.name))
    for field in dataclasses.fields(Responses):
        np.testing.assert_array_equal(getattr(concatenate([a]), field.name), getattr(a, field.name))


def test_blanks_are_dropped_when_a_session_has_none():
    assert concatenate([responses(1, [0, BLANK, 1], 1), responses(2, [1, 0], 1)]).image_id.tolist() == [0, 1]


def test_windows_that_differ_by_rounding_are_the_same():
    joined = concatenate(
        [responses(1, [0], 1, windows_s=((0.05, 0.05 + 0.1),)), responses(2, [0], 1, windows_s=((0.05, 0.15),))]
    )
    assert joined.session_id.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("sessions", "message"),
    [
        ([], "no session to concatenate"),
        ([responses(1, [0], 1), responses(1, [0], 1)], r"sessions \[1\] are listed more than once"),
        (
            [responses(1, [0, 1, 2], 1), responses(2, [1], 1), responses(3, [0, 1], 1)],
            "session 2 lacks image_id 0, 2; session 3 lacks image_id 2",
        ),
        ([responses(1, [0], 1), responses(2, [0], 1, windows_s=((0.0, 0.5),))], "counted in different windows"),
    ],
)
def test_sessions_that_do_not_fit_together_are_refused(sessions, message):
    with pytest.raises(ValueError, match=message):
        concatenate(sessions)


def test_presentations_that_are_not_used_are_counted(capsys):
    concatenate([responses(1, [0, 1, 0, 1, 0, BLANK], 1), responses(2, [1, 0, 1, 0], 1)])
    said = capsys.readouterr().out
    assert said == (
        "session 1: 1 of 5 presentations are not used, since another session shows these images less often\n"
    )


def test_means_are_not_joined_with_single_presentations():
    means, single = responses(7, [0, 1, 2], 1), responses(8, [0, 1, 2, 0, 1, 2, 0], 1)
    assert len(concatenate([single, means]).image_id) == 3  # whole numbers: a session that showed images once
    means = dataclasses.replace(means, counts=means.counts / 3)
    with pytest.raises(ValueError, match=r"session 7 has one response to each image, session 8 several: .*Write means"):
        concatenate([single, means])
