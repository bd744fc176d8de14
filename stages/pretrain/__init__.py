"""Training of the small models whose weights are in vendor/data/weights: a pipeline of its own, run by hand."""
