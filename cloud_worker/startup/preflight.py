"""What can be known to be wrong before anything starts."""

from __future__ import annotations

import errno
import os
import shutil

import grpc

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.releases import Approval
from cloud_worker.identity.authority import open_issuer, read_trust
from cloud_worker.identity.passphrases import passphrase_of, passphrase_of_releases
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.online import OnlineSigning
from cloud_worker.startup.model_checks import check_models
from router.core.domain.task import Judge
from router.core.errors import ConfigError, StartError
from router.transport.address import Address, plain_address, read_address, why_not_free

__all__ = ["check_data_folder", "check_door", "check_models", "check_ray", "check_verdict"]

_RAY_IS_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_REACHABLE_SECONDS = 5.0
_LEAST_FREE_BYTES = 16_000_000


def check_data_folder(config: CloudConfig) -> None:
    """Make the data folder, or say why that can't be.

    Raises:
        ConfigError: It can't be made or written.
        StartError: Its disk is full.
    """
    for folder in (config.data, config.run_folder):  # the outer one first
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError("data", str(folder), f"can't be made: {error.strerror}; set another folder") from error
        if not os.access(folder, os.W_OK):
            raise ConfigError("data", str(folder), "can't be written; set another folder, or run as its owner")
    free = shutil.disk_usage(config.data).free
    if free < _LEAST_FREE_BYTES:
        raise StartError(
            f"data: {config.data}: its disk has {free / 1e6:.1f} MB free, and a start needs"
            f" {_LEAST_FREE_BYTES / 1e6:.0f}; make room there, or set another folder"
        )


def check_door(config: CloudConfig, *, insecure: bool) -> None:
    """Check that the doors can be opened.

    Raises:
        ConfigError: One may not be opened there, or there is no certificate authority, or there are no keys that sign
            releases, or a passphrase is wrong.
        StartError: A port is in use.
    """
    if insecure:
        _check_keys(config, insecure=True)
        _check_free(plain_address(config.door.listen, "door", "listen", insecure=True), "door.listen")
        return
    read_trust(config.ca_folder)  # before a passphrase is missed for what is not there
    open_issuer(config.ca_folder, passphrase_of(config))
    _check_keys(config, insecure=False)
    for key, listen in (("door.listen", config.door.listen), ("identity.listen", config.identity.listen)):
        _check_free(read_address(listen, "cloud.toml", key), key)


def _check_keys(config: CloudConfig, *, insecure: bool) -> None:
    """Check that releases can be signed, where they are to be: with TLS always."""
    if config.signs_releases:
        files, keys = RepositoryFiles(config.repository_folder), config.keys_folder
        OnlineSigning(files, keys, lambda: passphrase_of_releases(config), config.releases).check()
    elif config.releases.approval is Approval.MANUAL or not insecure:
        raise ConfigError(
            str(config.keys_folder), "", "holds no keys that sign releases; `headrace-cloud keys init` makes them"
            + ("" if insecure else ", or use --insecure with addresses on this machine")
        )  # fmt: skip


def check_ray(config: CloudConfig) -> bool:
    """Whether the Ray cluster that shall be joined, if any, asks for a token.

    Raises:
        StartError: No Ray cluster answers there; ``ray.init`` alone would wait most of a minute to say so.
    """
    address = config.ray.address
    if not address:
        return False
    status = _ray_status(address)
    if status in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED}:
        raise StartError(
            f"no Ray cluster answers at {address}; give the address that `ray start` printed, as host:port, "
            "or leave ray.address empty to start one here"
        )
    return status is grpc.StatusCode.UNAUTHENTICATED


def _ray_status(address: str) -> grpc.StatusCode:
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        is_alive = channel.unary_unary(_RAY_IS_ALIVE, request_serializer=bytes, response_deserializer=bytes)
        try:
            is_alive(b"", timeout=_REACHABLE_SECONDS)
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
    return grpc.StatusCode.OK


def _check_free(address: Address, key: str) -> None:
    error = why_not_free(address)
    if error is not None:
        in_use = error.errno == errno.EADDRINUSE
        todo = "stop what listens there, or set another port" if in_use else "set an address of this machine"
        raise StartError(f"{key}: {address}: {os.strerror(error.errno or 0)}; {todo}") from error


def check_verdict(config: CloudConfig) -> str:
    """Version of the verdict model, which may judge; empty where no task wants one.

    Raises:
        OperatorError: It can't be opened, or no audit allows it.
    """
    if all(task.judge is not Judge.VERDICT for task in config.tasks):
        return ""
    from cloud_worker.judging.model_judge import Verdicts  # torch: seconds

    return Verdicts(config.verdict, config.verdicts_folder).version
