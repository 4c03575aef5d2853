"""Servers that run models for students that are served rather than shipped, as configuration names them.

Needs pydantic, which the extras ``edge`` and ``cloud`` bring.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from router.core.errors import ConfigError
from router.students.writers.server_address import is_private, read_url


class ServerSettings(BaseModel):
    """A server that runs a model for students that are served rather than shipped.

    Attributes:
        model: As releases and the server call it.
        url: OpenAI-compatible, up to the version: ``http://127.0.0.1:8080/v1``, or ``unix:/run/model.sock``.
        insecure: Send queries to another machine over plain ``http``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str = Field(min_length=1)
    url: str
    insecure: bool = False

    @field_validator("url")
    @classmethod
    def _can_be_asked(cls, url: str) -> str:
        try:
            read_url(url)
        except ConfigError as error:
            raise ValueError(str(error).split(": ", 2)[-1]) from error
        return url

    @model_validator(mode="after")
    def _is_not_silently_plain(self) -> Self:
        if self.url.startswith("http:") and not is_private(self.url) and not self.insecure:
            raise ValueError(
                f"{self.url} is another machine, and http leaves it open; use https, or set insecure = true"
            )
        return self


def _are_distinct(servers: tuple[ServerSettings, ...]) -> tuple[ServerSettings, ...]:
    if len({server.model for server in servers}) < len(servers):
        raise ValueError("two servers for one model; name each model once")
    return servers


Servers = Annotated[tuple[ServerSettings, ...], AfterValidator(_are_distinct)]
