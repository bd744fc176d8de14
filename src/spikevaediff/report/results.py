"""Everything in metrics/ and plots/ but the page: what stages left in artifacts/, summed up."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from spikevaediff.evaluation import checks, feature_r2
from spikevaediff.files import tables
from spikevaediff.parameters.runs import Runs
from spikevaediff.records import Features, ImageSplit, LayerStudy, Reconstructions, Responses, Stimuli, read_npz
from spikevaediff.report import numbers
from spikevaediff.report.figures import area_plots, encoding_plots, fit_plots, gallery, layer_plots, recording_plots
from spikevaediff.report.ranks import ranked_groups
from spikevaediff.report.read import order_unknown, read_json

Files = dict[str, str | bytes]  # path -> content


def of_run(
    dataset: str, control: str, wanted: Runs, *, rank_by: str, n_each: int
) -> tuple[Files, dict[str, dict[str, float]], str]:
    """The small files that Git keeps.

    Parameters
    ----------
    dataset : str
        Its name in params.yaml, which is part of every name in metrics/.
    control : str
        The control population in few words, for the gallery: "CA1", "shuffled".
    wanted : Runs
    rank_by : str
        The metric by which the gallery takes the best, the middle and the worst images.
    n_each : int
        Images of each.

    Returns
    -------
    files : dict of path to str or bytes
        To be written together, so that a report that cannot be made leaves no mixture of old and new results.
    means : dict of run to dict of metric to float
        As in metrics/metrics.json.
    title : str
        What the numbers are of.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        An artifact is absent or damaged; runs were scored by different protocols; there are no scores of `rank_by`.
    """
    shown, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    scores = {run: read_json(f"artifacts/scores/{run}.json") for run in wanted.scored}
    halves = read_json("artifacts/scores/halves.json")
    lead, settings = scores[wanted.lead], scores[wanted.lead]["settings"]
    findings = {run: read_json(f"artifacts/checks/{run}.json") for run in wanted.checked}
    marks = marks_of(scores, wanted, findings)
    told = f"{lead['n_images']} images, each reconstructed by models that had not seen it"
    title = ", ".join([shown.source, told, *marks])
    rows = {name.format(control=control): run for run, name in wanted.gallery.items()}
    picture = draw_gallery(shown, lead["metrics"], title, rows, rank_by=rank_by, n_each=n_each)

    means = numbers.table(scores, halves)
    correlation = numbers.correlations(wanted, Path("artifacts"))
    features = r2_of_features(wanted, split, n_draws=settings["n_draws"], seed=settings["seed"])
    for run, of_features in means_of_features(wanted, split, correlation, features).items():
        means[run] = means.get(run, {}) | of_features
    evidence = numbers.evidence(
        scores, halves, features, findings, hypotheses=wanted.hypotheses, compared=wanted.compared
    )
    which = read_json("artifacts/identification.json")
    means |= numbers.identification(which)
    evidence["identification"] = numbers.rounded(which)
    # The data set is part of every name, and so are a protocol that is not the strict one and statistics of test
    # images: no table of these numbers can be mistaken for another.
    name = " ".join([dataset, *(f"({mark})" for mark in marks)])
    files: Files = {
        "metrics/metrics.json": json.dumps({name: means}, indent=2) + "\n",
        "metrics/statistics.json": json.dumps({name: evidence}, indent=1, allow_nan=False) + "\n",
        "plots/scores.csv": csv_text([row for run in wanted.results for row in numbers.per_image(run, scores[run])]),
        "plots/scores.png": numbers.draw_scores(scores, title),
        "plots/gallery.png": picture,
    }
    files |= of_latents(correlation, shown.source, title) | of_regressions(wanted, shown.source)
    files |= of_encoders(which, shown.source)
    if wanted.analyses:
        files |= of_layers(correlation, shown) | of_recordings(shown.source)
    return files, means, title


def printed(means: dict[str, dict[str, float]], title: str) -> Table:
    """The table of means for a terminal."""
    table = Table(title=title)
    table.add_column("run")
    columns = list(dict.fromkeys(column for values in means.values() for column in values))
    for column in columns:
        table.add_column(column, justify="right")
    for run, values in means.items():
        table.add_row(run, *(f"{values[column]:.3f}" if column in values else "" for column in columns))
    return table


def r2_of_features(wanted: Runs, split: ImageSplit, *, n_draws: int, seed: int) -> dict[str, dict[str, Any]]:
    """R2 of what every regression predicts; see feature_r2.summary."""
    found = {}
    for space in wanted.spaces:
        true = Features.load(f"artifacts/features/{space}.npz")
        for run in wanted.of_space(space):
            predicted = Features.load(f"artifacts/predicted/{run}_raw.npz")
            found[run] = feature_r2.summary(true, predicted, split, n_draws=n_draws, seed=seed)
    return found


def means_of_features(
    wanted: Runs, split: ImageSplit, correlation: dict[str, np.ndarray], features: dict[str, dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """What the table of means says of predicted features: latents by correlation and R2, contexts by identification."""
    means: dict[str, dict[str, float]] = {}
    for space in wanted.spaces:
        for run in wanted.of_space(space):
            of_run: dict[str, float] = {}
            if run in correlation:
                of_run["latent_correlation"] = numbers.mean_of_metrics(correlation[run].mean())
            elif features[run]["mean"] is not None:
                true = Features.load(f"artifacts/features/{space}.npz")
                predicted = Features.load(f"artifacts/predicted/{run}_raw.npz")
                told = numbers.identification_in_folds(true, predicted, split)
                if np.isfinite(told):
                    of_run["context_identification"] = numbers.mean_of_metrics(told, coarse=True)
            if features[run]["mean"] is not None:
                of_run["latent_r2"] = numbers.mean_of_metrics(features[run]["mean"])
            means[run] = of_run
    return means


def of_latents(correlation: dict[str, np.ndarray], source: str, title: str) -> Files:
    """What is predicted of each layer, and what noise allows."""
    layers = Features.load("artifacts/features/vdvae.npz").group_name.tolist()
    ceiling = read_json("artifacts/noise_ceiling/vdvae.json")
    columns = {
        name: correlation[run] for name, run in (("correlation", "vdvae"), ("control", "control")) if run in correlation
    }
    rows = [
        {"layer": layer} | {name: float(values[k]) for name, values in columns.items()}
        for k, layer in enumerate(layers)
    ]
    predicted = f"Latents predicted from {'spikes' if counted() else 'responses'}"
    return {
        "plots/latents.csv": csv_text(rows),
        "plots/latents.png": numbers.draw_latents(layers, correlation, f"{predicted}: {title}"),
        "plots/noise_ceiling.csv": csv_text(recording_plots.ceiling_rows(ceiling)),
        "plots/noise_ceiling.png": recording_plots.draw_ceiling(ceiling, f"{predicted}: {source}"),
    }


def counted() -> bool:
    """Whether responses are spike counts."""
    return np.issubdtype(Responses.load("artifacts/responses/visual.npz").counts.dtype, np.integer)


def of_layers(correlation: dict[str, np.ndarray], shown: Stimuli) -> Files:
    """What each layer carries, and what the first ones show."""
    study = LayerStudy.load("artifacts/layers.npz")
    title = f"{shown.source}, {len(study.image_id)} images"
    predictors = "spikes" if counted() else "responses"
    return {
        "plots/layers.csv": csv_text(layer_plots.table(study, shown)),
        "plots/layers.png": layer_plots.draw(study, shown, correlation, title, predictors=predictors),
    }


def of_regressions(wanted: Runs, source: str) -> Files:
    """What the regressions chose, and how well they predict left-out training images."""
    layers = Features.load("artifacts/features/vdvae.npz").group_name.tolist()
    fits = read_fit("vdvae")
    left_out: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for space in wanted.spaces:
        # Texts are the same for every image where none has a caption. What is left of them is rounding, and no score.
        if not Features.load(f"artifacts/features/{space}.npz").varies:
            continue
        left_out[space] = {}
        for run in wanted.of_space(space):
            fit = read_fit(run)
            groups = layers if space == "vdvae" else [f"{k:02d}" for k in range(fit["group_size"].shape[1])]
            left_out[space][run] = fit_plots.left_out_rows(run, groups, fit)
    alphas = np.exp(np.log(fits["alphas"]).mean(0))  # of folds that search for them, each has its own
    shares = fit_plots.alpha_shares(fits["alpha"], fits["alphas"])
    chosen = zip(np.log10(alphas).tolist(), shares.tolist(), strict=True)
    every = [row for of_space in left_out.values() for rows in of_space.values() for row in rows]
    return {
        "plots/alphas.csv": csv_text([{"log10_alpha": a, "share": b} for a, b in chosen]),
        "plots/left_out.csv": csv_text(every),
        "plots/left_out.png": fit_plots.draw_left_out(left_out, f"Left-out training images: {source}"),
        "plots/search.csv": csv_text(fit_plots.search_rows(fits["convergence"], fits["group_r2"])),
        "plots/search.png": fit_plots.draw_search(layers, fits, f"Settings of the regression: {source}"),
        "plots/bands.csv": csv_text(fit_plots.band_rows(layers, fits)),
        "plots/bands.png": fit_plots.draw_bands(layers, fits, f"Weights of bands of units: {source}"),
    }


def of_encoders(which: dict[str, Any], source: str) -> Files:
    """What encoding models say: what units respond to, and which unseen image was shown."""
    identified = encoding_plots.identification_rows(which, tables.read("artifacts/identification.csv"))
    return {
        "plots/encoding.csv": Path("artifacts/encoding.csv").read_text(encoding="utf-8"),
        "plots/encoding.png": encoding_plots.draw_encoding(tables.read("artifacts/encoding.csv"), source),
        "plots/identification.csv": csv_text(identified),
        "plots/identification.png": encoding_plots.draw_identification(identified, f"Unseen images: {source}"),
    }


def of_recordings(source: str) -> Files:
    """What the recordings themselves say: quality, time courses, numbers of units."""
    judged = read_json("artifacts/quality/quality.json")
    units, latency, counts = (
        tables.read(f"artifacts/{name}.csv") for name in ("quality/units", "curves/latency", "curves/counts")
    )
    areas, pairs, bands, wrong = (
        tables.read(f"artifacts/{name}.csv")
        for name in ("regions/curves", "regions/tests", "regions/bands", "known_mistakes")
    )
    return {
        "plots/regions.csv": csv_text(areas),
        "plots/regions.png": area_plots.draw(areas, pairs, bands, title=f"Areas compared fairly: {source}"),
        "plots/movies.csv": Path("artifacts/movies/gain.csv").read_text(encoding="utf-8"),
        "plots/known_mistakes.csv": csv_text([{k: v for k, v in row.items() if k != "what"} for row in wrong]),
        "plots/quality.csv": csv_text(recording_plots.quality_rows(judged)),
        "plots/quality_filters.csv": csv_text(recording_plots.filter_rows(judged)),
        "plots/quality.png": recording_plots.draw_quality(judged, units, source, ordered=not order_unknown()),
        "plots/latency.csv": Path("artifacts/curves/latency.csv").read_text(encoding="utf-8"),
        "plots/counts.csv": Path("artifacts/curves/counts.csv").read_text(encoding="utf-8"),
        "plots/curves.png": recording_plots.draw_curves(latency, counts, source),
    }


def csv_text(rows: list[dict[str, Any]]) -> str:
    """A table of plots/."""
    return tables.text(rows, digits=numbers.DIGITS)


def read_fit(run: str) -> dict[str, np.ndarray]:
    """What stages/regress.py wrote of the fits of every fold."""
    return read_npz(f"artifacts/fits/{run}.npz")


def marks_of(scores: dict[str, dict[str, Any]], wanted: Runs, findings: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What must be said wherever these scores are shown: another protocol than the strict one, legacy statistics, a
    split that keeps near-duplicates, no captions.

    Raises
    ------
    ValueError
        The runs were scored by different protocols.
    """
    found = sorted({one["protocol"] for one in scores.values()})
    if len(found) != 1:
        raise ValueError(f"scores are by the protocols {', '.join(found)}, which one table cannot mix. Run: dvc repro")
    marks = [f"protocol {found[0]}"] if found[0] != "strict" else []
    if str(read_fit("vdvae")["renormalise"][0]) == "test_legacy":
        marks.append("legacy: renormalised with statistics of the test images")
    legacy = {one["check"] for of_run in findings.values() for one in of_run if one["status"] == "legacy"}
    if legacy & {checks.OVERLAP, checks.NEAR_DUPLICATES}:
        marks.append("legacy: trained on images that look like tested ones")
    if "text" in wanted.spaces and not Features.load("artifacts/features/text.npz").varies:
        marks.append("no captions: guided by vision alone")
    return marks


def draw_gallery(
    shown: Stimuli,
    metrics: dict[str, dict[str, Any]],
    title: str,
    rows: dict[str, str],
    *,
    rank_by: str,
    n_each: int,
) -> bytes:
    """The gallery of the best, the middle and the worst reconstructions by one metric; rows: label -> run.

    Raises
    ------
    ValueError
        As `ranked_groups`.
    """
    ranked, groups = ranked_groups(metrics, rank_by=rank_by, n_each=n_each)
    pictures = {name: Reconstructions.load(f"artifacts/decoded/{run}") for name, run in rows.items()}
    title = f"{title}, ranked by {rank_by}"
    return gallery.draw(shown, pictures, groups, ranked, title=title, score_name=rank_by, cell_px=96)
