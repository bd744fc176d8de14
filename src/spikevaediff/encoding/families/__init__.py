"""What units may be tuned to. Each module here is a family of features that an encoding model reads, found by its name.

A module has

    ASSETS: tuple of str                    names of the weight files that it needs, as in spikevaediff.files.assets
    WINDOWS: tuple of (size, n_side)        one entry per layer: a tuple of windows, see `encoding.windows.grid`
    build(*weights: Path) -> callable       images -> list of maps, one per layer

The callable takes float32 (n_images, row, column), grey in [0, 1], `IMAGE_PX` pixels per side, and gives tensors
(n_images, channel, row, column). It is differentiable, so that images can be moved towards responses. A readout pools
the channels of one layer under a Gaussian window and weights them; which family, layer, window and penalty a unit gets
is decided by leaving out training images, never by name.
"""

IMAGE_PX = 64  # side of the images that encoding models see: that of the VDVAE's images
