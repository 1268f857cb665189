"""Worker and gateway embed with a service over HTTP."""

from pathlib import Path

from tests.conftest import Stack
from tests.embedding_service import embedding_service
from tests.real.faults import kill, process, revive
from tests.real.gateways import gateway_with

QUESTION = "marine animals"


def test_a_service_embeds_for_worker_and_gateway(fault_stack: Stack, index_name: str, tmp_path: Path) -> None:
    stack = fault_stack
    stack.es.indices.create(index=index_name, mappings={"properties": {"body": {"type": "text"}}})
    stack.es.index(index=index_name, id="1", document={"body": "whales"}, refresh=True)
    kill(stack, "worker")
    try:
        with (
            embedding_service() as service,
            process(stack, "esblend", "worker", place=tmp_path, ESBLEND_ENCODER_URL=service.url),
            gateway_with(stack, tmp_path, encoder_url=service.url) as gateway,
        ):
            headers = {"accept": "application/json", "content-type": "application/json"}
            body = {"source_fields": ["body"], "model": "openai:some-model"}
            gateway.perform_request("PUT", f"/_esblend/indices/{index_name}", headers=headers, body=body)
            stack.wait(index_name)
            service.refusals = [429, 503]
            stack.es.index(index=index_name, id="2", document={"body": "bread"}, refresh=True)
            stack.wait(index_name)
            answer = gateway.search(index=index_name, query={"hybrid": {"query": QUESTION, "alpha": 1}})
            assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["1", "2"]
    finally:
        revive(stack)
        stack.es.indices.delete(index=index_name)
