"""Spikes that a mouse could have fired at a set of images, with the difficulties of real ones.

The embedded data set needs a session that is small, free to pass on, and no easier to decode than a real one. A
population of independent Poisson units is far too easy (0.93 of 119 conditions recognised where a real session gives
0.48), so the model has the four sources of variability that real counts show, and its constants are those of session
791319847 of the Allen Brain Observatory (Siegle et al. 2021) where they are known:

1. tuning: what a unit likes moves the logarithm of its rate. So the spikes carry what is in the images, and where.
   Profile `gabor` has Gabor filters, `network` normalised activations of a network; all else is the same;
2. private noise: each response is scaled by a gamma variate (Goris, Movshon & Simoncelli 2014);
3. shared noise: one slow gain moves all units together, each to its own degree (Ecker et al. 2014);
4. drift: the rate of every unit rises or falls over the session.

Units differ as they do in a recording, in exact proportion: their properties are drawn by stratified sampling (one
draw from each n-th part of the distribution, in random order), so that no seed gives a session of silent units only.
CA1 is the control: real rates, the same noise, no tuning.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from rich.progress import track

from spikevaediff.datasets.simulation.movie import NAME, screening
from spikevaediff.datasets.simulation.probes import OUTSIDE, PROBES, electrodes, quality, recorded_units
from spikevaediff.recordings.nwb_writer import Recording
from spikevaediff.records import BLANK, rows_of

SESSION_ID = 999_000_118
SLOT_S = 0.2502  # median duration of the natural-scenes presentations of 32 sessions
FRAMES_PER_SLOT = 15  # of a 60 Hz monitor
N_BLOCKS = 3
_QUIET_FRAMES = 600  # 10 s before the first and after the last grey screen
PROFILES = ("gabor", "network")  # modules beside this one, each with a function `tuning`
# With it, tuning that is strong enough for the published decoding accuracy also has the published spread of
# reliability; without it the loudest units carry everything.
_CHOOSINESS = -0.15  # exponent of the rate: units that fire rarely are tuned more sharply
# Where the spikes of a response lie: image identity can be read from 40 to 360 ms after onset, best near 100 ms.
_BURST_SHARE, _BURST_SHAPE, _BURST_SCALE_S, _SUSTAINED_SLOTS = 0.5, 3.0, 0.02, 1.25


@dataclass(frozen=True)
class Area:
    """What is known of the units of one brain area.

    n_units : int; those of session 791319847 that pass the quality filter.
    rate_hz, rate_shape : float; mean and shape of a gamma distribution, fitted to their rates during a movie.
    gain : float; strength of the tuning relative to VISp, chosen for the published split-half reliabilities of the
        responses to the scenes in the cortex, weaker in the thalamus as its decoding is, none in CA1.
    field : float; size of the receptive fields relative to VISp.
    latency_s : float; from the onset of an image to the first spikes that know of it.
    """

    n_units: int
    rate_hz: float
    rate_shape: float
    gain: float
    field: float
    latency_s: float


AREAS = {
    "VISp": Area(93, 8.3, 0.9, 1.00, 1.0, 0.045),
    "VISl": Area(56, 5.5, 1.3, 0.95, 1.5, 0.050),
    "VISal": Area(43, 8.5, 1.1, 0.80, 1.6, 0.050),
    "VISpm": Area(17, 10.1, 1.2, 0.75, 1.8, 0.055),
    "VISam": Area(49, 6.8, 1.0, 0.70, 1.8, 0.055),
    "VISrl": Area(58, 7.3, 1.0, 0.65, 1.5, 0.050),
    "LGd": Area(8, 9.1, 4.0, 0.60, 0.7, 0.035),
    "LP": Area(9, 14.8, 0.8, 0.50, 2.0, 0.055),
    "CA1": Area(85, 9.0, 1.8, 0.00, 1.0, 0.050),
}
_ABOVE_THE_BRAIN = Area(0, 3.0, 1.0, 0.00, 1.0, 0.050)


def stratified(rng: np.random.Generator, group: np.ndarray, inverse: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """One draw from each n-th part of a distribution, in random order, within each group of n.

    Parameters
    ----------
    rng : np.random.Generator
    group : str, (n_units,)
    inverse : callable
        Inverse cumulative distribution function, of values in (0, 1).

    Returns
    -------
    float64, (n_units,)
    """
    uniform = np.empty(len(group))
    for name in np.unique(group):
        here = np.flatnonzero(group == name)
        uniform[here] = (rng.permutation(len(here)) + rng.random(len(here))) / len(here)
    return inverse(uniform)


def simulate(
    pixels: np.ndarray,
    image_id: np.ndarray,
    *,
    profile: str,
    seed: int,
    n_repeats: int,
    spontaneous_s: float,
    log_gain: float,
    log_gain_spread: float,
    private_shape: float,
    shared_gain: float,
    shared_correlation: float,
    drift: float,
    blank_rate: float,
    movie: np.ndarray | None = None,
    movie_repeats: int = 0,
) -> Recording:
    """One session: every image and a blank n_repeats times, in random order, back to back, in three blocks; a movie.

    The number of spikes of unit u that slot t causes (an image, a blank, or as much of a grey screen) is Poisson with
    mean

        SLOT_S r_u f_u(image) gamma_ut exp(shared_gain w_u g_t) exp(drift d_u t),

    f_u = exp(s_u z_u(image)) with z_u the tuning and s_u = log_gain gain_area exp(log_gain_spread normal), stronger
    for units that fire rarely; gamma_ut of shape private_shape; g an autoregressive process of unit variance;
    w_u = |normal(1, 0.5)|; d_u normal and t from -1 to 1 over the session. Every factor has mean 1. A spike follows the
    onset by the latency of its unit and a delay: half of those of an image come in a burst, most at 40 ms, the others
    evenly over 1.25 slots. So a response peaks near 90 ms and outlasts its image, as it does in the recordings.

    The movie is shown movie_repeats times after the last grey screen, a frame for two of the monitor. Each frame causes
    its share of the spikes of a slot, after the same delays. What is drawn for it has seeds of its own: the spikes of
    the images are the same with any movie or none.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width)
    image_id : int64, (n_images,)
    profile : str
        Where z_u comes from: one of PROFILES.
    seed : int
    n_repeats : int
        Presentations of every image, and of the blank.
    spontaneous_s : float
        Duration of the grey screen before, between and after the blocks, each, seconds; rounded to whole slots.
    log_gain, log_gain_spread, private_shape, shared_gain, drift : float
        See above.
    shared_correlation : float
        Of g in neighbouring slots, in [0, 1).
    blank_rate : float
        Rate of a tuned unit in a blank, relative to its mean over the images.
    movie : uint8, (n_frames, height, width), optional
    movie_repeats : int
        0: no movie is shown.

    Returns
    -------
    Recording

    Raises
    ------
    ValueError
        Fewer than two images, no such profile, or an option outside the range in which the model means something.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile is {profile!r}, expected {' or '.join(PROFILES)}")
    if len(pixels) < 2:
        raise ValueError(f"{len(pixels)} images: tuning is a difference between images, so at least 2 are needed")
    if movie_repeats < 0 or (movie_repeats > 0) != (movie is not None):
        raise ValueError(f"movie_repeats is {movie_repeats}; 0 without a movie, and 1 or more with one, are needed")
    if n_repeats < 1 or spontaneous_s < SLOT_S:
        raise ValueError(
            f"n_repeats is {n_repeats} and spontaneous_s {spontaneous_s}; at least 1 and {SLOT_S} (one slot) are needed"
        )
    if not 0 <= shared_correlation < 1:
        raise ValueError(f"shared_correlation is {shared_correlation}, expected 0 <= shared_correlation < 1")
    if private_shape <= 0 or blank_rate <= 0:
        raise ValueError(f"private_shape is {private_shape} and blank_rate {blank_rate}; both must be above 0")

    import scipy.signal  # a second, which the library of photographs need not wait for
    import scipy.stats

    rng = np.random.default_rng([seed, 0])
    shown, block = _slots(rng, image_id, n_repeats, round(spontaneous_s / SLOT_S))
    n_slots, is_image = len(shown), shown != BLANK
    column = rows_of(shown[is_image], image_id, "the set of images")

    units = recorded_units(rng, {name: area.n_units for name, area in AREAS.items()})
    areas = [_ABOVE_THE_BRAIN if name == OUTSIDE else AREAS[name] for name in units["area"]]
    group = np.char.add(units["area"], units["flaw"])  # the good ones alone make the distribution
    n_units = len(areas)
    tuning = import_module(f"spikevaediff.datasets.simulation.{profile}").tuning
    like = tuning(pixels, rng, field=np.array([area.field for area in areas]), movie=movie)
    like, like_movie = like[:, : len(pixels)], like[:, len(pixels) :]
    strength = log_gain * np.array([area.gain for area in areas])
    strength *= np.exp(log_gain_spread * stratified(rng, group, scipy.stats.norm.ppf))
    shape = np.array([area.rate_shape for area in areas])
    scale_hz = np.array([area.rate_hz for area in areas]) / shape
    rate_hz = stratified(rng, group, lambda uniform: scipy.stats.gamma.ppf(uniform, shape, scale=scale_hz))
    strength *= (rate_hz / AREAS["VISp"].rate_hz) ** _CHOOSINESS
    latency_s = np.array([area.latency_s for area in areas]) * rng.uniform(0.85, 1.15, n_units)
    weight = np.abs(1 + 0.5 * stratified(rng, group, scipy.stats.norm.ppf))
    slope = stratified(rng, group, scipy.stats.norm.ppf)

    innovation = rng.standard_normal(n_slots)
    innovation[1:] *= np.sqrt(1 - shared_correlation**2)
    shared = scipy.signal.lfilter([1], [1, -shared_correlation], innovation)
    course = np.linspace(-1, 1, n_slots)

    film = screening(
        like_movie.shape[1],
        movie_repeats,
        first=_QUIET_FRAMES + n_slots * FRAMES_PER_SLOT,
        frames_per_slot=FRAMES_PER_SLOT,
    )
    n_frames = 2 * _QUIET_FRAMES + (n_slots + film.n_slots) * FRAMES_PER_SLOT
    frame_s = np.arange(n_frames) * (SLOT_S / FRAMES_PER_SLOT)
    frames = _QUIET_FRAMES + FRAMES_PER_SLOT * np.column_stack([np.arange(n_slots), np.arange(1, n_slots + 1)])
    onset_s, end_s = frame_s[frames[:, 0]], frame_s[frames[-1, 1]]
    onset_of_movie_s, fade_s = frame_s[film.presentations.frames].T
    shared_later = scipy.signal.lfilter(
        [np.sqrt(1 - shared_correlation**2)],
        [1, -shared_correlation],
        np.random.default_rng([seed, 1]).standard_normal(film.n_slots),
        zi=[shared_correlation * shared[-1]],
    )[0]
    course_later = 1 + (course[1] - course[0]) * np.arange(1, film.n_slots + 1)

    spikes_s = []
    for unit in track(range(n_units), description="simulating units"):
        own = np.random.default_rng([seed, int(units["id"][unit])])
        factor = np.exp(strength[unit] * like[unit])
        mean = np.full(n_slots, blank_rate if strength[unit] else 1.0)
        mean[is_image] = (factor / factor.mean())[column]
        slow = np.exp(shared_gain * weight[unit] * shared + drift * slope[unit] * course)
        mean *= slow / slow.mean()
        mean *= own.gamma(private_shape, 1 / private_shape, n_slots)
        times_s = _spikes(own, SLOT_S * rate_hz[unit] * mean, onset_s, latency_s[unit], bursts=is_image)
        spikes_s.append(times_s[times_s < end_s])
        if film.n_slots:
            own = np.random.default_rng([seed, int(units["id"][unit]), 1])
            gain = np.exp(shared_gain * weight[unit] * shared_later + drift * slope[unit] * course_later) / slow.mean()
            gain *= own.gamma(private_shape, 1 / private_shape, film.n_slots)
            mean = (np.exp(strength[unit] * like_movie[unit]) / factor.mean())[film.presentations.frame]
            mean *= rate_hz[unit] * (fade_s - onset_of_movie_s) * gain[film.slot]
            bursts = np.ones(len(mean), bool)
            times_s = _spikes(own, mean, onset_of_movie_s, latency_s[unit], bursts=bursts)
            # After those of the images, so that a unit's spikes stay sorted.
            spikes_s[-1] = np.concatenate([spikes_s[-1], times_s[times_s < fade_s[-1]]])

    running_s = np.arange(onset_s[0], end_s, 1 / 60)
    running = 8 * np.maximum(0, np.interp(running_s, onset_s, shared)) + 0.1 * rng.standard_normal(len(running_s))
    # Without the movie, like all that is known of a unit: it is the same whether one is shown.
    hertz = np.array([np.sum(times < end_s) for times in spikes_s]) / (end_s - onset_s[0])
    flaw = units.pop("flaw")
    units.pop("area")  # a recording knows it from the channel alone
    return Recording(
        session_id=SESSION_ID,
        frame_s=frame_s,
        image_id=shown[block > 0],
        block=block[block > 0],
        frames=frames[block > 0],
        spontaneous_frames=_joined(frames, block == 0),
        invalid=_invalid(frame_s, frames[block > 0]),
        probes=PROBES,
        electrodes=electrodes(),
        units={**units, "firing_rate": hertz, **quality(rng, flaw)},
        spikes_s=spikes_s,
        running_s=running_s,
        running_cm_per_s=np.round(running, 3),
        movies={NAME: film.presentations} if film.n_slots else {},
    )


def _spikes(
    rng: np.random.Generator, mean: np.ndarray, onset_s: np.ndarray, latency_s: float, *, bursts: np.ndarray
) -> np.ndarray:
    """When a unit fires that is expected to fire `mean` times, (n,), after each onset; see `simulate`. float64, sorted.

    bursts : bool, (n,); where half of the spikes come in a burst.
    """
    counts = rng.poisson(mean)
    delay_s = _SUSTAINED_SLOTS * SLOT_S * rng.random(counts.sum())
    burst = (rng.random(counts.sum()) < _BURST_SHARE) & np.repeat(bursts, counts)
    delay_s[burst] = rng.gamma(_BURST_SHAPE, _BURST_SCALE_S, burst.sum())
    # Whole microseconds: the last bit of exp() differs between processors, and the file should not.
    return np.sort(np.round(np.repeat(onset_s, counts) + latency_s + delay_s, 6))


def _slots(
    rng: np.random.Generator, image_id: np.ndarray, n_repeats: int, n_grey: int
) -> tuple[np.ndarray, np.ndarray]:
    """What is shown in every slot (BLANK for grey), and its block: 1 to 3, or 0 for the grey screens in between."""
    order = rng.permutation(np.repeat(np.append(image_id, BLANK), n_repeats))
    shown, block = [np.full(n_grey, BLANK)], [np.zeros(n_grey, int)]
    for number, part in enumerate(np.array_split(order, N_BLOCKS), start=1):
        shown += [part, np.full(n_grey, BLANK)]
        block += [np.full(len(part), number), np.zeros(n_grey, int)]
    return np.concatenate(shown), np.concatenate(block)


def _joined(frames: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """First and last-plus-one frame of each unbroken run of chosen slots, int64 (n_runs, 2)."""
    change = np.flatnonzero(np.diff(chosen.astype(int), prepend=0, append=0))
    return np.column_stack([frames[change[::2], 0], frames[change[1::2] - 1, 1]])


def _invalid(frame_s: np.ndarray, frames: np.ndarray) -> list[tuple[float, float, tuple[str, ...]]]:
    """Two gaps: one in the stimulus record, over parts of three presentations, and one of a single probe."""
    first, probe = frames[len(frames) // 6], frames[len(frames) // 2]  # within a block
    middle_s = (frame_s[first[0]] + frame_s[first[1]]) / 2
    return [
        (middle_s, middle_s + 2 * SLOT_S, ("EcephysSession", str(SESSION_ID), "stimulus")),
        (frame_s[probe[0]], frame_s[probe[1]], ("EcephysProbe", "810000006", "probeF")),
    ]
