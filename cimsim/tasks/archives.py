"""Members of fetched archives: read in place, or extracted once into the cache and verified."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from cimsim.errors import CacheError, TaskError
from cimsim.tasks.packages import Package, cache_directory, fetch


def unpack(package: Package, *patterns: str, contents: str | None = None) -> Path:
    """A folder of the cache with the members of `package` that match `patterns`, verified.

    `contents` is the digest of all files (see `digest_of`); without it the one that was recorded
    beside the folder when it was unpacked. A folder that differs is unpacked again, with a
    UserWarning, from the archive, whose own hash is verified before it is opened. The folder
    appears when it is complete; members keep their path in the archive. Raises TaskError like
    `fetch`, for a pattern that nothing matches and for a path that leads out of the folder, and
    CacheError where the cache cannot be read or written.
    """
    wanted = "\n".join((package.sha256, *patterns))
    mark = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    target = cache_directory() / f"{package.folder}-{package.version}-{mark}"
    record = target.with_name(f"{target.name}.sha256")
    if target.is_dir():
        if digest_of(target) == (contents or _recorded(record)):
            return target
        warnings.warn(
            f"{target}: files there are not as they were unpacked (damaged, or changed by hand); "
            "unpacking them again.",
            stacklevel=2,
        )
    archive = fetch(package)
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
        _extract(archive, patterns, folder / "new")
        (folder / "new").chmod(0o755)
        found = digest_of(folder / "new")
        _require_contents(archive, found, contents)
        if contents is None:
            record.write_text(found + "\n", encoding="ascii")
        _put_in_place(folder, target, found)
    except OSError as problem:
        raise CacheError(
            f"{target}: cannot unpack there: {problem.strerror}. Free space, or set CIMSIM_CACHE "
            "to a folder that can be written to."
        ) from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return target


def digest_of(folder: Path) -> str:
    """sha256 over path and sha256 of every file in `folder`; CacheError if one cannot be read.

    Any change, addition or removal is another digest; 0.8 s a GB on one core with SHA instructions.
    """
    total = hashlib.sha256()
    try:
        for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
            with path.open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()} {own}\n".encode())
    except OSError as problem:
        raise CacheError(f"{folder}: cannot read what was unpacked: {problem.strerror}.") from None
    return total.hexdigest()


def _recorded(record: Path) -> str | None:
    try:
        return record.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _require_contents(archive: Path, found: str, contents: str | None) -> None:
    if contents is not None and found != contents:
        raise CacheError(
            f"{archive}: what was unpacked has the digest {found}, not {contents}: the disk or "
            "the memory of this machine does not keep what is written. Run again."
        )


def _put_in_place(folder: Path, target: Path, digest: str) -> None:
    """Move `folder`/new to `target`, and what is there out of the way."""
    if target.exists():
        os.rename(target, folder / "old")
    try:
        os.rename(folder / "new", target)
    except OSError:
        # Another process was quicker: its folder is complete, and like this one.
        if not target.is_dir() or digest_of(target) != digest:
            raise


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
