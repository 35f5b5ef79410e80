"""The command line: `forgetkit COMMAND`, or `python -m forgetkit COMMAND`."""

from __future__ import annotations

import codecs
import csv
import os
import sys
from functools import partial
from pathlib import Path

import click

import forgetkit as package

NOTEBOOKS = package.HOME / "notebooks"
NAMES = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
FOLDER = click.Path(file_okay=False, path_type=Path)
LOOKED = ("target", "siblings", "labels", "head", "previous_targets", "seed")  # what a look asks for


@click.group(context_settings=NAMES)
def forgetkit() -> None:
    """Make a CLIP model forget one subgroup of images, and keep the rest.

    Begin with `forgetkit run`: a few minutes on two CPU cores. `forgetkit COMMAND --help` says more of each command.
    """


@forgetkit.command()
def fetch() -> None:
    """Download the image sets of the tutorial.

    Later commands find them on this disk.
    """
    from forgetkit.data.sets import SETS, cache_folder, load_parts

    for name in SETS:
        parts = load_parts(name)
        click.echo(f"{name}: " + ", ".join(f"{len(p)} {part}" for part, p in parts.items()))
    click.echo(f"cached in {cache_folder()}")


def without_screen():
    """`lessons.figures`, to draw into files."""
    import matplotlib

    from forgetkit.lessons import figures

    matplotlib.use("agg")
    figures.use_style()
    return figures


def names(context, option, value: str | None) -> list[str] | None:
    """Names with commas between them, as a list; one that has a comma stands in double quotes."""
    if value is None:
        return None
    found = [name.strip() for name in next(csv.reader([value], skipinitialspace=True), [""])]
    if not found or "" in found:
        raise click.BadParameter("a name is missing: write lynx,puma.", context, option)
    return found


def a_model(context, option, value: str) -> str:
    """A model's name; the folder of a saved one may be named as it is."""
    return f"local-dir:{value}" if (Path(value) / "open_clip_config.json").is_file() else value


def own_pictures(command):
    """The options that say which model looks at whose pictures, and where."""
    for option in (
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
        click.option("--seed", default=0, show_default=True, help="Which pictures are drawn, and go to which part."),
        click.option("--near-copies/--exact-copies", default=True, show_default=True,
                     help="Frames of a fixed camera are no copies: --exact-copies."),
        click.option("--previous-targets", callback=names, metavar="NAMES", help="What --model forgot before."),
        click.option("--head", type=click.Choice(["text", "images"]), default="text", show_default=True,
                     help="Classes by name, or by their images."),
        click.option("--pretrained", metavar="TAG|FILE", help="Its weights, as open_clip names them, or a file."),
        click.option("--model", default="mini", show_default=True, callback=a_model,
                     help="mini, a model of open_clip's, as RN50, or a saved folder."),
        click.option("--label", "--labels", "labels", metavar="NAME", help="One label for both.  [default: their own]"),
        click.option("--siblings", callback=names, metavar="NAMES", help='What to keep beside it: lynx,"puma, big".'),
    ):  # fmt: skip
        command = option(command)
    return command


@forgetkit.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--target", help="What is to be forgotten.  [default: each folder by itself]")
@own_pictures
def check(folder: Path, target: str | None, **settings) -> None:
    """Look at a folder of pictures before the work.

    Prints images by class and part, files that cannot be read or are passed over, copies, and what the model recognises
    before anything starts. DIR holds a folder a class, or is a CSV with the columns image,label,subgroup[,part]. The
    exit status is 1 where a run would stop: with a --target, of this target.
    """
    from forgetkit.lessons.lesson import check_parameters

    check_parameters(**settings)
    stops = look(folder, target=target, **settings)
    click.echo(f"\n{'When that is mended' if stops else 'Next'}: forgetkit run --data-dir {folder} --target"
               f" {target or 'NAME'} with the same options.")  # fmt: skip
    sys.exit(1 if stops else 0)


def look(folder: Path, model: str, device: str, near_copies: bool, pretrained: str | None = None, **given):
    """Print what `own.check` finds; returns what a run would stop at."""
    from forgetkit.lessons import own

    clip = package.load_clip(model, pretrained or None, device)
    click.echo(found := own.check(folder, clip, near=near_copies, **{name: given.get(name) for name in LOOKED}))
    return found.stops


@forgetkit.command()
@click.option("--target", help="What to forget, of this kind, or of your own.  [default: cat]")
@click.option("--kind", help="Of target: class, coarse, style or cluster.  [default: class]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Your own pictures, a folder a class, or a CSV.")
@own_pictures
@click.option("--recipe", default="default", show_default=True, help="default (ours) or paper (as published).")
@click.option("--out", type=FOLDER, help="Folder for what it makes.  [default: runs/KIND-TARGET, with -SEED unless 0]")
@click.option("-p", "more", type=(str, str), multiple=True, metavar="NAME VALUE", help="Of the notebook: n_forget 9.")
def run(data_dir: Path | None, out: Path | None, more: tuple[tuple[str, str], ...], **parameters) -> None:
    """Forget one subgroup of images, and keep the rest.

    Executes the quickstart notebook, and leaves it, its figures, its table, a report with intervals and alarms, and the
    model in the folder --out. Stages that are finished are kept: the same command goes on where it was stopped. With
    --data-dir, it first looks at your own pictures, as `forgetkit check`.
    """
    from forgetkit.batch.notebook import execute
    from forgetkit.batch.record import file_name
    from forgetkit.batch.spec import from_yaml
    from forgetkit.batch.task import check_names

    notebook = NOTEBOOKS / "00_quickstart.ipynb"
    given = {name: value for name, value in parameters.items() if value is not None}
    given |= {name: from_yaml(text) for name, text in more}
    data_dir = Path(given["data_dir"]) if given.get("data_dir") else data_dir
    if data_dir and "kind" in given:
        raise ValueError("--kind goes without --data-dir.")
    if data_dir and "target" not in given:
        raise ValueError(f"Say with --target what is to be forgotten of {data_dir}.")
    usual = {"kind": "folder", "data_dir": str(data_dir)} if data_dir else {"kind": "class", "target": "cat"}
    parameters = usual | given
    of = ["own" if data_dir else parameters["kind"], parameters["target"], *filter(None, [parameters["seed"]])]
    out = Path(given.get("out") or out or f"runs/{file_name('-'.join(map(str, of)))}").resolve()
    parameters["out"] = str(out)
    check_names(notebook, parameters)
    import papermill

    from forgetkit.lessons.lesson import check_parameters
    from forgetkit.lessons.own import check_out

    if out == NOTEBOOKS:
        raise ValueError(f"{out} holds the notebooks themselves: name another folder with --out.")
    check_parameters(**{"pretrained": "", "data_dir": "", **parameters})  # before anything starts
    check_out(out, notebook.name, parameters["target"], data_dir)
    if not data_dir:
        fetch.callback()
    elif look(data_dir, **parameters):
        sys.exit(1)
    try:
        out.mkdir(parents=True, exist_ok=True)
        execute(notebook, out / notebook.name, parameters, cwd=Path.cwd())  # where the paths that were given are found
        click.echo(report := (out / "report.txt").read_text(encoding="utf-8"))
    except papermill.PapermillExecutionError as error:
        raise click.ClickException(
            f"The notebook stopped in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"It is kept, with the full traceback, in {out / notebook.name}; finished stages are kept, too: the same"
            " command goes on from them."
        ) from None
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written ({error.strerror}). Finished stages are kept.") from None
    if not report.endswith("No alarm.\n"):
        click.echo("What an alarm names is given as -p n_forget 200, or -p changes '{remind: {guard: 5}}'.")
    where = os.path.relpath(out)
    click.echo(f"The executed notebook, its figures and table.csv are in {where}, the model in {where}/model.")


@forgetkit.command()
@click.argument("folder", type=FOLDER, default="forgetkit-lessons", metavar="[DIR]")
@click.argument("options", nargs=-1, metavar="[-- OPTIONS]")
@click.option("--open/--no-open", "opened", default=True, show_default=True, help="Open JupyterLab, or only copy.")
def lab(folder: Path, options: tuple[str, ...], opened: bool) -> None:
    """Copy the lessons to a folder, and open JupyterLab there.

    DIR is forgetkit-lessons unless given. Files that you have changed are kept and named; to have one as it was, delete
    it and call this again. OPTIONS are JupyterLab's: forgetkit lab DIR -- --no-browser (as root, -- --allow-root)
    """
    import runpy

    from forgetkit.batch.lessons import copy_lessons

    click.echo(copy_lessons(folder := folder.resolve()))
    if opened:
        os.chdir(folder)
        sys.argv = ["jupyterlab", f"--ServerApp.root_dir={folder}", *options, "notebooks/00_quickstart.ipynb"]
        runpy.run_module("jupyterlab", run_name="__main__")  # in place of this process


def check_lesson(name: str, value, parameters: dict) -> None:
    """Raise ValueError for a value that a notebook of this package would refuse; see `batch.spec.load`.

    What a notebook with a `data_dir` can forget is known once it has read that folder, and only to the notebook.
    """
    from forgetkit.lessons.lesson import mistake

    reads_a_folder = "data_dir" in parameters and "siblings" not in parameters
    if reads_a_folder and name in ("kind", "target", "data_dir", "labels"):
        return
    if said := mistake(name, {**parameters, name: value}):
        raise ValueError(said)


@forgetkit.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The sweep's folder, a subfolder a run.")
@click.option("--workers", type=click.IntRange(1), help="Runs at a time.  [default: one a GPU, or one a core]")
@click.option("--threads", type=click.IntRange(1), help="Threads of each run.  [default: cores / workers]")
@click.option("--dask", metavar="ADDRESS", help="Run on the Dask cluster at this address, such as tcp://host:8786.")
@click.option("--retry-failed", is_flag=True, help="Do runs again that failed before.")
@click.option(
    "--changed", type=click.Choice(["stop", "keep", "rerun"]), default="stop", show_default=True,
    help="What to do with finished runs whose code has changed since.",
)  # fmt: skip
def batch(spec: Path, out: Path, dask: str | None, **settings) -> None:
    """Run a notebook many times, with other parameters.

    SPEC is a YAML file that says what to run, see docs/batches.md. What is finished is not run again: the same command
    goes on where it was stopped. The exit status is 0 if all runs are done, 1 if some are not, 2 if nothing was
    started, 130 after Ctrl-C.
    """
    from forgetkit.batch.run import run as sweep

    sys.path.insert(0, os.getcwd())  # functions are found there
    try:
        status = sweep(spec, out, dask, check=check_lesson, **settings)
    except KeyboardInterrupt:
        click.echo("Stopped. What is finished stays; the same command goes on from here.", err=True)
        sys.exit(130)
    except OSError as error:
        raise click.ClickException(f"{error}\nWhat is finished stays; the same command goes on from here.") from None
    click.echo(f"The table is {os.path.relpath(out / 'results.csv')}.")
    if status["failed"]:
        click.echo("Each failed run's folder has the error (result.json); --retry-failed runs them again.")
    if status["lost"]:
        click.echo(f"{status['lost']} runs were lost. What is finished stays; the same command goes on from here.")
    sys.exit(1 if set(status) - {"done"} else 0)


@forgetkit.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--target", help="What was forgotten.  [default: what the folder's card says]")
@click.option("--kind", help="class, style or cluster.  [default: what the folder's card says, or class]")
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path), help="Your own pictures, as in the run.")
@click.option("--seed", type=int, help="Of the sets.  [default: what the folder's card says, or 0]")
@click.option("--words", callback=names, metavar="NAMES", help="Other names of the target, such as kitten,kitty.")
@click.option("--original", default="mini", show_default=True, help="The model before: a name, or a saved folder.")
@click.option("--oracle", help='One that never saw the target, as above; "" is none.  [default: the embedded one]')
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--out", type=FOLDER, default="runs/audit", show_default=True, help="Folder for table and figure.")
def audit(folder: Path, data_dir: Path | None, out: Path, **asked) -> None:
    """Attack an unlearned model: is the target gone, or only renamed?

    FOLDER is what clip.save wrote. The sets are the tutorial's, or with --data-dir those of a run on your own pictures,
    drawn anew with the seed of the run, so that D_f is the same; what is found joins the forgetting card in FOLDER.
    docs/audit.md says what each line means.
    """
    from forgetkit.auditing import audit_saved
    from forgetkit.lessons.lesson import check_parameters
    from forgetkit.lessons.own import again

    check_parameters(model=a_model(None, None, asked["original"]), pretrained="", device=asked["device"])
    found = audit_saved(folder, **asked, own=partial(again, data_dir) if data_dir else None)
    click.echo(f"Images: {found.images}.\n")
    shown = found.table.drop(columns=["means", "reason"]).round(2)
    click.echo(shown.assign(alarm=shown["alarm"].map({True: "ALARM", False: ""})).to_string(index=False))
    click.echo("\n".join(["", *(f"Alarm: {alarm}" for alarm in found.alarms or ["none."])]))
    out.mkdir(parents=True, exist_ok=True)
    found.table.to_csv(out / "audit.csv", index=False)
    figures = without_screen()
    figures.save(figures.audited(found.table, found.rows), out, "audit")
    click.echo(f"{found.seconds:.0f} seconds; audit.csv and audit.png are in {os.path.relpath(out)}.")


@forgetkit.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--by", callback=names, metavar="NAMES", help="Columns to group by, such as target,stage.")
@click.option("--values", callback=names, metavar="NAMES", help="Columns to average, such as retain,other.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw a figure a value.")
def summary(folder: Path, by: list[str] | None, values: list[str] | None, figures: bool) -> None:
    """Tell what came out of a batch.

    Prints mean ± standard deviation of the values in the runs' tables, and draws a figure a value. FOLDER is the one
    that `forgetkit batch` was given with --out. Values are grouped by the parameters that vary, except the seed, unless
    told otherwise.
    """
    from forgetkit.batch import table as results
    from forgetkit.batch.record import file_name

    table, status = results.gather(folder), 0
    click.echo(results.describe(table))
    try:
        results.write(table, folder)
    except OSError as error:
        click.echo(f"{folder} cannot be written ({error.strerror}): no table and no figures are left there.", err=True)
        figures, status = False, 1
    by, values = results.columns(table, by, values)
    summed, runs = results.summarise(table, by, values), results.by_run(table, by, values)
    click.echo("\n".join([summed.to_string(), *summed.attrs["without"]]))
    files = [file_name(name) for name in values]
    for i, name in enumerate(values if figures else ()):
        drawing, file = without_screen(), files[i] + (f"-{i}" if files[i] in files[:i] else "")  # another script's
        with drawing.plt.rc_context({"text.parse_math": False}):  # a $ in a name is a $
            drawing.plt.close(drawing.save(drawing.mean_and_runs(runs, name, by), folder / "figures", file))
        click.echo(os.path.relpath(folder / f"figures/{file}.png"))
    sys.exit(status)


def main(argv: list[str] | None = None) -> None:
    """Run a command; what is wrong with what was given is told in a sentence, with exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # no locale keeps a name or a ± from being printed
            plain = codecs.lookup(stream.encoding or "ascii").name == "ascii"
            stream.reconfigure(errors="replace", **({"encoding": "utf-8"} if plain else {}))
    if cache := os.environ.get("FORGETKIT_CACHE"):  # notebooks work in folders of their own
        os.environ["FORGETKIT_CACHE"] = os.path.abspath(os.path.expanduser(cache))
    try:
        forgetkit.main(argv, prog_name="forgetkit")
    except (ValueError, RuntimeError) as error:
        named = {base.__name__ for base in type(error).__mro__}
        if isinstance(error, ValueError) or named & {"DataError", "ModelError"}:
            click.echo(f"forgetkit: {error}", err=True)
            sys.exit(2 if isinstance(error, ValueError) else 1)
        raise


if __name__ == "__main__":
    main()
