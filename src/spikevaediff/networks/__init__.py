"""Pretrained networks, loaded strictly: those that are small enough for every run, and those of the literature."""
