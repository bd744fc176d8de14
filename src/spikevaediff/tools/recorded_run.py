"""What a recorded run of the embedded data set took: the measure of `spikevaediff plan`."""

# 118 images, 418 units, ten folds, 1200 library images, two threads of one core of an Intel Xeon.
N_IMAGES, N_UNITS, N_FOLDS, N_LIBRARY = 118, 418, 10, 1200
MATRIX_S = 0.143  # of probe.matrix_s there
OVERHEAD_S = 0.1  # beside every stage: DVC looks at files and writes dvc.lock
START_S = 0.3  # of a stage, a fork of a process that has imported what it needs
LOADING_S = 0.5  # networks, in the stages that have some
# stage: seconds beside START_S, peak memory in MB, what both grow with
RECORDED: dict[str, tuple[float, int, str]] = {
    "start": (0.9, 120, "nothing"),
    "acquire": (4.9, 340, "images"),
    "captions": (0.0, 100, "images"),
    "responses": (0.0, 120, "sessions"),
    "quality": (5.2, 280, "sessions"),
    "split": (0.5, 130, "images"),
    "encode": (25.0, 1230, "encoders"),
    "library": (2.0, 360, "library"),
    "library_responses": (2.0, 680, "encoders"),
    "curves": (8.0, 460, "images"),
    "identify": (8.4, 780, "encoders"),
    "posterior_images": (0.2, 340, "tested"),
    "looks": (2.3, 1250, "images"),
    "evaluate": (2.3, 1250, "tested"),
    "halves": (4.4, 1210, "tested"),
    "baselines": (3.7, 2030, "tested"),
    "checks_posterior": (0.2, 400, "tested"),
    "checks": (0.6, 400, "tested"),
    "regions": (6.9, 500, "images"),
    "movies": (8.8, 1060, "nothing"),
    "report": (6.4, 390, "images"),  # with the page
}
SIDE_BY_SIDE = ("decode_posterior", "decode_diffusion")  # stages of networks whose batches do not share threads
BASE_MB = 370  # of a process that has imported torch or JAX
# Seconds of an image in features of the mini model, and of a million numbers that a regression predicts and keeps.
FEATURE_S = {"efficientnet": 0.015, "minilm": 0.02}
REGRESSION_S, COPIES = 0.21, 7  # copies of the targets of all rows in memory, measured
# Numbers of a context, and tokens of it, for each module of features.
TARGETS = {"efficientnet": (49, 1280), "minilm": (24, 384), "clip_vision": (257, 768), "clip_text": (77, 768)}
