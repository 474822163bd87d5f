"""The source of evidence.md: `python docs/build.py docs/evidence.py` runs it and writes that."""

# %% [markdown]
# # From a picture to "this group carries so much of the logit, and it sits there"
#
# A map shows where a group fires. The next question is: so what? This page goes from a picture to
# an exact answer, and says at every step what is exact and what is an approximation. It was run for
# real with those of the two bundled weights that know cats better, the stop-gap;
# `python docs/build.py docs/evidence.py` runs it again.

# %%
from sge_viz.checkpoints import load_model
from sge_viz.evidence.ledger import ledger
from sge_viz.evidence.trace import trace
from sge_viz.explain import explain
from sge_viz.images import open_picture

model = load_model("sge_resnet50_stopgap")
explanation = explain(model, open_picture("assets/cat.jpg"))
print(explanation.card.title)
for one in explanation.predictions:
    print(f"{one.probability:6.1%}  {one.label}")

# %% [markdown]
# ## The ledger: exact
#
# After the last block's ReLU there are only an average over the positions and one linear layer. So
# a logit is *exactly* the class's bias plus what each of the 64 channel groups adds. `trace` runs
# the network once and keeps what all that follows starts from; `ledger` books the groups.

# %%
passed = trace(model, explanation.input.tensor)
book = ledger(model, passed)
label = book.classes[0]
contributions = book.contributions[0, :, 0]
logit = float(book.logits[0, 0])
print(f"{label.name}: the network says {logit:.6f}")
print(f"bias {book.bias[0]:+.6f}, 64 groups {contributions.sum():+.6f}")
print(f"together {book.total[0, 0]:.6f}: off by {abs(book.total[0, 0] - logit):.1e}, its rounding")

# %%
from sge_viz.render.evidence import contribution_chart, evidence_panels
from sge_viz.render.figure_files import figure_bytes

title = {"name": label.name, "layer": book.layer, "checkpoint": explanation.card.title}
parts = book.through_sge[0, :, 0].numpy(), book.through_shortcut[0, :, 0].numpy()
figure = contribution_chart(*parts, float(book.bias[0]), **title)
show(figure_bytes(figure, dpi=110), "contributions.png")

# %% [markdown]
# Each bar is split, through the ReLU, into what came through SGE and what came through the
# shortcut. The last block computes `relu(z)` with `z = s + r`, where `s` is the branch times its
# gate and `r` the shortcut. Where `z > 0` the ReLU passes `z` on unchanged, and `s` and `r` are
# each credited with themselves; where `z <= 0` it passes nothing on, and both get 0. The
# two parts add up to the contribution exactly. What this does not say: which of the two switched
# the ReLU on. That takes an intervention, further down.
#
# ## Where it sits: exact, too
#
# A group's contribution is itself a sum over the map's cells. Red cells speak for the class, blue
# ones against it.

# %%
strongest = int(contributions.argmax())
maps = book.evidence().total[0]
chosen = contributions.topk(6).indices.tolist()
figure = evidence_panels(explanation.input.view(), maps.numpy(), chosen, **title)
show(figure_bytes(figure, dpi=80), "where.png")

# %% [markdown]
# To say "it sits on the nose", we mark the parts of the face in the picture by hand, as boxes in
# its pixels, and ask for the mean evidence of a cell in each (a cell counts by the share of the box
# that it covers).

# %%
import torch

PARTS = {
    "nose": (230, 219, 293, 270),
    "left eye": (136, 86, 207, 147),
    "right eye": (293, 109, 343, 163),
    "forehead": (138, 5, 288, 75),
    "whiskers": (115, 173, 225, 276),
}
left, top, right, bottom = explanation.input.box
rows, columns = maps.shape[1:]


def covered(low, high, start, end, cells):
    """How much of each cell lies between low and high, along one side of the map."""
    edges = torch.linspace(start, end, cells + 1)
    return (edges[1:].clamp(max=high) - edges[:-1].clamp(min=low)).clamp(min=0)


def mean_inside(values, box):
    across = covered(box[0], box[2], left, right, columns)
    down = covered(box[1], box[3], top, bottom, rows)
    weight = (down[:, None] * across).double()
    return float((weight * values).sum() / weight.sum())


for group in chosen[:3]:
    mean = float(maps[group].mean())
    ratios = {name: mean_inside(maps[group], box) / mean for name, box in PARTS.items()}
    print(f"group {group}:", ", ".join(f"{name} {ratio:.1f}x" for name, ratio in ratios.items()))

# %% [markdown]
# (1.0x is the average cell of that group's map.) So, in one sentence:

# %%
ratios = {name: mean_inside(maps[strongest], box) for name, box in PARTS.items()}
place = max(ratios, key=ratios.get)
times = ratios[place] / float(maps[strongest].mean())
print(
    f"Group {strongest} carries {contributions[strongest]:.2f} of the logit's {logit:.2f} for "
    f"{label.name}; of the marked parts\nit is strongest on the {place}, "
    f"{times:.1f} times its average cell."
)

# %% [markdown]
# With the stop-gap weights no group carries much by itself, and none is confined to one part: the
# evidence is spread over the groups and over the animal. That is a finding about these weights, and
# exactly what the ledger is for: a colourful map of a single group would not have told.
#
# ## What happens without it: exact, because it is run
#
# The ledger says what a group adds as the network is. What the network *does* without it is another
# question, because every ReLU on the way answers anew. A gate can be replaced: by 1 (SGE off), by
# its own mean, by its own values at shuffled positions, by a number, or by 0 (the group's branch is
# gone, its shortcut stays), in any groups of any layers.

# %%
from sge_viz import draw_evidence
from sge_viz.evidence.interventions import OFF, ZEROED, Intervention, Mean, Shuffled
from sge_viz.evidence.outcome import what_if

changes = [
    Intervention(OFF),
    Intervention(Mean()),
    Intervention(Shuffled(seed=0)),
    Intervention(ZEROED, "layer4.2", strongest),
]
outcomes = [what_if(model, passed, change) for change in changes]
for outcome in outcomes:
    before, after = outcome.before.probabilities[0], outcome.after.probabilities[0]
    now = outcome.after.top5[0][0]
    print(outcome.what)
    print(f"    {label.name} {before[label.index]:.1%} -> {after[label.index]:.1%}", end="; ")
    print(f"first is {now.label}, {now.probability:.1%}")
show(draw_evidence.answers(explanation, outcomes), "changes.png")

# %% [markdown]
# In the last block the ledger's own arithmetic predicts the outcome: the shortcut is known, SGE's
# part follows from the new gate, the ReLU is taken anew.

# %%
from sge_viz.evidence.ledger import predict

predicted = predict(model, passed, changes[-1])[0, label.index]
print(f"predicted {predicted:.6f}, run {outcomes[-1].after.logits[0, label.index]:.6f}")

# %% [markdown]
# All 64 groups of a layer, each taken away by itself, in one batched run that starts at the layer
# and not at the picture:

# %%
from sge_viz.evidence.ablations import ablate_groups

for layer in ("layer3.5", "layer4.2"):
    drop = ablate_groups(model, passed, layer).logit_drop[0, :, label.index]
    best = drop.abs().topk(4).indices.tolist()
    print(layer, ", ".join(f"group {g}: {-drop[g]:+.3f}" for g in best))

# %% [markdown]
# ## Further down: an approximation, and how good it is
#
# Below the last block nothing is linear any more. Gradient x activation per group is quick, but an
# approximation; the ablations above are the truth that it can be held against.

# %%
from sge_viz.evidence.gradients import approximate_evidence

approximate = approximate_evidence(model, passed, "layer3.5").contributions[0, :, 0]
real = ablate_groups(model, passed, "layer3.5").logit_drop[0, :, label.index].double()
print(f"sum of the approximations {approximate.sum():.2f}, logit {logit:.2f}")
print(
    f"correlation with the ablations {torch.corrcoef(torch.stack([approximate, real]))[0, 1]:.2f}"
)

# %% [markdown]
# ## The method with a part left out
#
# `variant` gives another network of the same weights with SGE's normalisation off, gamma or beta at
# their initial values, or another number of groups. It was not trained for that, and says so.

# %%
from sge_viz.evidence.outcome import of_variant
from sge_viz.evidence.variants import variant

for keywords in ({"normalise": False}, {"gamma": "initial"}, {"groups": 1}, {"groups": 16}):
    outcome = of_variant(variant(model, **keywords), passed)
    after = outcome.after.probabilities[0, label.index]
    print(f"{outcome.what:45} {label.name} {after:.1%}")

# %% [markdown]
# ## Is a map right? Faithfulness
#
# Pixels are taken from the picture in a map's order, and the class's probability is watched:
# deleted (a small area is good), inserted into a blurred picture (large), or filled in from their
# neighbours, as ROAD does (large). One picture proves little: `python -m sge_viz evidence FOLDER
# --faithfulness` gives means with confidence intervals. That Grad-CAM and the class evidence agree
# is no accident. At the last block Grad-CAM is the class evidence of all groups with its negative
# cells cut off; here Captum computes it by gradients, and the ledger by adding up.

# %%
from sge_viz.evidence.faithfulness import faithfulness
from sge_viz.evidence.saliency import saliency

found = saliency(model, passed.input, "layer4.2", strongest)
results = faithfulness(model, passed.input, found.maps, label.index)
print(f"{'':16} deletion  insertion    ROAD")
for name, one in results.items():
    deletion, insertion, road = one.measures.values()
    print(f"{name:16} {deletion:8.3f}  {insertion:9.3f}  {road:+.3f}")

# %% [markdown]
# ## The same from the shell
#
# ```sh
# python -m sge_viz evidence assets/cat.jpg --intervene off --intervene zeroed@layer4.2/0 \
#     --ablate layer3.5 --variant groups=16 --faithfulness --out study
# ```
