"""QEMU with its plugin interface, and the plugin that counts: built from source once, beside what emulation caches.

Debian's QEMU is static, and a static program loads no plugins. Sources and libraries come from the same archive as the
programs that `edgegd emulate` runs; meson and ninja from the package index, into a folder of their own. gcc and
pkg-config are the machine's. About 45 MB of downloads and 5 minutes of one core.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgegd.errors import EmulationError
from edgegd.targets.emulation_cache import QEMU_SERIES, Tell, cached
from edgegd.targets.emulation_packages import SUITE, PrivateApt, find_mirror, run

PLUGIN_SOURCE = Path(__file__).with_name("count_blocks.c")
_LIBRARIES = ("libglib2.0-dev", "libglib2.0-0", "libpcre2-dev", "libpcre2-8-0", "zlib1g-dev", "zlib1g")
_TOOLS = ("meson>=1.5", "ninja", "pycotap>=1.1")
_ARCHITECTURE = "lib/x86_64-linux-gnu"
_CONFIGURE = (
    "--target-list=aarch64-linux-user",
    "--enable-plugins",
    "--without-default-features",
    "--disable-system",
    "--disable-tools",
    "--disable-docs",
    "--disable-install-blobs",
)
_LAST_CHARACTERS = 1500


def counting_qemu(tell: Tell) -> Path:
    """The folder with qemu-aarch64 that loads plugins, its libraries (lib/) and headers (include/).

    Raises EmulationError where it cannot be fetched or built.
    """

    def build(folder: Path, scratch: Path) -> list[str]:
        for program in ("gcc", "pkg-config"):
            if shutil.which(program) is None:
                raise EmulationError(
                    "QEMU with plugins cannot be built.",
                    expected=f"{program} on the PATH",
                    found="no such program",
                    mend="apt-get install gcc libc6-dev pkg-config",
                )
        tell(f"building QEMU {QEMU_SERIES} with plugins (about 5 minutes of one core, once)")
        suite = f"{SUITE}-backports"
        sources = PrivateApt(scratch / "apt-sources", find_mirror(), {suite: "amd64"}, sources=True)
        archive = sources.download_source("qemu", suite)
        with tarfile.open(archive) as packed:
            packed.extractall(scratch / "source", filter="data")
        (source,) = (scratch / "source").iterdir()
        libraries = PrivateApt(scratch / "apt", find_mirror(), {SUITE: "amd64"})
        files = libraries.unpack([f"{package}:amd64" for package in _LIBRARIES], scratch / "root")
        _compile(source, scratch / "root", scratch)
        shutil.copy2(scratch / "build/qemu-aarch64", folder)
        _copy_libraries(scratch / "root", folder)
        return [archive.name, *files]

    return cached(f"counting-qemu-{QEMU_SERIES}-{SUITE}", build)


def counting_plugin(tell: Tell) -> Path:
    """The compiled plugin; the name of its folder has the hash of its source."""
    folder = counting_qemu(tell)
    digest = hashlib.sha256(PLUGIN_SOURCE.read_bytes()).hexdigest()[:12]

    def build(into: Path, scratch: Path) -> list[str]:
        headers = [f"-I{folder / 'include' / name}" for name in ("glib-2.0", "glib-config", "")]
        _make(
            ["gcc", "-shared", "-fPIC", "-O2", "-Wall", *headers, str(PLUGIN_SOURCE), "-o", str(into / "count.so")],
            into,
        )
        return []

    return cached(f"counting-plugin-{digest}", build) / "count.so"


def _compile(source: Path, root: Path, scratch: Path) -> None:
    run([sys.executable, "-m", "venv", str(scratch / "tools")])
    tools = scratch / "tools/bin"
    run([str(tools / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_TOOLS])
    build = scratch / "build"
    build.mkdir()
    paths = [root / "usr" / _ARCHITECTURE, root / _ARCHITECTURE]
    link = " ".join([*(f"-L{path}" for path in paths), "-Wl,-rpath,$ORIGIN/lib"])
    environment = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PKG_CONFIG_SYSROOT_DIR": str(root),
        "PKG_CONFIG_LIBDIR": f"{paths[0]}/pkgconfig:{root}/usr/share/pkgconfig",
    }
    configure = [str(source / "configure"), f"--python={tools / 'python'}", *_CONFIGURE, f"--extra-ldflags={link}"]
    _make(configure, build, environment)
    _make([str(tools / "ninja"), "qemu-aarch64"], build, environment)
    shutil.copy2(source / "include/qemu/qemu-plugin.h", root / "qemu-plugin.h")


def _copy_libraries(root: Path, folder: Path) -> None:
    """What qemu-aarch64 loads, and what the plugin is compiled against."""
    (folder / "lib").mkdir()
    for name in ("libglib-2.0.so.0", "libgmodule-2.0.so.0", "libpcre2-8.so.0", "libz.so.1"):
        (found,) = [path for path in root.rglob(name) if path.parent.name == "x86_64-linux-gnu"]
        shutil.copy2(found.resolve(), folder / "lib" / name)
    include = folder / "include"
    shutil.copytree(root / "usr/include/glib-2.0", include / "glib-2.0")
    shutil.copytree(root / "usr" / _ARCHITECTURE / "glib-2.0/include", include / "glib-config")
    shutil.copy2(root / "qemu-plugin.h", include)


def _make(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise EmulationError(
            f"{Path(command[0]).name} failed while QEMU with plugins was built.",
            expected="exit status 0",
            found=f"status {done.returncode}; its last lines:\n"
            + done.stdout.decode(errors="replace").strip()[-_LAST_CHARACTERS:],
            mend="report it, with the versions of this machine's gcc and libraries",
        )
