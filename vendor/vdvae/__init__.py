"""Very deep variational autoencoder (Child 2021, arXiv 2011.10650), written anew around the published weights.

`config` holds the configurations, `layers` the layers and `model` the network, `mixture` its pixel distribution;
`weights` reads checkpoints, `memory` says what a batch needs.
"""
