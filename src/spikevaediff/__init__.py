"""SpikeVAEDiff: the natural images a mouse saw, reconstructed from its Neuropixels spike counts."""

__version__ = "0.1.0"
