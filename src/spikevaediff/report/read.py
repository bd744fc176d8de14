"""What report and page read of earlier stages, and how both rank images."""

import json
from pathlib import Path
from typing import Any

from spikevaediff.report.figures import gallery


def read_json(path: str) -> Any:
    """What a stage wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is absent or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist. Make it with: dvc repro")
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Delete it and run: dvc repro") from error


def order_unknown(sessions: str | Path = "artifacts/sessions") -> str:
    """Why nobody knows when single presentations were shown, as the data set says; no text where it is known."""
    path = Path(sessions) / "sources.json"
    return str(read_json(str(path)).get("order_unknown", "")) if path.is_file() else ""


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
    return ranked, gallery.by_rank(ranked, n_each, larger_is_better=metrics[rank_by]["larger_is_better"])
