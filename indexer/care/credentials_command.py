"""`esblend setup-credentials`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import FAILED, DataDir, Json, end, process_settings, stating_errors

if TYPE_CHECKING:
    from esblend.settings import Settings

app = typer.Typer()


def least_privileges(indices: list[str], *, attaches: bool) -> dict[str, Any]:
    """The role of feed and workers. `attaches`: they also attach indices on request (see `mappings.mapping_requests`)."""
    from mappings.attachment_copies import CHECKPOINTS_INDEX
    from mappings.click_log import CLICKS_INDEX
    from mappings.dead_letter_index import DEAD_LETTERS_INDEX
    from mappings.mean_vector_store import MEAN_VECTORS_INDEX

    documents = ["read", "write", "view_index_metadata", "monitor", "maintenance"]
    return {
        "esblend": {
            "cluster": ["monitor", "read_pipeline"],  # feeds notice a guard's pipeline that another client has changed
            "indices": [
                {
                    "names": [CHECKPOINTS_INDEX, DEAD_LETTERS_INDEX, MEAN_VECTORS_INDEX, CLICKS_INDEX],
                    "privileges": [*documents, "create_index"],
                },
                {"names": indices, "privileges": [*documents, *(["manage"] if attaches else [])]},
                # Discovery and lag read the mappings and sequence numbers of attached indices, and no documents.
                {"names": ["*"], "privileges": ["view_index_metadata", "monitor"]},
            ],
        }
    }


def _with_user(settings: "Settings", user: str | None, password: str | None) -> "Settings":
    """The settings with a user who may create API keys: `user`, else the user of the stack on this machine, else a prompt asks."""
    from pydantic import SecretStr

    if user is None and password is None and settings.es_username and settings.es_password:
        return settings.model_copy(update={"es_api_key": None})
    user = user or settings.es_username or typer.prompt("User", err=True)
    password = password or typer.prompt("Password", hide_input=True, err=True)
    return settings.model_copy(
        update={"es_username": user, "es_password": SecretStr(str(password)), "es_api_key": None}
    )


@app.command("setup-credentials")
def setup_credentials(
    indices: Annotated[
        str, typer.Option(help="Patterns of the indices to embed, separated by commas: articles-*,news")
    ],
    user: Annotated[
        str | None,
        typer.Option(
            help="A user who may create API keys; default: the user of the stack; without one, a prompt asks."
        ),
    ] = None,
    password: Annotated[
        str | None, typer.Option(envvar="ELASTIC_PASSWORD", help="The user's password; if left out, a prompt asks.")
    ] = None,
    name: Annotated[str, typer.Option(help="The name of the key.")] = "esblend",
    expiration: Annotated[
        str | None, typer.Option(help="Lifetime of the key, such as 90d; default: unlimited.")
    ] = None,
    attaches: Annotated[
        bool, typer.Option("--attaches", help="Also allow the key to attach indices whose mappings request it.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create an API key with the least privileges for feed and workers, and print it once.

    The key allows reading and writing documents of the named indices and of esblend's own indices, and reading mappings,
    statistics and ingest pipelines of all indices. The gateway needs no key.
    """
    from elasticsearch import ApiError

    from esblend.elasticsearch_connection import connect

    patterns = [pattern.strip() for pattern in indices.split(",") if pattern.strip()]
    if not patterns:
        end("--indices names no index.")
    with stating_errors():
        settings = _with_user(process_settings(data_dir), user, password)
    with stating_errors(), connect(settings) as es:
        try:
            key = es.security.create_api_key(
                name=name, role_descriptors=least_privileges(patterns, attaches=attaches), expiration=expiration
            )
        except ApiError as error:
            is_described = isinstance(error.body, dict) and isinstance(error.body.get("error"), dict)
            if error.meta.status in (400, 405) and not is_described:  # no such endpoint
                end("Security is off in this Elasticsearch, so no credentials are needed.", FAILED)
            raise
    if as_json:
        print_json({"id": key["id"], "name": key["name"], "encoded": key["encoded"]})
        return
    err.print(f"Key {key['id']} for {', '.join(patterns)}. It is shown only once:")
    out.print(f"ESBLEND_ES_API_KEY={key['encoded']}", soft_wrap=True)
