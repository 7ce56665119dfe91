"""Fetching what emulation needs with the machine's own package clients: apt with a private state, and pip.

Nothing on the machine changes and no root is needed: apt keeps lists and archives in a folder of ours, and packages are
unpacked, not installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from edgegd.errors import EmulationError

SUITE = "bookworm"  # its Python 3.11 is the one whose packages for ARM64 are fetched
MIRROR_VARIABLE = "EDGEGD_DEBIAN_MIRROR"
FETCH_FAILED = "What emulation needs could not be fetched."
_APT = Path("/etc/apt")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TIMEOUT_S = 900
_LAST_CHARACTERS = 600
_DEBIAN_SUITE = re.compile(r"(bullseye|bookworm|trixie|forky|sid|oldstable|stable|testing|unstable)(-\w+)*$")


@dataclass(frozen=True)
class Mirror:
    """A Debian archive: its address, and the keyring that signs it ('' for apt's own)."""

    uri: str
    keyring: str


def find_mirror(apt: Path = _APT, environment: Mapping[str, str] = os.environ) -> Mirror:
    """The archive of $EDGEGD_DEBIAN_MIRROR, or else the first Debian archive of the machine's own apt sources.

    Raises EmulationError where there is neither.
    """
    keyring = _KEYRING if Path(_KEYRING).exists() else ""
    if environment.get(MIRROR_VARIABLE):
        return Mirror(environment[MIRROR_VARIABLE], keyring)
    for uri, suites in _sources(apt):
        if any(_DEBIAN_SUITE.match(suite) and "security" not in suite for suite in suites):
            return Mirror(uri, keyring)
    raise EmulationError(
        FETCH_FAILED,
        expected=f"a Debian archive among the sources in {apt}",
        found="none",
        mend=f"set {MIRROR_VARIABLE} to the address of a Debian mirror that this machine reaches, and install "
        "debian-archive-keyring",
    )


def _sources(apt: Path) -> Iterator[tuple[str, list[str]]]:
    """Address and suites of every enabled entry, of both forms of apt's sources (sources.list(5))."""
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if not path.is_file() or path.suffix not in (".list", ".sources"):
            continue
        text = "\n".join(line for line in path.read_text(errors="replace").splitlines() if not line.startswith("#"))
        if path.suffix == ".list":
            for match in re.finditer(r"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)", text, re.M):
                yield match[1], [match[2]]
            continue
        for stanza in re.split(r"\n\s*\n", text):
            fields = {key.lower(): value.split() for key, value in re.findall(r"^([\w-]+):(.*)$", stanza, re.M)}
            if "deb" in fields.get("types", []) and fields.get("enabled") != ["no"]:
                for uri in fields.get("uris", []):
                    yield uri, fields.get("suites", [])


class PrivateApt:
    """apt-get with its own state below `folder`, for the packages of one suite and its backports."""

    def __init__(
        self, folder: Path, mirror: Mirror, architectures: Mapping[str, str], *, sources: bool = False
    ) -> None:
        """`architectures` maps a suite to the architecture whose packages are wanted; with `sources`, sources too."""
        self.folder = folder.resolve()
        for name in ("lists/partial", "archives/partial", "parts", "packages"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "status").touch()
        stanzas = [
            f"Types: deb{' deb-src' * sources}\nURIs: {mirror.uri}\nSuites: {suite}\nComponents: main\n"
            f"Architectures: {architecture}\n" + (f"Signed-By: {mirror.keyring}\n" if mirror.keyring else "")
            for suite, architecture in architectures.items()
        ]
        (self.folder / "edgegd.sources").write_text("\n".join(stanzas))
        for part in sorted((_APT / "apt.conf.d").glob("*")):  # proxies and certificates of this machine
            (self.folder / "parts" / part.name).symlink_to(part)
        (self.folder / "parts" / "zz-edgegd").write_text(self._configuration(set(architectures.values())))
        (self.folder / "apt.conf").write_text(f'Dir::Etc::Parts "{self.folder}/parts";\n')

    def _configuration(self, architectures: set[str]) -> str:
        listed = " ".join(f'"{architecture}";' for architecture in sorted({"amd64", *architectures}))
        return (
            # The machine's hooks would refresh other programs' caches.
            "#clear APT::Update;\n#clear DPkg;\n#clear APT::Architectures;\n"
            f'APT::Architecture "amd64";\nAPT::Architectures {{ {listed} }};\nAPT::Sandbox::User "root";\n'
            f'Dir::State "{self.folder}";\nDir::State::Lists "{self.folder}/lists";\n'
            f'Dir::State::status "{self.folder}/status";\nDir::Cache "{self.folder}";\n'
            f'Dir::Cache::archives "{self.folder}/archives";\nDir::Etc::SourceList "{self.folder}/edgegd.sources";\n'
            'Dir::Etc::SourceParts "/dev/null";\nDir::Etc::Preferences "/dev/null";\n'
            'Dir::Etc::PreferencesParts "/dev/null";\nAcquire::Retries "3";\nAcquire::Languages "none";\n'
        )

    def unpack(self, packages: Sequence[str], root: Path) -> list[str]:
        """Fetches `packages` (NAME:ARCHITECTURE, a version pattern after =) and unpacks them; returns their files."""
        environment = {"APT_CONFIG": str(self.folder / "apt.conf")}
        folder = self.folder / "packages"
        run(["apt-get", "-qq", "update", "-o", "APT::Update::Error-Mode=any"], environment=environment)
        run(["apt-get", "-qq", "download", *packages], environment=environment, folder=folder)
        files = sorted(folder.glob("*.deb"))
        for file in files:
            run(["dpkg-deb", "-x", str(file), str(root)])
        return [file.name for file in files]

    def download_source(self, package: str, suite: str) -> Path:
        """The archive of a package's sources as its authors published them (Debian's changes are left out)."""
        environment = {"APT_CONFIG": str(self.folder / "apt.conf")}
        folder = self.folder / "sources"
        folder.mkdir()
        run(["apt-get", "-qq", "update", "-o", "APT::Update::Error-Mode=any"], environment=environment)
        options = ["--download-only", "--tar-only"]
        run(["apt-get", "-qq", "source", *options, f"{package}/{suite}"], environment=environment, folder=folder)
        (archive,) = folder.glob("*.orig.tar.*")
        return archive


def unpack_wheels(requirements: Sequence[str], folder: Path, into: Path) -> list[str]:
    """Fetches wheels for CPython 3.11 on ARM64 Linux with pip, as it is configured here, and unpacks them into `into`.

    Dependencies are left out: running a session needs numpy only. Returns the names of the wheels.
    """
    platforms = [f"--platform=manylinux_{minor}_aarch64" for minor in ("2_28", "2_27")]
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            *platforms,
            "--platform=manylinux2014_aarch64",
            "--python-version=3.11",
            "--dest",
            str(folder),
            *requirements,
        ]
    )
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            archive.extractall(into)
    return [wheel.name for wheel in wheels]


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """stdout of a command that fetches something; EmulationError where it is missing, fails, or hangs."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise EmulationError(
            FETCH_FAILED,
            expected="a Debian-like system (apt-get, dpkg-deb)",
            found=str(error),
            mend="run this on Debian or a system made from it, or in a container of it",
        ) from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        words = error.stderr or error.stdout or b""
        text = words if isinstance(words, str) else words.decode(errors="replace")
        raise EmulationError(
            FETCH_FAILED,
            expected=f"`{' '.join(command[:3])} ...` to succeed",
            found=text.strip()[-_LAST_CHARACTERS:] or str(error),
            mend="check that this machine reaches its Debian mirror and its package index "
            f"({MIRROR_VARIABLE} names another mirror), then run it again",
        ) from error
    return done.stdout
