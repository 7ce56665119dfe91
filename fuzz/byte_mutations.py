"""What happens to files: cut, flipped, emptied, of another encoding, replaced by something that is no file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

LINE_BYTES = 40_000_000


def _truncated(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))] if content else b""


def _flipped(random: Random, content: bytes) -> bytes:
    copy = bytearray(content)
    for _ in range(random.choice((1, 3, 30, 300))):
        if copy:
            copy[random.randrange(len(copy))] ^= 1 << random.randrange(8)
    return bytes(copy)


def _overwritten(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + random.randbytes(random.choice((1, 8, 200))) + content[start + 8 :]


def _repeated(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content) + 1)
    return content + content[start:]


MUTATIONS: dict[str, tuple[Callable[[Random, bytes], bytes], bool]] = {
    "cut": (_truncated, False),
    "bits flipped": (_flipped, False),
    "overwritten": (_overwritten, False),
    "its end twice": (_repeated, False),
    "empty": (lambda random, content: b"", False),
    "NULs": (lambda random, content: bytes(len(content)), True),
    "NULs inside": (
        lambda random, content: content[: len(content) // 2] + bytes(100) + content[len(content) // 2 :],
        False,
    ),
    "random bytes": (lambda random, content: random.randbytes(random.choice((1, 100, 5000))), True),
    "not UTF-8": (lambda random, content: content[:40] + b"\xff\xfe\xc3(" + content[40:], False),
    "UTF-16": (lambda random, content: content.decode("latin-1").encode("utf-16"), False),
    "a byte order mark": (lambda random, content: b"\xef\xbb\xbf" + content, False),
    "one endless line": (lambda random, content: b"a" * LINE_BYTES, True),
    "an endless line after it": (lambda random, content: content + b"\n" + b"7" * LINE_BYTES, False),
    "carriage returns": (lambda random, content: content.replace(b"\n", b"\r"), False),
    "HTML": (lambda random, content: b"<!DOCTYPE html><html><body>404: not found</body></html>\n", True),
    "a pointer of Git LFS": (
        lambda random, content: (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5242880\n"
        ),
        True,
    ),
}
"""name -> (what it does, whether it is never a file of any kind that we read)."""


def mutate_bytes(random: Random, path: Path) -> tuple[str, bool]:
    """Spoils a file's bytes; returns what was done, and whether the result can still be right."""
    name = random.choice(list(MUTATIONS))
    change, hopeless = MUTATIONS[name]
    path.write_bytes(change(random, path.read_bytes()))
    return name, not hopeless


def _folder(path: Path) -> None:
    path.mkdir()


def _private(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0)


REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "a folder": _folder,
    "a link to nothing": lambda path: path.symlink_to("no such file"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a folder": lambda path: path.symlink_to(os.path.abspath("home")),
    "a link to another file": lambda path: path.symlink_to(os.path.abspath("home/canary.txt")),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to /dev/null": lambda path: path.symlink_to("/dev/null"),
    "a pipe": lambda path: os.mkfifo(path),
    "nothing": lambda path: None,
    "a file without rights": _private,
}
"""What stands in the place of a file. Whoever is root reads a file without rights: it is then an empty one."""


def replace_file(random: Random, path: Path) -> str:
    """Puts something that is no file in the file's place; returns what."""
    name = random.choice(list(REPLACEMENTS))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    REPLACEMENTS[name](path)
    return name
