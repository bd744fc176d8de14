"""Regressions from responses to features. The folder is the registry: a method is a module here, imported by its name.

A module offers two functions.

``fit(x, y, *, y_row, group_size, alphas, alpha_scope, folds, seed, ...) -> Fit``
    x : (n_rows, n_units), responses: presentations, or means over the presentations of an image.
    y : (n_images, n_targets), array or np.memmap, one row per image: the *distinct* rows of targets. They are never
        repeated: y_row, (n_rows,), says which row of y a row of x shows.
    group_size : (n_groups,), consecutive targets that belong together (a layer of a VDVAE, a token); adds up to
        n_targets.
    alphas : the penalties to choose from; alpha_scope ("target", "group", "global", or "component" for
        one per principal component of the targets) says which share one.
    n_scored : rows of y from this one on (a library) are never left out: images before it alone choose and are scored.
    folds : "image" (every image is left out once, exactly, without refitting) or the number k of folds that the images
        are dealt into by `seed`. Rows that show one image are always left out together.
    Further options of a method are keyword-only and, where they can change a result, have no default.

``predict(fit, x) -> (n_rows, n_targets)``
    float32 (float64 where y was float64).

Both say what is wrong with the values, by ValueError, before the long work starts. `Fit` is fits.Fit:
penalties chosen, held-out scores and degrees of freedom; save and load.
"""
