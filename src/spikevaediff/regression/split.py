"""Which images are tested, and the checks that keep what is tested out of what is trained on.

The split is over images, never over presentations: with 50 presentations of an image, a model that has seen 49 of them
in training knows the answer to the last. Two pictures of one thing leak in the same way, so near-duplicates are found
by a perceptual hash and stay in one fold; `check` does not trust that and looks again.
"""

from collections.abc import Mapping

import imagehash
import numpy as np
from PIL import Image

from spikevaediff.records import BLANK, ImageSplit, Stimuli

# The perceptual hash keeps the signs of 16 x 16 cosine coefficients around their median: 256 bits. Of ImageHash's
# methods (average, difference, wavelet and perceptual hash, 64 and 256 bits) only this one parted copies from scenes.
# Different scenes differ in 123 bits on average (sd 7, the nearer of an image and its mirror image); the nearest of
# the 6,903 pairs of scenes differ in 98, for the photographs of the simulated session and for the Allen scenes alike.
# Copies, worst of 118: moved by 4 of 256 px along both axes 66, a border of 1 of 31 px cut off 74, 20 % brighter 24,
# gamma 2 or 1/2 44, JPEG of quality 10 32 (78 at 31 px), mirrored 0. A move by 8 of 256 px along both axes is beyond
# it: 88 in the median.
_HASH_SIZE = 16
N_BITS = _HASH_SIZE**2
_ALIKE_BITS = 80


def decide(
    stimuli: Stimuli, tested: Mapping[int, bool], *, method: str, n_folds: int, n_test: int, seed: int
) -> tuple[ImageSplit, list[str]]:
    """Which images are tested, of images that are there, with the check that nothing leaks.

    Parameters
    ----------
    stimuli : Stimuli
    tested : mapping of int to bool
        By image_id, where the data set brings a split of its own; empty where it does not.
    method : str
        As `split_by_image`; or given: what the data set names is tested, and training images that look like a tested
        one are left out; or as_published: they are not.
    n_folds, n_test, seed : int
        As `split_by_image`.

    Returns
    -------
    ImageSplit
    list of str
        What was noticed.

    Raises
    ------
    ValueError
        As `split_by_image`, `as_given` and `check_method`.
    """
    check_method(method, stimuli.source, brings_split=bool(tested))
    alike = near_duplicates(stimuli)
    if method in ("given", "as_published"):
        chosen = as_given(tested, stimuli, alike, keep_alike=method == "as_published")
        n = sum(tested[a] != tested[b] for a, b, _ in alike.tolist())
        said = (
            "stay, as published" if method == "as_published" else f"{len(tested) - len(chosen.image_id)} are left out"
        )
        notes = [f"{n} pairs of a tested and a training image look alike; of the latter {said}"] * bool(n)
        if method == "as_published":
            return chosen, notes
    else:
        chosen = split_by_image(stimuli.image_id, method=method, n_folds=n_folds, n_test=n_test, seed=seed, alike=alike)
        notes = [
            f"images {a} and {b} look alike ({bits} of {N_BITS} hash bits differ) and stay in one fold"
            for a, b, bits in alike.tolist()
        ]
    check(chosen, stimuli)
    return chosen, [*notes, "no images that look alike are in different folds"]


def check_method(method: str, source: str, *, brings_split: bool) -> None:
    """Refuse a method that does not go with the split of a data set, or with its having none.

    Parameters
    ----------
    method : str
        As `decide`.
    source : str
        What the data set is, for errors.
    brings_split : bool

    Raises
    ------
    ValueError
        The data set brings a split, and the method is another one; or it brings none, and the method needs one.
    """
    if (method in ("given", "as_published")) == brings_split:
        return
    if not brings_split:
        raise ValueError(f"{source} brings no split of its own; set split.method to k_fold or hold_out")
    raise ValueError(
        f"{source} brings a split of its own, by whose training images its responses may be z-scored. Set "
        f"split.method to given, not {method}"
    )


def split_by_image(
    image_ids: np.ndarray, *, method: str, n_folds: int, n_test: int, seed: int, alike: np.ndarray | None = None
) -> ImageSplit:
    """Assign every image to the fold that tests it.

    Parameters
    ----------
    image_ids : int64, (n,)
        The images; repeats and blanks (-1) are ignored, so the ids of presentations do as well.
    method : str
        k_fold: every image is tested once, in one of n_folds folds whose sizes differ by at most one image as long
        as no images are alike. hold_out: one fold tests n_test images, the others are only trained on.
    n_folds, n_test : int
        The first belongs to k_fold, the second to hold_out.
    seed : int
        Decides which images.
    alike : int64, (n_pairs, 2 or more), optional
        Rows that begin with the ids of two images that must share a fold, as `near_duplicates` returns them. Chains
        hold together: with (1, 2) and (2, 3), so do 1 and 3.

    Returns
    -------
    ImageSplit

    Raises
    ------
    ValueError
        An unknown method; more folds than images (alike ones count once); a fold would be empty or hold everything;
        alike images do not add up to n_test.
    """
    ids = np.unique(np.asarray(image_ids, np.int64))
    ids = ids[ids != BLANK]
    groups = _groups(ids, np.empty((0, 2), np.int64) if alike is None else np.asarray(alike, np.int64)[:, :2])
    groups = [groups[i] for i in np.random.default_rng([seed]).permutation(len(groups))]
    if method == "k_fold":
        return ImageSplit(ids, _k_fold(ids, groups, n_folds))
    if method == "hold_out":
        return ImageSplit(ids, _hold_out(ids, groups, n_test))
    raise ValueError(f"split method {method!r} does not exist, choose k_fold or hold_out")


def as_given(tested: Mapping[int, bool], stimuli: Stimuli, alike: np.ndarray, *, keep_alike: bool) -> ImageSplit:
    """The split that the data set brings: one fold tests what it names, the other images are only trained on.

    Parameters
    ----------
    tested : mapping of int to bool
        By image_id. Empty: the data set brings none.
    stimuli : Stimuli
    alike : int64, (n_pairs, 3)
        As `near_duplicates` returns them.
    keep_alike : bool
        False: training images that look like a tested one are left out, of this split and so of all that follows. True:
        they stay, as in a publication.

    Returns
    -------
    ImageSplit

    Raises
    ------
    ValueError
        The data set brings no split, or one of other images; or nothing is left to train on.
    """
    check_method("given", stimuli.source, brings_split=bool(tested))
    if set(tested) != set(stimuli.image_id.tolist()):
        raise ValueError(f"the given split is of {len(tested)} images, the data set has {len(stimuli.image_id)} others")
    leaks = {b if tested[a] else a for a, b, _ in alike.tolist() if tested[a] != tested[b]}
    ids = np.array(sorted(set(tested) - (set() if keep_alike else leaks)), np.int64)
    return ImageSplit(ids, np.array([0 if tested[i] else -1 for i in ids.tolist()], np.int64))


def _groups(ids: np.ndarray, alike: np.ndarray) -> list[np.ndarray]:
    """Positions of the images in `ids`, those connected by a pair together."""
    label = np.arange(len(ids))
    for a, b in alike[np.isin(alike, ids).all(1)].tolist():
        of_a, of_b = label[np.searchsorted(ids, [a, b])]
        label[label == of_b] = of_a
    return [np.flatnonzero(label == each) for each in np.unique(label)]


def _k_fold(ids: np.ndarray, groups: list[np.ndarray], n_folds: int) -> np.ndarray:
    if not 2 <= n_folds <= len(groups):
        raise ValueError(
            f"n_folds is {n_folds}, expected 2 to {len(groups)}, the number of images (near-duplicates count once)"
        )
    fold = np.empty(len(ids), np.int64)
    sizes = np.zeros(n_folds, np.int64)
    for group in sorted(groups, key=len, reverse=True):  # stable, so the drawn order decides among equals
        smallest = int(sizes.argmin())
        fold[group] = smallest
        sizes[smallest] += len(group)
    return fold


def _hold_out(ids: np.ndarray, groups: list[np.ndarray], n_test: int) -> np.ndarray:
    if not 1 <= n_test < len(ids):
        raise ValueError(f"n_test is {n_test}, expected 1 to {len(ids) - 1} of {len(ids)} images")
    fold = np.full(len(ids), -1, np.int64)
    for group in groups:
        if len(group) <= n_test - np.sum(fold == 0):
            fold[group] = 0
    if np.sum(fold == 0) != n_test:
        raise ValueError(
            f"n_test is {n_test}, but near-duplicates stay together and only {np.sum(fold == 0)} images could be set "
            f"aside. Choose that number"
        )
    return fold


def near_duplicates(stimuli: Stimuli) -> np.ndarray:
    """Pairs of images that show the same thing.

    Two images are alike when the perceptual hashes of one and of the other, or of its mirror image, differ in at most
    80 of 256 bits. That finds copies moved by a few pixels, brightened, compressed or mirrored, and another object in
    front of the same background; not other views of the same place. Images that share a mask, such as a round aperture
    on grey, are alike by that alone now and then.

    Parameters
    ----------
    stimuli : Stimuli

    Returns
    -------
    int64, (n_pairs, 3)
        image_id, image_id, number of bits that differ.

    Source: Zauner 2010, Implementation and benchmarking of perceptual image hash functions; library ImageHash.
    """
    hashes = _hashes(stimuli.pixels)
    mirrored = _hashes(stimuli.pixels[:, :, ::-1])
    pairs = [np.empty((0, 3), np.int64)]
    for i in range(len(hashes) - 1):
        straight, flipped = (np.bitwise_count(hashes[i] ^ h[i + 1 :]).sum(1) for h in (hashes, mirrored))
        bits = np.minimum(straight, flipped).astype(np.int64)
        j = np.flatnonzero(bits <= _ALIKE_BITS)
        pairs.append(np.column_stack([np.repeat(stimuli.image_id[i], len(j)), stimuli.image_id[i + 1 + j], bits[j]]))
    return np.concatenate(pairs)


def near_copies(pixels: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Images that show what an image of another set shows, by the rule of `near_duplicates`.

    Parameters
    ----------
    pixels, of : uint8, (n_images, height, width)
        Each set of a size of its own.

    Returns
    -------
    int64, (n_pairs, 3)
        Row of `pixels`, row of `of`, number of bits that differ.
    """
    if not len(pixels) or not len(of):
        return np.empty((0, 3), np.int64)
    theirs = [_hashes(of), _hashes(of[:, :, ::-1])]
    bits = np.stack(
        [np.min([np.bitwise_count(one ^ other).sum(1) for other in theirs], axis=0) for one in _hashes(pixels)]
    ).astype(np.int64)
    found = np.argwhere(bits <= _ALIKE_BITS)
    return np.column_stack([found, bits[found[:, 0], found[:, 1]]])


def _hashes(pixels: np.ndarray) -> np.ndarray:
    hashes = [
        imagehash.phash(Image.fromarray(image), hash_size=_HASH_SIZE).hash for image in np.ascontiguousarray(pixels)
    ]
    return np.packbits(np.reshape(hashes, (len(pixels), _HASH_SIZE**2)), axis=1)


def check(split: ImageSplit, stimuli: Stimuli) -> None:
    """Refuse a split in which some fold trains on an image, or a near-duplicate of one, that it tests.

    That no id stands on both sides is a property of ImageSplit itself: every image has one fold.

    Raises
    ------
    KeyError
        The split names images that `stimuli` lacks.
    ValueError
        Images with the same pixels, or near-duplicates, are on both sides; the message names them.
    """
    among = Stimuli(stimuli.source, split.image_id, stimuli.rows(split.image_id))
    fold = dict(zip(split.image_id.tolist(), split.fold.tolist(), strict=True))
    leaks = []
    for a, b, bits in near_duplicates(among).tolist():
        if fold[a] != fold[b]:
            same = np.array_equal(*among.rows(np.array([a, b])))
            leaks.append(f"{a} and {b} ({'same pixels' if same else f'{bits} of {N_BITS} hash bits differ'})")
    if leaks:
        named = "; ".join(leaks[:8]) + ("; ..." if len(leaks) > 8 else "")
        raise ValueError(
            f"the split trains on what it tests: image_id {named} are "
            f"near-duplicates in different folds ({len(leaks)} pairs). Put the images of a pair in one fold, as "
            f"split_by_image does when it is given near_duplicates(stimuli), or drop one of them"
        )
