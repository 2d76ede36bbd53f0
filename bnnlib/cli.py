"""The command line: ``bnnlib data``, ``study``, ``bench``, ``pack``, ``predict``, ``export`` and ``check``."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, ConsoleDimensions
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bnnlib import __version__

app = typer.Typer(
    help="Binary neural networks, exact and readable: data sets, studies and measurements of the course.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
data_app = typer.Typer(help="Find, verify and download data sets.", no_args_is_help=True)
study_app = typer.Typer(help="List, run and show the studies that the book's figures come from.", no_args_is_help=True)
bench_app = typer.Typer(
    help="Time the kernels and networks on this machine, side by side with other software.", no_args_is_help=True
)
export_app = typer.Typer(help="Write trained networks in formats of others.", no_args_is_help=True)
check_app = typer.Typer(help="Verify files in those formats.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")
app.add_typer(bench_app, name="bench")
app.add_typer(export_app, name="export")
app.add_typer(check_app, name="check")


class _Console(Console):
    """A console that cuts and wraps lines for a screen only; in a pipe or a file they keep their length."""

    LONGEST = 100_000  # characters

    @property
    def size(self) -> ConsoleDimensions:
        return super().size if self.is_terminal else ConsoleDimensions(self.LONGEST, 25)


console = _Console()

Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        help="Folder of the results. By default the book's own (book/results) in a source checkout, else ./results; of "
        "a study of your own ./results.",
    ),
]
Precision = Annotated[str, typer.Option(help="float32, or bf16 for autocast.")]
BatchSize = Annotated[int, typer.Option(min=2, help="Images of a step.")]
Rounds = Annotated[int, typer.Option(min=3, help="Turns of each contender that count.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of PyTorch.")]
PackedNetwork = Annotated[
    str,
    typer.Argument(
        help="A file from `bnnlib pack`, or the name of a network that comes with the library: "
        "fashion-mnist-1-bit, -2-bit or -8-bit, ten-words-1-bit or -2-bit, wake-word-happy.",
        show_default=False,
    ),
]
StudyName = Annotated[
    str,
    typer.Argument(
        help="A study's name (`bnnlib study list` shows them), or a Python file that defines STUDY.", show_default=False
    ),
]


def _print_version(asked: bool) -> None:
    if asked:
        console.print(f"bnnlib {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What every command shares."""


@data_app.command("status")
def data_status() -> None:
    """Shows where each data file lies, whether it is whole, and its licence. Downloads nothing.

    Files are looked for in the folder that $BNNLIB_DATA names (never written to), then in the user's cache folder.
    A file is ok, absent, corrupt or unreadable. What is there in another layout than it is distributed in is present;
    it is verified as it is loaded. The exit status is 1 if a file is corrupt or unreadable.
    """
    from bnnlib.data import sources

    table = Table("data set", "file", "state", "where", "licence")
    rows = sources.status()
    for row in rows:
        colour = {"ok": "green", "present": "green", "absent": "yellow", "corrupt": "red", "unreadable": "red"}[
            row["state"]
        ]
        table.add_row(
            row["data set"], row["file"], f"[{colour}]{row['state']}[/]", escape(row["where"]), row["licence"]
        )
    console.print(table)
    if any(row["state"] in ("corrupt", "unreadable") for row in rows):
        raise typer.Exit(1)


@data_app.command("fetch")
def data_fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="FashionMNIST, MNIST, CIFAR10, SpeechCommands (2.4 GB); all by default.", show_default=False
        ),
    ] = None,
) -> None:
    """Downloads data sets into the user's cache folder and verifies them.

    Files that are there already are verified and left as they are.

    Example: `bnnlib data fetch FashionMNIST`
    """
    from bnnlib.data import sources

    for name in names or sources.SOURCES:
        if (known := sources.in_another_layout(name)) is not None:
            console.print(f"{name}: there already, see {known}", markup=False, soft_wrap=True)
            continue
        if not sources.source(name).files:
            console.print(f"{name}: get it from {sources.source(name).url} by hand", markup=False, soft_wrap=True)
        for file in sources.source(name).files:
            path = sources.fetch(name, file, progress=True)
            console.print(f"{name}/{file}: {path}", markup=False, soft_wrap=True)


@data_app.command("sample")
def data_sample(
    name: Annotated[
        str,
        typer.Argument(help="The data set to cut a sample from: FashionMNIST, MNIST, SpeechCommands, SpeakerGender."),
    ] = "FashionMNIST",
    to: Annotated[
        Path | None,
        typer.Option(help="Folder to write to. By default the package's own samples, in a source checkout only."),
    ] = None,
) -> None:
    """Cuts a small sample from a whole data set, as the built-in one was (for maintainers).

    Example: `bnnlib data sample FashionMNIST --to mine`
    """
    from bnnlib.data import samples

    for path in samples.make(name, to):
        console.print(f"{path}: {path.stat().st_size:,} bytes", markup=False, soft_wrap=True)


@study_app.command("list")
def study_list(results: Results = None) -> None:
    """Lists the studies, what each asks, and how many of its runs are finished."""
    from bnnlib import studies

    table = Table("study", "question", "finished", "epochs in all")
    for study in studies.STUDIES.values():
        done = studies.store_of(study, results).finished()
        total = sum(run.settings.epochs for run in study.runs)
        table.add_row(study.name, study.question, f"{len(done)} of {len(study.runs)}", f"{total:,}")
    console.print(table)


@study_app.command("run")
def study_run(
    name: StudyName,
    workers: Annotated[int, typer.Option(min=1, help="Runs side by side, each in a process of its own.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each run; part of what makes it repeatable.")] = 1,
    only: Annotated[list[str] | None, typer.Option("--run", help="Only this run id (may be repeated).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a running Dask scheduler, such as tcp://host:8786; its workers do the runs."),
    ] = None,
    results: Results = None,
    work: Annotated[Path, typer.Option(help="Folder for checkpoints of unfinished runs.")] = Path("_build/studies"),
) -> None:
    """Runs what is unfinished of a study.

    Stop it at any time: finished runs are skipped and an interrupted run goes on from its last whole epoch. The same
    command in a second terminal shares the work. On a cluster the folders of results and work must be the same for all
    workers.

    Examples: `bnnlib study run fashion-headline --workers 2 --threads 1`, `bnnlib study run mine.py`
    """
    from bnnlib import studies

    study, module = studies.find(name)
    store = studies.store_of(study, results or studies.own_results(module))
    todo = studies.unfinished(study, store, work, only)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    epochs = {run.id: run.settings.epochs for run in study.runs}
    with Progress(*columns, console=console, speed_estimate_period=3600) as progress:
        whole = progress.add_task(f"{study.name}, epochs", total=sum(epochs[run_id] for run_id in todo))
        seen: dict[str, int] = {}

        def on_epoch(run_id: str, epoch: int, of: int, validation: float) -> None:
            seen[run_id] = epoch
            progress.update(whole, completed=sum(seen.values()))
            progress.console.print(
                f"{run_id}  epoch {epoch:>2}/{of}  validation {validation:.2f} %", highlight=False, soft_wrap=True
            )

        def on_run(run_id: str, error: str | None) -> None:
            seen[run_id] = epochs[run_id]
            progress.update(whole, completed=sum(seen.values()))
            outcome = "[green]finished[/]" if error is None else "[red]failed[/]"
            progress.console.print(
                f"{outcome} {run_id}{'' if error is None else f': {escape(error)}'}", highlight=False, soft_wrap=True
            )

        try:
            done = studies.execute(
                study,
                store,
                work,
                workers=workers,
                threads=threads,
                only=only,
                device=device,
                scheduler=scheduler,
                module=module,
                on_epoch=on_epoch,
                on_run=on_run,
                on_cluster=lambda link: progress.console.print(f"dashboard: {link}", highlight=False, soft_wrap=True),
            )
        except KeyboardInterrupt:
            progress.stop()
            finished = f"{len(store.finished())} of {len(study.runs)} runs are finished"
            console.print(
                f"interrupted: {finished}; the same command goes on from the last whole epochs", soft_wrap=True
            )
            raise typer.Exit(130) from None
    console.print(
        f"runs done now: {len(done)}; finished: {len(store.finished())} of {len(study.runs)}, in {store.folder}",
        soft_wrap=True,
    )


@study_app.command("show")
def study_show(name: StudyName, results: Results = None) -> None:
    """Shows a study's finished runs: accuracy of each, then mean and 95 % interval over seeds for each arm."""
    import pandas as pd

    from bnnlib import studies
    from bnnlib.report import summarise

    study, module = studies.find(name)
    store = studies.store_of(study, results or studies.own_results(module))
    runs = store.runs()
    console.print(study.question)
    if not len(runs):
        console.print(f"No run is finished yet: bnnlib study run {name} (looked in {store.folder})", soft_wrap=True)
        return
    value = "test_accuracy" if study.test else "validation_accuracy"
    each = runs.reset_index()[["run", "reported_epoch", value, "train_seconds", "commit"]]
    for frame in (each, summarise(runs, value).reset_index()):
        table = Table()
        for column in frame.columns:
            table.add_column(str(column), overflow="fold")
        for row in frame.itertuples(index=False):
            shown = ("" if pd.isna(cell) else f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row)
            table.add_row(*shown)
        console.print(table)


@bench_app.command("steps")
def bench_steps(
    model: Annotated[str, typer.Option(help="compact-cnn, command-cnn, mlp or wake-word.")] = "compact-cnn",
    precision: Precision = "float32",
    batch_size: BatchSize = 128,
    rounds: Rounds = 25,
    threads: Threads = 1,
    results: Results = None,
) -> None:
    """Times a training step and an inference under every method against the same network in float.

    The table is stored as `bench/steps-MODEL.csv` in the folder of the results. Run it when nothing else runs.

    Example: `bnnlib bench steps --model compact-cnn --threads 1`
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler, which counts memory, writes to stderr otherwise
    import torch

    from bnnlib import bench
    from bnnlib.provenance import load_average, provenance

    load = load_average()  # later it is the bench's own
    torch.set_num_threads(threads)
    table = bench.measure_steps(model, batch_size=batch_size, rounds=rounds, precision=precision)
    for row in table.itertuples():
        console.print(f"{row.what:<10} {row.method:<28} {row.ms:8.2f} ms  {row.ratio:5.2f} x float", highlight=False)
    name = f"steps-{model}{'' if precision == 'float32' else f'-{precision}'}"
    _store(table.assign(load=load, **provenance()), name, results)


@bench_app.command("arms")
def bench_arms(
    name: StudyName,
    precision: Precision = "float32",
    batch_size: BatchSize = 128,
    rounds: Rounds = 25,
    threads: Threads = 1,
    results: Results = None,
) -> None:
    """Times a training step of each arm of a study, its network and method as they are, against that of the first arm.

    The table is stored as `bench/arms-STUDY.csv` in the folder of the results. Run it when nothing else runs.

    Example: `bnnlib bench arms cifar-methods --threads 1`
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # as in bench_steps
    import torch

    from bnnlib import bench, models, studies
    from bnnlib.provenance import load_average, provenance

    study, module = studies.find(name)
    load = load_average()
    torch.set_num_threads(threads)
    first: dict[str, studies.Run] = {}  # of each arm
    for run in study.runs:
        first.setdefault(run.arm, run)
    networks = {arm: (run.build_model(), run.build_method()) for arm, run in first.items()}
    shape = models.MODELS[study.runs[0].model].input_shape
    table = bench.measure_training(networks, shape, batch_size=batch_size, rounds=rounds, precision=precision)
    for row in table.itertuples():
        console.print(f"{row.Index:<28} {row.ms:8.2f} ms  {row.ratio:5.2f} x {table.index[0]}", highlight=False)
    stored_as = f"arms-{study.name}{'' if precision == 'float32' else f'-{precision}'}"
    results = results or studies.own_results(module)
    _store(table.reset_index(names="arm").assign(load=load, **provenance()), stored_as, results)


@bench_app.command("matmul")
def bench_matmul(
    size: Annotated[
        list[str] | None,
        typer.Option(help="MxNxK, such as 1024x1024x1024; may be repeated. By default the book's sizes."),
    ] = None,
    rounds: Rounds = 15,
    cold: Annotated[bool, typer.Option(help="Also with caches flushed before each call.")] = True,
    results: Results = None,
) -> None:
    """Times products of sign matrices against PyTorch, NumPy, numba and a naive extension, pair by pair.

    Also against ONNX Runtime's 2-bit product and bnn-lab's kernels, where they are installed: the extra `rivals`, and
    `pip install --no-deps bnn-lab`. What is left out is named, with a word that says why.

    The book's sizes take about eight minutes; run it when nothing else runs. Rows of other processors and sizes stay
    in the table, which is the book's unless `--results` names a folder.

    Example: `bnnlib bench matmul --size 256x256x256 --results mine`
    """
    from bnnlib.bench import products

    try:
        shapes = [tuple(int(part) for part in text.split("x")) for text in size or []]
        if any(len(shape) != 3 or min(shape) < 1 for shape in shapes):
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"a size is MxNxK, such as 1024x1024x1024; received {', '.join(size)}") from None

    def show(row: dict) -> None:
        what = f"{row['m']}x{row['n']}x{row['k']}"
        console.print(
            f"{what:<16} {row['contender']:<28} {row['caches']:<5} {row['gmacs']:8.1f} GMAC/s; "
            f"ours {row['gmacs_ours']:7.1f}, {row['ratio']:6.2f} x",
            highlight=False,
            soft_wrap=True,
        )

    shapes = shapes or [*products.SQUARES, *products.LAYERS]
    products.check_memory(shapes)  # before a folder is made for the results
    measure = partial(products.measure_products, shapes, rounds=rounds, cold=cold, progress=show, skipped=_tell_once())
    _measure_and_store(measure, "matmul", results, by=["m", "n", "k"])


@bench_app.command("convolution")
def bench_convolution(
    rounds: Rounds = 15,
    results: Results = None,
) -> None:
    """Times 3x3 convolutions on bits against PyTorch's float32 (both memory formats) and int8.

    Also against OpenVINO's BinaryConvolution, where it is installed: the extra `rivals`.
    """
    from bnnlib import bench

    def show(row: dict) -> None:
        what = f"{row['images']} x {row['channels']} x {row['size']}²"
        packing = f", with packing {row['ratio_packing']:6.2f} x" if row["ratio_packing"] else ""
        console.print(
            f"{what:<14} {row['contender']:<42} {row['caches']:<5} {row['ms']:8.3f} ms, {row['ratio']:6.2f} x{packing}",
            highlight=False,
            soft_wrap=True,
        )

    measure = partial(bench.measure_convolutions, rounds=rounds, progress=show, skipped=_tell_once())
    _measure_and_store(measure, "convolution", results)


@bench_app.command("packing")
def bench_packing(
    rounds: Rounds = 15,
    results: Results = None,
) -> None:
    """Times the packing of floats into bits against reading and copying them.

    "ours" is the compiled function with the best instruction set, `bnnlib.kernels.pack` the whole call from Python.
    """
    from bnnlib import bench

    def show(row: dict) -> None:
        what = f"{row['bytes']:>12,} bytes {row['contender']:<28}"
        speeds = f"{row['gb_per_s']:7.1f} GB/s; ours {row['gb_per_s_ours']:7.1f}"
        console.print(what, speeds, highlight=False, soft_wrap=True)

    _measure_and_store(partial(bench.measure_packing, rounds=rounds, progress=show), "packing", results)


@bench_app.command("biometrics")
def bench_biometrics(
    rounds: Rounds = 25,
    results: Results = None,
) -> None:
    """Times the all-binary network on utterances of 1, 2 and 4 seconds against PyTorch's float32, features given."""
    from bnnlib import bench

    def measure():
        table = bench.measure_biometrics(rounds=rounds).assign(threads=1)
        for row in table.itertuples():
            console.print(f"{row.seconds} s  {row.contender:<14} {row.ms:7.3f} ms  {row.ratio:6.3f} x", highlight=False)
        return table

    _measure_and_store(measure, "biometrics", results)


@bench_app.command("branches")
def bench_branches(
    images: Annotated[int, typer.Option(min=1, help="Images of a batch.")] = 1,
    rounds: Rounds = 25,
    results: Results = None,
) -> None:
    """Times IE-Net's branches in one convolution on bits against one convolution for each branch.

    Example: `bnnlib bench branches --images 8`
    """
    from bnnlib import bench

    def show(row: dict) -> None:
        size = f"{row['branches']} x {row['channels']} channels, {row['size']} x {row['size']}"
        console.print(f"{size}  {row['contender']:<36} {row['ms']:7.3f} ms  {row['ratio']:.2f} x", highlight=False)

    def measure():
        return bench.measure_branches(images=images, rounds=rounds, progress=show).assign(threads=1)

    _measure_and_store(measure, "branches", results, by=("images",))


@bench_app.command("branch-costs")
def bench_branch_costs(
    model: Annotated[str, typer.Option(help="resnet18, resnet20 or mobilenet-v2.")] = "resnet18",
    width: Annotated[float | None, typer.Option(min=0.05, help="Of the network; its full width by default.")] = None,
    precision: Precision = "float32",
    batch_size: BatchSize = 128,
    rounds: Rounds = 5,
    threads: Threads = 1,
    results: Results = None,
) -> None:
    """Times a training step of IE-Net's branches against the float network's, and counts memory, bytes and operations.

    Example: `bnnlib bench branch-costs --width 16`
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    import torch

    from bnnlib import bench

    def measure():
        torch.set_num_threads(threads)
        given = None if width is None else int(width) if width == int(width) and model != "mobilenet-v2" else width
        table = bench.measure_branch_costs(model, given, batch_size=batch_size, rounds=rounds, precision=precision)
        for row in table.itertuples():
            console.print(
                f"{row.contender:<32} {row.ms:9.1f} ms  {row.ratio:5.2f} x float  {row.peak_mb:7.0f} MB a step  "
                f"{row.packed_bytes:>12,} bytes packed",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
        return table.assign(threads=threads)

    _measure_and_store(measure, "branch-costs", results, by=("model", "width", "precision"))


@bench_app.command("exactness")
def bench_exactness(results: Results = None) -> None:
    """Counts the test samples on which packed networks are the trained ones, for every run whose weights are kept.

    Example: `bnnlib bench exactness`
    """
    from bnnlib import bench

    def show(row: dict) -> None:
        console.print(
            f"{row['run']:<40} {row['same_class']:,} of {row['samples']:,} classes the same, {row['other_codes']:,} of "
            f"{row['codes']:,} codes differ{'' if row['exact'] else ' (its sums are not all whole)'}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip

    _measure_and_store(lambda: bench.measure_exactness(progress=show, skipped=_tell_once()), "exactness", results)


@bench_app.command("networks")
def bench_networks(
    network: Annotated[list[str] | None, typer.Option(help="Only these networks; may be given several times.")] = None,
    compiled: Annotated[
        bool, typer.Option(help="torch.compile takes part: a minute for each network and batch.")
    ] = True,
    rounds: Rounds = 15,
    results: Results = None,
) -> None:
    """Times whole packed networks against their float twins in PyTorch, ONNX Runtime and OpenVINO.

    Example: `bnnlib bench networks --network MLP --no-compiled`
    """
    from bnnlib import bench
    from bnnlib.bench.networks import NETWORKS

    unknown = set(network or ()) - set(NETWORKS)
    if unknown:
        raise ValueError(f"no network {sorted(unknown)[0]!r}; known: {', '.join(NETWORKS)}")

    def show(row: dict) -> None:
        console.print(
            f"{row['network']:<28} {row['batch']:3} x  {row['contender']:<22} {row['ms']:8.3f} ms  "
            f"{row['ratio']:6.2f} x",
            highlight=False,
        )

    def measure():
        table = bench.measure_networks(
            network or NETWORKS, compiled=compiled, rounds=rounds, progress=show, skipped=_tell_once()
        )
        return table.assign(threads=1)

    _measure_and_store(measure, "networks", results, by=("network",))


def _tell_once():
    """Says which contender is left out and why, once for each reason."""
    told = set()

    def tell(name: str, why: str) -> None:
        if (name, why) not in told:
            told.add((name, why))
            console.print(f"{name}: {why}", highlight=False, soft_wrap=True)

    return tell


def _measure_and_store(measure, name: str, results: Path | None, by=()) -> None:
    from bnnlib import kernels
    from bnnlib.bench.machine import machine
    from bnnlib.provenance import load_average, provenance

    load = load_average()  # later it is the bench's own
    origin = {"load": load, "isa": kernels.info()["isa"], **provenance()}
    origin.pop("threads")  # a column of the table
    _table_path(name, results).parent.mkdir(parents=True, exist_ok=True)  # or fail now, not after ten minutes
    table = measure()
    _store(table.assign(**machine(), **origin), name, results, by)


def _store(table, name: str, results: Path | None, by=()) -> None:
    from bnnlib import bench

    path = _table_path(name, results)
    bench.store(table, path, by)
    console.print(f"stored {path}", soft_wrap=True)


def _table_path(name: str, results: Path | None) -> Path:
    from bnnlib import studies

    return (results or studies.results_folder()) / "bench" / f"{name}.csv"


@app.command("pack")
def pack_run(
    run: Annotated[str, typer.Argument(help="Id of a finished run whose weights are kept.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="The packed file to write.", show_default=False)],
    study_file: Annotated[
        str | None, typer.Option("--study", help="The Python file that defines STUDY, for a run of your own study.")
    ] = None,
    results: Results = None,
) -> None:
    """Packs the trained network of a study's run as bits, with its classes and what prepares its inputs.

    It is compared with the network it was made of on the validation samples; the data set must be there for that.

    Example: `bnnlib pack deterministic-s0-704886a9 net.safetensors`
    """
    from safetensors.torch import load_file

    import bnnlib
    from bnnlib import data, models, studies
    from bnnlib.data import inputs
    from bnnlib.quantizers import NotPackable
    from bnnlib.training import scores

    study, module = studies.find(study_file) if study_file else (None, None)
    study, described, weights = studies.kept(run, results or studies.own_results(module), study)
    model = described.build_model()
    model.load_state_dict(load_file(weights))
    about = {"study": study.name, "run": described.describe()}
    if isinstance(model, models.BinaryBiometrics):
        network = model.sign_network()
        network.save(file, about)
        console.print(f"{file}: {len(network.values()):,} bits, {file.stat().st_size:,} bytes", markup=False)
        return
    splits = data.load(described.dataset, described.profile, test=False, **described.data_options)
    shape = tuple(splits.validation.inputs(slice(1)).shape[1:])
    about["input"] = inputs.described(splits)
    try:
        packed = bnnlib.pack(model, shape, classes=splits.classes, about=about)
    except NotPackable as error:
        raise ValueError(f"the network of run {run} can't be packed: {error}") from error
    theirs = scores(model, splits.validation).argmax(1).numpy()
    ours = packed.predict(splits.validation.inputs().numpy())
    packed.save(file)
    console.print(
        f"{file}: {packed.bytes:,} bytes of tensors ({bnnlib.summary(model, shape).float_bytes:,} as float32), "
        f"{file.stat().st_size:,} in all",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    same = int((ours == theirs).sum())
    console.print(f"the same class on {same:,} of {len(ours):,} validation samples", markup=False, soft_wrap=True)


def _packed(model: str):
    """A packed network of a file, or one that comes with the library."""
    from bnnlib.packed.runtime import PackedModel
    from bnnlib.packed.trained import names, pretrained

    if Path(model).is_file():
        return PackedModel.load(model)
    if model in names():
        network = pretrained(model)
        if not isinstance(network, PackedModel):
            raise ValueError(
                f"{model} takes features of recordings of any length: bnnlib.pretrained({model!r}).predict(features); "
                "`bnnlib export biometrics` writes it as text"
            )
        return network
    raise FileNotFoundError(
        f"there is no file {model}; the networks that come with the library are {', '.join(names())}"
    )


@app.command("predict")
def predict_files(
    model: PackedNetwork,
    files: Annotated[
        list[Path],
        typer.Argument(help="Images, WAV files or prepared arrays (.npy), as the network takes.", show_default=False),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show of each.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the kernels.")] = 1,
) -> None:
    """Says what a packed network sees in images or hears in sounds. PyTorch is not needed for the network itself.

    Images are scaled to the network's size; Fashion-MNIST's are light on a dark ground. Sounds are of one channel and
    16,000 samples a second.

    Example: `bnnlib predict fashion-mnist-1-bit shoe.png`
    """
    import numpy as np

    from bnnlib.data import inputs

    packed = _packed(model)
    how = packed.about.get("input", {})
    for file in files:
        x = inputs.read(file, how)
        if x.shape != packed.input_shape:
            raise ValueError(f"{file}: the network takes an input of shape {packed.input_shape}, received {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"{file}: it has values that are not finite")
        shares = packed.predict_proba(x, threads=threads)
        best = shares.argsort()[::-1][:top]
        names = [packed.classes[each] if packed.classes else f"class {each}" for each in best]
        found = ", ".join(f"{name} {100 * shares[each]:.1f} %" for name, each in zip(names, best, strict=True))
        console.print(f"{file}: {found}", markup=False, highlight=False, soft_wrap=True)


@export_app.command("biometrics")
def export_biometrics(
    file: Annotated[Path, typer.Argument(help="The text file to write.", show_default=False)],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A state dict of bnnlib.models.BinaryBiometrics, all-binary, as safetensors (which variant it is of "
            "can't be seen from it). By default that of the study's first run, with labels and pitch in agreement."
        ),
    ] = None,
    results: Results = None,
) -> None:
    """Writes the all-binary network as text: 369,153 lines of 1 or -1, for each layer its weights, then its biases.

    Example: `bnnlib export biometrics weights.txt`
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from bnnlib import models, studies

    if weights is None:
        study = studies.get("speaker-gender")
        run = next(run for run in study.runs if run.arm == "all-binary, agreeing")
        weights = studies.store_of(study, results).latent_file(run.id)
        if not weights.is_file():
            raise FileNotFoundError(f"there is no {weights} yet: bnnlib study run speaker-gender --run {run.id}")
    model = models.BinaryBiometrics("larq-approx-sign")
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise ValueError(f"{weights} is no safetensors file: {error}") from error
    wanted, given = ({name: tuple(v.shape) for name, v in each.items()} for each in (model.state_dict(), state))
    if wanted != given:
        differing = sorted(set(wanted.items()) ^ set(given.items()))
        raise ValueError(
            f"{weights} is no state dict of the all-binary network: {differing[0][0]} differs, or is missing"
        )
    model.load_state_dict(state)
    model.sign_network().write_text(file)
    console.print(f"{file}: {file.stat().st_size:,} bytes", markup=False, soft_wrap=True)


@export_app.command("c")
def export_c(
    model: PackedNetwork,
    folder: Annotated[Path, typer.Argument(help="Where to write NAME.h and NAME.c.", show_default=False)],
    name: Annotated[str, typer.Option(help="Of the files and functions: an identifier of C.")] = "network",
) -> None:
    """Writes a packed network as plain C99: a header and a source with the bits as arrays, for any processor.

    Example: `bnnlib export c fashion-mnist-1-bit firmware --name shoes`
    """
    from bnnlib.packed.export.c import write_c

    for path in write_c(_packed(model), folder, name):
        console.print(f"{path}: {path.stat().st_size:,} bytes", markup=False, soft_wrap=True)


@export_app.command("onnx")
def export_onnx(
    model: PackedNetwork,
    file: Annotated[Path, typer.Argument(help="The ONNX file to write.", show_default=False)],
) -> None:
    """Writes a packed network as ONNX, in standard operators, for other runtimes. It takes batches of any size.

    The file holds a byte for each weight, and runtimes compute with floats: it is for their reach, not for speed.

    Example: `bnnlib export onnx fashion-mnist-1-bit net.onnx`
    """
    from bnnlib.packed.export.onnx import write_onnx

    write_onnx(_packed(model), file)
    console.print(f"{file}: {file.stat().st_size:,} bytes", markup=False, soft_wrap=True)


@export_app.command("wasm")
def export_wasm(
    model: PackedNetwork,
    file: Annotated[Path, typer.Argument(help="The script to write, NAME.js.", show_default=False)],
) -> None:
    """Writes a packed network as WebAssembly in a script for web pages, which needs nothing else and works offline.

    The script defines a class of the name of the file: `new Shoes().predict(pixels)`. Zig compiles it (`pip install
    ziglang`).

    Example: `bnnlib export wasm fashion-mnist-1-bit Shoes.js`
    """
    from bnnlib.packed.export.wasm import write_wasm

    write_wasm(_packed(model), file)
    console.print(f"{file}: {file.stat().st_size:,} bytes", markup=False, soft_wrap=True)


@check_app.command("biometrics")
def check_biometrics(
    file: Annotated[Path, typer.Argument(help="The text file to verify.", show_default=False)],
) -> None:
    """Verifies a text of 369,153 lines of 1 or -1: a wrong line is named, and so is a wrong number of lines.

    Example: `bnnlib check biometrics weights.txt`
    """
    from bnnlib.packed.biometrics import VALUES, SignNetwork

    net = SignNetwork.read_text(file)
    console.print(f"{file}: {VALUES:,} values, each 1 or -1", markup=False, soft_wrap=True)
    table = Table("layer", "weights", "of them 1 (%)", "biases", "of them 1 (%)")
    for number, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True), start=1):
        shares = [f"{100 * (each == 1).mean():.1f}" for each in (weight, bias)]
        table.add_row(str(number), f"{weight.size:,}", shares[0], f"{bias.size:,}", shares[1])
    console.print(table)


def main() -> None:
    """Entry point: errors that a user can mend are one line and exit status 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # what the terminal's encoding lacks is a question mark, not a crash
    try:
        app(standalone_mode=True)
    except (ValueError, KeyError, OSError, RuntimeError, MemoryError) as error:
        plain = isinstance(error, OSError) and error.filename is None and error.strerror
        told = escape(error.strerror if plain else str(error))
        Console(stderr=True).print(f"[red]error:[/] {told}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
