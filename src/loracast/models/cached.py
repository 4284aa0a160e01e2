"""Which models lie in the Hub's cache. Asks nobody, and loads neither torch nor what speaks to the Hub."""

from pathlib import Path

from huggingface_hub import constants

WEIGHT_SUFFIXES = (".safetensors", ".ckpt")


def is_cached(repository: str) -> bool:
    """Whether the cache holds weights of a repository, of whichever commit."""
    folder = constants.REPO_ID_SEPARATOR.join(["models", *repository.split("/")])
    snapshots = Path(constants.HF_HUB_CACHE) / folder / "snapshots"
    return any(file.suffix in WEIGHT_SUFFIXES and file.exists() for file in snapshots.glob("*/*"))
