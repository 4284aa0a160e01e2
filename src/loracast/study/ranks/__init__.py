"""The rank sweep: how many numbers suffice, decided on validation patients, reported on test patients."""

from loracast.study.ranks.analyse import analyse, read_sweep
from loracast.study.ranks.ranks import is_rank_sweep, rank_experiment, sweep_ranks, sweep_tables, write_sweep
from loracast.study.ranks.relation import relate
from loracast.study.ranks.tables import relation_table, threshold_table

__all__ = [
    "analyse",
    "is_rank_sweep",
    "rank_experiment",
    "read_sweep",
    "relate",
    "relation_table",
    "sweep_ranks",
    "sweep_tables",
    "threshold_table",
    "write_sweep",
]
