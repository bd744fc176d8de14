"""Sentences about images that have none: BLIP-2's, and names of ImageNet classes."""
