"""The table of backbones: where each lives, how large it is, who may use it."""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.errors import BackboneError

if TYPE_CHECKING:
    from loracast.models.base import Backbone

PACKAGED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Entry:
    """One released size of a family.

    `module` holds `load(name, location, licence, revision)` and `skeleton(name, sizes, licence)`; `location` is a
    repository of the Hub or a packaged folder; `sizes` are what the architecture needs to be built without its weights.
    """

    module: str
    location: str | Path
    licence: str
    sizes: Mapping[str, Any]

    @property
    def family(self) -> str:
        """Name of the family, as its file is called."""
        return self.module.rsplit(".", 1)[-1].replace("_", "-")


def _chronos_t5(size: str, d_model: int, d_ff: int, layers: int, heads: int) -> Entry:
    # Ansari et al. (TMLR 2024), section 5.2: T5-efficient bodies with a vocabulary of 4096; heads are 64 wide.
    sizes = {"d_model": d_model, "d_kv": 64, "d_ff": d_ff, "num_layers": layers, "num_heads": heads, "vocab_size": 4096}
    return Entry("loracast.models.chronos_t5", f"amazon/chronos-t5-{size}", "Apache-2.0", sizes)


def _chronos_bolt(size: str, d_model: int, d_ff: int, layers: int, heads: int) -> Entry:
    # The published config.json; encoder and decoder are equally deep.
    sizes = {"d_model": d_model, "d_kv": 64, "d_ff": d_ff, "num_layers": layers, "num_heads": heads, "vocab_size": 2}
    return Entry("loracast.models.chronos_bolt", f"amazon/chronos-bolt-{size}", "Apache-2.0", sizes)


def _moirai(release: str, size: str, d_model: int, layers: int) -> Entry:
    # Woo et al. (ICML 2024) in three sizes; both releases share them, as they share patch sizes and components.
    location = f"Salesforce/moirai-{release}-R-{size}"
    return Entry("loracast.models.moirai", location, "CC-BY-NC-4.0", {"d_model": d_model, "num_layers": layers})


NANO_LAGS = (*range(14), *range(15, 23, 2), 22, 23, 24)
_MOIRAI_SIZES = (("small", 384, 6), ("base", 768, 12), ("large", 1024, 24))

BACKBONES: dict[str, Entry] = {
    "chronos-t5-nano": Entry(
        "loracast.models.chronos_t5",
        PACKAGED / "chronos-t5-nano",
        "Apache-2.0",
        {
            "d_model": 128,
            "d_kv": 16,
            "d_ff": 256,
            "num_layers": 2,
            "num_heads": 8,
            "vocab_size": 2048,
            "relative_attention_num_buckets": 128,
        },
    ),
    "moirai-nano": Entry(
        "loracast.models.moirai",
        PACKAGED / "moirai-nano",
        "Apache-2.0",
        {"d_model": 128, "num_layers": 4, "patch_sizes": (4, 8, 16, 32), "max_seq_len": 256},
    ),
    "lag-llama-nano": Entry(
        "loracast.models.lag_llama",
        PACKAGED / "lag-llama-nano",
        "Apache-2.0",
        {"n_layer": 4, "n_head": 6, "n_embd_per_head": 16, "context_length": 96, "lags_seq": NANO_LAGS},
    ),
    "chronos-t5-tiny": _chronos_t5("tiny", 256, 1024, 4, 4),
    "chronos-t5-mini": _chronos_t5("mini", 384, 1536, 4, 8),
    "chronos-t5-small": _chronos_t5("small", 512, 2048, 6, 8),
    "chronos-t5-base": _chronos_t5("base", 768, 3072, 12, 12),
    "chronos-t5-large": _chronos_t5("large", 1024, 4096, 24, 16),
    "chronos-bolt-tiny": _chronos_bolt("tiny", 256, 1024, 4, 4),
    "chronos-bolt-mini": _chronos_bolt("mini", 384, 1536, 4, 8),
    "chronos-bolt-small": _chronos_bolt("small", 512, 2048, 6, 8),
    "chronos-bolt-base": _chronos_bolt("base", 768, 3072, 12, 12),
    "chronos-2": Entry(
        "loracast.models.chronos2",
        "amazon/chronos-2",
        "Apache-2.0",
        # The published config.json, as the technical report (arXiv 2510.15821) sizes it: 120 million parameters.
        {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 2},
    ),
    # Its published shape is what `LagLlamaConfig` has as defaults.
    "lag-llama": Entry(
        "loracast.models.lag_llama", "time-series-foundation-models/Lag-Llama", "Apache-2.0", {"n_layer": 8}
    ),
    **{
        f"moirai-{release}-R-{size}": _moirai(release, size, d_model, layers)
        for release in ("1.0", "1.1")
        for size, d_model, layers in _MOIRAI_SIZES
    },
}

# What the `architectures` and `chronos_config` of a folder's config.json say of its family.
_FOLDERS: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (
        lambda c: "chronos_config" in c and "T5ForConditionalGeneration" in (c.get("architectures") or ()),
        "loracast.models.chronos_t5",
    ),
    (
        lambda c: "chronos_config" in c and "ChronosBoltModelForForecasting" in (c.get("architectures") or ()),
        "loracast.models.chronos_bolt",
    ),
    (
        lambda c: "chronos_config" in c and "Chronos2Model" in (c.get("architectures") or ()),
        "loracast.models.chronos2",
    ),
    (lambda c: "lags_seq" in c, "loracast.models.lag_llama"),
    (lambda c: "distr_output" in c and "patch_sizes" in c, "loracast.models.moirai"),
)


def load_backbone(name: str, *, revision: str | None = None) -> "Backbone":
    """Load a backbone by its short name, its name on the Hub, or a folder that holds one.

    `revision` pins a commit, tag or branch of the Hub. With HF_HUB_OFFLINE=1 only the cache is read. Raises
    BackboneError where the name is unknown or the weights cannot be had, with what to do next.
    """
    found = _listed(name)
    if found is not None:
        short, entry = found
        if revision is not None and isinstance(entry.location, Path):
            raise BackboneError(f"{short} ships with loracast and has no revisions; leave {revision!r} out.")
        return _module(entry.module).load(short, entry.location, entry.licence, revision)  # type: ignore[no-any-return]
    folder = Path(name)
    if folder.is_dir() or (folder.suffix == ".ckpt" and folder.is_file()):
        return _module(_family_of(folder)).load(folder.name, folder, _licence_of(folder), None)  # type: ignore[no-any-return]
    raise BackboneError(
        f"No backbone {name!r}: it is neither a known name nor a folder. Known: {', '.join(BACKBONES)} "
        "(or their names on the Hub, such as amazon/chronos-t5-tiny)."
    )


def skeleton(name: str) -> "Backbone":
    """A released architecture without its weights, on torch's meta device: for counting, offline and at no cost.

    Raises BackboneError for a name that is not in the table.
    """
    found = _listed(name)
    if found is None:
        raise BackboneError(f"No built-in sizes for {name!r}. Known: {', '.join(BACKBONES)}.")
    short, entry = found
    return _module(entry.module).skeleton(short, entry.sizes, entry.licence)  # type: ignore[no-any-return]


def _listed(name: str) -> tuple[str, Entry] | None:
    """The short name and the entry of a backbone in the table, by its short name or its name on the Hub."""
    return next(((short, entry) for short, entry in BACKBONES.items() if name in (short, entry.location)), None)


def _licence_of(folder: Path) -> str:
    """The licence that a model card beside the weights states in its head, spelt as in the table if it stands there."""
    card = (folder if folder.is_dir() else folder.parent) / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    stated = re.search(r"^license:[ \t]*['\"]?([\w.+-]+)", head, re.MULTILINE)
    if stated is None:
        return "not stated in its folder"
    known = {entry.licence.lower(): entry.licence for entry in BACKBONES.values()}
    return known.get(stated[1].lower(), stated[1])


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _family_of(folder: Path) -> str:
    from loracast.models.hub import read_config

    if folder.is_file() or ((folder / "lag-llama.ckpt").is_file() and not (folder / "config.json").is_file()):
        return "loracast.models.lag_llama"  # the one family that is published as a checkpoint
    content = read_config(folder)
    for fits, module in _FOLDERS:
        if fits(content):
            return module
    raise BackboneError(
        f"{folder} holds a {content.get('architectures') or 'model of unknown architecture'}, which no family of "
        f"loracast reads. Families: {', '.join(sorted({e.family for e in BACKBONES.values()}))}."
    )
