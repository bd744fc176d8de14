"""The commands that are not stages of the pipeline, one file for each group of them.

Contract: `add(commands)` adds the parsers of a file to argparse's subparsers, each with the function that runs it
(`set_defaults(run=...)`); such a function takes the parsed arguments and returns the exit status. What a command
computes is in spikevaediff/tools, and imported when the function runs: `spikevaediff --help` is quick, and threads are
set before NumPy, torch or JAX is loaded. `spikevaediff.__main__` lists the files in the order of the help.
"""
