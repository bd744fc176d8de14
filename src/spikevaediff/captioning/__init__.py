"""Sentences about images: given ones, BLIP-2's, and names of ImageNet classes."""
