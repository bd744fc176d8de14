"""What bench_scale.py measures: the function that each stage calls, with inputs of a chosen size that are made here.

Inputs are random with a fixed seed and have the shapes, types and options of the embedded run; images are coarse noise,
and responses follow what is in them. Libraries are imported where a stage needs them, as stages do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from spikevaediff import images
from spikevaediff.files import assets
from spikevaediff.records import (
    Features,
    ImageSplit,
    LibraryResponses,
    Responses,
    Stimuli,
    UnitTable,
)

ROOT = Path(__file__).resolve().parents[1]
PARAMS: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
COMPUTE = {"batch_size": "auto", "device": "cpu"}
AREAS = [*PARAMS["areas"]["visual"], *PARAMS["areas"]["control"]]


@dataclass(frozen=True)
class Size:
    """Of a run: images shown, units, sessions, presentations of an image, photographs of the library, folds.

    As in the embedded run but for presentations, of which it has 50, and folds, of which it has 10: both multiply.
    """

    images: int = 118
    units: int = 333
    sessions: int = 1
    presentations: int = 10
    library: int = 1200
    folds: int = 3


TINY = Size(images=12, units=18, presentations=4, library=24)
TINY_SIZES = {"images": (6, 9), "units": (18, 36), "sessions": (1, 2), "presentations": (3, 4), "library": (6, 12)}

Prepared = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """How a stage grows along one axis.

    stage, axis : str; a stage of dvc.yaml, and a field of Size.
    calls : str; the function that is timed.
    prepare : from a Size and an empty folder to a call without arguments. Not timed.
    sizes : along the axis, at which it is measured; held : Size, the others.
    compiled : bool; whether JAX compiles for each shape, so that a second call is the one that counts.
    why : str; the reason of an exponent above 1.1, empty where none is expected.
    """

    stage: str
    axis: str
    calls: str
    prepare: Callable[[Size, Path], Prepared]
    sizes: tuple[int, ...]
    held: Size = Size()
    compiled: bool = False
    why: str = ""

    def at(self, n: int, *, tiny: bool = False) -> Size:
        return replace(TINY if tiny else self.held, **{self.axis: n})


def pictures(n: int, side_px: int = 64, first: int = 0) -> Stimuli:
    """Grey images of coarse noise; the ids begin with `first`."""
    noise = np.random.default_rng([0, first]).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    return Stimuli("random images", first + np.arange(n), images.resize(noise, side_px))


def split_of(size: Size) -> ImageSplit:
    return ImageSplit(np.arange(size.images), np.arange(size.images) % size.folds)


def unit_table(n: int) -> UnitTable:
    """Good units, the areas in turn."""
    area = np.array(AREAS)[np.arange(n) % len(AREAS)]
    quality = {name: np.full(n, 1.0) for name in ("snr", "presence_ratio", "firing_rate")}
    quality |= {name: np.zeros(n) for name in ("isi_violations", "amplitude_cutoff")}
    return UnitTable(unit_id=np.arange(n), session_id=np.ones(n, np.int64), area=area, **quality)


def responses_to(shown: Stimuli, size: Size) -> Responses:
    """Counts around a rate that a few places of the image raise or lower, presentations in random order."""
    rng = np.random.default_rng(1)
    coarse = images.resize(shown.pixels, 4).reshape(len(shown.pixels), -1) / 255 - 0.5
    tuning = rng.standard_normal((16, size.units)) * (rng.random((16, size.units)) < 0.15)
    rate = 3 * np.exp(coarse @ tuning)
    order = rng.permutation(np.repeat(np.arange(size.images), size.presentations))
    counts = np.empty((len(order), size.units, 1), np.uint16)
    for row, image in enumerate(order.tolist()):
        counts[row, :, 0] = rng.poisson(rate[image])
    return Responses.make(
        counts=counts,
        image_id=shown.image_id[order],
        presentation_id=np.arange(len(order))[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.04, 0.29]]),
        units=unit_table(size.units),
    )


def latents_of(n: int, first: int = 0) -> Features:
    """Random latents of as many dims as the mini VDVAE's."""
    from vdvae.config import CONFIGS

    model = PARAMS["models"]["mini"]["vdvae"]
    sizes = [int(np.prod(shape)) for shape in CONFIGS[model["config"]].latent_shapes()[: model["n_layers"]]]
    values = np.random.default_rng([2, first]).standard_normal((n, sum(sizes)), np.float32)
    names = np.array([f"{layer:02d}" for layer in range(len(sizes))])
    return Features("vdvae", first + np.arange(n), values, names, np.array(sizes))


def weights_of(name: str) -> Path:
    return assets.weights(name, ROOT)


@cache
def channels(families: tuple[str, ...]) -> list[list[int]]:
    """Of each layer of each family."""
    from spikevaediff.encoding import encoder

    seen = encoder.seen(pictures(1).pixels)
    return [[layer.shape[1] for layer in encoder.built(name, weights_of)(seen)] for name in families]


def encoders_of(size: Size, shown: Stimuli) -> list[Any]:
    """Encoding models of each fold and of all images, each unit with four random windows of random families."""
    from spikevaediff.encoding import encoder, windows

    names = PARAMS["encoding"]["families"]
    of_layers = [
        (family, layer, n, windows.grid(encoder.family(name).WINDOWS[layer]))
        for family, name in enumerate(names)
        for layer, n in enumerate(channels(tuple(names))[family])
    ]
    units, n_best, split, found = unit_table(size.units), 4, split_of(size), []
    for number in range(size.folds + 1):
        rng = np.random.default_rng([3, number])
        chosen = [of_layers[k] for k in rng.integers(len(of_layers), size=size.units * n_best)]
        weight = [0.1 * rng.standard_normal(n, np.float32) / n for _, _, n, _ in chosen]
        trained = shown.image_id[split.fold != number]
        found.append(
            encoder.Encoder(
                family_name=np.array(names),
                family=np.array([family for family, _, _, _ in chosen[::n_best]]),
                row_column=np.repeat(np.arange(size.units), n_best),
                row_family=np.array([family for family, _, _, _ in chosen]),
                row_layer=np.array([layer for _, layer, _, _ in chosen]),
                row_window=np.array([grid[rng.integers(len(grid))] for _, _, _, grid in chosen]),
                row_start=np.cumsum([0, *map(len, weight)]),
                weight=np.concatenate(weight),
                intercept=np.full(size.units, 3.0),
                covariance=np.eye(size.units) + 0.1,
                shrinkage=np.array(0.5),
                image_id=trained,
                left_out=3 + rng.standard_normal((len(trained), size.units)),
                r2=np.full(size.units, 0.5),
                n_best=np.array(n_best),
                unit_id=units.unit_id,
                session_id=units.session_id,
                area=units.area,
            )
        )
    return found


def recording_of(size: Size) -> Any:
    """A session of the simulated data set, 418 units, without a movie."""
    from spikevaediff.datasets.simulation.simulator import simulate

    options = PARAMS["datasets"]["simulated"] | {"n_repeats": size.presentations, "movie_repeats": 0}
    shown = pictures(size.images, 256)
    return simulate(shown.pixels, shown.image_id, **options)


def session_files(size: Size, folder: Path) -> list[Path]:
    """As many files of one simulated session as asked for, each with a number of its own."""
    from spikevaediff.recordings import nwb_writer

    recording, paths = recording_of(size), []
    for number in range(1, size.sessions + 1):
        paths.append(folder / f"{number}.nwb")
        nwb_writer.write(replace(recording, session_id=number), paths[-1])
    return paths


def counting() -> dict[str, Any]:
    """Which units are counted, as `responses` passes it on."""
    from spikevaediff.recordings.unit_filter import Limits

    return {"areas": AREAS, "limits": Limits.of(PARAMS["responses"])}


def acquire(size: Size, folder: Path) -> Prepared:
    from spikevaediff.recordings import nwb_writer

    return lambda: nwb_writer.write(recording_of(size), folder / "1.nwb")


def responses(size: Size, folder: Path) -> Prepared:
    from spikevaediff.recordings import sessions

    paths = session_files(size, folder)
    window = {name: PARAMS["responses"][name] for name in ("start_s", "duration_s", "n_bins")}
    windows_s = sessions.windows(paths, **window)
    return partial(sessions.read_population, paths, windows_s=windows_s, min_units=5, **counting())


def quality(size: Size, folder: Path) -> Prepared:
    from spikevaediff.recordings import session_quality

    (path,) = session_files(size, folder)
    return partial(session_quality.judged, path, window_s=(0.04, 0.29), **counting(), **PARAMS["quality"])


def latency(size: Size, folder: Path) -> Prepared:
    from spikevaediff.analysis import latency

    options = PARAMS["curves"]["latency"] | {name: PARAMS["curves"][name] for name in ("n_resamples", "seed")}
    return partial(latency.rows, session_files(size, folder), **counting(), **options)


def encode(size: Size, folder: Path) -> Prepared:
    from spikevaediff.encoding import fit_folds

    shown = pictures(size.images)
    given = (folder / "encoders", responses_to(shown, size), shown, split_of(size), weights_of)
    return partial(fit_folds.fit, *given, **PARAMS["encoding"])


def library_responses(size: Size, folder: Path) -> Prepared:
    from spikevaediff.encoding import of_folds

    models, library = encoders_of(size, pictures(size.images)), pictures(size.library, first=100_000)

    def answer() -> np.ndarray:  # the lines of the stage
        found = of_folds.predict(models, library.pixels, weights_of)
        for number, model in enumerate(models):
            found[number] += of_folds.noise(model, library.image_id, seed=0, number=number)
        return found

    return answer


def regression(size: Size) -> Any:
    """The regression to latents, its rows those of the library and of the images."""
    from spikevaediff.parameters.of_space import of_space
    from spikevaediff.regression import task
    from spikevaediff.regression.methods import ridge

    regress = of_space(PARAMS["regress"], "vdvae")
    options = {name: value for name, value in task.options_of(regress).items() if name not in task.OWN}
    shown, features, library = pictures(size.images), latents_of(size.images), latents_of(size.library, 100_000)
    drawn = np.random.default_rng(4).standard_normal((size.library, size.units), np.float32)
    simulated = LibraryResponses(library.image_id, np.tile(3 + drawn, (size.folds + 1, 1, 1)))
    return task.Task(
        "vdvae",
        "visual",
        responses_to(shown, size),
        split_of(size),
        features,
        (simulated, library),
        [],
        None,
        ridge,
        regress["transform"],
        regress["renormalise"],
        options | {"group_size": features.group_size},
    )


def regress(size: Size, folder: Path) -> Prepared:
    from spikevaediff.regression import cross_validation

    job = regression(size)

    def fit() -> object:  # the lines of the stage
        given = (job.x, job.y, job.split, job.method, job.options)
        found = cross_validation.predict(*given, renormalise=job.renormalise, library=job.simulated)
        return found, cross_validation.fit_to_all(*given, library=job.simulated)

    return fit


def noise_ceiling(size: Size, folder: Path) -> Prepared:
    from spikevaediff.evaluation import noise_ceiling

    return partial(noise_ceiling.of_task, regression(size), "random", "", **PARAMS["noise_ceiling"])


def identify(size: Size, folder: Path) -> Prepared:
    from spikevaediff.encoding import identified

    shown, library = pictures(size.images), pictures(size.library, first=100_000)
    counts = PARAMS["curves"]["counts"]
    options = {name: counts[name] for name in ("units", "presentations", "n_draws")} | {"seed": 0, "short": None}
    given = (responses_to(shown, size), encoders_of(size, shown), shown, library, split_of(size), weights_of)
    return partial(identified.of_population, "visual", *given, **options)


def looks(size: Size, folder: Path) -> Prepared:
    from spikevaediff.evaluation.looking import LOOKING, Shown

    shown = pictures(size.images)
    return partial(Shown.of, shown, shown.image_id, **{name: PARAMS["evaluate"][name] for name in LOOKING})


def evaluate(size: Size, folder: Path) -> Prepared:
    from spikevaediff.evaluation import scores
    from spikevaediff.evaluation.looking import LOOKING, Shown

    shown, rng, options = pictures(size.images), np.random.default_rng(5), PARAMS["evaluate"]
    some = Shown.of(pictures(2), np.arange(2), **{name: options[name] for name in LOOKING})

    def seen(array: np.ndarray) -> np.ndarray:  # as much as networks see, without waiting for them
        if array.dtype == np.uint8:
            return rng.integers(0, 256, (size.images, *array.shape[1:]), dtype=np.uint8)
        return rng.random((size.images, *array.shape[1:]), np.float32).astype(array.dtype, copy=False)

    first, second = ({key: seen(array) for key, array in some.looks.items()} for _ in range(2))
    looked = replace(some, image_id=shown.image_id, looks=first)
    worth = {name: options[name] for name in ("metrics", "n_draws", "seed")}
    return partial(scores.score_looks, looked, shown.image_id, second, split_of(size), **worth)


def curves(size: Size, folder: Path) -> Prepared:
    from spikevaediff.analysis import curves

    shown = pictures(size.images)
    options = PARAMS["curves"]["counts"] | {name: PARAMS["curves"][name] for name in ("n_resamples", "seed")}
    return partial(curves.rows, "visual", responses_to(shown, size), shown, split_of(size), **options)


def regions(size: Size, folder: Path) -> Prepared:
    from spikevaediff.analysis import regions

    shown = pictures(size.images)
    every = responses_to(shown, size)
    areas = {name: np.isin(every.unit_area, PARAMS["areas"][name]) for name in ("visual", "control")}
    populations = {
        name: Responses.make(
            counts=every.counts[:, chosen],
            image_id=every.image_id,
            presentation_id=every.presentation_id,
            session_id=every.session_id,
            window_s=every.window_s,
            units=every.units.take(chosen),
        )
        for name, chosen in areas.items()
    }
    return partial(regions.compare, shown, split_of(size), populations, **PARAMS["regions"])


def report(size: Size, folder: Path) -> Prepared:
    """Differences of all runs that are compared, and R2 of latents; files of other stages and figures are left out."""
    from spikevaediff.evaluation import feature_r2
    from spikevaediff.parameters.runs import read_runs
    from spikevaediff.report import numbers

    wanted, rng = read_runs(ROOT / "runs.yaml"), np.random.default_rng(6)
    true, predicted, split = latents_of(size.images), latents_of(size.images, 0), split_of(size)
    predicted = replace(predicted, values=predicted.values + rng.standard_normal(predicted.values.shape, np.float32))

    def scored() -> dict[str, Any]:
        value = dict(zip(map(str, range(size.images)), rng.random(size.images).tolist(), strict=True))
        one = {"scores": value, "projection": None, "proportion": False, "absent": None}
        return {
            "n_images": size.images,
            "n_folds": size.folds,
            "settings": {name: PARAMS["evaluate"][name] for name in ("n_draws", "seed")},
            "metrics": {name: one for name in PARAMS["evaluate"]["metrics"]},
        }

    runs = {name: scored() for name in wanted.scored}

    def compare() -> object:
        found = feature_r2.summary(true, predicted, split, n_draws=PARAMS["evaluate"]["n_draws"], seed=0)
        return found, numbers.differences(runs, wanted.compared)

    return compare


def page(size: Size, folder: Path) -> Prepared:
    from spikevaediff.report import sheet

    pixels = images.rgb(pictures(size.images).pixels)
    return partial(sheet.cards, list(range(size.images)), {f"run {k}": pixels for k in range(6)})


def vdvae_options() -> dict[str, Any]:
    options = PARAMS["models"]["mini"]["vdvae"]
    return options | {"weights": weights_of(options["weights"])}


def features(size: Size, folder: Path) -> Prepared:
    from spikevaediff.features import vdvae
    from spikevaediff.regression import repeatable

    return partial(repeatable.extract_twice, vdvae.extract, pictures(size.images), None, vdvae_options() | COMPUTE)


def decode(size: Size, folder: Path) -> Prepared:
    from spikevaediff.decoders import vdvae

    own = {name: value for name, value in PARAMS["decode"]["vdvae"].items() if name != "module"}
    return partial(vdvae.decode, latents_of(size.images), seed=0, **vdvae_options(), **own, **COMPUTE)


def decode_posterior(size: Size, folder: Path) -> Prepared:
    from spikevaediff.encoding import posterior_folds

    options = {name: value for name, value in PARAMS["decode"]["posterior"].items() if name != "prior"} | {"seed": 0}
    shown, library = pictures(size.images), latents_of(size.library, 100_000)
    drawn = np.random.default_rng(4).standard_normal((size.folds + 1, size.library, size.units), np.float32)
    simulated = LibraryResponses(library.image_id, drawn)
    given = (encoders_of(size, shown), responses_to(shown, size), split_of(size), (simulated, library))
    how = {"compute": COMPUTE, "kept": folder / "posterior", "weights_of": weights_of}
    return partial(posterior_folds.samples, *given, **vdvae_options(), **how, options=options)


def decode_diffusion(size: Size, folder: Path) -> Prepared:
    from spikevaediff.decoders import versatile_diffusion as diffusion
    from spikevaediff.decoders.second_stage import given, unconditional
    from spikevaediff.decoders.second_stage.guides import Guides

    model, rng = PARAMS["models"]["mini"], np.random.default_rng(7)
    options = {name: value for name, value in model["diffusion"].items() if name != "module"}
    options |= {name: weights_of(options[name]) for name in ("unet_weights", "autoencoder_weights")}
    empty = given.nothing(unconditional.contexts(model, weights_of, "cpu"))
    contexts = {
        name: rng.standard_normal((size.images, *getattr(empty, name).shape[1:]), np.float32)
        for name in ("vision", "text")
    }
    guides = Guides(np.arange(size.images), images.rgb(pictures(size.images).pixels), **contexts)
    # Without responses, as ceilings and priors are made: with them, a look through the encoding models comes on top.
    own = {"unconditional": empty, "kept": None, "explained": None, "seed": 0, "n_samples": 1}
    return partial(diffusion.decode, guides, **options | own | COMPUTE)


NETWORK = (16, 48, 118)
ANCHOR = "the classifier of the published anchor compares presentations with each other"
OF_FEW = Size(library=60)
STAGES = [
    Measured("acquire", "presentations", "simulate, nwb_writer.write", acquire, (2, 6, 18)),
    Measured("responses", "presentations", "sessions.read_population", responses, (5, 15, 50)),
    Measured("responses", "sessions", "sessions.read_population", responses, (1, 4, 8), Size(presentations=2)),
    Measured("quality", "presentations", "session_quality.judged", quality, (4, 10, 25), why=ANCHOR),
    Measured("curves (latency)", "sessions", "latency.rows", latency, (1, 2, 4), Size(presentations=2)),
    Measured("curves (counts)", "images", "curves.rows", curves, (30, 59, 118), Size(units=100), compiled=True),
    Measured("curves (counts)", "units", "curves.rows", curves, (100, 300, 900), Size(images=48), compiled=True),
    Measured(
        "encode",
        "images",
        "fit_folds.fit",
        encode,
        (24, 48, 96),
        Size(units=30),
        why="eigenvectors of a kernel of images by images under every window",
    ),
    Measured("encode", "units", "fit_folds.fit", encode, (30, 100, 300), Size(images=12)),
    Measured("library_responses", "library", "of_folds.predict, noise", library_responses, (30, 60, 120)),
    Measured(
        "library_responses",
        "units",
        "of_folds.predict, noise",
        library_responses,
        (100, 1000, 3000),
        OF_FEW,
        why="units share noise: their covariance is factored, units^3, and every draw multiplied with it, units^2",
    ),
    Measured(
        "regress",
        "images",
        "cross_validation.predict, fit_to_all",
        regress,
        (30, 59, 118),
        OF_FEW,
        compiled=True,
        why="each image is left out of a fit through a matrix of rows by rows, or units by units where they are fewer",
    ),
    Measured(
        "regress",
        "units",
        "cross_validation.predict, fit_to_all",
        regress,
        (100, 300, 900),
        Size(library=300),
        compiled=True,
    ),
    Measured(
        "noise_ceiling",
        "images",
        "noise_ceiling.of_task",
        noise_ceiling,
        (30, 59, 118),
        OF_FEW,
        compiled=True,
        why="as `regress`",
    ),
    Measured(
        "identify",
        "images",
        "identified.of_population",
        identify,
        (118, 354, 1062),
        OF_FEW,
        why="every response is compared with every image that was shown",
    ),
    Measured("identify", "units", "identified.of_population", identify, (100, 300, 900), OF_FEW),
    Measured("looks", "images", "looking.Shown.of", looks, (2, 4, 8)),
    Measured(
        "evaluate",
        "images",
        "scores.score_looks",
        evaluate,
        (30, 59, 118),
        why="all pairs of images of a fold are compared; above 128 images in a fold, pairs within groups of 32",
    ),
    Measured("regions", "images", "regions.compare", regions, (30, 59, 118), Size(units=100), compiled=True),
    Measured("regions", "units", "regions.compare", regions, (100, 300, 900), Size(images=48), compiled=True),
    Measured(
        "report",
        "images",
        "feature_r2.summary, numbers.differences",
        report,
        (118, 354, 1062),
        why="squared errors of all pairs of images, layer by layer",
    ),
    Measured("report (page)", "images", "sheet.cards", page, (59, 118, 236)),
    Measured("features", "images", "vdvae.extract", features, NETWORK),
    Measured("decode", "images", "vdvae.decode", decode, NETWORK),
    Measured(
        "decode_posterior",
        "images",
        "posterior_folds.samples",
        decode_posterior,
        (2, 4, 8),
        Size(folds=2, units=100, library=200),
    ),
    Measured("decode_diffusion", "images", "versatile_diffusion.decode", decode_diffusion, (2, 4, 8)),
]
# Sizes that are asked about; what was not measured is continued.
WANTED = {
    "images": (118, 1200, 9000),
    "units": (100, 1000, 16000),
    "sessions": (1, 8, 31),
    "presentations": (50,),
    "library": (1200, 9000),
}
