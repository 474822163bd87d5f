"""A network over a whole data set: statistics, the paper's claims, strongest pictures, accuracy.

    folder = read_folder("pictures")
    plan = Plan(choose_layers(model), Settings(), strongest=9)
    outcome = survey(model, folder, plan, Path("run"), workers=2)
    result = Result.of(model, folder, outcome)      # Figures 3 and 4, audit(result)
    index = make_index(model, folder, outcome)      # index.strongest("layer3.5", 17)

One pass, in memory that does not grow with the number of pictures; sharded, resumable, and the same
on any number of processes that torchrun starts.
"""

from sge_viz.statistics.audit import audit, judge
from sge_viz.statistics.audit_report import audit_text, plain_audit
from sge_viz.statistics.evaluate import Evaluation, evaluate
from sge_viz.statistics.folder import Folder, read_folder
from sge_viz.statistics.grid import NormGrid
from sge_viz.statistics.index import BadIndex, Hit, Index, Preference
from sge_viz.statistics.indexing import make_index
from sge_viz.statistics.layer import LayerStatistics, merge
from sge_viz.statistics.moments import Moments
from sge_viz.statistics.plan import Plan, choose_layers
from sge_viz.statistics.report import report, summary
from sge_viz.statistics.result import BadResult, Result
from sge_viz.statistics.settings import Settings
from sge_viz.statistics.shards import WrongJob
from sge_viz.statistics.strongest import RANKINGS
from sge_viz.statistics.survey import Outcome, survey

__all__ = [
    "RANKINGS",
    "BadIndex",
    "BadResult",
    "Evaluation",
    "Folder",
    "Hit",
    "Index",
    "LayerStatistics",
    "Moments",
    "NormGrid",
    "Outcome",
    "Plan",
    "Preference",
    "Result",
    "Settings",
    "WrongJob",
    "audit",
    "audit_text",
    "choose_layers",
    "evaluate",
    "judge",
    "make_index",
    "merge",
    "plain_audit",
    "read_folder",
    "report",
    "summary",
    "survey",
]
