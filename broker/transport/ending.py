"""How calls end that have no answer: whatever was raised becomes one status, and nothing else of it leaves."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NoReturn

import grpc
from grpc.aio import AbortError, InternalError, ServicerContext

from broker.domain.faults import Fault
from broker.transport.status import internal, status_of

__all__ = ["Refused", "end", "end_with"]

log = logging.getLogger(__name__)

Context = ServicerContext[Any, Any]


class Refused(Exception):
    """With this status, which says all there is to say."""

    def __init__(self, status: grpc.Status) -> None:
        super().__init__(status.details)
        self.status = status


async def end(context: Context, error: Exception) -> NoReturn:
    """End the call that raised ``error``: a Fault and a refusal say why; anything else is logged, and opaque."""
    if isinstance(error, AbortError):
        raise error
    if isinstance(error, InternalError):
        raise asyncio.CancelledError from error
    if isinstance(error, Refused):
        await end_with(context, error.status)
    if isinstance(error, Fault):
        await end_with(context, status_of(error))
    log.error("a call failed", exc_info=error)
    await end_with(context, internal())


async def end_with(context: Context, status: grpc.Status) -> NoReturn:
    """End the call with a status, if there is still somebody to tell it to: otherwise it is over already."""
    try:
        await context.abort_with_status(status)
    except AbortError:
        raise
    except Exception as error:
        # Who has given up cannot be told; gRPC would print a traceback for each.
        raise asyncio.CancelledError from error
