"""Every parameter of params.yaml: its kind, its range, its unit and what it is for.

What is refused before a run (check.py), docs/parameters.md and the completion of editors (reference.py) come from here.
The declarations are models of pydantic, which DVC brings along: a kind is written as in a signature, so that tests can
compare the options of every module with those of its function, and the JSON schema that editors read comes with it.

Sections of modules that are chosen by name are found by the names in DATASETS, FEATURES, DECODERS (of features) and
GENERATORS (second stages). A module that is not listed there, one of your own, is checked by the signature of its
function.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo


def value(text: str, *, unit: str = "") -> Any:
    """What a parameter is for, and its unit."""
    return Field(description=text, json_schema_extra={"unit": unit} if unit else None)


def later(window: list[float]) -> list[float]:
    """Refuse a window that ends before it begins."""
    if window[0] >= window[1]:
        raise ValueError("expected a start and a later stop")
    return window


def different(values: list[Any]) -> list[Any]:
    """Refuse a list in which a value occurs twice."""
    if len(set(values)) < len(values):
        raise ValueError("expected each value once")
    return values


Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Shrinkage = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Window = Annotated[list[Number], Field(min_length=2, max_length=2), AfterValidator(later)]
Penalties = Annotated[list[Positive], Field(min_length=1), AfterValidator(different)]
Names = Annotated[list[str], Field(min_length=1), AfterValidator(different)]
Seed = Annotated[int, Field(ge=0)]
# Of ten no p-value is below 0.09, and an interval of one has no width; 10000 is usual.
Draws = Annotated[int, Field(ge=100)]


class Section(BaseModel):
    """Keys with values, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)  # only looked at, field by field


def partly(kind: type[Section]) -> type[Section]:
    """The same keys, each of which may be left out, in the sections of the section as well."""

    def optional(field: FieldInfo) -> Any:
        inner: Any = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            return partly(inner), None
        return Annotated[inner, field], None

    fields: dict[str, Any] = {name: optional(field) for name, field in kind.model_fields.items()}
    return create_model(f"{kind.__name__}OfSpace", __base__=kind, __doc__=kind.__doc__, **fields)


class OwnModule(BaseModel):
    """A module of your own, with the options of its function."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    module: str = value("the name of its file")


# ---- data sets


class Simulated(Section):
    """The embedded data set: photographs, and a simulated session of a mouse that sees them."""

    profile: Literal["gabor", "network"] = value(
        "what units are tuned to. network: normalised activations of EfficientNet-lite0, which no family of encoding "
        "models holds"
    )
    seed: Seed = value("of the session: order of presentations, units, spikes")
    n_repeats: Count = value("presentations of every image, and of the blank")
    spontaneous_s: Annotated[Number, Field(ge=0.25)] = value(
        "grey screen before, between and after the three blocks, each", unit="s"
    )
    log_gain: Number = value("strength of the tuning in VISp: standard deviation of log rate over images")
    log_gain_spread: Number = value("how much units differ in it: standard deviation of its logarithm")
    private_shape: Positive = value("shape of the gamma noise of each unit and presentation; smaller is noisier")
    shared_gain: Number = value("slow gain common to all units: standard deviation of log rate")
    shared_correlation: Annotated[Number, Field(ge=0, lt=1)] = value("of that gain from one presentation to the next")
    drift: Number = value("linear change of log rate over the session: standard deviation over units")
    blank_rate: Positive = value("rate of tuned units at a blank, relative to their mean over images")
    movie_repeats: Annotated[int, Field(ge=0)] = value("times that a movie of 30 s is shown after the images; 0: none")


class Allen(Section):
    """Allen Visual Coding Neuropixels, fetched into the user's cache."""

    sessions: int | list[int] | Literal["all"] = value(
        "one; several, joined as a pseudo-population; or all, except one that is known to be at chance"
    )
    fetch: Literal["https", "stream", "allensdk"] = value(
        "https: from the public bucket; stream: only what the extract needs; allensdk: by that package, in its own "
        "environment"
    )
    margin_s: Annotated[Number, Field(ge=0)] = value(
        "spikes are kept this long before and after presentations; windows of responses must lie within", unit="s"
    )
    size_px: Count = value("side of the images, squashed from 918 x 1174", unit="px")
    movies: Annotated[list[Literal["natural_movie_one", "natural_movie_three"]], AfterValidator(different)] = value(
        "movies of the same sessions that are fetched (166 and 665 MB), with the responses to them"
    )
    movie_rows: Window = value("of the 304 of a frame, those that fall where scenes are shown", unit="px")
    movie_columns: Window = value("the same of its 608 columns", unit="px")


class CowleyV4(Section):
    """Macaque V4 of Cowley et al. 2023, fetched into the user's cache."""

    sessions: list[int] = value("one; or several that show the same photographs, joined as a pseudo-population")
    trials: Literal["means", "single"] = value("means: of each image over its presentations; single: every one")
    images: list[str] = value("kinds of images that may be shown: natural, gaudy, ...; see its manifest.json")
    n_images: Annotated[int, Field(ge=0)] = value("drawn from those of the session; 0: all")
    seed: Seed = value("of that draw")
    size_px: Count = value("side of the images, 112 as published", unit="px")
    window_s: Window = value("in which the publisher counted spikes, from onset", unit="s")
    captions: Literal["none", "automatic"] = value(
        "none: the second stage works without; automatic: BLIP-2 describes the photographs"
    )


class Nsd(Section):
    """Natural Scenes Dataset: fMRI of people who saw thousands of photographs (docs/nsd.md)."""

    subject: Annotated[int, Field(ge=1, le=8)] = value("1 to 8; 1, 2, 5 and 7 came to all 40 sessions")
    sessions: int | list[int] | Literal["all"] = value("all; a number n: the first n; or a list of them")
    rois: Names = value(
        "nsdgeneral; or regions with labels, which become areas: prf-visualrois, streams, floc-faces, Kastner2015, ..."
    )
    betas_version: Literal["betas_fithrf_GLMdenoise_RR", "betas_fithrf", "betas_assumehrf"] = value(
        "which of the publisher's estimates"
    )
    betas_format: Literal["nifti", "hdf5"] = value("nifti: 18 GB per subject; hdf5: 42 GB, faster to read")
    z_score: Literal["session", "none"] = value(
        "session: each voxel by mean and deviation of the session's training trials; none: percent signal change"
    )
    test: Literal["shared1000", "brain_diffuser_2023", "clusters"] = value(
        "what is tested: photographs planned for all subjects; the same of the first 37 sessions; or whole clusters of "
        "photographs that look alike. It needs split.method given, or as_published"
    )
    n_clusters: Annotated[int, Field(ge=2)] = value("of `clusters`")
    test_share: Share = value("of the images, for `clusters`")
    seed: Seed = value("of `clusters`")
    size_px: Count = value("side of the images, 425 as published", unit="px")
    captions: Literal["coco", "none", "automatic"] = value(
        "coco: five per photograph; none: the second stage works without; automatic: BLIP-2 describes the photographs"
    )


class Tvsd(Section):
    """THINGS Ventral Stream Spiking Dataset: multi-unit activity of macaque V1, V4 and IT (docs/tvsd.md)."""

    monkey: Literal["F", "N"] = value("which of the two")
    n_train: Annotated[int, Field(ge=0)] = value("training photographs that are drawn of 22,248; 0: all")
    seed: Seed = value("of that draw")
    size_px: Count = value("side of the images", unit="px")
    captions: Literal["concepts", "none", "automatic"] = value(
        "concepts: a word for what it shows; none: the second stage works without; automatic: BLIP-2 describes it"
    )


class Plain(Section):
    """A folder of plain files: your own recording (docs/recordings.md)."""

    module: Literal["plain"] = value("the format")
    source: str = value("what it is, in the title of every picture")
    size_px: Count = value("side of the images, squashed to squares", unit="px")
    window_s: Window = value("in which responses of tables were counted, from onset", unit="s")
    margin_s: Annotated[Number, Field(ge=0)] = value(
        "spikes of recordings are kept this long before and after presentations", unit="s"
    )


class Datasets(Section):
    """Options of every data set, by its name; `module` of src/spikevaediff/datasets, where it has another name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Plain | OwnModule]
    simulated: Simulated
    allen: Allen
    cowley_v4: CowleyV4
    nsd: Nsd
    tvsd: Tvsd


# ---- models


class Vdvae(Section):
    """The first stage: a very deep variational autoencoder."""

    config: Literal["cifar10", "imagenet32", "imagenet64", "ffhq256", "mini64"] = value("its architecture")
    weights: str = value("a path below vendor/, or an asset (`spikevaediff assets`)")
    n_layers: Count = value("layers of latents that are predicted, from the coarsest; finer ones come from the prior")


class EfficientNet(Section):
    """Vision contexts of the mini model: grids of EfficientNet-lite0."""

    module: Literal["efficientnet"] = value("of src/spikevaediff/features")
    weights: str = value("a path below vendor/, or an asset")


class MiniLM(Section):
    """Text contexts of the mini model: hidden states of MiniLM."""

    module: Literal["minilm"] = value("of src/spikevaediff/features")
    weights: str = value("a path below vendor/, or an asset")
    n_tokens: Annotated[int, Field(ge=2)] = value("length of a context; longer captions lose their last words")


class ClipVision(Section):
    """Vision contexts of the published model."""

    module: Literal["clip_vision"] = value("of src/spikevaediff/features")
    weights: str = value("a path below vendor/, or an asset")
    config: Literal["vit_l14"] = value("its architecture")
    published_rounding: bool = value("round pixels as in the training of the diffusion model")


class ClipText(Section):
    """Text contexts of the published model."""

    module: Literal["clip_text"] = value("of src/spikevaediff/features")
    weights: str = value("a path below vendor/, or an asset")
    config: Literal["vit_l14"] = value("its architecture")


class VersatileDiffusion(Section):
    """The second stage: a diffusion model that starts from the first stage's image."""

    module: Literal["versatile_diffusion"] = value("of src/spikevaediff/decoders")
    unet: Literal["mini", "four_flow"] = value("its architecture")
    unet_weights: str = value("a path below vendor/, or an asset")
    autoencoder: Literal["mini", "kl_f8"] = value("its architecture")
    autoencoder_weights: str = value("a path below vendor/, or an asset")
    protocol: Literal["strict", "brain_diffuser_2023"] = value(
        "brain_diffuser_2023: noising, schedule and pixels as published, mistakes included"
    )
    strength: Share = value("how much of the first stage's image is noised away: 0 none, 1 all")
    mixing: Share = value("weight of the vision context; text has the rest, but nothing where no image has a caption")
    guidance: Annotated[Number, Field(ge=0)] = value("1: the contexts are followed; above: exaggerated")
    steps: Annotated[int, Field(ge=1, le=500)] = value("from noise to image, of which `strength` is the share taken")
    eta: Share = value("0: no fresh noise; 1: fresh noise in every step")
    guidance_likelihood: Share = value("how far steps are moved towards what the responses say; 0: not")
    start_share: Share = value("of the first stage's image in the coarse luminance of the result; 0: none, 1: all")


class Model(Section):
    """A generator with its feature spaces. How it is used is set with it, since that was chosen for it."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, OwnModule]
    vdvae: Vdvae
    vision: EfficientNet | ClipVision | OwnModule
    text: MiniLM | ClipText | OwnModule
    diffusion: VersatileDiffusion | OwnModule


class Models(Section):
    """Generators by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Model]


DATASETS: dict[str, type[Section]] = {
    "simulated": Simulated,
    "allen": Allen,
    "cowley_v4": CowleyV4,
    "nsd": Nsd,
    "tvsd": Tvsd,
    "plain": Plain,
}
FEATURES: dict[str, type[Section]] = {
    "vdvae": Vdvae,
    "efficientnet": EfficientNet,
    "minilm": MiniLM,
    "clip_vision": ClipVision,
    "clip_text": ClipText,
}
GENERATORS: dict[str, type[Section]] = {"versatile_diffusion": VersatileDiffusion}


# ---- what is done with them


class Areas(BaseModel):
    """Areas of the Allen Common Coordinate Framework, without sub-structure; of your own data as units.csv has them."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    __pydantic_extra__: dict[str, Names | Literal["shuffled"]]
    visual: Names | Literal["shuffled"] = value("the population that reconstructs")
    control: Names | Literal["shuffled"] = value("the negative control; shuffled: other images' responses")


class CaptionsMade(Section):
    """Captions of images for which the data set brings none, by BLIP-2."""

    model: str = value("an asset, fetched on first use; or a folder of a network as transformers saves it")
    prompt: str = value("a beginning that the network continues")
    max_new_tokens: Count = value("longest caption", unit="tokens")
    num_beams: Count = value("beams of the search; 1: greedy")
    dtype: Literal["float32", "float16", "bfloat16"] = value(
        "of weights and arithmetic; float16 needs half the memory and may change a word"
    )


class Responses(Section):
    """Responses of units: when they are counted, and which units are good enough."""

    start_s: Number | None = value("start of the window after onset; null: what tables were counted in", unit="s")
    duration_s: Positive | None = value("length of the window, its end not included", unit="s")
    n_bins: Count | None = value("equal time bins in it; each unit and bin is a regressor")
    isi_violations_max: Number | None = value("quality of units, limit included; null: no limit")
    amplitude_cutoff_max: Number | None = value("the same")
    presence_ratio_min: Number | None = value("the same; AllenSDK applies 0.95, some of its pages say 0.9")
    min_units: Count = value("refuse a session with fewer")


class Split(Section):
    """Which images are tested."""

    method: Literal["k_fold", "hold_out", "given", "as_published"] = value(
        "k_fold: every image is tested once; hold_out: n_test images are set aside; given: the split of the data set, "
        "without training images that look like a tested one; as_published: the same, with these images"
    )
    n_folds: Annotated[int, Field(ge=2)] = value("folds of k_fold")
    n_test: Count = value("tested images of hold_out")
    seed: Seed = value("decides which images")


class Encoding(Section):
    """Models of what each unit responds to, learnt fold by fold."""

    families: Names = value(
        "modules of src/spikevaediff/encoding/families; each unit gets the one that predicts left-out images best"
    )


class Movies(Section):
    """Movies that the same units saw, where the data set has them: rows for training, which are never tested."""

    train: bool = value("whether encoding models and regressions learn from them; false: only the stage `movies` does")
    frames_per_row: Count = value("consecutive frames that are averaged to one picture")
    start_s: Number = value("of the window of the response to it, from the onset of its first frame", unit="s")
    n_blocks: Annotated[int, Field(ge=2)] = value(
        "contiguous parts of each movie, of which the stage `movies` leaves out one at a time"
    )
    encoder_folds: Count = value("folds whose encoding models that stage learns again, with movies or without")
    size_px: Count = value("side of the images that are predicted there", unit="px")
    alphas: Penalties = value("penalties to choose from, there")


class Library(Section):
    """Photographs that were never shown, with predicted responses: the regression learns from them as well."""

    n_images: Annotated[int, Field(ge=0)] = value("photographs")
    seed: Seed = value("of the views that are drawn, and of the noise of the predicted responses")
    folder: str = value("the embedded data set, of whose training crops views are drawn; or pictures of your own")


class KernelRidge(Section):
    """Read when `method` is kernel_ridge."""

    kernel: Literal["linear", "rbf", "polynomial", "laplacian"] = value("similarity of two responses")
    degree: Count = value("of the polynomial")
    widths: Annotated[list[Positive], Field(min_length=1)] = value(
        "bandwidths offered, in units of the median distance between responses"
    )
    width_search: Literal["grid", "gradient"] = value("grid: all widths; gradient: descend from one")
    max_steps: Count = value("of the gradient search, at most")


class Banded(Section):
    """Read when `method` is banded."""

    bands: Literal["area", "time_bin"] = value("what shares a weight; time_bin when responses.n_bins is above 1")
    units_per_band: Annotated[int, Field(ge=0)] = value("units drawn from every band, as many from each; 0: all")
    max_steps: Count = value("of the search for weights, at most")


class Common(Section):
    """What the regressions of all feature spaces share."""

    # Sections of regressions of your own, by the name of the module.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]
    transform: Literal["none", "square_root"] = value("of single counts")
    alphas: Penalties = value("penalties to choose from")
    alpha_scope: Literal["target", "group", "global", "component"] = value(
        "what has a penalty of its own. target: each target; group: each layer or token; component: each principal "
        "component of the training targets (ridge and kernel_ridge); global: nothing, one penalty for all"
    )
    folds: Annotated[int, Field(ge=2)] | Literal["image", "none"] = value(
        "how penalties are chosen. image: every training image is left out once; a number of groups; none: one alpha"
    )
    seed: Seed = value("deals images into groups")
    renormalise: Literal["none", "train", "test_legacy"] = value(
        "of predictions. train: to the spread of training features; test_legacy: with statistics of test images"
    )
    library_weights: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = value(
        "of rows of the library; 0: real images alone. Training images that neither regression nor encoding models "
        "have learnt from choose one, and the penalty (ridge). An empty list: rows count as real ones do"
    )
    kernel_ridge: KernelRidge
    banded: Banded


class Space(partly(Common)):  # type: ignore[misc]
    """The regression of one feature space: its own keys, and any of `regress.common` that differs."""

    method: str = value("a module of src/spikevaediff/regression/methods")
    library: Annotated[int, Field(ge=0)] = value("rows of the library beside those of the training images; 0: none")


class Quality(Section):
    """Of sessions, before anything is decoded; nothing later depends on it."""

    n_draws: Count = value("random splits of presentations into halves")
    seed: Seed = value("of these")
    n_blocks: Count = value("parts of the session in which drift is shown")
    n_folds: Annotated[int, Field(ge=2)] = value("contiguous parts of the session, for identity decoding")
    shrinkage: Shrinkage = value("of the covariance of its linear discriminant, towards independence")
    running_cm_per_s: Number = value("above it the mouse runs", unit="cm/s")
    anchor_area: str = value("decoded as published as well")
    anchor_window_s: Window = value("the window of the publication", unit="s")


class Latency(Section):
    """Identity decoding of single presentations in sliding windows."""

    start_s: Number = value("the first window begins here; before onset it must be at chance", unit="s")
    stop_s: Number = value("the last one ends here", unit="s")
    step_s: Positive = value("from one to the next", unit="s")
    width_s: Positive = value("of each", unit="s")
    n_folds: Annotated[int, Field(ge=2)] = value("contiguous parts of the session")
    shrinkage: Shrinkage = value("as quality.shrinkage")


class Counts(Section):
    """Decoding from some of the units or presentations."""

    units: list[Count] = value("numbers of units")
    presentations: list[Count] = value("numbers of presentations")
    n_draws: Count = value("of units, and of presentations")
    size_px: Count = value("side of the images that are predicted", unit="px")
    alphas: Penalties = value("penalties to choose from")


class Curves(Section):
    """Decoding over time, units and presentations; nothing later depends on it."""

    latency: Latency
    counts: Counts
    n_resamples: Draws = value("of images, for the bands")
    seed: Seed = value("of draws and resamples")


class NoiseCeiling(Section):
    """What the same prediction from halves of the presentations says about its limit."""

    n_draws: Count = value("random splits into halves, averaged")
    seed: Seed = value("of these")


class Posterior(Section):
    """Images that explain the responses (encoding/posterior.py)."""

    n_samples: Count = value("the first is scored as a sample, their mean as the estimate for pixels")
    shared_steps: Annotated[int, Field(ge=0)] = value(
        "of Adam, from what the library's regression gives to the mode, once for all samples of an image; none are "
        "taken where the prior is photographs"
    )
    steps: Count = value("of Adam, then for each sample, from beside the mode")
    step_size: Positive = value("of Adam")
    temperature: Share = value("1: samples of the posterior; below: closer to its mode, which 0 gives")
    likelihood: Literal["gaussian", "poisson"] = value(
        "of the responses. gaussian: mean responses with the encoder's noise; poisson: counts of single presentations"
    )
    prior: Literal["normal", "photographs"] = value(
        "of the latents. normal: that of the VDVAE; photographs: around those of training images and library"
    )
    prior_weight: Share = value("of the prior against the likelihood, which is 1")
    luminance_weight: Share = value(
        "of coarse luminance as a regression expects it, against the likelihood, which is 1; 0 leaves it out"
    )


class PosteriorImages(Section):
    """The mean of the samples of the posterior."""

    regression_share: Share = value("of the regression's picture in the coarse part of the mean; 0 leaves it out")


class DecodeVdvae(Section):
    """The first stage by regression."""

    module: Literal["vdvae"] = value("of src/spikevaediff/decoders")
    temperature: Annotated[Number, Field(ge=0)] = value("0: finer latents are the prior's means; 1: drawn from it")


class DecodeDiffusion(Section):
    """The second stage; its other options are set with the model."""

    n_samples: Count = value(
        "of every image; the one that explains the responses best is scored; for a prior, the first"
    )


class Decode(Section):
    """Images from responses and predicted features. A section with `module` is a decoder of features."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, OwnModule]
    posterior: Posterior
    posterior_images: PosteriorImages
    vdvae: DecodeVdvae | OwnModule
    diffusion: DecodeDiffusion


DECODERS: dict[str, type[Section]] = {"vdvae": DecodeVdvae}


class Layers(Section):
    """The study of the VDVAE's layers."""

    n_images: Count = value("of the study, evenly spread over the ids")


class Evaluate(Section):
    """Scores of reconstructed images."""

    protocol: Literal["strict", "brain_diffuser_2023", "mindeye"] = value(
        "strict; the others are for comparison with numbers printed there, never in one table"
    )
    size_px: Count = value("side at which pixels are compared, where the protocol does not fix it", unit="px")
    metrics: Names = value(
        "names declared in src/spikevaediff/evaluation/metrics; one whose network is not here is reported as absent"
    )
    n_draws: Draws = value("permutations of the pairing for p-values, bootstrap samples of images for intervals")
    seed: Seed = value("of both, and of the baseline of random training images")


class Regions(Section):
    """The comparison of areas; nothing later depends on it."""

    n_units: Annotated[int, Field(ge=0)] = value("units compared from every area; 0: as many as the smallest has")
    counts: list[Count] = value("numbers of units, for the curves")
    n_draws: Count = value("of units, each time")
    size_px: Count = value("side of the images that are predicted", unit="px")
    alphas: Penalties = value("penalties to choose from")
    n_resamples: Draws = value("of images for intervals, of signs for the tests")
    max_steps: Count = value("of the search for weights of banded ridge")
    seed: Seed = value("of draws and resamples")


class KnownMistakes(Section):
    """Known mistakes, made on purpose; nothing later depends on them."""

    size_px: Count = value("side at which pixels are compared", unit="px")
    n_draws: Draws = value("of pairings, for p-values")
    seed: Seed = value("of these")


class Report(Section):
    """The gallery."""

    rank_by: str = value("a metric; the gallery shows the best, the middle and the worst by it")
    n_each: Count = value("images of each")


class Compute(Section):
    """How results are computed, not which: no stage depends on it. What a GPU changes: docs/experiments.md."""

    device: str = value("cpu, cuda, cuda:1, ...; auto: a GPU where torch finds one")
    batch_size: Count | Literal["auto"] = value("images at once; auto: as many as speed up the run and fit into memory")


class Regress(Section):
    """Regression from responses to features, one section per feature space."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Space]
    common: Common


class Parts(Section):
    """What is computed beside the core; false leaves it out of the run, the report, the page and metrics.json."""

    second_stage: bool = value("images of the diffusion model, with contexts, ceiling, controls and priors")
    controls: bool = value("the negative control: whatever is made from the units of areas.control")
    analyses: bool = value("quality of the recording, curves, areas, layers and known mistakes")


class Parameters(Section):
    """What decides a result, each number once."""

    dataset: str = value("a name in `datasets`")
    model: str = value("a name in `models`. mini: weights in this repository; published: fetched on first use")
    seed: Seed = value("of everything that is drawn when images are decoded")
    recordings_remote: str = value(
        "the only remote (`dvc remote list`) to which `dvc push` sends recordings, images and responses; empty: where "
        "all else goes; not_shared: a folder in .dvc/tmp, for data that must not be passed on"
    )
    parts: Parts
    datasets: Datasets
    areas: Areas
    captions: CaptionsMade
    responses: Responses
    split: Split
    models: Models
    encoding: Encoding
    movies: Movies
    library: Library
    regress: Regress
    quality: Quality
    curves: Curves
    noise_ceiling: NoiseCeiling
    decode: Decode
    layers: Layers
    evaluate: Evaluate
    regions: Regions
    known_mistakes: KnownMistakes
    report: Report
    compute: Compute
