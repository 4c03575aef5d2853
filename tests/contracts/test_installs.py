"""What an installation brings along, read from the metadata of what is installed here."""

from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAVY = {"ray", "torch", "transformers", "litellm"}


def brought_by(extra):
    """Names of every distribution that ``headrace[extra]`` needs, however deep."""
    found, waiting = set(), [("headrace", (extra,))]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": wanted}) for wanted in (*extras, "")):
                waiting.append((canonicalize_name(requirement.name), tuple(sorted(requirement.extras))))
    return {name for name, _ in found}


@pytest.mark.parametrize("extra", ["", "edge", "backtest"])
def test_a_device_gets_neither_ray_nor_torch(extra):
    assert not brought_by(extra) & HEAVY


def test_a_device_that_writes_gets_torch_and_no_ray():
    brought = brought_by("edge-torch")
    assert brought >= {"torch", "transformers", "safetensors", "onnxruntime"}
    assert "ray" not in brought


def test_the_client_alone_is_small():
    assert brought_by("") - {"headrace"} >= {"grpcio", "numpy", "protobuf", "typer"}
    assert not brought_by("") & {"onnxruntime", "tokenizers", "opentelemetry-sdk"}


def test_the_cloud_has_what_it_fits_and_serves_with():
    assert brought_by("cloud") >= {"ray", "torch", "transformers", "deltalake", "onnxruntime"}
