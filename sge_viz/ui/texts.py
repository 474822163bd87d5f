"""What the page says, in one place."""

from __future__ import annotations

import html
from pathlib import Path

from sge_viz.explain import Explanation
from sge_viz.statistics.index import Index
from sge_viz.statistics.result import Result

TITLE = "SGE-Viz"
HEAD = """# SGE-Viz
What does each channel group of a network look at, before and after
[Spatial Group-wise Enhance](https://arxiv.org/abs/1905.09646)?"""

ABOUT = (Path(__file__).parent / "about.md").read_text(encoding="utf-8")

SCALE_CHOICES = [
    ("shared by before and after", "shared"),
    ("shared over all groups", "layer"),
    ("each map its own (the paper's)", "own"),
]

WHICH_CHOICES = [("all groups of the layer", "all"), ("the chosen group", "one")]

SIZE_CHOICES = [
    ("224 px centre crop (published)", "published"),
    *((f"whole picture at {n} px", str(n)) for n in (224, 320, 448, 640, 896)),
]

HISTOGRAM = """How long the groups' vectors are, before and after SGE, over all positions of the
map: the paper's Figure 3 for this one picture. Every gate is below 1, so all norms move left."""

RANKINGS = {
    "after": "norm after SGE",
    "before": "norm before SGE",
    "lift": "gate lift (how much the peak gains over the mean through SGE)",
    "concentration": "concentration after SGE (share of the strongest tenth of the cells)",
}

COMPARE = """Two networks on the same picture: with SGE and without it, or two sets of weights. A
network without SGE has no groups of its own; its channels are cut into the same 64 runs. Groups of
two networks share nothing but their number, so the best-matching group is shown beside a group;
take the match away to see the same number."""

NO_OTHER_WEIGHTS = (
    "There are no other weights here to compare with. Fetch some, for instance with "
    "`python -m sge_viz checkpoints fetch resnet50`, or put a file into checkpoints/."
)

EVIDENCE = """What each group adds to a class. After the last block there are only an average over
the positions and one linear layer, so a logit is **exactly** its bias plus what the 64 groups of
that block contribute: these bars. They say what the network's answer is made of, not what a group
means, nor what the answer would be without it; that is the question below."""

FAITHFULNESS = """**Does a map point at what the answer needs?** Deletion takes pixels away, the
most relevant first (a faithful map makes the probability fall early); insertion brings them back;
ROAD fills them in from their neighbours instead of with black. For the group and the class above,
beside the class's evidence, Grad-CAM and a random map. It measures a map, not a truth: the filled
pictures are unlike any that the network was trained on."""

INTERVENTIONS = """**And without it?** Another gate takes the place of SGE's, and the network runs
on from there: **exact** as well, for this network and this picture. A group "off" has gate 0: its
branch is gone, its shortcut remains. The layer is the one chosen on the left; a bar above chooses
its group here if that is the bars' layer."""

INTERVENTION_CHOICES = [
    ("as it is", "none"),
    ("SGE off: gate 1", "off"),
    ("its mean", "mean"),
    ("shuffled over positions", "shuffled"),
    ("off: gate 0", "zeroed"),
]

WHERE_CHOICES = [
    ("one group of the layer", "group"),
    ("all groups of the layer", "layer"),
    ("all groups of all layers", "everywhere"),
]

FIGURE2 = """Pictures in rows, groups in columns, each before and after SGE: the layout of the
paper's Figure 2 (its groups are the 18th, 22nd and 41st, so 17, 21 and 40 here)."""

NO_PICTURE = """<p class="sge-note">Choose a picture of at most 10 MB. Until then, what is shown
below is unchanged.</p>"""

UNPUBLISHED = "These are not the published weights"


def status(explanation: Explanation) -> str:
    """Tell, as HTML, which weights are loaded and what was done to the picture."""
    card = explanation.card
    parts = []
    if not card.published:
        parts.append(
            f'<div class="sge-warn" role="note"><b>{UNPUBLISHED}</b> of the paper, so do not quote '
            f"what you see as the paper's. Loaded: {html.escape(card.title)}. "
            f"<details><summary>What are they?</summary>{html.escape(card.notes)}</details></div>"
        )
    for note in explanation.input.picture.notes:
        parts.append(f'<p class="sge-note">{html.escape(note)}</p>')
    return "".join(parts)


def refusal(sentence: str) -> str:
    """Show, as HTML, why a picture or a setting was refused."""
    return f'<p class="sge-refused" role="alert">{html.escape(sentence)}</p>'


def example_paths() -> list[str]:
    """Give the example pictures that come with the project: the dog first, as in the paper."""
    paths = (Path(__file__).parents[2] / "assets").glob("*.jpg")
    return [str(path) for path in sorted(paths, key=lambda path: (path.stem != "dog", path))]


def dataset(result: Result) -> str:
    """Introduce a run of `stats`: over how many pictures, and with which weights."""
    record = result.provenance
    weights = (record["checkpoint"] or {}).get("title", "weights without a name")
    return (
        "The paper's claims over a data set: Figure 3, Figure 4, and an audit with intervals and "
        f"controls. Here: {record['counted']:,} pictures of `{record['folder']}`, with: {weights}. "
        "`python -m sge_viz stats FOLDER --out run` measures a folder of pictures once, and "
        "`python -m sge_viz serve --stats run` shows it here."
    )


def strongest(index: Index) -> str:
    """Introduce an index: over how many pictures, and with which weights."""
    pictures = index.provenance["pictures"]
    weights = (index.provenance["checkpoint"] or {}).get("title", "weights without a name")
    return (
        f"The pictures that excite a group most, out of {pictures:,}, with: {weights}. A group "
        "that keeps choosing one thing may stand for it; a few pictures show little. Make an index "
        "of your own with `python -m sge_viz index FOLDER --maps`, and open it with "
        "`python -m sge_viz serve --index FILE`."
    )
