"""Images chosen by the rank of their score: the best, the middle and the worst, never by hand."""

from typing import Any


def by_score(scores: dict[int, float], *, larger_is_better: bool) -> list[int]:
    """Ids of all images, the best first; ties in the order of ids. Scores are by image_id."""
    return sorted(scores, key=lambda image_id: (-scores[image_id] if larger_is_better else scores[image_id], image_id))


def by_rank(scores: dict[int, float], n_each: int, *, larger_is_better: bool) -> dict[str, list[int]]:
    """Ids of the best, the middle and the worst images.

    Parameters
    ----------
    scores : dict of image_id to score
    n_each : int
        Images per group, fewer where there are not 3 * n_each.
    larger_is_better : bool
        The sense of the score.

    Returns
    -------
    dict with the keys best, median, worst
        Each best first; ties in the order of ids; no image twice. Of two images, best and worst.

    Raises
    ------
    ValueError
        n_each is not positive, or there are fewer than two images.
    """
    if n_each < 1 or len(scores) < 2:
        raise ValueError(
            f"a gallery needs two images, and 1 or more of each group; got n_each = {n_each} and {len(scores)} images"
        )
    order = by_score(scores, larger_is_better=larger_is_better)
    if len(order) == 2:
        return {"best": order[:1], "worst": order[1:]}
    n_each = min(n_each, len(order) // 3)
    middle = (len(order) - n_each) // 2
    return {"best": order[:n_each], "median": order[middle : middle + n_each], "worst": order[-n_each:]}


def ranked_groups(
    metrics: dict[str, dict[str, Any]], *, rank_by: str, n_each: int
) -> tuple[dict[int, float], dict[str, list[int]]]:
    """The score of every image by one metric, and the best, the middle and the worst images.

    Raises
    ------
    ValueError
        There are no scores of that metric; the message lists those there are.
    """
    there = [name for name, metric in metrics.items() if metric["absent"] is None]
    if rank_by not in there:
        raise ValueError(f"params.yaml: report.rank_by is {rank_by!r}, but there are scores of: {', '.join(there)}")
    ranked = {int(i): score for i, score in metrics[rank_by]["scores"].items()}
    return ranked, by_rank(ranked, n_each, larger_is_better=metrics[rank_by]["larger_is_better"])
