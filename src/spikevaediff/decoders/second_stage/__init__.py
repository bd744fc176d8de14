"""The second stage: what it is given, what moves it, its protocols, and where images are kept until all are there."""
