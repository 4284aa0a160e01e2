"""A pretraining recipe: every number that makes a nano backbone, read from a TOML in `recipes/`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loracast.errors import ConfigError
from loracast.files import read_toml

RECIPES = Path(__file__).parent / "recipes"


class ChronosT5Shape(BaseModel):
    """Sizes of the T5 body and of the Chronos vocabulary (limits in units of the context's mean magnitude).

    `distances` is T5's number of relative position buckets: half of them (a quarter in the encoder) stand for one
    distance each, so that a lag can be told from its neighbours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["chronos-t5"] = "chronos-t5"
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    distances: int = 32
    n_tokens: int
    low_limit: float
    high_limit: float
    context_length: int
    prediction_length: int


class MoiraiShape(BaseModel):
    """Sizes of a MOIRAI, under the names of its published config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["moirai"]
    d_model: int
    num_layers: int
    patch_sizes: tuple[int, ...]
    max_seq_len: int


class LagLlamaShape(BaseModel):
    """Sizes of a Lag-Llama, under the names of its published config; `lags_seq` counts steps back from the current."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["lag-llama"]
    n_layer: int
    n_head: int
    n_embd_per_head: int
    context_length: int
    lags_seq: tuple[int, ...]


class Chronos2Shape(BaseModel):
    """Sizes of a Chronos-2, under the names of its published config; input and output patches have `patch_size` steps.

    With `seasonal_row` its config says that windows are given with their season beside them (`models.seasonal_row`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["chronos2"]
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    patch_size: int
    max_output_patches: int
    context_length: int
    quantiles: tuple[float, ...]
    seasonal_row: bool


class Stage(BaseModel):
    """A part of the run: for each of `steps` batches one context, one horizon and one grain are drawn from these.

    The learning rate is `rate` times the recipe's, and falls to 0 over the last `decay` steps of the stage.

    A grain scales the noise that the corpus lays over its shapes, `drift` is the share of series that drift (see
    `corpora.draw`); each series is multiplied by up to 10 to the power of ± `units`, for families that see its unit.
    The spectral corpus of Chronos-2 has all of this by itself and takes none of the three; there `alone` is the share
    of windows that go without their seasonal row, and with `calm` a window counts the more, the smaller its steps are
    against its spread: by this power of the ratio, which at 1 would be the scale of the MASE. `joint` is the share of
    batches whose rows are variates of common samples, for families that can read them so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    contexts: tuple[int, ...]
    horizons: tuple[int, ...]
    grains: tuple[float, ...] = (1.0,)
    drift: float = 0.0
    units: float = 0.0
    rate: float = 1.0
    decay: int = 0
    joint: float = 0.0
    alone: float = 0.0
    calm: float = 0.0


class Schedule(BaseModel):
    """How long, how fast, and on windows of which lengths.

    `label_width` (bins) is how far a label of Chronos-T5 is spread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    gradient_clip: float
    label_width: float = 0.0
    checkpoint_every: int
    stages: tuple[Stage, ...]

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_of(self, step: int) -> Stage:
        """The stage that the batch of optimizer step `step` (from 0) belongs to."""
        return self._place(step)[0]

    def rate_at(self, step: int) -> float:
        """Learning rate of optimizer step `step` as a share of the recipe's: warm-up, plateau, decay (1 - root)."""
        stage, within = self._place(min(step, self.steps - 1))
        falling = max(0, within - (stage.steps - stage.decay)) / max(1, stage.decay)
        rate: float = stage.rate * min(1.0, step / max(1, self.warmup_steps)) * (1 - falling**0.5)
        return rate

    def _place(self, step: int) -> tuple[Stage, int]:
        """The stage of a step, and the step's number in it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)


class Recipe(BaseModel):
    """A whole pretraining run; `seed` decides the weights it starts from and the corpus it sees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seed: int
    model: Annotated[ChronosT5Shape | MoiraiShape | LagLlamaShape | Chronos2Shape, Field(discriminator="family")]
    training: Schedule

    @model_validator(mode="after")
    def _asks_for_what_is_drawn(self) -> "Recipe":
        """Refuse what the corpus of the family does not know: it would be dropped without a word."""
        unknown = ("grains", "drift", "units") if self.model.family == "chronos2" else ("alone", "calm")
        for name in unknown:
            usual = Stage.model_fields[name].default
            if any(getattr(stage, name) != usual for stage in self.training.stages):
                raise ValueError(f"a stage of a {self.model.family} cannot be given {name}: leave it out")
        return self

    @property
    def held_out_seed(self) -> int:
        """Seed of the synthetic series that training never draws."""
        return self.seed + 1_000_003


def packaged_recipes() -> list[str]:
    """The names of the recipes that ship."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Read the packaged recipe `name`, or the TOML file at that path.

    Raises ConfigError for an unknown name or a recipe with a missing, misspelt or mistyped key.
    """
    known = packaged_recipes()
    path = RECIPES / f"{name}.toml" if name in known else Path(name)
    if not path.is_file():
        raise ConfigError(
            f"No pretraining recipe {name!r}. Packaged recipes: {', '.join(known)}; or give a .toml file."
        )
    content = read_toml(path)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"The recipe {path.name} cannot be read: {error}") from error
