"""The demo: the whole path on simulated patients, small enough for four minutes on two cores."""

from loracast.data.readers.simulate import SimulatedReader
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.study.experiment import ExperimentSpec
from loracast.tuning.arm import ArmSpec
from loracast.tuning.methods import Full, LoRA, ZeroShot

NANO = "chronos-t5-nano"

DEMO = ExperimentSpec(
    name="demo",
    data=SimulatedReader(patients=120, signals=("heart_rate", "map", "resp_rate")),
    windows=WindowSpec(stride=216),
    # A quarter of the patients to test on, not a tenth: intervals over a handful would say nothing.
    split=SplitSpec(shares=(0.6, 0.15, 0.25)),
    training=TrainSpec(steps=120, evaluate_every=30, validation_windows=100),
    arms=tuple(ArmSpec(model=NANO, method=method) for method in (ZeroShot(), LoRA(), Full())),
)
