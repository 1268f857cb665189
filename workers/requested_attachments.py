"""Attaches indices whose mappings request it; done by a worker because workers load models."""

import asyncio

import structlog
from elasticsearch import ApiError

from esblend.elasticsearch_connection import connect_async
from esblend.encoder.registry import Encoders
from esblend.errors import EsblendError
from esblend.settings import Settings
from mappings.index_lookup import find_index
from mappings.lifecycle import attach
from mappings.mapping_requests import requested_attachment
from mappings.new_generation import Models

log = structlog.get_logger()


def attach_requested_index(index: str, encoders: Encoders, settings: Settings) -> None:
    """Attach the index as its mapping requests, with the worker's rights; a failure is logged with its reason."""
    try:
        asyncio.run(_attach(index, encoders, settings))
    except (EsblendError, ApiError) as error:
        reason = error.reason if isinstance(error, EsblendError) else error.error
        log.error("requested attachment failed", index=index, reason=reason)


async def _attach(index: str, encoders: Encoders, settings: Settings) -> None:
    async with connect_async(settings) as es:
        _, mapping = await find_index(es, index)
        request = requested_attachment(mapping)
        if request is None:
            return
        models = Models(
            encoders.load(request.model or settings.model),
            encoders.load(request.query_model) if request.query_model is not None else None,
        )
        await attach(es, index, request, models)
        log.info("attached as its mapping requests", index=index)
