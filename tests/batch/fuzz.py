"""Random sweeps and damaged folders, none of which may end in a traceback: `python tests/batch/fuzz.py`.

specs:   YAML files of right and wrong parts, some with bytes changed: each is understood, or refused in a sentence
folders: sweeps' folders with bytes of their runs changed, or files put for others: each has a table, a run a row
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import click
import nbformat

from forgetkit.batch.run import run
from forgetkit.batch.spec import SweepError, load
from forgetkit.batch.table import describe, gather, predictions, write

VALUES = (
    "1", "-3", "012", "1_000", "12:30", "1e-3", "1e999", ".nan", "no", "true", "~", "''", "cat", "[1, [2]]", "[]", "{}",
    "{a: 1}", "{1: a, b: c}", "2024-01-01", "!!binary aGk=", "!!set {a, b}", "!!python/name:os.system", "*a", "&a [*a]",
    "&a [1, 2]", "0x1f", "9" * 40, "'\ud7ff'", "[1, 2, 3]", "[0.5, x]", '"\\ud800"', '"\\0"', "- 1", "? a", "@",
)  # fmt: skip
NAMES = ("a", "b", "rate", "out", "seconds", "sede", "5", "~", "[x]", "'a b'", "n_forget", "é")
KEYS = ("grid", "list", "exclude", "timeout", "notebook", "function", "gird")
CELLS = ("a = 1\nb: 'str' = 'x'\nrate = 0.1", "a: int\nb = a", "%load x\na = {(1, 2): {3}}\nb = 1 + 2j",
         "a = b = rate = None", "seconds = 1", "a = (", "%%time", "")  # fmt: skip
BYTES = (b"", b"\0", b"x,y\n1\n", b"\xff\xfe", b"{}", b"[]", b"null", b'{"status": "done"}', b"[" * 5000,
         b"1e999", b'"')  # fmt: skip


def spec_text(rng: random.Random) -> str:
    """A sweep of random parts."""
    few = lambda likely, all: rng.choice(likely if rng.random() < 0.8 else all)
    pair = lambda: f"{few(NAMES[:3], NAMES)}: {few(('1', '2', '[1, 2]'), VALUES)}"
    flow = lambda: "{" + ", ".join(pair() for _ in range(rng.randrange(4))) + "}"
    lines = [few(("notebook: nb3.ipynb",), ("notebook: nb%d.ipynb" % rng.randrange(len(CELLS)), "function: x"))]
    for key in rng.sample(few((KEYS[:2],), (KEYS,)), rng.randrange(3)):
        held = {"grid": flow(), "list": f"[{flow()}, {flow()}]", "exclude": f"[{flow()}]"}.get(key, rng.choice(VALUES))
        lines.append(f"{key}: {few((held,), VALUES)}")
    return "\n".join(lines) + "\n"


def damage(text: bytes, rng: random.Random) -> bytes:
    """A text with some of its bytes changed, or cut, or another."""
    if rng.random() < 0.2:
        return rng.choice(BYTES)
    found = bytearray(text)
    for _ in range(rng.randrange(1, 4)):
        if found:
            found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found[: rng.randrange(1, len(found) + 1)] if rng.random() < 0.3 and found else found)


def specs(folder: Path, n: int, rng: random.Random) -> str:
    """Read n sweeps; how many are right."""
    for i, cell in enumerate(CELLS):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]})])
        nbformat.write(notebook, folder / f"nb{i}.ipynb")
    right = 0
    for _ in range(n):
        text = spec_text(rng).encode(errors="replace")
        (folder / "s.yaml").write_bytes(damage(text, rng) if rng.random() < 0.3 else text)
        try:
            assert len({found.key for found in load(folder / "s.yaml")}) > 0
            right += 1
        except SweepError as error:
            assert error.mistakes and all(error.mistakes)
    return f"{n} specs: {right} right, {n - right} refused in sentences."


def folders(folder: Path, n: int, rng: random.Random) -> str:
    """Damage a sweep of three runs in n ways; how many rows say what is wrong."""
    note = {"task": "f", "parameters": {"a": 1, "t": "x"}, "status": "done", "seconds": 1.0, "peak_mb": 9,
            "commit": "c", "source": "s", "ended": 1.0, "error": None}  # fmt: skip
    told, spec = 0, {"function": "json:dumps", "grid": {"obj": [0, 1, 2]}}
    keys = [found.key for found in load(spec)]
    for i in range(n):
        sweep = folder / f"sweep{i}"
        for j in range(3):
            run_folder = sweep / f"f_a={j}-{keys[j]}"
            run_folder.mkdir(parents=True)
            (run_folder / "result.json").write_text(json.dumps({**note, "parameters": {"a": j, "t": "x"}}))
            (run_folder / "table.csv").write_text("score,word\n1.5,x\n2.5,y\n")
            (run_folder / "predictions.parquet").write_bytes(b"PAR1")
        for _ in range(rng.randrange(1, 4)):
            file = rng.choice([path for path in sweep.rglob("*") if path.is_file()])
            if rng.random() < 0.2:
                file.unlink()
                rng.choice((file.mkdir, lambda: None))()
            else:
                file.write_bytes(damage(file.read_bytes(), rng))
        if any((path / "result.json").is_file() for path in sweep.iterdir()):
            write(table := gather(sweep), sweep)
            describe(table)
            predictions(sweep)
            told += int(table["error"].notna().sum())
            with suppress(SweepError), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                run(spec, sweep, executor=_Idle())
        shutil.rmtree(sweep)
    return f"{n} folders: {told} rows say what is wrong."


class _Idle:
    """An executor that starts nothing."""

    def submit(self, *_):
        raise RuntimeError("nothing is started here")


@click.command(help=__doc__)
@click.option("--specs", "n_specs", default=500, show_default=True)
@click.option("--folders", "n_folders", default=500, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(n_specs: int, n_folders: int, seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        click.echo(specs(Path(folder), n_specs, rng))
        click.echo(folders(Path(folder), n_folders, rng))


if __name__ == "__main__":
    main()
