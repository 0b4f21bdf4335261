"""The commands and their flags. Each imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when the command runs
from typing import Annotated, Any

import typer

from vdb_server.cli import keeping
from vdb_server.cli.options import AsJson, DataDir, LibraryArgument, Url, command
from vdb_server.cli.output import Failure, line, print_json, table, warn

__all__ = ["app"]

app = typer.Typer(
    name="vdb",
    help="A vector database: serve it, look at it, load it, search it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(value: bool) -> None:
    if value:
        from vdb_server import __version__

        line(f"vdb {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


@app.command()
@command
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (VDB_HOST). Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one (VDB_PORT). Default: 8000.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Where libraries are kept (VDB_DATA_DIR). Default: ./data."),
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(help="fsync, os or none: where a write is when it is answered (VDB_DURABILITY)."),
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Listen beyond this machine without VDB_API_KEY, knowingly."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Only 1: one process serves a data directory, with threads for all cores."),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="debug, info, warning or error (VDB_LOG_LEVEL)."),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(help="auto, console or json (VDB_LOG_FORMAT)."),
    ] = None,
) -> None:
    """Serve the REST API. Prints its URL when it is ready. Keys come from VDB_API_KEY and VDB_READ_ONLY_API_KEY."""
    from vdb_server.cli.configuration import load_settings
    from vdb_server.cli.serving import serve as run

    run(
        load_settings(
            host=host,
            port=port,
            data_dir=data_dir,
            durability=durability,
            insecure=insecure,
            workers=workers,
            log_level=log_level,
            log_format=log_format,
        )
    )


@app.command()
@command
def plugins(*, as_json: AsJson = False) -> None:
    """List the installed plugins: what each provides, or why it is not loaded."""
    from vdb_core.plugins import PluginManager

    manager = PluginManager.from_environment()
    manager.load()
    reports = [report.to_json() for report in manager.reports()]
    if as_json:
        print_json(reports)
        return
    rows = [
        (
            one["name"],
            one["distribution"],
            one["version"],
            one["state"],
            one["reason"] or ", ".join(_strings(one["provides"])),
        )
        for one in reports
    ]
    table(("plugin", "distribution", "version", "state", "provides, or why not"), rows)
    for name in manager.unmatched_disabled:
        warn(f"vdb: VDB_PLUGINS_DISABLED names {name}, and no plugin is called that.")


@app.command()
@command
def libraries(
    library: Annotated[
        str | None, typer.Argument(help="Show this one, with its index.", metavar="[LIBRARY]")
    ] = None,
    *,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the libraries, or show one."""
    from vdb_server.cli.target import open_target, segment

    with open_target(url, data_dir) as target:
        if library is not None:
            path = f"/v1/libraries/{segment(library)}"
            shown = {**target.json("GET", path), "index": target.json("GET", f"{path}/index")}
            if as_json:
                print_json(shown)
            else:
                table(("field", "value"), [(key, _cell(value)) for key, value in shown.items()])
            return
        items: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            page = target.json("GET", f"/v1/libraries?limit=1000{cursor and '&cursor=' + segment(cursor)}")
            items += page["items"]
            cursor = page["next_cursor"]
    if as_json:
        print_json(items)
        return
    table(
        ("id", "name", "metric", "dimension", "index", "documents", "chunks", "updated"),
        [
            (
                one["id"],
                one["name"],
                one["metric"],
                one["dimension"],
                one["index"]["type"],
                one["documents"],
                one["chunks"],
                one["updated_at"],
            )
            for one in items
        ],
    )


@app.command("import")
@command
def import_(
    library: LibraryArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines, a row each as in chunks/upsert; or an archive (.tar) made by export.",
            exists=True,
            dir_okay=False,
        ),
    ],
    vectors: Annotated[
        Path | None,
        typer.Option(
            help="The embeddings, row for row: .npy, float32 or float16.", exists=True, dir_okay=False
        ),
    ] = None,
    *,
    create: Annotated[bool, typer.Option("--create", help="Create the library first.")] = False,
    metric: Annotated[str, typer.Option(help="With --create: cosine, dot or l2.")] = "cosine",
    index: Annotated[str | None, typer.Option(help="With --create: the type of its index.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="With --create: what embeds rows that are texts alone.")
    ] = None,
    create_documents: Annotated[
        bool, typer.Option("--create-documents", help="Create documents that rows name.")
    ] = False,
    batch_rows: Annotated[int, typer.Option(min=1, max=10_000, help="Rows a request.")] = 2_000,
    build: Annotated[bool, typer.Option("--build", help="Build the index afterwards, and wait.")] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Load chunks into a library, or a whole library from an archive."""
    from vdb_server.cli.importing import build_index, import_archive, import_rows
    from vdb_server.cli.target import open_target

    archive = file.suffix == ".tar"
    if archive and (vectors is not None or create):
        raise Failure(
            "an archive brings its vectors and creates its library: leave --vectors and --create out.", 2
        )
    if embedder is not None and not create:
        raise Failure("--embedder is of a library that is created: give --create too.", 2)
    if data_dir is not None and create:
        data_dir.mkdir(parents=True, exist_ok=True)
    with open_target(url, data_dir) as target:
        if archive:
            made = import_archive(target, library, file)
            result = {"created": made["chunks"], "updated": 0}
        else:
            if create:
                body: dict[str, object] = {"id": library, "name": library, "metric": metric}
                if index is not None:
                    body["index"] = {"type": index}
                if embedder is not None:
                    body["embedder"] = embedder
                target.json("POST", "/v1/libraries", body)
            result = import_rows(
                target, library, file, vectors, batch_rows=batch_rows, create_documents=create_documents
            )
        if build:
            build_index(target, library)
    if as_json:
        print_json(result)
    else:
        line(f"{result['created']} created, {result['updated']} updated")


@app.command()
@command
def search(
    library: LibraryArgument,
    text: Annotated[
        str | None, typer.Option(help="A text, which the library's embedder turns into an embedding.")
    ] = None,
    embedding: Annotated[str | None, typer.Option(help="The embedding, as a JSON list.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    filter_: Annotated[
        str | None, typer.Option("--filter", help='A filter, as JSON: \'{"lang": "en"}\'.')
    ] = None,
    params: Annotated[str | None, typer.Option(help="Search parameters of the index, as JSON.")] = None,
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Tell how the answer was found.")] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Find the nearest chunks."""
    from vdb_server.cli.target import open_target, segment

    if (text is None) == (embedding is None):
        raise Failure("give either --text or --embedding.", 2)
    query: dict[str, object] = {"k": k}
    if text is not None:
        query["text"] = text
    for name, given in (("embedding", embedding), ("filter", filter_), ("params", params)):
        if given is not None:
            query[name] = _parsed(name, given)
    if explain:
        query["explain"] = True
    with open_target(url, data_dir) as target:
        answer = target.json("POST", f"/v1/libraries/{segment(library)}/search", query)
    if as_json:
        print_json(answer)
        return
    hits = [
        (place, f"{hit['score']:.4f}", hit["id"], hit["document_id"], hit["text"], _cell(hit["metadata"]))
        for place, hit in enumerate(answer["hits"], 1)
    ]
    table(("", "score", "id", "document", "text", "metadata"), hits)
    how = "exact" if answer["index"]["exact"] else "approximate"
    warn(f"{answer['index']['type']}, {how}, {answer['took_ms']:.2f} ms, revision {answer['revision']}")
    for warning in answer["warnings"]:
        warn(f"warning: {warning}")
    if explain:
        warn(_cell(answer["explain"]))


@app.command()
@command
def snapshot(
    library: Annotated[
        list[str] | None, typer.Argument(help="Ids; none means every library.", metavar="[LIBRARY]...")
    ] = None,
    *,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write libraries to their snapshot store and shorten the journal. Writes are durable without it."""
    from vdb_server.cli.importing import wait_for
    from vdb_server.cli.target import open_target, segment

    done: list[dict[str, Any]] = []
    with open_target(url, data_dir) as target:
        ids = library or [one["id"] for one in target.json("GET", "/v1/libraries?limit=1000")["items"]]
        for one in ids:
            accepted = target.json("POST", f"/v1/libraries/{segment(one)}/snapshot")
            done.append(wait_for(target, accepted["job_id"], f"snapshot of {one}"))
    if as_json:
        print_json(done)
    else:
        line(f"{len(done)} written")


@app.command()
@command
def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8501,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name by which browsers reach the dashboard, against DNS rebinding; may be repeated."
        ),
    ] = None,
    *,
    url: Url = None,
) -> None:
    """Serve the dashboard, where vdb-dashboard is installed. It looks at a running server with VDB_API_KEY."""
    from vdb_server.cli.dashboard import run

    run(host=host, port=port, url=url, allowed_hosts=allowed_host or [])


keeping.add_to(app)


def _parsed(name: str, text: str) -> object:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(f"--{name} is not JSON: {error}", 2) from error


def _cell(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []
