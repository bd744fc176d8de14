"""One module per data set, found by its name in params.yaml (`dataset: simulated`), or by `module` in its section: data
of the plain format (plain.py) need no module of their own.

Each has one function,

    acquire(data_dir, out_dir, **options) -> None

which reads what the repository tracks of the data set in data_dir, gets or makes the rest, and writes
out_dir/sessions/<session_id>.nwb (Allen Visual Coding Neuropixels layout) or <session_id>.npz (records.Responses of all
units, counted elsewhere), out_dir/images.npz (records.Stimuli, the images that were shown, under the numbers that the
sessions use) and out_dir/captions_given.csv (image_id,caption; an image that it leaves out is described by the stage
`captions`). One that brings a split writes out_dir/split_given.csv as well (image_id,fold: 0 is tested, -1 trained on).
The options are the section `datasets.<name>` of params.yaml. What comes from elsewhere is checked by its hash before it
is used, what is known of a session is compared with what was found (recordings.facts), and an interrupted run
continues where it stopped.

What `spikevaediff plan` and `spikevaediff assets bundle` count and pack is stated beside it, where there is any:

    ASSETS: tuple of str                        assets that acquire fetches, as in spikevaediff.files.assets
    assets_of(**options) -> tuple of str        those that it fetches beside them, with these options
    cached(data_dir, **options) -> list[File]   files that it keeps in the user's cache, in a folder of its name
    lacks_captions(data_dir, **options) -> bool whether it leaves images to the stage `captions`
    n_images(data_dir, **options) -> int        about how many images there will be

    PRIVATE: str                                why it may not be passed on: `start` then refuses outputs that
                                                `dvc push` would send to any remote
    COUNTED: bool                               whether responses are tables, in windows that params.yaml cannot vary
"""
