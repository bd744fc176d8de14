"""Parts of the Natural Scenes Dataset, one file of code per kind of file: see datasets/nsd.py."""
