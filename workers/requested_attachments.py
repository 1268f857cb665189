"""Grants the wish of an index to be attached: the worker is where models are loaded."""

import asyncio

import structlog
from elasticsearch import ApiError

from esblend.elasticsearch_connection import connect_async
from esblend.encoder.registry import Encoders
from esblend.errors import EsblendError
from esblend.settings import Settings
from mappings.attach_index import attach, find_index
from mappings.attach_requests import wish_of
from mappings.generation import Models

log = structlog.get_logger()


def attach_requested_index(index: str, encoders: Encoders, settings: Settings) -> None:
    """Attach the index as its mapping asks, with the worker's rights; what cannot be granted is logged with the reason."""
    try:
        asyncio.run(_grant(index, encoders, settings))
    except (EsblendError, ApiError) as error:
        reason = error.reason if isinstance(error, EsblendError) else error.error
        log.error("an index that asks to be attached cannot be", index=index, reason=reason)


async def _grant(index: str, encoders: Encoders, settings: Settings) -> None:
    async with connect_async(settings) as es:
        _, mapping = await find_index(es, index)
        wish = wish_of(mapping)
        if wish is None:
            return
        models = Models(
            encoders.load(wish.model or settings.model),
            encoders.load(wish.query_model) if wish.query_model is not None else None,
        )
        await attach(es, index, wish, models)
        log.info("attached by its own mapping", index=index)
