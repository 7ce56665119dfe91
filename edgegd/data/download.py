"""Downloads of data sets; where one is impossible, the error says which file to put where."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import secrets
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgegd.errors import DownloadError, MissingExtraError, NoSpaceError, UntrustedFileError
from edgegd.limits import ARCHIVE_BYTES, ARCHIVE_MEMBER_BYTES, DOWNLOAD_BYTES
from edgegd.trust import is_trusted

TIMEOUT_S = 15
CHUNK_BYTES = 1 << 18
# What Ultralytics takes for an archive and does not run (ultralytics/data/utils.py, check_det_dataset).
_ARCHIVE = re.compile(r"https?://[\w.~:/%@+=,-]+\.(zip|tar|gz|tgz|xz|bz2|txz|tbz2)", re.ASCII | re.IGNORECASE)
ASSETS_URL = "https://github.com/ultralytics/assets/releases/download/v0.0.0"
"""What the name ASSETS_URL means inside the download scripts of Ultralytics' data set YAMLs."""


def download_file(
    url: str, destination: Path, *, instructions: str, progress: Callable[[int, int], None] | None = None
) -> None:
    """Download to a file that appears only when complete; `progress` counts bytes (total 0: unknown).

    Raises DownloadError with `instructions` on how to do by hand what did not work, and NoSpaceError.
    """
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.partial")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, partial.open("xb") as file:
            length, done = response.headers.get("Content-Length") or "0", 0
            total = int(length) if re.fullmatch(r"[0-9]{1,15}", length) else 0
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                if done > DOWNLOAD_BYTES:
                    raise urllib.error.URLError(f"it has more than {DOWNLOAD_BYTES >> 30} GiB")
                if progress is not None:
                    progress(done, max(total, done))
        if total and done != total:
            raise urllib.error.URLError(f"the connection ended after {done} of {total} bytes")
        os.replace(partial, destination)
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and TLS errors are OSErrors
        refuse_full_disk(error, destination)
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{url} could not be downloaded", found=str(reason), mend=instructions) from error
    finally:
        partial.unlink(missing_ok=True)


def require_archive_within_limits(archive: zipfile.ZipFile) -> None:
    """BadZipFile for an archive whose files unpack to more than a data set of this kind can have.

    zipfile itself ends a file at the size that is checked here.
    """
    sizes = [member.file_size for member in archive.infolist()]
    if sum(sizes) > ARCHIVE_BYTES:
        raise zipfile.BadZipFile(f"unpacked it has {sum(sizes) >> 20} MiB, more than {ARCHIVE_BYTES >> 20} MiB")
    if max(sizes, default=0) > ARCHIVE_MEMBER_BYTES:
        raise zipfile.BadZipFile(f"a file in it has {max(sizes) >> 20} MiB, more than {ARCHIVE_MEMBER_BYTES >> 20} MiB")


def refuse_full_disk(error: Exception, path: Path) -> None:
    """Raise NoSpaceError if the error says that the disk of `path` is full."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        raise NoSpaceError(
            f"no space left on the disk of {path.parent}; what was written there has been removed",
            mend="free some space and run the command again",
        ) from error


def datasets_folder() -> Path:
    """The folder into which Ultralytics downloads data sets (`yolo settings datasets_dir`)."""
    try:
        from ultralytics.utils import DATASETS_DIR
    except ImportError as error:
        raise MissingExtraError(
            "data sets that Ultralytics describes need Ultralytics", found=str(error), mend="pip install edgegd[train]"
        ) from error
    return Path(DATASETS_DIR)


def download_described(yaml_path: Path, data: dict[str, Any], root: Path) -> None:
    """Let Ultralytics download the data set that a YAML describes; raises DownloadError with the files' names.

    The addresses are tried first, because Ultralytics itself retries for minutes where there is no network. A key
    `download` that is more than the address of an archive is a script, which Ultralytics runs: UntrustedFileError,
    unless the YAML is one of Ultralytics' own or the user trusts it (edgegd.trust).
    """
    if not (_ARCHIVE.fullmatch(str(data["download"])) or _is_packaged(yaml_path) or is_trusted()):
        raise UntrustedFileError(
            f"{yaml_path} would run a script to download its data set, which is not on this machine.",
            expected=f"the images at {root}, or `download` with the address of one archive",
            found=" ".join(str(data["download"]).split())[:200],
            mend="get the data set by hand; or, if you have read the script, add --trust (SECURITY.md)",
        )
    urls = addresses(str(data["download"]), root)
    instructions = _instructions(urls, yaml_path, data, root)
    for url, _ in urls[:1]:
        _require_reachable(url, yaml_path, instructions)
    from ultralytics.data.utils import check_det_dataset

    from edgegd.data.ultralytics_as_given import as_given

    try:
        with contextlib.redirect_stdout(sys.stderr), as_given():
            check_det_dataset(str(yaml_path))
    except Exception as error:  # a YAML's download script may raise anything
        refuse_full_disk(error, root)
        raise DownloadError(
            f"Ultralytics could not download the data set of {yaml_path}",
            found=" ".join(str(error).split())[:300],
            mend=instructions,
        ) from error
    if not root.exists():
        raise DownloadError(f"the download that {yaml_path} describes did not bring {root}", mend=instructions)


def _is_packaged(yaml_path: Path) -> bool:
    import ultralytics

    return yaml_path.resolve().is_relative_to(Path(ultralytics.__file__).resolve().parent)


def addresses(download: str, root: Path) -> list[tuple[str, Path]]:
    """Each address in a YAML's `download` key, and the folder that its archive is unpacked into.

    The key is one address, whose archive holds the data set's folder, or a Python script that calls
    `download(urls, dir=...)` with `dir` the data set's folder.
    """
    text = re.sub(r"ASSETS_URL \+ \(?\"([^\"]+)\"(?: if \w+ else \"[^\"]+\"\))?", rf'"{ASSETS_URL}\1"', download)
    before, *calls = re.split(r"(?<![\w.])download\(", text)
    found: dict[str, Path] = {}
    for part, call in zip([before, *calls], [*calls, ""], strict=True):
        folder = re.search(r"dir=dir(\.parent)?(?: / \"([^\"]+)\")?", call)
        target = root / (folder[2] or "") if folder and not folder[1] else root.parent
        for url in re.findall(r"https?://[^\s\"'\]),]+", part):
            found.setdefault(url, target)
    return list(found.items())


def _instructions(urls: list[tuple[str, Path]], yaml_path: Path, data: dict[str, Any], root: Path) -> str:
    splits = ", ".join(str(data[split]) for split in ("train", "val"))
    if not urls:
        return f"get the data set as the `download` script in {yaml_path} does; {root} must then hold {splits}"
    steps = "; ".join(f"unpack {url} into {folder}" for url, folder in urls)
    return f"on a machine with a network, download: {steps}. {root} must then hold {splits}"


def _require_reachable(url: str, yaml_path: Path, instructions: str) -> None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # the server answered; it may refuse HEAD only
    except (urllib.error.URLError, OSError) as error:
        raise DownloadError(
            f"the data set of {yaml_path} is not on this machine and {url} cannot be reached",
            found=str(getattr(error, "reason", error)),
            mend=instructions,
        ) from error
