"""A release for devices of every kind of processor: its int8 model, and the same model in float32 beside it.

Nothing of a release depends on the processor but the rounding of int8 products. Where that makes golden inputs come out
otherwise, a device takes the float32 file; only there is it fetched.

Rules:
 * The release is what it was judged by: the int8 model, wherever that answers as judged.
"""

from __future__ import annotations

from dataclasses import replace

from router.core.release.manifest import Manifest


def has_float32(manifest: Manifest) -> bool:
    """Whether a float32 file lies beside the model."""
    return manifest.student is not None and bool(manifest.student.model_float32)


def without_float32(manifest: Manifest) -> Manifest:
    """The release without the float32 file: what a device takes at first."""
    if manifest.student is None or not manifest.student.model_float32:
        return manifest
    files = {name: file for name, file in manifest.files.items() if name != manifest.student.model_float32}
    return replace(manifest, files=files)


def in_float32(manifest: Manifest) -> Manifest:
    """The release as it runs by its float32 file; the int8 file stays, so that the next release need not bring it."""
    if manifest.student is None or not manifest.student.model_float32:
        return manifest
    return replace(manifest, student=replace(manifest.student, model=manifest.student.model_float32))
