"""What a run found and what it does not show, in sentences that follow from its numbers alone.

Nothing is said that is not computed: a run at chance says so, a control above chance says so, and what is absent is
left out.
"""

from typing import Any

from spikevaediff.parameters.runs import Runs
from spikevaediff.report.facts import Facts, listed

LEVEL = 0.05  # of corrected p-values
NAMES = {
    "pixcorr": "pixel correlation",
    "ssim": "SSIM",
    "lpips": "LPIPS",
}

Worth = dict[str, Any]  # mean, low, high, chance, p, p_holm, n


def found(evidence: dict[str, Any], facts: Facts, wanted: Runs, *, rank_by: str) -> list[str]:
    """Against chance, control, ceilings and the mean image.

    Parameters
    ----------
    evidence : dict
        One data set of metrics/statistics.json.
    facts : Facts
    wanted : Runs
    rank_by : str
        The metric whose numbers are told.

    Returns
    -------
    list of str
        Sentences, the most important first.
    """
    runs, lead = evidence["runs"], wanted.lead
    control, name = f"{lead}_control", NAMES.get(rank_by, rank_by)
    told = [_against_chance(runs, lead, _n_tests(evidence)), _headline(runs[lead].get(rank_by), name)]
    told += [_identified(population, of, facts) for population, of in evidence["identification"].items()]
    if control in runs:
        gain = evidence["differences"].get(f"{lead} - {control}", {}).get(rank_by)
        told.append(_against_control(runs[control], gain, facts.control, name))
    better = evidence["metrics"][rank_by]["larger_is_better"]
    told.append(_ceilings(runs, lead, evidence["ceilings"].get(rank_by, {}), rank_by, name, better))
    if rank_by in runs.get("mean", {}):
        gain = evidence["differences"].get(f"{lead} - mean", {}).get(rank_by)
        told.append(_beside_mean(runs["mean"][rank_by], gain, name, better))
    return [sentence for sentence in told if sentence]


def compared(evidence: dict[str, Any], wanted: Runs) -> list[str]:
    """Results beside other results, by the intervals of paired differences; parameters as of `found`."""
    pairs = [pair for pair in wanted.compared if pair[0] in wanted.results and pair[1] in wanted.results]
    return [told for run, other in pairs if (told := _compared(evidence, wanted, run, other))]


def not_shown(
    evidence: dict[str, Any], facts: Facts, wanted: Runs, *, families: list[str], model: str, rank_by: str
) -> list[str]:
    """Limits that follow from what was run.

    Parameters
    ----------
    evidence, facts, wanted, rank_by
        As `found`.
    families : list of str
        Feature families of the encoding models.
    model : str
        "mini", or another.
    """
    runs, name = evidence["runs"], NAMES.get(rank_by, rank_by)
    told = []
    if rank_by in runs[wanted.lead]:
        worth = runs[wanted.lead][rank_by]
        half = (worth["high"] - worth["low"]) / 2
        told.append(
            f"Differences of less than about {half:.2f} in {name}: that is half the 95 % interval of "
            f"{evidence['n_images']} images. Scores of single images scatter more widely still."
        )
    if facts.alone:
        told.append(facts.alone)
    told.append(
        "That a picture is right because it looks right: a generator with a prior draws plausible images from nothing. "
        "A reconstruction is evidence only as far as its score is above the control, above chance and above the "
        "mean image."
    )
    if f"{wanted.lead}_control" not in wanted.scored:
        told.append("Whether units that know nothing of the images stay at chance: the control was left out.")
    library = evidence["identification"].get("control", {}).get("library")
    if library and library["p_value"] < LEVEL and library["top1"] > library["chance"]:
        share, chance = 100 * library["top1"], 100 * library["chance"]
        told.append(
            "Which image was shown, by identification among the library's photographs: the control is identified "
            f"there too ({share:.0f} %; chance {chance:.2g} %). Shown images have something in common that these lack."
        )
    shared = [
        (family, metric)
        for family in families
        for metric, about in evidence["metrics"].items()
        if about["absent"] is None and family in str(about["network"]).lower().replace("-", "")
    ]
    if shared:
        told.append(
            f"Independence of {listed([metric for _, metric in shared])}: {listed(sorted({f for f, _ in shared}))} is "
            "both a family of encoding models and the network of these metrics."
        )
    absent = {metric: about["absent"] for metric, about in evidence["metrics"].items() if about["absent"] is not None}
    if away := [metric for metric, why in absent.items() if "on this machine" in why]:
        told.append(f"Anything about {listed(away)}: their networks are not on this machine.")
    for why in dict.fromkeys(why for metric, why in absent.items() if metric not in away):
        told.append(f"Anything about {listed([metric for metric in absent if absent[metric] == why])}: {why}.")
    if model == "mini":
        told.append(
            "What a large generator would do: the mini models are small and were trained on a few hundred crops. Their "
            "ceilings are rows of the table."
        )
    told.append("Comparison with scores of another protocol: networks, sizes and definitions differ.")
    return told


def _against_chance(runs: dict[str, dict[str, Worth]], lead: str, n_tests: int) -> str:
    tested = [worth for worth in runs[lead].values() if worth["p_holm"] is not None]
    if not tested:
        return "Whether the reconstructions are above chance is not known: each fold tests a single image."
    n_above = sum(worth["p_holm"] < LEVEL for worth in tested)
    rule = f"p < {LEVEL:g} after correction for all {n_tests} tests of the run"
    if n_above == len(tested):
        return f"The reconstructions are above chance in {_all(n_above)} of the posterior mean ({rule})."
    if n_above:
        n = f"{n_above} of {len(tested)}"
        return f"The reconstructions are above chance in {n} scores of the posterior mean ({rule})."
    return f"No score of the posterior mean is above chance ({rule}): whether it shows anything of the images is open."


def _n_tests(evidence: dict[str, Any]) -> int:
    every = [worth for run in evidence["runs"].values() for worth in run.values()] + list(evidence["features"].values())
    return sum(worth["p_holm"] is not None for worth in every)


def _headline(worth: Worth | None, name: str) -> str:
    if worth is None:
        return ""
    wrong = "" if worth["chance"] is None else f"; with wrong images of the same fold it is {worth['chance']:.3f}"
    return f"The posterior mean has a {name} of {_interval(worth)} with the image shown{wrong}."


def _identified(population: str, sets: dict[str, dict[str, Any]], facts: Facts) -> str:
    among = sets["all"]
    low, high = (f"{100 * bound:.0f}" for bound in among["top1_interval"])
    of = facts.visual if population == "visual" else f"the control, {facts.control}"
    inside = "" if among["p_value"] < LEVEL else f"; this is not distinguishable from it (p = {among['p_value']:.2f})"
    return (
        f"From {of}, encoding models identify {100 * among['top1']:.0f} % ({low} to {high} %) of the unseen images "
        f"among {among['n_candidates']:.0f} candidates, without a generator; chance is "
        f"{100 * among['chance']:.2g} %{inside}."
    )


def _against_control(of_control: dict[str, Worth], gain: dict[str, float] | None, units: str, name: str) -> str:
    tested = [worth for worth in of_control.values() if worth["p_holm"] is not None]
    n_above = sum(worth["p_holm"] < LEVEL for worth in tested)
    told = []
    if tested and n_above:
        told.append(
            f"The control ({units}) is above chance in {n_above} of {len(tested)} scores, which it must not be: "
            "something other than the responses to the images is at work"
        )
    elif tested:
        told.append(f"The control ({units}) is at chance in {_all(len(tested))}")
    if gain is not None:
        includes = "includes" if gain["low"] <= 0 <= gain["high"] else "excludes"
        told.append(
            f"the {name} of the posterior mean differs from that of the control by {gain['mean']:+.3f} (95 % interval "
            f"{gain['low']:+.3f} to {gain['high']:+.3f}, which {includes} zero)"
        )
    return f"{'; '.join(told)}." if told else ""


def _all(n_scores: int) -> str:
    return f"all {n_scores} scores" if n_scores > 1 else "the one score"


def _ceilings(
    runs: dict[str, dict[str, Worth]], lead: str, ceilings: dict[str, float | None], metric: str, name: str, up: bool
) -> str:
    told = []
    if metric in runs.get("ceiling", {}) and metric in runs[lead]:
        ceiling, worth = runs["ceiling"][metric]["mean"], runs[lead][metric]
        share = ""
        if up and ceiling > 0:
            parts = (f"{100 * worth[key] / ceiling:.0f}" for key in ("mean", "low", "high"))
            mean, low, high = parts
            share = f", of which the posterior mean reaches {mean} % ({low} to {high} %)"
        told.append(f"The decoder given the true latents has a {name} of {ceiling:.3f}{share}")
    if metric == "pixcorr" and ceilings.get("noise") is not None:
        told.append(f"because of noise, the regression cannot be expected to have one above {ceilings['noise']:.3f}")
    return f"{'; '.join(told)}." if told else ""


def _beside_mean(mean: Worth, gain: dict[str, float] | None, name: str, up: bool) -> str:
    told = f"The mean training image, which knows nothing of the responses, has a {name} of {_interval(mean)}"
    if gain is None:
        return f"{told}."
    apart = f"{gain['mean']:+.3f} (95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}"
    said = f"{told}. The posterior mean differs from it by {apart}, which"
    low, high = (gain["low"], gain["high"]) if up else (-gain["high"], -gain["low"])
    if low > 0:
        return f"{said} excludes zero)."
    if high < 0:
        return f"{said} excludes zero): by this score it is worse than a picture made without the responses."
    return f"{said} includes zero): by this score it may be no better than the mean image."


def _compared(evidence: dict[str, Any], wanted: Runs, run: str, other: str) -> str:
    gains = evidence["differences"].get(f"{run} - {other}", {})
    if not gains:
        return ""
    up = {metric: evidence["metrics"][metric]["larger_is_better"] for metric in gains}
    better = [m for m, gain in gains.items() if (gain["low"] > 0 if up[m] else gain["high"] < 0)]
    worse = [m for m, gain in gains.items() if (gain["high"] < 0 if up[m] else gain["low"] > 0)]
    parts = [f"better in {listed(better)}"] * bool(better) + [f"worse in {listed(worse)}"] * bool(worse)
    n = len(gains) - len(better) - len(worse)
    parts += [f"not distinguishable in {n} of {len(gains)} scores"] * bool(n)
    one, two = (wanted.sheet.get(name, name) for name in (run, other))
    return f"Compared with {two}, the {one} is {listed(parts)} (95 % intervals of paired differences)."


def _interval(worth: Worth) -> str:
    return f"{worth['mean']:.3f} (95 % interval {worth['low']:.3f} to {worth['high']:.3f})"
