"""From predicted features to images. Each module here is a decoder, found by its name.

A module has `decode(predicted, *, ...) -> Reconstructions`: an image for every row, depending on that row, the seed and
the image_id alone, whatever else is in the batch. There are two kinds, by what `predicted` is.

`predicted: Features` is a decoder of features. A section of params.yaml's `decode` names it by `module` and holds its
options; which run decodes which features with which section stands in runs.yaml (`decoded`) and in the stage `decode`
of dvc.yaml. It is also given what it asks for by name of `models.<model>.vdvae` (config, weights, n_layers).

`predicted: Guides` (second_stage.guides.Guides) is a second stage: images of another decoder to start from, and
contexts. `models.<model>.diffusion` names it by `module` and holds its options; it is also given what it asks for of
`decode.diffusion` (n_samples), `unconditional` (the Guides of no image and no words), `explained` (responses, with who
judges images by them, or None) and `kept` (a folder for images before all are there).

Both are given `seed`, `batch_size` and `device` where they ask for them, all keyword-only. The value of `weights` or of
`..._weights` is a path below vendor/ or the name of an asset, and arrives as the path of a file that is there.
"""
