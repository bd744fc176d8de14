"""What the command line offers beside the stages.

Arguments and output of a command are a file of `spikevaediff.commands`, which calls a module here.
"""
