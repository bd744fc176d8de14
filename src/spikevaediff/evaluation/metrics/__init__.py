"""Scores of reconstructions, one module each; the names of metrics are those that the modules declare.

A metric module has one function, `pairwise(shown, reconstructed, protocol)`, and four constants. `pairwise` returns a
float64 matrix with a row for every shown image and a column for every reconstruction: entry (i, j) is the score that
reconstruction j would get had image i been shown. It is given what the metric looks at, one image per row: pixels as
the protocol compares them (protocols.pixels_of), the output of a network, or a list of several outputs.

Everything that is reported follows from that one matrix and the pairing of rows with columns. The score of an image
is its entry on the diagonal. The mean of the entries off the diagonal is what the same reconstructions score when
paired with the wrong images, over all wrong pairings at once, so that no random draw is needed. Entry (i, j) depends on
reconstruction j and never on the other reconstructions, so a permutation of the pairing or a subset of the columns can
be taken afterwards.

LOOKS_AT : dict of str to looks.Look; for each name in params.yaml what the metric of this name looks at. `PIXELS`, or a
    network and which of its outputs.
LARGER_IS_BETTER : bool; the sense of the score.
RANGE : pair of floats; the values it can take. (0, 1) is a proportion.
CHANCE : str; what an uninformative reconstruction scores, and what that number hides.

Where they apply:

ASSETS : tuple of str; files that `pairwise` itself needs, besides the weights of the network.
COMPETES : True where an entry depends on the other shown images. Otherwise the matrix is computed fold by fold, since
    nothing else of it is read, and is NaN elsewhere.
BOUNDED : False where an image can score better by lacking what true latents hold, contrast for example: a run may then
    be above its ceiling, which otherwise stops the pipeline.
AT_LEAST : int; the fewest images of which the metric can be computed; it is absent for fewer.
wins(matrix, *, tie) : of a mean over pairs of images, which of them each reconstruction beats; see two_way.
ceiling(agreement) : what the agreement of two halves of the presentations lets the score reach, where that is known.
"""
