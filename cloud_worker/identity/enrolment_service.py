"""The Enrolment service, on a door of its own: for whoever has no certificate that holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from cloud_worker.identity.enrolment import Enrolments
from cloud_worker.identity.rate_limit import RateLimit
from router.core.errors import DeniedError, OverloadedError
from router.core.visible_text import in_line
from router.transport.limit_checks import check_message
from router.v1 import enrolment_pb2, enrolment_pb2_grpc

log = logging.getLogger(__name__)

SERVICE = "headrace.v1.Enrolment"
_MOST_SHOWN = 64  # characters of a name


class EnrolmentServicer(enrolment_pb2_grpc.EnrolmentServicer):
    """Serves ``Authorities``, ``Enroll`` and ``Renew``."""

    def __init__(
        self,
        enrolments: Enrolments,
        limit: RateLimit,
        port: Callable[[], int],
        root: Callable[[], bytes] = bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Enrol by ``enrolments``.

        Args:
            enrolments: Of the fleet.
            limit: How often anybody is heard.
            port: Tells where the fleet's queries go on this host.
            root: Gives the newest root of the release repository, empty where releases are not signed.
            clock: Tells seconds.
        """
        self._enrolments, self._limit, self._port, self._root, self._clock = enrolments, limit, port, root, clock

    async def Authorities(self, request: Any, context: Any) -> enrolment_pb2.AuthoritiesResponse:  # noqa: N802
        """Tell the root of the fleet."""
        self._check_rate(context)
        return enrolment_pb2.AuthoritiesResponse(authorities=await asyncio.to_thread(self._enrolments.authorities))

    async def Enroll(self, request: Any, context: Any) -> enrolment_pb2.EnrollResponse:  # noqa: N802
        """Give a certificate for a token."""
        self._check_rate(context)
        check_message(request)
        try:
            given = await asyncio.to_thread(
                self._enrolments.enrol, request.token, request.certificate_request, request.device
            )
        except DeniedError as error:
            log.warning("%s was not enrolled as %r: %s", _address(context), in_line(request.device, _MOST_SHOWN), error)
            raise
        root = await asyncio.to_thread(self._root)
        return enrolment_pb2.EnrollResponse(
            certificate=given.chain, authorities=given.authorities, root_metadata=root, port=self._port()
        )

    async def Renew(self, request: Any, context: Any) -> enrolment_pb2.RenewResponse:  # noqa: N802
        """Give another certificate for the one before."""
        self._check_rate(context)
        check_message(request)
        try:
            given = await asyncio.to_thread(
                self._enrolments.renew, request.certificate, request.certificate_request, request.proof
            )
        except DeniedError as error:
            log.warning("a certificate was not renewed for %s: %s", _address(context), error)
            raise
        root = await asyncio.to_thread(self._root)
        return enrolment_pb2.RenewResponse(certificate=given.chain, authorities=given.authorities, root_metadata=root)

    def _check_rate(self, context: Any) -> None:
        wait = self._limit.wait(_address(context), self._clock())
        if wait:
            raise OverloadedError("this door is asked more often than it answers; come back later", wait)


def _address(context: Any) -> str:
    """Whence a call comes, without its port: ``ipv4:10.0.0.5:41234`` and ``ipv6:[::1]:41234`` as gRPC spells them."""
    return unquote(str(context.peer())).rpartition(":")[0]
