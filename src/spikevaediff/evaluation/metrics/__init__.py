"""Scores of reconstructions, one module each.

A metric module has one function, `pairwise`, and three constants. `pairwise(shown, reconstructed)` returns a float64
matrix with a row for every shown image and a column for every reconstruction: entry (i, j) is the score that
reconstruction j would get had image i been shown. It takes either uint8 images (n_images, height, width, 3) of one
common size, or what a network of `spikevaediff.networks.small` says about such images, in the same row order.

Everything that is reported follows from that one matrix and the pairing of rows with columns. The score of an image
is its entry on the diagonal. The mean of the entries off the diagonal is what the same reconstructions score when
paired with the wrong images, over all wrong pairings at once, so that no random draw is needed. Entry (i, j) depends on
reconstruction j and never on the other reconstructions, so a permutation of the pairing or a subset of the columns can
be taken afterwards.

LARGER_IS_BETTER : bool; the sense of the score.
RANGE : pair of floats; the values it can take.
CHANCE : str; what an uninformative reconstruction scores, and what that number hides.
"""
