"""How files of the Allen data set are fetched: see datasets/allen.py."""
