"""Several sessions as one: a pseudo-population."""

from collections.abc import Sequence

import numpy as np

from spikevaediff.records import BLANK, Responses, UnitTable, few, same_windows


def concatenate(responses: Sequence[Responses]) -> Responses:
    """A pseudo-population: the units of several sessions as if recorded at once.

    The k-th presentation of an image in one session is paired with its k-th in the others. Presentations that some
    session lacks are cut off, and a line says how many; rows keep the order of the first session. What an image evokes
    in each unit is kept. What units of different sessions share from one presentation to the next (noise correlations,
    running, drift) is destroyed, so single-presentation decoding of a pseudo-population is an upper bound, not a
    measurement.

    Parameters
    ----------
    responses : sequence of Responses
        At least one, of different sessions, counted in the same windows. Each shows all images.

    Returns
    -------
    Responses
        presentation_id has one column for each session. Blanks are dropped when some session has none.

    Raises
    ------
    ValueError
        Nothing to join; windows differ; a session comes twice; a session lacks images that another shows, or has one
        row per image, such as means, where another has several.
    """
    if not responses:
        raise ValueError("no session to concatenate: list at least one")
    first = responses[0]
    session_id = np.concatenate([r.session_id for r in responses])
    values, times = np.unique(session_id, return_counts=True)
    if np.any(times > 1):
        raise ValueError(f"sessions {values[times > 1].tolist()} are listed more than once")
    for other in responses[1:]:
        if not same_windows(other.window_s, first.window_s):
            raise ValueError(
                f"sessions were counted in different windows: {first.window_s.tolist()} in "
                f"{first.session_id.tolist()}, {other.window_s.tolist()} in {other.session_id.tolist()}. "
                f"Re-run: dvc repro responses"
            )
    shown = np.unique(np.concatenate([r.image_id for r in responses]))
    n_shown = np.stack([np.bincount(np.searchsorted(shown, r.image_id), minlength=len(shown)) for r in responses])
    lacking = (n_shown == 0) & (shown != BLANK)
    if lacking.any():
        names = "; ".join(
            f"session {', '.join(map(str, r.session_id))} lacks image_id {few(shown[missing])}"
            for r, missing in zip(responses, lacking, strict=True)
            if missing.any()
        )
        raise ValueError(f"sessions do not share all images: {names}. Leave these sessions out")
    _check_repeats(responses, n_shown[:, shown != BLANK])
    n_paired = dict(zip(shown.tolist(), n_shown.min(0).tolist(), strict=True))

    def row_of_presentation(r: Responses) -> dict[tuple[int, int], int]:
        seen: dict[int, int] = {}
        rows = {}
        for row, image in enumerate(r.image_id.tolist()):
            k = seen.get(image, 0)
            seen[image] = k + 1
            if k < n_paired[image]:
                rows[image, k] = row
        return rows

    presentations = list(row_of_presentation(first))
    rows = [np.array([found[s] for s in presentations], np.int64) for found in map(row_of_presentation, responses)]
    tables = [r.units for r in responses]
    return Responses.make(
        counts=np.concatenate([r.counts[chosen] for r, chosen in zip(responses, rows, strict=True)], axis=1),
        image_id=first.image_id[rows[0]],
        presentation_id=np.concatenate(
            [r.presentation_id[chosen] for r, chosen in zip(responses, rows, strict=True)], axis=1
        ),
        session_id=session_id,
        window_s=first.window_s,
        units=UnitTable(**{name: np.concatenate([getattr(t, name) for t in tables]) for name in vars(tables[0])}),
    )


def _check_repeats(responses: Sequence[Responses], n_shown: np.ndarray) -> None:
    """Refuse means beside single presentations, and say how many presentations are not used.

    n_shown : int64, (n_sessions, n_images)
    """
    # Whole numbers are single presentations, of a session that shows images once.
    fractions = np.array([not np.issubdtype(one.counts.dtype, np.integer) for one in responses])
    once = (n_shown.max(1) == 1) & fractions
    several = np.median(n_shown, axis=1) > 1
    if once.any() and several.any():
        first, other = (responses[int(np.flatnonzero(of)[0])].session_id.tolist() for of in (once, several))
        raise ValueError(
            f"session {few(first)} has one response to each image, session {few(other)} several: joined, they would "
            f"have one presentation of each image, and the others would be lost. Write means for all sessions or "
            f"single presentations for all, or leave sessions out"
        )
    for one, unused in zip(responses, (n_shown - n_shown.min(0)).sum(1).tolist(), strict=True):
        if unused:
            n = int(np.sum(one.image_id != BLANK))
            print(
                f"session {few(one.session_id.tolist())}: {unused} of {n} presentations are not used, since another "
                f"session shows these images less often"
            )
