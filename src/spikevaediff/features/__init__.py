"""Feature spaces that the regression predicts. Each module here is one, found by its name.

A module has `extract(stimuli, *, weights, ...) -> Features`: the features of the images that were shown, a row an
image, the same every time it is called. Its options are the keys of `models.<model>.<space>` in params.yaml.
"""
