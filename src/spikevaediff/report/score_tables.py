"""The tables of scores in README.md and docs/: python -m spikevaediff.report.score_tables writes them anew.

The simulated session's numbers are those of metrics/metrics.json. Those of macaque V4 and of other simulated runs,
whose results Git does not keep, stand in docs/cowley-v4.json and docs/simulated.json, with the commands that gave them.
Those of V4 are taken from a checkout in which such a run has ended:

    python -m spikevaediff.report.score_tables --from CHECKOUT --name 201025 --command "make repro DATASET=cowley_v4"
"""

import argparse
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikevaediff.files.atomic import replacing

# Runs and scores of the short table, as a reader calls them.
RUNS = {
    "posterior": "posterior mean",
    "posterior_sample": "one sample of the posterior",
    "diffusion": "second stage",
    "posterior_control": "the same from control units or shuffled responses",
    "ceiling": "true latents decoded: ceiling",
}
SCORES = {
    "pixcorr": "PixCorr ↑",
    "alexnet2": "AlexNet-2 ↑",
    "alexnet5": "AlexNet-5 ↑",
    "efficientnet_lite0": "EfficientNet ↓",
}
FALL = {"lpips", "efficientnet_lite0"}  # the smaller the better
Means = dict[str, dict[str, float]]


def short(sessions: dict[str, Means]) -> str:
    """A few runs of every session in a Markdown table, and the share of unseen images identified.

    Parameters
    ----------
    sessions : dict
        What a session is -> run -> score -> mean, as metrics.json has them for one data set.
    """
    lines = [f"| | {' | '.join(SCORES.values())} |", "|" + "---|" * (len(SCORES) + 1)]
    for what, means in sessions.items():
        identified = means.get("identification", {})
        share = f"; {identified['top1_all']:.0%} of unseen images identified" if "top1_all" in identified else ""
        lines.append(f"| **{what}**{share} | | | | |")
        for run, words in RUNS.items():
            if run in means:
                cells = [f"{means[run][name]:.2f}" if name in means[run] else "" for name in SCORES]
                lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def every(means: Means) -> str:
    """All runs that were scored and all scores of one session in a Markdown table; arrows point to better."""
    names = list(dict.fromkeys(name for of_run in means.values() for name in of_run))
    heads = [name if name == "top1_chance" else f"{name} {'↓' if name in FALL else '↑'}" for name in names]
    lines = [f"| run | {' | '.join(heads)} |", "|" + "---|" * (len(names) + 1)]
    lines += [f"| {run} | {' | '.join(str(m.get(name, '')) for name in names)} |" for run, m in means.items() if m]
    return "\n".join(lines)


def put(path: Path, name: str, table: str) -> None:
    """Replace what stands between the marks of a table in a page."""
    text, n = re.subn(
        rf"(<!-- table:{name} -->\n).*?(<!-- /table:{name} -->)",
        lambda found: f"{found[1]}{table}\n{found[2]}",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if n != 1:
        raise ValueError(f"{path} has {n} tables marked {name}, expected one")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def taken(checkout: Path, command: str) -> dict[str, Any]:
    """What docs/cowley-v4.json keeps of a run: how it was made, its means, and the intervals that the page states.

    Parameters
    ----------
    checkout : Path
        In which the run has ended.
    command : str
        That gave it.

    Returns
    -------
    dict
        means: run -> score -> mean, as in metrics/metrics.json. intervals: as in metrics/statistics.json, of runs and
        of differences of two, score -> [low, high] and for runs Holm's p; of identification, in what -> [low, high].

    Raises
    ------
    FileNotFoundError
        The run has not ended: its first stage withdraws metrics/, its last ones write them.
    """
    read = []
    for name in ("metrics", "statistics"):
        path = checkout / f"metrics/{name}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: no run has ended in {checkout}. Finish it: dvc repro")
        (of_data_set,) = json.loads(path.read_text(encoding="utf-8")).values()
        read.append(of_data_set)
    means, statistics = read
    intervals = {
        run: {score: [of[key] for key in ("low", "high", "p_holm") if key in of] for score, of in scores.items()}
        for run, scores in {**statistics["runs"], **statistics["differences"]}.items()
    }
    for population, among in statistics["identification"].items():
        intervals[f"identification of {population}"] = {name: of["top1_interval"] for name, of in among.items()}
    asked = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(asked, cwd=checkout, capture_output=True, encoding="utf-8", check=True)
    return {"command": command, "commit": head.stdout.strip(), "means": means, "intervals": intervals}


def as_rows(content: Mapping[str, Any], depth: int = 3) -> str:
    """JSON with a line for each run: below `depth`, an object stands on one line."""
    if depth == 0:
        return json.dumps(content)
    cells = [
        f"{json.dumps(key)}: {as_rows(value, depth - 1) if isinstance(value, Mapping) else json.dumps(value)}"
        for key, value in content.items()
    ]
    indent = " " * (4 - depth)
    return "{\n" + ",\n".join(indent + cell for cell in cells) + "\n" + indent[1:] + "}"


def write(root: Path = Path()) -> None:
    """Write the tables of all pages."""
    simulated = json.loads((root / "metrics/metrics.json").read_text(encoding="utf-8"))["simulated"]
    real = json.loads((root / "docs/cowley-v4.json").read_text(encoding="utf-8"))
    others = json.loads((root / "docs/simulated.json").read_text(encoding="utf-8"))
    sessions = {
        "Simulated spikes: 333 units of the mouse's visual system, 118 photographs": simulated,
        **{of_run["what"]: of_run["means"] for of_run in others.values()},
        "Real spikes: 89 units of macaque V4, 118 photographs": real["201025"]["means"],
    }
    put(root / "README.md", "short", short(sessions))
    put(root / "docs/scores.md", "scores", every(simulated))
    for name, of_run in others.items():
        put(root / "docs/scores.md", name, every(of_run["means"]))
    for session, of_session in real.items():
        put(root / "docs/cowley-v4.md", session, every(of_session["means"]))


def main(words: Sequence[str] | None = None, root: Path = Path()) -> None:
    """Take the numbers of a run, if one is named, and write the tables."""
    parser = argparse.ArgumentParser(description="Write the tables of scores in README.md and docs/.")
    parser.add_argument("--from", dest="checkout", type=Path, help="checkout in which a run on macaque V4 has ended")
    parser.add_argument("--name", help="of its table in docs/cowley-v4.md, such as 201025")
    parser.add_argument("--command", help="that gave it")
    chosen = parser.parse_args(words)
    if chosen.checkout:
        if not (chosen.name and chosen.command):
            parser.error("--from needs --name and --command")
        path = root / "docs/cowley-v4.json"
        known = json.loads(path.read_text(encoding="utf-8"))
        known[chosen.name] = taken(chosen.checkout, chosen.command)
        with replacing(path) as temporary:
            temporary.write_text(as_rows(known) + "\n", encoding="utf-8")
    write(root)


if __name__ == "__main__":
    main()
