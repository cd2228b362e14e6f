"""What the authors' own library (MLRsearch on PyPI) makes of histories of trials: one JSON object a line in, one out.

In:  {"full_s", "sum_s", "exceed", "allowed": [share, ...], "trials": [[load, seconds, lost of a thousand], ...]}
Out: [[lower or null, upper or null, share carried at lower or null], ...], one for each of `allowed`
Loads are whole numbers below LOADS.
"""

import json
import sys

from MLRsearch.discrete_load import DiscreteLoad
from MLRsearch.discrete_result import DiscreteResult
from MLRsearch.goal_result import GoalResult
from MLRsearch.load_rounding import LoadRounding
from MLRsearch.measurement_database import MeasurementDatabase
from MLRsearch.target_spec import TargetSpec

LOADS = 20
ROUNDING = LoadRounding(min_load=1.0, max_load=1000.0, float_goals=(0.05,))
assert ROUNDING.max_int_load >= LOADS


def bounds(history):
    targets = [
        TargetSpec(
            loss_ratio=allowed,
            exceed_ratio=history["exceed"],
            discrete_width=None,
            trial_duration=history["full_s"],
            duration_sum=history["sum_s"],
            expansion_coefficient=2,
            fail_fast=False,
            preceding=None,
        )
        for allowed in history["allowed"]
    ]
    database = MeasurementDatabase(targets=tuple(targets))
    for load, seconds, lost in history["trials"]:
        discrete = DiscreteLoad(rounding=ROUNDING, int_load=load)
        database.add(
            DiscreteResult(
                intended_duration=seconds,
                intended_load=float(discrete),
                offered_count=1000,
                loss_count=lost,
                discrete_load=discrete,
            )
        )
    found = []
    for target in targets:
        result = GoalResult.from_bounds(database.get_relevant_bounds(target))
        lower, upper = result.relevant_lower_bound, result.relevant_upper_bound
        carried = None if lower is None else 1.0 - lower.target_to_stat[target].pessimistic_loss_ratio
        found.append([None if bound is None else int(bound) for bound in (lower, upper)] + [carried])
    return found


for line in sys.stdin:
    print(json.dumps(bounds(json.loads(line))), flush=True)
