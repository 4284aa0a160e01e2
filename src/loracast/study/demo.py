"""The demo: the whole path on simulated patients, small enough for three minutes on two cores."""

from loracast.spec import ArmSpec, ExperimentSpec, ForecastSpec, SimulatedData, SplitSpec, TrainSpec, WindowSpec

NANO = "chronos-t5-nano"

DEMO = ExperimentSpec(
    name="demo",
    data=SimulatedData(source="simulate", patients=120, signals=("heart_rate", "map", "resp_rate")),
    windows=WindowSpec(stride=216),
    # A quarter of the patients to test on, not a tenth: intervals over a handful would say nothing.
    split=SplitSpec(shares=(0.6, 0.15, 0.25)),
    training=TrainSpec(steps=120, evaluate_every=30, validation_windows=100),
    forecast=ForecastSpec(samples=10),
    arms=tuple(ArmSpec(backbone=NANO, method=method) for method in ("zero-shot", "lora", "full")),
)
