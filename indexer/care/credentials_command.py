"""`esblend setup-credentials`."""

from typing import Annotated, Any

import typer

from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import FAILED, USAGE, Json, stating_errors

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
            "cluster": ["monitor"],
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


@app.command("setup-credentials")
def setup_credentials(
    indices: Annotated[
        str, typer.Option(help="Patterns of the indices to embed, separated by commas: articles-*,news")
    ],
    user: Annotated[str, typer.Option(prompt=True, help="A user who may create API keys.")],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, envvar="ELASTIC_PASSWORD")],
    name: Annotated[str, typer.Option(help="The name of the key.")] = "esblend",
    expiration: Annotated[str | None, typer.Option(help="As in 90d; default: none.")] = None,
    attaches: Annotated[
        bool, typer.Option("--attaches", help="Also to attach indices whose mappings ask for it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create an API key with the least privileges for feed and workers, and print it once.

    It allows reading and writing documents of the named indices and of esblend's own, and nothing else. The gateway needs no key.
    """
    from elasticsearch import ApiError, Elasticsearch

    from esblend.settings import Settings

    patterns = [pattern.strip() for pattern in indices.split(",") if pattern.strip()]
    if not patterns:
        err.print("--indices names no index.", style="red")
        raise typer.Exit(USAGE)
    settings = Settings()
    ca_certs = {"ca_certs": str(settings.es_ca_certs)} if settings.es_ca_certs else {}
    with stating_errors(), Elasticsearch(settings.es_url, basic_auth=(user, password), **ca_certs) as es:  # type: ignore[arg-type]
        try:
            key = es.security.create_api_key(
                name=name, role_descriptors=least_privileges(patterns, attaches=attaches), expiration=expiration
            )
        except ApiError as error:
            if error.meta.status in (400, 405):  # no such endpoint
                err.print("Security is off in this Elasticsearch, so no credentials are needed.", style="red")
                raise typer.Exit(FAILED) from None
            raise
    if as_json:
        print_json({"id": key["id"], "name": key["name"], "encoded": key["encoded"]})
        return
    err.print(f"Key {key['id']} for {', '.join(patterns)}. It is shown this once:")
    out.print(f"ESBLEND_ES_API_KEY={key['encoded']}", soft_wrap=True)
