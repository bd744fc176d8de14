"""The commands that are not stages of the pipeline; `spikevaediff --help` lists them."""

from spikevaediff import interrupts

interrupts.say_one_line()  # before what takes a second to import

# isort: split
import argparse
import io
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from ruamel.yaml.error import YAMLError

from loading.machine import out_of_memory, processors
from spikevaediff import threads
from spikevaediff.files import assets
from spikevaediff.files.checksums import size_text
from spikevaediff.files.replaceable import check_file, check_ours


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status is 1 when it failed, which standard error says in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["dvc"]:  # with all that follows, options included
        from spikevaediff.tools import quick_dvc

        return quick_dvc.main(words[1:])
    threads.set_once()
    try:
        chosen = _parser().parse_args(words)
        return chosen.run(chosen)
    except KeyboardInterrupt:
        print("interrupted; what has been downloaded so far is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `spikevaediff assets | head`: nobody reads on, which is not a failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        said = _in_one_line(error)
        if said is None or os.environ.get("SPIKEVAEDIFF_TRACEBACK"):
            raise
        print(said, file=sys.stderr)
        return 1


def _in_one_line(error: Exception) -> str | None:
    """What is said of an error that bad input or the machine explains; None for a mistake of ours."""
    if (said := out_of_memory(error)) is not None:
        return said
    if isinstance(error, YAMLError):  # several lines, in which the file and the place are named
        return f"not YAML: {' '.join(str(error).split())}"
    if isinstance(error, KeyError):
        return str(error.args[0]) if error.args else "a name is not there"
    if isinstance(error, OSError | ValueError | subprocess.SubprocessError):
        return str(error)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spikevaediff", description="Commands around the pipeline, which itself is run by: dvc repro"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser(
        "dvc",
        help="DVC with a faster way to write its lock file: `spikevaediff dvc repro` for `dvc repro`",
        add_help=False,
    )
    listing = commands.add_parser(
        "assets",
        help="list, fetch or pack photographs and weights made by others",
        description=f"Without an action: list the assets. They lie in {assets.cache_dir()}.",
    )
    listing.set_defaults(run=_list)
    actions = listing.add_subparsers(metavar="[fetch | bundle | unbundle]", title="actions")
    fetching = actions.add_parser("fetch", help="fetch some of them into the user's cache, checked by sha256")
    fetching.add_argument(
        "name", nargs="*", metavar="NAME", help="assets of the list (default: all that the default run needs)"
    )
    fetching.add_argument(
        "--again",
        action="store_true",
        help="fetch it even if it is there; where no sha256 is published, the file that arrives is right from now on",
    )
    fetching.set_defaults(run=_fetch)
    packing = actions.add_parser(
        "bundle", help="fetch all files of a run and pack them, for a machine without a network"
    )
    packing.add_argument("file", metavar="FILE", type=Path, help="archive to write, such as bundle.tar")
    _add_settings(packing)
    packing.set_defaults(run=_bundle)
    unpacking = actions.add_parser("unbundle", help="put the files of such an archive into the user's cache, checked")
    unpacking.add_argument("file", metavar="FILE", type=Path, help="as written by bundle")
    unpacking.set_defaults(run=_unbundle)
    beginning = commands.add_parser(
        "init",
        help="write a new project: the pipeline, its parameters, data sets and mini weights",
        description="Writes a project of DVC and Git into FOLDER, with a copy of the code, on which its stages depend.",
    )
    beginning.add_argument("folder", metavar="FOLDER", type=Path, help="such as my_project; new or empty")
    beginning.set_defaults(run=_init)
    planning = commands.add_parser(
        "plan",
        help="before a run: what it will download and write, and how long it will take here",
        description="Downloads, disk, memory and time of a run with params.yaml of this checkout, and what would fit "
        "where something does not (exit status 1). Probes this machine for some seconds, and downloads nothing.",
    )
    _add_settings(planning)
    planning.add_argument("--all", action="store_true", help="also list files that are there")
    planning.set_defaults(run=_plan)
    predicting = commands.add_parser("predict", help="apply a saved fit to new responses of the same units")
    predicting.add_argument(
        "fit",
        metavar="FIT",
        help="regression of a finished run, fitted to all of its images: artifacts/fits/vdvae_all_images.npz",
    )
    predicting.add_argument(
        "responses",
        metavar="RESPONSES",
        help="npz as in artifacts/responses/; of your own: make_responses(values, image_id, like=...).save(...) in "
        "Python, docs/api.md",
    )
    predicting.add_argument(
        "out", metavar="OUT", help="npz of features to write, renormalised as in artifacts/predicted/: latents.npz"
    )
    predicting.add_argument(
        "--decode",
        metavar="DIR",
        type=Path,
        help="also turn predicted latents into images with the VDVAE of params.yaml: one PNG per image_id",
    )
    predicting.set_defaults(run=_predict)
    encoding = commands.add_parser(
        "encode",
        help="predict responses to pictures by saved encoding models",
        description="Mean responses of the units of an encoding model to pictures, as a table: one row per picture, "
        "one column per unit (session_id.unit_id, and .window where a unit has several).",
    )
    encoding.add_argument(
        "encoder",
        metavar="ENCODER",
        help="npz such as artifacts/encoders/visual/all_images.npz; with --images its folder",
    )
    encoding.add_argument("pictures", metavar="PICTURE", nargs="*", help="files of any format that Pillow reads")
    encoding.add_argument(
        "--images",
        metavar="IDS",
        type=_ids,
        help="instead of pictures: images of the run, each by the model of the fold that has not seen it: 3,17",
    )
    encoding.add_argument("--out", metavar="FILE", required=True, help="table to write, CSV")
    encoding.set_defaults(run=_encode)
    preferring = commands.add_parser(
        "preferred",
        help="find the photographs to which each unit would respond most strongly",
        description="Writes a table of the images with the largest predicted response of each unit of an encoding "
        "model, and next to it a picture for the units that are predicted best.",
    )
    preferring.add_argument("encoder", metavar="ENCODER", help="npz such as artifacts/encoders/visual/all_images.npz")
    preferring.add_argument(
        "--images",
        metavar="FILE",
        default="artifacts/library/images.npz",
        help="to choose from (default: %(default)s, photographs that were never shown)",
    )
    preferring.add_argument("--each", metavar="N", type=int, default=6, help="images per unit (default: %(default)s)")
    preferring.add_argument("--out", metavar="FILE", required=True, help="table to write, CSV")
    preferring.set_defaults(run=_preferred)
    checking = commands.add_parser(
        "check-data",
        help="list everything that is wrong with a folder of your own recordings",
        description="Reads a folder of the plain format (docs/recordings.md) and lists every problem.",
    )
    checking.add_argument("folder", metavar="FOLDER", help="such as vendor/data/mine")
    checking.add_argument(
        "--write-params",
        action="store_true",
        help="when nothing is wrong: write its section, areas and window into params.yaml, and say what comes next",
    )
    checking.add_argument(
        "--window",
        metavar="START,STOP",
        type=_window,
        help="window in which tables were counted, in seconds after onset, such as 0.05,0.15 or -0.05,0.15",
    )
    checking._negative_number_matcher = re.compile(r"-\.?\d")  # a start before onset is a value, and no option
    checking.set_defaults(run=_check_data)
    examining = commands.add_parser(
        "doctor", help="find what is wrong with this checkout and this machine, and the cure"
    )
    examining.add_argument("--no-cache", action="store_true", help="do not hash the objects of the DVC cache again")
    examining.add_argument(
        "--remove-damaged",
        action="store_true",
        help="remove damaged objects and their links in the workspace; dvc pull or dvc repro brings them back",
    )
    examining.set_defaults(run=_doctor)
    comparing = commands.add_parser(
        "compare", help="compare two commits or experiments on a Markdown page: metrics, parameters, pictures"
    )
    comparing.add_argument("base", metavar="BASE", nargs="?", help="a revision, such as origin/main, or an experiment")
    comparing.add_argument("head", metavar="HEAD", nargs="?", default="HEAD", help="another one (default: HEAD)")
    comparing.add_argument("--url", help="where raw files are served: https://github.com/OWNER/NAME/raw")
    comparing.add_argument("--out", metavar="FILE", help="write there instead of printing")
    comparing.add_argument(
        "--stale", action="store_true", help="instead: exit 1 when dvc.lock is older than code or parameters"
    )
    comparing.set_defaults(run=_compare)
    sweeping = commands.add_parser("sweep", help="run a set of experiments of sweeps.yaml, here or on a cluster")
    sweeping.add_argument("name", nargs="?", metavar="NAME", help="which set; none: list them")
    sweeping.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    sweeping.add_argument("--jobs", type=int, default=1, help="experiments at once on this machine (default: 1)")
    sweeping.add_argument("--cluster", metavar="ADDRESS", help="of a Dask scheduler, such as tcp://login-node:8786")
    sweeping.add_argument("--git-remote", default="origin", help="workers clone and push there (default: origin)")
    sweeping.add_argument("--tries", type=int, default=2, help="further workers that try a failed one (default: 2)")
    sweeping.set_defaults(run=_sweep)
    carding = commands.add_parser("cards", help="write a data card and model cards of the run in artifacts/")
    carding.add_argument("--out", metavar="FILE", default="artifacts/cards.md", help="default: artifacts/cards.md")
    carding.set_defaults(run=_cards)
    crating = commands.add_parser(
        "crate",
        help="write a committed run as a research object (RO-Crate): data, commit, parameters, results, licences",
        description="Writes a folder with ro-crate-metadata.json for a repository of data.",
    )
    crating.add_argument("out", metavar="OUT", type=Path, help="folder to write")
    crating.add_argument("--data-licence", metavar="TEXT", help="of your own data, such as: CC BY 4.0")
    crating.set_defaults(run=_crate)
    drawing = commands.add_parser(
        "figure",
        help="draw a figure of the run in artifacts/ for a paper: PDF or SVG with text that stays text, or PNG",
        description="NAME: gallery, scores, latents, noise_ceiling, encoding, identification, layers, quality, curves, "
        "regions or areas. The same figures as matplotlib axes: docs/api.md.",
    )
    drawing.add_argument("name", metavar="NAME", help="which figure")
    drawing.add_argument("--images", metavar="IDS", type=_ids, help="of the gallery, in this order: 3,17")
    drawing.add_argument("--runs", metavar="RUNS", help="of gallery and scores, in this order: posterior,diffusion")
    drawing.add_argument("--out", metavar="FILE", required=True, help="such as fig.pdf")
    drawing.set_defaults(run=_figure)
    generating = commands.add_parser(
        "generate",
        help="make pictures with the diffusion model, from an image, a caption or nothing",
        description="--image: variations of it; --text: text to image; both: guided by both; --start: image to image; "
        "nothing: the prior, a control for what the generator remembers. Options left out are those of params.yaml.",
    )
    generating.add_argument("out", metavar="OUT", type=Path, help="folder to write: samples, sheet.png, spread.png")
    generating.add_argument("--start", metavar="IMAGE", type=Path, help="picture to start from")
    generating.add_argument("--image", metavar="IMAGE", type=Path, help="picture whose vision context guides")
    generating.add_argument("--text", metavar="CAPTION", help="sentence that guides")
    generating.add_argument("--mean", action="store_true", help="guide by mean contexts: what mean spikes predict")
    generating.add_argument("--strength", type=float, help="how much of the start is noised away, 0 to 1")
    generating.add_argument(
        "--start-share", type=float, help="how much of the start's coarse luminance pictures keep, 0 to 1"
    )
    generating.add_argument("--mixing", type=float, help="weight of the image beside the text, 0 to 1")
    generating.add_argument("--guidance", type=float, help="1 follows the contexts, more exaggerates them")
    generating.add_argument("--steps", type=int, help="of denoising")
    generating.add_argument("--eta", type=float, help="noise added in the steps, 0 to 1")
    generating.add_argument("--samples", type=int, help="pictures that differ in their noise")
    generating.add_argument("--seed", type=int, help="of the noise")
    generating.add_argument(
        "--nearest",
        action="store_true",
        help="find the training crop most like each; squares of wallpapers, which the UNet also saw, are not searched",
    )
    generating.set_defaults(run=_generate)
    return parser


def _list(chosen: argparse.Namespace) -> int:
    table = Table(caption=f"in {assets.cache_dir()}; * the default run needs it", caption_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("size", no_wrap=True, justify="right")
    for column in ("here", "licence", "used for"):
        table.add_column(column)
    for name, asset in assets.ASSETS.items():
        here = assets.state(name)
        mark = "*" if asset.embedded else ""
        table.add_row(name + mark, size_text(asset.bytes), here, asset.licence, asset.used_for)
    Console().print(table)
    return 0


def _fetch(chosen: argparse.Namespace) -> int:
    failed = 0
    for name in chosen.name or [name for name, asset in assets.ASSETS.items() if asset.embedded]:
        try:
            print(assets.fetch(name, again=chosen.again))
        except Exception as error:  # the others are fetched all the same
            if (said := _in_one_line(error)) is None:
                raise
            print(said, file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-S",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a parameter, as in dvc exp run: -S model=published",
    )


def _bundle(chosen: argparse.Namespace) -> int:
    from spikevaediff.tools import bundle, needs

    check_file(chosen.file, "bundle.tar")
    params = needs.parameters(Path.cwd(), chosen.settings)
    wanted = needs.needs(params, Path.cwd())
    needs.fetch(need for need in wanted if need.required)
    packed = [need for need in wanted if need.required or need.state == "have"]
    size = sum(entry.bytes for entry in bundle.bundle(packed, chosen.file))
    print(f"{chosen.file}: {len(packed)} files, {size_text(size)}. On the other machine:")
    print(f"spikevaediff assets unbundle {chosen.file.name}")
    if absent := [need.name for need in wanted if need not in packed]:
        print(f"not included, since a run can do without (its metrics are then absent): {', '.join(absent)}")
    return 0


def _init(chosen: argparse.Namespace) -> int:
    from spikevaediff.files import project

    n_files = project.write(chosen.folder)
    # A folder within another repository is a project of that one.
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=chosen.folder, capture_output=True, check=False)
    if inside.returncode:
        subprocess.run(["git", "init", "--quiet"], cwd=chosen.folder, check=True)
    print(f"{chosen.folder}: {n_files} files. Go on with:")
    print(f"cd {shlex.quote(str(chosen.folder))}")
    print("git add . && git commit -m 'A new project'   # experiments begin at a commit")
    print("dvc repro                                    # the embedded data set")
    return 0


def _plan(chosen: argparse.Namespace) -> int:
    from spikevaediff.parameters import check, of_folder, own
    from spikevaediff.tools import needs, plan  # seconds of importing torch

    root = Path.cwd()
    params = needs.parameters(root, chosen.settings)
    check.refuse([*check.of_sections(params), *check.of_choices(params), *own.problems(params)])  # as the first stage
    check.refuse(of_folder.problems(params, Path("vendor/data")))
    device = params["compute"]["device"]
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = needs.needs(params, root)  # refused before the probe, where parameters name what does not exist
    with Console(stderr=True).status("probing this machine"):
        found = plan.plan(params, root, speed=plan.measured(params, device), device=device)
    console = Console()
    table = Table(title=f"files of dataset={params['dataset']}, model={params['model']}", title_justify="left")
    for column in ("file", "size", "state", "used for"):
        table.add_column(column, overflow="fold")
    for file in plan.grouped(wanted if chosen.all else [need for need in wanted if need.state != "have"]):
        table.add_row(*map(escape, file))
    if table.row_count:
        console.print(table)
    for state in ("have", "need", "damaged"):
        some = [need for need in wanted if need.required and need.state == state]
        if some or state != "damaged":
            print(f"{state} {len(some)} files, {size_text(sum(need.n_bytes for need in some))}")
    if found.parts:
        about = size_text(sum(file.about or 0 for file in found.parts))
        print(f"parts of {len(found.parts)} files that stay on their server, about {about} still to come, an estimate")
    for what, (folder, n_bytes, left) in found.disk.items():
        print(f"{what}: {size_text(n_bytes)} to {folder}, {size_text(left)} free")
    table = Table(title=f"stages on {device}, {processors()} processors", title_justify="left")
    for column in ("stage", "runs", "time", "memory at most", "known from"):
        table.add_column(column)
    for row in plan.lines(found):
        table.add_row(*row)
    console.print(table)
    print(f"about {plan.time_text(found.seconds)} in all, when nothing comes from the cache and nothing else runs here")
    most = size_text(max(stage.memory for stage in found.stages))
    print(f"{most} of memory at most, {size_text(found.memory_free)} free")
    for problem in found.problems:
        print(f"does not fit: {problem}", file=sys.stderr)
    return 1 if found.problems else 0


def _unbundle(chosen: argparse.Namespace) -> int:
    from spikevaediff.tools import bundle

    for path, what in bundle.unbundle(chosen.file):
        print(f"{what}: {path}", flush=True)
    return 0


def _predict(chosen: argparse.Namespace) -> int:
    from spikevaediff.regression import (  # a second of importing JAX, which listing assets need not wait for
        jax_cache,
        new_responses,
    )
    from spikevaediff.tools import predict

    check_file(chosen.out, "latents.npz", suffix=".npz")
    if chosen.decode is not None:
        check_ours(chosen.decode, r"\d+\.png")
        from spikevaediff.api.apply import check_latents
        from spikevaediff.tools import needs

        needs.parameters(Path.cwd())  # which name the decoder
        check_latents(chosen.fit)
    if said := predict.problem(chosen.fit, chosen.responses):
        print(f"warning: {said}", file=sys.stderr)
    jax_cache.keep()
    print(new_responses.predict_file(chosen.fit, chosen.responses, chosen.out))
    if chosen.decode is not None:
        from spikevaediff.api.apply import decode_latents
        from spikevaediff.api.run import Run
        from spikevaediff.records import Features

        images = decode_latents(Features.load(chosen.out), Run(Path.cwd()))
        images.save(chosen.decode)
        print(f"{chosen.decode}: images: {len(images.image_id)}")
    return 0


def _ids(text: str) -> list[int]:
    """Whole numbers with commas between them, for argparse."""
    try:
        if "_" in text:  # which int reads past
            raise ValueError
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of image ids, such as 3,17") from None


def _crate(chosen: argparse.Namespace) -> int:
    from spikevaediff.tools import crate

    n_files = crate.write(Path.cwd(), chosen.out, data_licence=chosen.data_licence)
    print(f"{chosen.out}: {n_files} files")
    return 0


def _figure(chosen: argparse.Namespace) -> int:
    from spikevaediff.api import figures
    from spikevaediff.api.run import load

    check_file(chosen.out, f"{chosen.name}.pdf")
    runs = None if chosen.runs is None else chosen.runs.split(",")
    figures.save(figures.figure(load(), chosen.name, images=chosen.images, runs=runs), chosen.out)
    print(chosen.out)
    return 0


def _encode(chosen: argparse.Namespace) -> int:
    from spikevaediff.files import project
    from spikevaediff.tools import encode  # seconds of importing torch, which listing assets need not wait for

    check_file(chosen.out, "responses.csv", suffix=".csv")
    if bool(chosen.pictures) == bool(chosen.images):
        raise ValueError("name the pictures to encode, or images of the run: --images 3,17")
    if chosen.images:
        print(encode.encode_unseen(chosen.encoder, chosen.images, chosen.out))
    else:
        print(encode.encode(chosen.encoder, chosen.pictures, chosen.out, project.here(Path.cwd())))
    return 0


def _preferred(chosen: argparse.Namespace) -> int:
    from spikevaediff.tools import preferred

    check_file(chosen.out, "preferred.csv")
    print(preferred.preferred(chosen.encoder, chosen.images, chosen.out, chosen.each, Path.cwd()))
    return 0


def _check_data(chosen: argparse.Namespace) -> int:
    from spikevaediff.datasets.plain_format import plain_folder

    folder = Path(chosen.folder)
    found = plain_folder.examine(folder, window_s=chosen.window)
    n = len(found.problems)
    for number, problem in enumerate(found.problems, start=1):
        print(f"{number}. {problem}")
    for note in found.notes:
        print(f"note: {note}")
    if n:
        print(f"\n{folder} has {n} problem{'s' * (n > 1)}. The format, by example:\n\n{plain_folder.FORMAT}")
        return 1
    print(plain_folder.summary(folder, found, chosen.window))
    if chosen.write_params:
        from spikevaediff.tools import own_data

        print(own_data.write_params(Path.cwd(), folder, found, window_s=chosen.window))
    return 0


def _window(text: str) -> tuple[float, float]:
    """Start and stop, for argparse."""
    try:
        start, stop = (float(one) for one in text.split(","))
    except ValueError:
        start = stop = math.nan
    if not start < stop:
        raise argparse.ArgumentTypeError(f"{text!r} is not a start and later stop in seconds, such as 0.05,0.15")
    return start, stop


def _doctor(chosen: argparse.Namespace) -> int:
    from spikevaediff.tools import doctor

    colour = {"fine": "green", "note": "yellow", "broken": "red"}
    table = Table(show_header=False, box=None)
    broken = False
    if chosen.remove_damaged:
        for path in doctor.remove_damaged(Path.cwd()):
            print(f"removed {path}")
    for finding in doctor.examine(Path.cwd(), cache=not chosen.no_cache):
        broken |= finding.state == "broken"
        cure = f"\n[bold]{escape(finding.cure)}[/]" if finding.cure else ""
        table.add_row(finding.name, f"[{colour[finding.state]}]{finding.state}[/]", escape(finding.text) + cure)
    Console().print(table)
    return 1 if broken else 0


def _compare(chosen: argparse.Namespace) -> int:
    from spikevaediff.files.atomic import replacing
    from spikevaediff.tools import compare

    if chosen.stale:
        stages = compare.stale(Path.cwd())
        if stages:
            print(
                f"dvc.lock is stale: {', '.join(stages)} would run. Run `make repro`, look at the results and "
                "commit dvc.lock, metrics/ and plots/ with your change.",
                file=sys.stderr,
            )
        return 1 if stages else 0
    if chosen.base is None:
        print("name the revision to compare with: spikevaediff compare origin/main", file=sys.stderr)
        return 2
    if chosen.out is not None:
        check_file(chosen.out, "compare.md")
    text = compare.page(chosen.base, chosen.head, Path.cwd(), url=chosen.url)
    if chosen.out is None:
        print(text, end="")
    else:
        with replacing(chosen.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 0


def _sweep(chosen: argparse.Namespace) -> int:
    from ruamel.yaml import YAML

    from spikevaediff.tools import sweep

    root = Path.cwd()
    grids = sweep.load(root / "sweeps.yaml")
    if chosen.name is None:
        params = YAML(typ="safe").load(root / "params.yaml")
        for name, grid in grids.items():
            n = math.prod(map(len, sweep.with_values(grid, params).values()))
            print(f"{name}: {n} experiments over {', '.join(grid)}")
        return 0
    if chosen.name not in grids:
        raise ValueError(f"sweeps.yaml has no {chosen.name!r}; there are {', '.join(grids)}")
    params = YAML(typ="safe").load(root / "params.yaml")
    sweep.refuse(chosen.name, grids[chosen.name], params, root)
    wanted = sweep.experiments(chosen.name, sweep.with_values(grids[chosen.name], params), params)
    if chosen.dry_run:
        for name, settings in wanted.items():
            print(f"dvc exp run --name {name} {' '.join(f'-S {shlex.quote(one)}' for one in settings)}")
        return 0
    if chosen.cluster:
        return _sweep_on_cluster(root, wanted, chosen)
    for name in sweep.run_here(root, wanted, jobs=chosen.jobs):
        print(f"{name}: queued, {' '.join(wanted[name])}", flush=True)
    print(f"{chosen.jobs} at a time now run in the background.")
    print("Follow them: dvc queue status, dvc queue logs NAME --follow. Stop them: dvc queue stop --kill.")
    print("Compare them: dvc exp show --only-changed. Take one over: dvc exp apply NAME.")
    return 0


def _sweep_on_cluster(root: Path, wanted: dict[str, list[str]], chosen: argparse.Namespace) -> int:
    try:
        from spikevaediff.tools import cluster
    except ModuleNotFoundError as error:
        raise ValueError(f"{error}. Install it: pip install -c constraints.txt -e '.[cluster]'") from error

    print(f"{len(wanted)} experiments for the workers of {chosen.cluster}, one at a time each", flush=True)
    failed = []
    ends = cluster.run(root, wanted, scheduler=chosen.cluster, git_remote=chosen.git_remote, tries=chosen.tries)
    for number, (name, why) in enumerate(ends, 1):
        print(f"{number}/{len(wanted)} {name}: {why or 'done, ' + ' '.join(wanted[name])}", flush=True)
        if why:
            failed.append(name)
    if failed:
        print(f"{len(failed)} failed; the same command runs them again: {' '.join(failed)}", file=sys.stderr)
    print(f"Fetch them: dvc exp pull {chosen.git_remote}. Compare them: dvc exp show --only-changed.")
    return 1 if failed else 0


def _cards(chosen: argparse.Namespace) -> int:
    from spikevaediff.api.run import Run
    from spikevaediff.files.atomic import replacing
    from spikevaediff.report.cards import cards

    check_file(chosen.out, "cards.md")
    root = Path.cwd()
    if not (root / "params.yaml").exists():
        raise FileNotFoundError(f"{root} has no params.yaml. Run this at the top of a checkout of SpikeVAEDiff")
    text = cards(root, Run(root).params)
    with replacing(chosen.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(chosen.out)
    return 0


def _generate(chosen: argparse.Namespace) -> int:
    from dataclasses import fields

    from spikevaediff.files import project
    from spikevaediff.tools import generate

    wish = generate.Wish(**{field.name: getattr(chosen, field.name) for field in fields(generate.Wish)})
    print(generate.generate(wish, project.here(Path.cwd()), chosen.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
