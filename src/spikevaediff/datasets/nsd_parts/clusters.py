"""A hold-out of whole clusters: what is tested looks like nothing that is trained on.

Photographs of COCO come in kinds (trains, plates of food, tennis players), and a decoder that has learnt the kinds
scores well on new photographs of the same ones. Here photographs are grouped by k-means in a feature space, and a group
is tested whole or not at all. It is the check of Shirakawa et al. 2024, Spurious reconstruction from brain activity.
"""

import numpy as np
from sklearn.cluster import KMeans


def hold_out(features: np.ndarray, *, n_clusters: int, test_share: float, seed: int) -> np.ndarray:
    """Which images are tested.

    Parameters
    ----------
    features : float32, (n_images, n_dims)
        Of the images alone: responses have no say.
    n_clusters : int
    test_share : float
        Clusters are drawn until this share of the images is tested; one that would exceed it by more than it lacks is
        passed over.
    seed : int
        Of the starts of k-means, and of the draw.

    Returns
    -------
    bool, (n_images,)

    Raises
    ------
    ValueError
        Fewer images than clusters, or no cluster can be tested.
    """
    if not 2 <= n_clusters <= len(features):
        raise ValueError(
            f"datasets.nsd.n_clusters is {n_clusters}, expected 2 to {len(features)}, the number of images"
        )
    label = KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(features.astype(np.float64))
    tested = np.zeros(len(features), bool)
    for cluster in np.random.default_rng([seed, 1]).permutation(n_clusters).tolist():
        with_it = tested | (label == cluster)
        if abs(with_it.mean() - test_share) < abs(tested.mean() - test_share):
            tested = with_it
    if not tested.any() or tested.all():
        raise ValueError(
            f"no choice of the {n_clusters} clusters comes near a test share of {test_share:g}: take more clusters, "
            f"datasets.nsd.n_clusters"
        )
    return tested
