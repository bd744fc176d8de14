"""What the command line offers beside the stages.

A command is a parser and a function in `spikevaediff.__main__`, which calls a module here.
"""
