"""What the site is made of: pages of the whole repository at their places, some of them made here.

Pages keep the paths that they have in the repository, so that a link between two files leads to
the same place on the site and in the repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
TAKEN = (
    "*.md", "CITATION.cff", "LICENSE", "docs/**/*.md", "docs/**/*.png", "docs/*.css",
    "docs/*.js", "docs/*.svg", "docs/tutorials/*.ipynb", "examples/*", "workloads/README.md",
    "benchmarks/**/README.md", "benchmarks/**/*.png", "benchmarks/dse/*.json",
)  # fmt: skip
"""What goes onto the site, from the top of the repository."""
COMMAND_LINE = "docs/cli.md"


class Notebook(File):
    """A notebook as a page, with the outputs that it was kept with."""

    def is_documentation_page(self) -> bool:
        """It is a page, although no Markdown."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the theme and those of the repository."""
    found = Files([file for file in files if file.src_dir != config.docs_dir])
    for path in sorted({path for pattern in TAKEN for path in ROOT.glob(pattern)}):
        if path.is_file():
            name = path.relative_to(ROOT).as_posix()
            found.append(_file(name, config))
            if path.suffix == ".ipynb":
                for picture in _show(found.get_file_from_path(name), config):
                    found.append(picture)
    page = _file(COMMAND_LINE, config)
    page.content_string = command_line()
    found.append(page)
    return found


def _file(name: str, config: MkDocsConfig) -> File:
    """A file of the repository; those of docs/ are at the top of the site."""
    kind = Notebook if name.endswith(".ipynb") else File
    place = Path(name.removeprefix("docs/"))
    if place.suffix in (".md", ".ipynb"):
        if place.name == "README.md" and len(place.parts) > 1:
            place = place.with_name("index.md")
        place = place.with_suffix(".html")
    return kind(name, str(ROOT), config.site_dir, config.use_directory_urls,
                dest_uri=place.as_posix())  # fmt: skip


def _show(notebook: Any, config: MkDocsConfig) -> list[File]:
    """Give a notebook its page; the pictures in it, as files beside it."""
    from nbconvert import MarkdownExporter

    path = ROOT / notebook.src_uri
    text, more = MarkdownExporter().from_filename(str(path), {"unique_key": path.stem})
    notebook.content_string = f"{text}\n\nThis page is the notebook `{notebook.src_uri}`.\n"
    pictures = []
    for name, content in more["outputs"].items():
        src = f"{Path(notebook.src_uri).parent}/{name}"
        picture = File.generated(config, src, content=content)
        picture.dest_uri = src.removeprefix("docs/")
        pictures.append(picture)
    return pictures


def command_line() -> str:
    """Every verb with its options, as the command line has them."""
    import typer
    from typer.cli import get_docs_for_click

    from cimsim.cli import app

    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="cimsim")
    for verb in command.commands.values():
        verb.get_help(typer.Context(verb, parent=context))  # says the names that options take
    return str(get_docs_for_click(obj=command, ctx=context, name="cimsim", title="Command line"))
