"""BCCD, blood cells under a microscope: fetched from its public repository (MIT) and converted from VOC to YOLO.

The split is the repository's own (ImageSets/Main: 205 train, 87 val; its 72 test images are left out).
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from edgegd.atomic_files import appearing_folder
from edgegd.data.download import download_file, refuse_full_disk, require_archive_within_limits
from edgegd.data.voc import Conversion, convert_annotation
from edgegd.errors import DownloadError, WouldOverwriteError
from edgegd.runtime.images import decode_bytes

NAMES = ("RBC", "WBC", "Platelets")
COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
URL = f"https://github.com/Shenggan/BCCD_Dataset/archive/{COMMIT}.zip"
SPLITS = ("train", "val")
_ANNOTATION_BYTES = 1 << 20


def fetch_bccd(
    directory: Path, progress: Callable[[int, int], None] | None = None, *, archive: Path | None = None
) -> Path:
    """Make the BCCD data set in `directory` and return its bccd.yaml; a folder that has one is left as it is.

    The repository's zip archive is downloaded, or taken from `archive` if that was downloaded by hand. `progress`
    counts bytes, then images. The folder appears only when complete. Raises DownloadError (no network, or the archive
    is not BCCD's), WouldOverwriteError (the folder holds something else), NoSpaceError and LabelError.
    """
    directory = Path(directory)
    file = directory / "bccd.yaml"
    if file.is_file():
        return file
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise WouldOverwriteError(
            f"{directory} exists and is not a BCCD data set",
            expected="a new or empty folder",
            mend="name another folder, or the folder that holds bccd.yaml",
        )
    with appearing_folder(directory) as temporary:
        if archive is None:
            archive = temporary / "archive.zip"
            download_file(URL, archive, progress=progress, instructions=_instructions(directory))
            _convert(archive, temporary, directory, progress)
            archive.unlink()
        else:
            _convert(Path(archive), temporary, directory, progress)
    return file


def _instructions(directory: Path) -> str:
    return (
        f"download {URL} on a machine with a network, then run `edgegd data fetch bccd {directory} "
        f"--archive FILE.zip`; or put a local copy (bccd.yaml, images/, labels/) into {directory}"
    )


def _convert(archive: Path, target: Path, directory: Path, progress: Callable[[int, int], None] | None) -> None:
    """Write images, labels, bccd.yaml and LICENSE of an archive into `target`."""
    try:
        with zipfile.ZipFile(archive) as content:
            require_archive_within_limits(content)
            members = {PurePosixPath(name): name for name in content.namelist()}
            root = next(path.parents[2] for path in members if path.parts[-3:] == ("ImageSets", "Main", "train.txt"))
            splits = {
                split: content.read(members[root / f"ImageSets/Main/{split}.txt"]).decode().split() for split in SPLITS
            }
            total, conversions = sum(map(len, splits.values())), []
            for split, stems in splits.items():
                for folder in ("images", "labels"):
                    (target / folder / split).mkdir(parents=True)
                for stem in stems:
                    # The pair is made by file name: the <filename> inside some annotations names another image.
                    image = content.read(members[root / f"JPEGImages/{stem}.jpg"])
                    xml = content.read(members[root / f"Annotations/{stem}.xml"])
                    conversions.append(_write_pair(target, split, PurePosixPath(stem).name, image, xml))
                    if progress is not None:
                        progress(len(conversions), total)
            licence = next((name for path, name in members.items() if path.name == "LICENSE"), None)
            text = content.read(licence).decode() if licence else "MIT License; see github.com/Shenggan/BCCD_Dataset\n"
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        KeyError,
        StopIteration,
        IndexError,
        RuntimeError,
        UnicodeDecodeError,
    ) as error:  # RuntimeError: it is encrypted
        refuse_full_disk(error, target)
        raise DownloadError(
            f"{archive} is not a complete archive of the BCCD repository",
            found=str(error) or "no ImageSets/Main/train.txt in it",
            mend=_instructions(directory),
        ) from error
    (target / "LICENSE").write_text(text, encoding="utf-8")
    (target / "bccd.yaml").write_text(
        _yaml({split: len(stems) for split, stems in splits.items()}, conversions), encoding="utf-8"
    )


def _write_pair(target: Path, split: str, stem: str, image: bytes, xml: bytes) -> Conversion:
    if len(xml) > _ANNOTATION_BYTES:
        raise zipfile.BadZipFile(f"{stem}.xml has more than {_ANNOTATION_BYTES >> 20} MiB")
    pixels, problem = decode_bytes(image)
    if pixels is None:
        raise zipfile.BadZipFile(f"{stem}.jpg: {problem}")
    conversion = convert_annotation(xml, (pixels.shape[1], pixels.shape[0]), NAMES, f"{stem}.xml")
    (target / "images" / split / f"{stem}.jpg").write_bytes(image)
    (target / "labels" / split / f"{stem}.txt").write_text(conversion.text, encoding="ascii")
    return conversion


def _yaml(counts: dict[str, int], conversions: list[Conversion]) -> str:
    boxes, clipped, dropped = (sum(getattr(one, key) for one in conversions) for key in ("boxes", "clipped", "dropped"))
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(NAMES))
    return (
        f"# BCCD, blood cells under a microscope, from github.com/Shenggan/BCCD_Dataset (MIT, see LICENSE).\n"
        f"# Pascal VOC boxes rewritten as YOLO labels: {boxes} boxes, {clipped} clipped at the image's border,\n"
        f"# {dropped} without an area dropped. Paths are relative to this file.\n"
        f"train: images/train  # {counts['train']} images\nval: images/val  # {counts['val']} images\n"
        f"names:\n{names}"
    )
