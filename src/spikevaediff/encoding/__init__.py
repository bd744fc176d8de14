"""Encoding models: from an image to the mean response of every unit.

`readout.fit` learns them, `encoder.Encoder` keeps and runs them, `noise` says how far responses scatter around them,
`identification` asks which image was shown. The features that they read are the modules of encoding.families.
"""
