"""Finished runs averaged with each other or with the zero-shot model, without any training.

`options` is what may be asked for, `runs` which runs go together, `lazy` and `ingredients` how their weights are read,
`line` and `fisher` the kinds of blend for one run, `soups` those for several, `making` the run folder that comes out.
"""

from surefoot.blending.line import zero_shot_curve as zero_shot_curve
from surefoot.blending.making import blend as blend
from surefoot.blending.making import blend_runs as blend_runs
from surefoot.blending.options import ALPHAS as ALPHAS
from surefoot.blending.options import BlendOptions as BlendOptions
from surefoot.blending.options import blend_options as blend_options
from surefoot.blending.runs import check_count as check_count
