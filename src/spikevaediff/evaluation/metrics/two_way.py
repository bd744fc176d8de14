"""Two-way identification: can a reconstruction tell the image that was shown from another one?

The formula has the direction that the field uses: for each reconstruction the *shown* images compete (Ozcelik &
VanRullen 2023). It differs in one point, on purpose: a tie counts one half. With ties as failures a reconstruction
that is equally like all images would score 0, worse than chance, although it says nothing.
"""

from typing import TYPE_CHECKING

import numpy as np

from spikevaediff.evaluation.correlation import correlation
from spikevaediff.evaluation.looks import Look

if TYPE_CHECKING:
    from spikevaediff.evaluation.protocols import Protocol

LOOKS_AT = {
    "alexnet2": Look("alexnet", (1,), "AlexNet, second convolution, rectified"),
    "alexnet5": Look("alexnet", (4,), "AlexNet, fifth convolution, rectified"),
    "inception": Look("inception", words="Inception v3, pooled"),
    "clip": Look("clip", words="CLIP ViT-L/14, image embedding"),
}
COMPETES = True
LARGER_IS_BETTER = True
RANGE = (0.0, 1.0)
CHANCE = (
    "0.5. The pairs of one run share images, so pure chance ranges over about 0.45 to 0.55 (95 %) for 118 images and "
    "0.40 to 0.61 for 24, and a binomial test over pairs is wrong: permute the pairing. One and the same picture for "
    "every image scores 0.5 too, and the value depends on how alike the images of the pool are."
)


def shares(similarity: np.ndarray, *, tie: float = 0.5) -> np.ndarray:
    """For every pair, the share of the other shown images that fit the reconstruction worse.

    shares[i, j] = (#{k != i: s[k, j] < s[i, j]} + #{k != i: s[k, j] = s[i, j]} / 2) / (n - 1): the rank of row i within
    column j, scaled to [0, 1]. The mean of a column is exactly 0.5.

    Parameters
    ----------
    similarity : real, (n_images, n_reconstructions)
        Larger is more alike; rows are the shown images, which compete with each other.
    tie : float
        What a tie counts: one half, or 0 as in published code.

    Returns
    -------
    float64, (n_images, n_reconstructions), in [0, 1]

    Raises
    ------
    ValueError
        There are fewer than two shown images, or a similarity is not a number.
    """
    if similarity.ndim != 2 or len(similarity) < 2:
        raise ValueError(f"identification chooses among two or more shown images, got a matrix {similarity.shape}")
    if np.isnan(similarity).any():
        raise ValueError(f"{int(np.isnan(similarity).sum())} of {similarity.size} similarities are not numbers")
    from scipy.stats import rankdata  # half a second, which the names of metrics need not wait for

    worse = rankdata(similarity, axis=0, method="min") - 1
    tied = rankdata(similarity, axis=0, method="max") - worse - 1
    return (worse + tie * tied) / (len(similarity) - 1)


def identification(similarity: np.ndarray) -> np.ndarray:
    """Two-way identification of each image: the diagonal of `shares`.

    For reconstruction j, the share of the other images i with s[i, j] < s[j, j], ties counting one half.

    Parameters
    ----------
    similarity : real, (n_images, n_images)
        Row i is shown image i, column j the reconstruction of shown image j.

    Returns
    -------
    float64, (n_images,), in [0, 1]; chance is 0.5 (see CHANCE).

    Raises
    ------
    ValueError
        The matrix is not square, or as `shares`.

    References
    ----------
    Ozcelik & VanRullen 2023, Scientific Reports 13, 15666.
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"identification pairs row i with column i and needs a square matrix, got {similarity.shape}")
    return shares(similarity).diagonal().copy()


def wins(similarity: np.ndarray, *, tie: float = 0.5) -> np.ndarray:
    """Which competitors each reconstruction beats: 1 where s[i, j] < s[j, j], `tie` where equal, 0 where image i wins.

    The mean of column j without its diagonal is the identification of image j.

    Parameters
    ----------
    similarity : real, (n_images, n_images)
        Or `shares` of it: only the order within a column matters.
    tie : float

    Returns
    -------
    float64, (n_images, n_images)
    """
    own = similarity.diagonal()[None, :]
    return (similarity < own) + tie * (similarity == own)


def projection(wins: np.ndarray) -> np.ndarray:
    """What each image adds to the identification of all, as the one shown and as a competitor.

    h_i = mean_j w[j, i] + mean_j w[i, j] - mean(w) over j != i. The mean over images is the identification, and their
    scatter that of a mean over pairs to first order: scores alone know nothing of another pool of competitors.

    Parameters
    ----------
    wins : float64, (n_images, n_images)
        As of `wins`; the diagonal is ignored.

    Returns
    -------
    float64, (n_images,)

    References
    ----------
    Hajek 1968, Annals of Mathematical Statistics 39, 325; Hoeffding 1948, the same 19, 293.
    """
    n = len(wins)
    won = wins * (1 - np.eye(n))
    return (won.sum(0) + won.sum(1) - won.sum() / n) / (n - 1)


def within(similarity: np.ndarray, k: int) -> np.ndarray:
    """Retrieval: whether each shown image would be among the k most like each reconstruction.

    Images that tie share the places that are left among the first k, so that a reconstruction which is equally like all
    of n images retrieves each with k / n.

    Parameters
    ----------
    similarity : real, (n_images, n_reconstructions)
    k : int
        1 to n_images.

    Returns
    -------
    float64, (n_images, n_reconstructions), in [0, 1]; columns add up to k.

    Raises
    ------
    ValueError
        k is out of range, or a similarity is not a number.
    """
    if not 1 <= k <= len(similarity):
        raise ValueError(f"retrieval among the first {k} of {len(similarity)} images; expected 1 to {len(similarity)}")
    if np.isnan(similarity).any():
        raise ValueError(f"{int(np.isnan(similarity).sum())} of {similarity.size} similarities are not numbers")
    from scipy.stats import rankdata

    better = rankdata(-similarity, axis=0, method="min") - 1
    tied = rankdata(-similarity, axis=0, method="max") - better
    return np.clip((k - better) / tied, 0, 1)


def pairwise(shown: np.ndarray, reconstructed: np.ndarray, protocol: "Protocol") -> np.ndarray:
    """`shares` of the Pearson correlation of network activations, for every pair.

    Parameters
    ----------
    shown, reconstructed : float, (n, ...) and (m, ...)
        Activations of one layer, one image per row; further axes are flattened.
    protocol : Protocol
        Says what a tie counts.

    Returns
    -------
    float64, (n, m), in [0, 1]

    Raises
    ------
    ValueError
        The activations differ in size, or there are fewer than two shown images.
    """
    return shares(likeness(shown, reconstructed), tie=protocol.ties)


def likeness(shown: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Pearson correlation of activations, flattened, for every pair; float64, (n, m), see evaluation.correlation."""
    return correlation(shown.reshape(len(shown), -1), reconstructed.reshape(len(reconstructed), -1))
