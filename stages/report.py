"""Sum up all runs in the small files that Git keeps: python -m stages.report"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import stages
from spikevaediff.evaluation import feature_r2
from spikevaediff.files import tables
from spikevaediff.files.atomic import replacing
from spikevaediff.records import Features, ImageSplit, LayerStudy, Reconstructions, Stimuli, read_npz
from spikevaediff.report import numbers
from spikevaediff.report.figures import area_plots, encoding_plots, fit_plots, gallery, layer_plots, recording_plots
from spikevaediff.runs import read_runs


def main() -> None:
    """Write metrics/metrics.json and plots/."""
    params = stages.declared("report")
    dataset, options = stages.section(params, "dataset"), stages.section(params, "report")
    stages.check_options(draw_gallery, options, "report")
    shown = Stimuli.load("artifacts/images.npz")
    wanted = read_runs()
    scores = {run: read_scores(f"artifacts/scores/{run}.json") for run in wanted.scored}
    halves = read_scores("artifacts/scores/halves.json")
    marks = marks_of(scores)
    title = ", ".join([shown.source, f"{scores[wanted.lead]['n_images']} images, none of them trained on", *marks])
    picture = draw_gallery(shown, scores[wanted.lead]["metrics"], title, wanted.gallery, **options)

    means = numbers.table(scores, halves)
    true, runs = Features.load("artifacts/features/vdvae.npz"), wanted.of_space("vdvae")
    predicted = {run: Features.load(f"artifacts/predicted/{run}_raw.npz") for run in runs}
    correlation = {run: numbers.correlation_by_group(true, predicted[run]) for run in runs}
    for run in runs:
        means[run]["latent_correlation"] = numbers.mean_of_metrics(correlation[run].mean())
    split, settings = ImageSplit.load("artifacts/split.npz"), scores["vdvae"]["settings"]
    features = {
        run: feature_r2.summary(
            Features.load(f"artifacts/features/{space}.npz"),
            Features.load(f"artifacts/predicted/{run}_raw.npz"),
            split,
            n_draws=settings["n_draws"],
            seed=settings["seed"],
        )
        for space in wanted.spaces
        for run in wanted.of_space(space)
    }
    for run in runs:
        means[run]["latent_r2"] = numbers.mean_of_metrics(features[run]["mean"])
    findings = {
        run: json.loads(Path(f"artifacts/checks/{run}.json").read_text(encoding="utf-8")) for run in wanted.checked
    }
    evidence = numbers.evidence(
        scores, halves, features, findings, hypotheses=wanted.hypotheses, compared=wanted.compared
    )
    name = " ".join([dataset, *(f"({mark})" for mark in marks)])

    for space in [space for space in wanted.spaces if space != "vdvae"]:
        context = Features.load(f"artifacts/features/{space}.npz")
        for run in wanted.of_space(space):
            means[run] = {}
            if features[run]["mean"] is None:
                continue
            raw = Features.load(f"artifacts/predicted/{run}_raw.npz")
            told = numbers.identification_in_folds(context, raw, split)
            if np.isfinite(told):
                means[run]["context_identification"] = numbers.mean_of_metrics(told, coarse=True)
            means[run]["latent_r2"] = numbers.mean_of_metrics(features[run]["mean"])
    study = LayerStudy.load("artifacts/layers.npz")
    layers_title = f"{shown.source}, {len(study.image_id)} images"
    layers = true.group_name.tolist()
    fits = read_fit("vdvae")
    left_out: dict[str, dict[str, list[dict[str, Any]]]] = {space: {} for space in wanted.spaces}
    alphas = fits["alphas"][0]
    shares = fit_plots.alpha_shares(fits["alpha"], alphas)
    search = fit_plots.search_rows(fits["convergence"], fits["group_r2"])
    bands = fit_plots.band_rows(layers, fits)
    for space in wanted.spaces:
        for run in wanted.of_space(space):
            fit = read_fit(run)
            groups = layers if space == "vdvae" else [f"{k:02d}" for k in range(fit["group_size"].shape[1])]
            left_out[space][run] = fit_plots.left_out_rows(run, groups, fit)
    which = json.loads(Path("artifacts/identification.json").read_text(encoding="utf-8"))
    means |= numbers.identification(which)
    evidence["identification"] = numbers.rounded(which)
    latents = zip(layers, *(correlation[run].tolist() for run in runs), strict=True)
    chosen = zip(np.log10(alphas).tolist(), shares.tolist(), strict=True)
    # Written together, so that a report that cannot be made leaves no mixture of old and new results.
    results: dict[str, str | bytes] = {
        # The data set is part of every name, and so are a protocol that is not the strict one and statistics of test
        # images: no table of these numbers can be mistaken for another.
        "metrics/metrics.json": json.dumps({name: means}, indent=2) + "\n",
        "metrics/statistics.json": json.dumps({name: evidence}, indent=1, allow_nan=False) + "\n",
        "plots/scores.csv": csv_text([row for run in wanted.results for row in numbers.per_image(run, scores[run])]),
        "plots/latents.csv": csv_text([{"layer": a, "correlation": b, "control": c} for a, b, c in latents]),
        "plots/layers.csv": csv_text(layer_plots.table(study, shown)),
        "plots/alphas.csv": csv_text([{"log10_alpha": a, "share": b} for a, b in chosen]),
        "plots/left_out.csv": csv_text(
            [row for of_space in left_out.values() for rows in of_space.values() for row in rows]
        ),
        "plots/search.csv": csv_text(search),
        "plots/bands.csv": csv_text(bands),
        "plots/scores.png": numbers.draw_scores(scores, title),
        "plots/latents.png": numbers.draw_latents(layers, correlation, f"Latents predicted from spikes: {title}"),
        "plots/left_out.png": fit_plots.draw_left_out(left_out, f"Left-out training images: {shown.source}"),
        "plots/search.png": fit_plots.draw_search(layers, fits, f"Settings of the regression: {shown.source}"),
        "plots/bands.png": fit_plots.draw_bands(layers, fits, f"Weights of bands of units: {shown.source}"),
        "plots/layers.png": layer_plots.draw(study, shown, correlation, layers_title),
        "plots/gallery.png": picture,
    }
    results |= of_encoders(which, shown.source) | of_recordings(shown.source)
    for path, content in results.items():
        write(path, content)

    printed = Table(title=title)
    printed.add_column("run")
    columns = list(dict.fromkeys(column for values in means.values() for column in values))
    for column in columns:
        printed.add_column(column, justify="right")
    for run, values in means.items():
        printed.add_row(run, *(f"{values[column]:.3f}" if column in values else "" for column in columns))
    Console(width=120).print(printed)
    stages.done("metrics/metrics.json and plots/ written")


def of_encoders(which: dict[str, Any], source: str) -> dict[str, str | bytes]:
    """What encoding models say: what units respond to, and which unseen image was shown."""
    identified = encoding_plots.identification_rows(which, tables.read("artifacts/identification.csv"))
    return {
        "plots/encoding.csv": Path("artifacts/encoding.csv").read_text(encoding="utf-8"),
        "plots/encoding.png": encoding_plots.draw_encoding(tables.read("artifacts/encoding.csv"), source),
        "plots/identification.csv": csv_text(identified),
        "plots/identification.png": encoding_plots.draw_identification(identified, f"Unseen images: {source}"),
    }


def of_recordings(source: str) -> dict[str, str | bytes]:
    """What the recordings themselves say: quality, time courses, numbers of units, the noise ceiling."""
    judged, ceiling = (read_scores(f"artifacts/{name}.json") for name in ("quality/quality", "noise_ceiling/vdvae"))
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
        "plots/known_mistakes.csv": csv_text([{k: v for k, v in row.items() if k != "what"} for row in wrong]),
        "plots/quality.csv": csv_text(recording_plots.quality_rows(judged)),
        "plots/quality_filters.csv": csv_text(recording_plots.filter_rows(judged)),
        "plots/quality.png": recording_plots.draw_quality(judged, units, source),
        "plots/latency.csv": Path("artifacts/curves/latency.csv").read_text(encoding="utf-8"),
        "plots/counts.csv": Path("artifacts/curves/counts.csv").read_text(encoding="utf-8"),
        "plots/curves.png": recording_plots.draw_curves(latency, counts, source),
        "plots/noise_ceiling.csv": csv_text(recording_plots.ceiling_rows(ceiling)),
        "plots/noise_ceiling.png": recording_plots.draw_ceiling(ceiling, f"Latents predicted from spikes: {source}"),
    }


def csv_text(rows: list[dict[str, Any]]) -> str:
    """A table of plots/."""
    return tables.text(rows, digits=numbers.DIGITS)


def read_fit(run: str) -> dict[str, np.ndarray]:
    """What stages/regress.py wrote of the fits of every fold."""
    return read_npz(f"artifacts/fits/{run}.npz")


def marks_of(scores: dict[str, dict[str, Any]]) -> list[str]:
    """What must be said wherever these scores are shown: another protocol than the strict one, legacy statistics, no
    captions.

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
    if not Features.load("artifacts/features/text.npz").varies:
        marks.append("no captions: guided by vision alone")
    return marks


def read_scores(path: str) -> dict[str, Any]:
    """What stages/evaluate.py wrote.

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


def draw_gallery(
    shown: Stimuli,
    metrics: dict[str, dict[str, Any]],
    title: str,
    runs: dict[str, str],
    *,
    rank_by: str,
    n_each: int,
) -> bytes:
    """The gallery of the best, the middle and the worst reconstructions by one metric.

    Raises
    ------
    ValueError
        There are no scores of that metric; the message lists those there are.
    """
    there = [name for name, metric in metrics.items() if metric["absent"] is None]
    if rank_by not in there:
        raise ValueError(f"params.yaml: numbers.rank_by is {rank_by!r}, but there are scores of: {', '.join(there)}")
    ranked = {int(i): score for i, score in metrics[rank_by]["scores"].items()}
    groups = gallery.by_rank(ranked, n_each, larger_is_better=metrics[rank_by]["larger_is_better"])
    rows = {name: Reconstructions.load(f"artifacts/decoded/{run}") for run, name in runs.items()}
    title = f"{title}, ranked by {rank_by}"
    return gallery.draw(shown, rows, groups, ranked, title=title, score_name=rank_by, cell_px=96)


def write(path: str, content: str | bytes) -> None:
    """One whole file or none."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    main()
