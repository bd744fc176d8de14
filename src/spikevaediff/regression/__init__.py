"""From responses to features: the split by image, closed-form regressions, and predictions on the scale of features.

The methods are the modules of spikevaediff.regression.methods.
"""
