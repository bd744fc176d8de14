"""From predicted features to images. Each module here is a decoder, found by its name.

A module has `decode(predicted, *, weights, seed, ...) -> Reconstructions`: an image for every row, depending on that
row, the seed and the image_id alone, whatever else is in the batch. `predicted` are Features of the decoder's space, or
for versatile_diffusion its Guides: images of another decoder to start from, and contexts.
"""
