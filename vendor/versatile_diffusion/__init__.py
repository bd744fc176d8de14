"""Versatile Diffusion (Xu et al. 2023, arXiv 2211.08332), its image flow with two contexts, written anew around the
published weights.

`config` holds the configurations, `autoencoder` turns pixels into latents and back, `unet` predicts their noise from a
vision and a text context, `sampler` denoises, `weights` reads checkpoints, `memory` says what fits a device.
"""
