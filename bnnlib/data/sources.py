"""Where the files of a data set come from, and the promise that they are the right ones.

A file is looked for in `$BNNLIB_DATA` (read only: never written to), then in the user's cache folder, then fetched from
the official address into the cache. Whatever is found is compared with a pinned SHA-256 before it is used.
"""

import hashlib
import lzma
import os
import re
import tarfile
import time
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pooch

__all__ = [
    "DAMAGE",
    "SOURCES",
    "Content",
    "DataCorrupt",
    "DataNotFound",
    "DataUnreadable",
    "Source",
    "cache_folder",
    "fetch",
    "find",
    "status",
]

SAMPLES = Path(__file__).parent / "samples"
SILENCE_SECONDS = 15  # of a server, at most: when connecting, and between two pieces of a file
# A partial download that nobody has written to for so long belongs to a process that was killed.
STALE_SECONDS = 4 * SILENCE_SECONDS
DAMAGE = (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error)  # what reading a damaged archive raises
PARTIAL = re.compile(r"tmp[a-z0-9_]{8}")  # pooch names them with tempfile


class DataNotFound(FileNotFoundError):
    """A data set is at none of the places where it is looked for; the message names them and says what to do."""


class DataCorrupt(ValueError):
    """A data file has another content than it should; the message gives both checksums."""


class DataUnreadable(OSError):
    """Something is where a data file belongs and can't be read; the message says what it is."""


class Content(NamedTuple):
    """What a file holds as distributed: its size in bytes and its SHA-256 as lower-case hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """A data set as files.

    Attributes:
        name: the folder's name below a data root, and the name in messages.
        url: official address; file names are appended to it.
        files: path below the folder -> content of the file as distributed; none of a set that is fetched by hand.
        licence: in a few words, for `bnnlib data status`.
        layouts: files by which the same data is known in another layout; with one of them nothing needs to be fetched.
        alternatives: files of other layouts with their content, which are verified and never fetched.
    """

    name: str
    url: str
    files: Mapping[str, Content]
    licence: str
    layouts: tuple[str, ...] = ()
    alternatives: Mapping[str, Content] = field(default_factory=dict)

    def content(self, file: str) -> Content:
        return self.files[file] if file in self.files else self.alternatives[file]


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "FashionMNIST",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            {
                "raw/train-images-idx3-ubyte.gz": Content(
                    26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
                ),
                "raw/train-labels-idx1-ubyte.gz": Content(
                    29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
                ),
                "raw/t10k-images-idx3-ubyte.gz": Content(
                    4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
                ),
                "raw/t10k-labels-idx1-ubyte.gz": Content(
                    5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
                ),
            },
            "MIT, Zalando SE 2017",
        ),
        Source(
            "MNIST",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            {
                "raw/train-images-idx3-ubyte.gz": Content(
                    9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
                ),
                "raw/train-labels-idx1-ubyte.gz": Content(
                    28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
                ),
                "raw/t10k-images-idx3-ubyte.gz": Content(
                    1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
                ),
                "raw/t10k-labels-idx1-ubyte.gz": Content(
                    4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
                ),
            },
            "CC BY-SA 3.0, Y. LeCun and C. Cortes",
        ),
        Source(
            "SpeechCommands",
            "http://download.tensorflow.org/data/",
            {
                "speech_commands_v0.02.tar.gz": Content(
                    2_428_923_189, "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
                ),
            },
            "CC BY 4.0, P. Warden, Google 2018",
            layouts=("manifest.csv", "testing_list.txt"),
        ),
        Source(
            "Speechocean762",
            "https://www.openslr.org/101/",
            {},
            "free for any use, says its README; Zhang et al. 2021, arXiv:2104.01378",
            layouts=("manifest.csv", "train/spk2gender"),
        ),
        Source(
            "CIFAR10",
            "https://www.cs.toronto.edu/~kriz/",
            {
                "cifar-10-binary.tar.gz": Content(
                    170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
                ),
            },
            "none stated; A. Krizhevsky 2009",
            layouts=("cifar-10-python.tar.gz", "cifar10-jpeg-train.tar.xz"),
            alternatives={
                "cifar-10-python.tar.gz": Content(
                    170_498_071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
                ),
            },
        ),
    )
}


def source(name: str) -> Source:
    """The source of that name, or a ValueError that lists the known ones."""
    if name not in SOURCES:
        raise ValueError(f"no data set {name!r}; known: {', '.join(SOURCES)}")
    return SOURCES[name]


def cache_folder() -> Path:
    """The user's cache folder for bnnlib's downloads (for example ``~/.cache/bnnlib``)."""
    return Path(pooch.os_cache("bnnlib"))


def data_folder() -> Path | None:
    """The folder that `$BNNLIB_DATA` names, if it is set."""
    named = os.environ.get("BNNLIB_DATA", "").strip()
    return Path(named).expanduser() if named else None


def sha256(path: Path) -> str:
    """SHA-256 of a file, as lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(path: Path, expected: str) -> Path:
    """The path, once its content has the expected SHA-256.

    Raises:
        DataCorrupt: it has another.
    """
    received = sha256(path)
    if received != expected:
        raise DataCorrupt(
            f"{path} is truncated or altered: expected SHA-256 {expected}, received {received} "
            f"({path.stat().st_size:,} bytes). Delete it and run `bnnlib data fetch`, or put the official file there."
        )
    return path


def find(name: str, file: str) -> Path | None:
    """Where a file of a data set lies now, verified, or None; nothing is downloaded.

    Raises:
        DataCorrupt: it has another content than it should.
        DataUnreadable: what lies there is no file, or may not be read.
    """
    wanted = source(name)
    for root in (data_folder(), cache_folder()):
        if root is None:
            continue
        path = root / name / file
        try:
            if path.is_file():
                return verified(path, wanted.content(file).sha256)
            occupied = path.exists()
        except OSError as error:
            raise DataUnreadable(
                f"{path} can't be read: {error.strerror or error}. Make it readable for this user, or move it away."
            ) from error
        if occupied:
            raise DataUnreadable(
                f"{path} should be a file and is {'a folder' if path.is_dir() else 'none'}. Move it away, and run "
                f"`bnnlib data fetch {name}` or put the official file there."
            )
    return None


def in_another_layout(name: str) -> Path | None:
    """The file by which a data set is known to be there in another layout than it is distributed in, or None."""
    roots = [root / name for root in (data_folder(), cache_folder()) if root is not None]
    return next((root / file for root in roots for file in source(name).layouts if (root / file).is_file()), None)


def fetch(name: str, file: str, *, progress: bool = False) -> Path:
    """A file of a data set: found, or downloaded into the cache folder, verified, and put in place in one step.

    A download stops at the size that the file should have. What killed downloads left in the cache folder is removed.

    Raises:
        DataNotFound: it is at none of the three places.
        DataCorrupt: what was found or received has another content.
        DataUnreadable: what was found is no file, or may not be read.
    """
    _sweep()
    if (path := find(name, file)) is not None:
        return path
    wanted = source(name)
    url = wanted.url + Path(file).name
    target = cache_folder() / name / file
    content = wanted.files[file]
    bar = _Bar(Path(file).name) if progress else None

    def download(url: str, partial: str, _pooch: object) -> None:
        with ExitStack() as stack:  # closes the connection too, which a server may never end

            def opened(response, **_):
                stack.callback(response.close)

            get = pooch.HTTPDownloader(timeout=SILENCE_SECONDS, progressbar=bar or False, hooks={"response": opened})
            output = stack.enter_context(open(partial, "wb"))
            get(url, _AtMost(output, content.size, url), _pooch)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(pooch.retrieve(url, content.sha256, fname=target.name, path=target.parent, downloader=download))
    except DataCorrupt:
        raise
    except ValueError as error:  # pooch: the hash of what was received differs
        raise DataCorrupt(f"{url} sent another file than expected ({error})") from error
    except OSError as error:
        folder = data_folder()
        raise DataNotFound(
            f"{name}/{file} was not found. Looked in:\n"
            f"  1. $BNNLIB_DATA: {folder / name / file if folder else 'not set'}\n"
            f"  2. the cache folder: {target}\n"
            f"  3. {url}: {type(error).__name__}: {error}\n"
            f"What to do: connect to the network and run `bnnlib data fetch {name}`; or put the official files below a "
            f"folder as {name}/{file} and name that folder in the environment variable BNNLIB_DATA"
            + ('; or use profile="quick", which needs no download.' if (SAMPLES / name).is_dir() else ".")
        ) from error
    finally:
        if bar is not None:
            bar.close()


def status() -> list[dict[str, str]]:
    """For every file of every data set: where it lies, or why it can't be used. Downloads nothing.

    Returns:
        A row for each file: ``data set``, ``file``, ``state`` ("ok": verified; "present": in another layout, which is
        verified as it is loaded; "absent", "corrupt" or "unreadable"), ``where`` (its path, or what is wrong and what
        to do) and ``licence``.
    """
    rows = []
    for name, known in SOURCES.items():
        for file in known.files or ("",):
            state, where = _state(name, file)
            rows.append({"data set": name, "file": file, "state": state, "where": where, "licence": known.licence})
    return rows


def _state(name: str, file: str) -> tuple[str, str]:
    """Of a file of a data set, or of a set that is no files: its state, and where it is or what to do."""
    known = source(name)
    try:
        if file and (path := find(name, file)):
            return "ok", str(path)
        path = in_another_layout(name)
        if path is not None and path.name in known.alternatives:
            return "ok", str(verified(path, known.alternatives[path.name].sha256))
    except DataCorrupt as error:
        return "corrupt", str(error)
    except DataUnreadable as error:
        return "unreadable", str(error)
    if path is not None:
        return "present", str(path)
    return "absent", f"run: bnnlib data fetch {name}" if file else f"get it from {known.url} by hand"


def _sweep() -> None:
    """Removes from the cache folder the partial downloads of processes that were killed."""
    with suppress(OSError):
        for path in cache_folder().rglob("tmp*"):
            with suppress(OSError):
                if (
                    PARTIAL.fullmatch(path.name)
                    and path.is_file()
                    and time.time() - path.stat().st_mtime > STALE_SECONDS
                ):
                    path.unlink()


class _AtMost:
    """A file that takes a given number of bytes and no more."""

    def __init__(self, file: BinaryIO, size: int, url: str):
        self._file = file
        self._size = size
        self._url = url
        self._left = size

    def write(self, piece: bytes) -> None:
        if len(piece) > self._left:
            raise DataCorrupt(
                f"{self._url} sent another file than expected: more than the {self._size:,} bytes of the official one. "
                f"The download was stopped there and nothing of it was kept; is another file, or a page of "
                f"the network's own, served at this address?"
            )
        self._left -= len(piece)
        self._file.write(piece)

    def flush(self) -> None:
        self._file.flush()


class _Bar:
    """The progress bar that pooch expects (tqdm's methods), drawn by rich."""

    def __init__(self, name: str):
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        self._progress = Progress(
            "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        )
        self._task = self._progress.add_task(name, total=None)
        self._progress.start()
        self.total = 0

    def update(self, count: int) -> None:
        self._progress.update(self._task, advance=count, total=self.total or None)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()
