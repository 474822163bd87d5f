"""The source of statistics.md: `python docs/build.py docs/statistics.py` writes it anew."""

# %% [markdown]
# # A network over a whole data set
#
# The paper's Figures 3 and 4, its claims about them, the pictures that excite every group most, and
# accuracy: each is one command over a folder of pictures, and none needs more memory for more of them.
#
# ```
# python -m sge_viz stats ~/imagenet/val --out run          # statistics, DIR/result.npz
# python -m sge_viz audit run                               # the claims, with verdicts
# python -m sge_viz figure 3 run --layer layer4.2 --out figure3.pdf
# python -m sge_viz figure 4 run --quantity std --out figure4.svg
# python -m sge_viz figure 2 dog.jpg cat.jpg --groups 17,21,40 --out figure2.pdf
# python -m sge_viz index ~/imagenet/val --index val.npz    # or: stats ... --index val.npz, one pass
# python -m sge_viz evaluate ~/imagenet/val --checkpoint sge_resnet50
# torchrun --nproc-per-node 4 -m sge_viz stats ~/imagenet/val --out run
# ```
#
# ## What is measured
#
# - A group's **norm** is the Euclidean norm over its channels at one position; before SGE (after bn3)
#   and after it (gate * before, before the residual add and the ReLU). For every layer, group and class
#   folder: count, mean, variance and extrema over all positions of all pictures, the joint histogram of
#   (before, after) and the gate's distribution. The grid is fixed: every octave from 1/128 to 128 in 16
#   equal bins (2 for each class), with underflow and overflow counted.
# - Of every group in every picture, fourteen **measures**, with mean and spread over pictures: among
#   them the variance and the standard deviation of the activations (over the group's channels and all
#   positions: Figure 4), the share of near-zero norms, and what part of its norm the strongest tenth of
#   the positions keeps. Every definition stands in the output, beside the numbers.
# - **Strong** and **weak** positions are the tenths of the map by the norm *before* SGE, so that both
#   sides speak of the same places. **Near zero** is a norm of at most half the map's mean (`--near-zero`);
#   with one threshold for both sides, and with each side's own.
#
# Counts are boost-histogram's; moments merge by Chan's formula in float64. The pass is cut into shards
# of 1,024 pictures (`--shard`). A run that was stopped, or killed, goes on with the next shard; a shard
# is written whole or not at all; other weights, pictures or settings are refused with the reason. Every
# batch is computed by one thread and several batches at once, and shards are merged in their order, so
# the result does not depend on threads, workers, processes or hosts of one kind: not in one bit.
# Pictures that cannot be read are named, left out and counted; more than `--max-bad` of them make the
# exit code 1.
#
# ## When a claim counts as supported
#
# Each claim has several definitions, absolute ones and ones that do not change when all norms shrink
# alike: a gate lies below 1, so every norm shrinks, and with it every absolute variance can. A
# definition *supports* its claim if
#
# 1. SGE changes its value as claimed: the 95% interval of the change lies on that side (Poisson
#    bootstrap over pictures, 1,000 replicates); and
# 2. it does so further than both controls of the gate: **shuffled** over positions (the same values in
#    the wrong places) and replaced by its **mean** (which only shrinks).
#
# The third control deals the channels to **random groups** and applies SGE's formula and parameters to
# those. It does not decide the verdict; it tells whether the effect is special to the learned groups. A
# claim is *supported* if all definitions support it, *not supported* if none does, and otherwise it
# *depends on the definition*.
#
# Norms below one fixed threshold are counted, but are no definition of "weak ones shifted toward zero":
# any gate below 1 makes more of them, most of all one that crushes the strong.

# %% [hidden]
from sge_viz.render.figure_files import figure_bytes
from sge_viz.statistics import Result, plain_audit
from sge_viz.statistics.figures import figure3_of, figure4_of

result = Result.load("assets/result.npz")
run = result.provenance
found = plain_audit(result)["layers"]
print("## A real run\n")
print(f"Weights: {run['checkpoint']['title']} (SHA-256 of the file {run['checkpoint']['sha256']}).")
print(f"Pictures: {run['counted']:,}, {len(run['refused'])} refused.")

# %% [markdown]
# 160 of each class of Imagenette's and Imagewoof's validation pictures (160 and 320 pixels, so those of
# Imagenette are enlarged), through the weights that come with the repository. **They are not the
# paper's weights** ([what they are](weights.md)): this shows what the tool says, and it is a statement
# on these weights only.
#
# ```
# python -m sge_viz stats pictures --out run --shard 256
# python -m sge_viz audit run
# ```
#
# In words: in the last bottleneck, layer4.2, which is the paper's own choice for its statistics, the
# claims hold but for one definition. The norms' variance over a map rises, although every norm shrinks;
# the strongest tenth keeps 96% of its norm, where a mean gate would leave 88%; the weakest tenth keeps
# 76%. What falls is the variance of the single activations. In layer3.5 every absolute variance falls,
# and the strongest tenth keeps 81%, a little more than the 78% of all: relative to what is left the
# norms spread, but strong ones are not "kept". In layer3.5 all of it is stronger than in random groups
# of channels. In layer4.2 the weak ones sink as much in random groups: there it says little of the
# groups themselves.

# %% [hidden]
HEAD = (
    "definition",
    "before",
    "after",
    "change, 95% interval",
    "shuffled gate",
    "mean gate",
    "random groups",
    "outcome",
)


def row(one: dict) -> str:
    """Return a line of a claim's table."""
    change = one["sge"]["change"]
    outcome = one["outcome"]
    if outcome == "supported":
        outcome += f", {'' if one['beyond_random_groups'] else 'not '}more than random groups"
    cells = [
        f"{one['name']} ({one['kind']}): `{one['formula'].split(', kept')[0]}`",
        f"{one['sge']['before']['value']:.4g}",
        f"{one['sge']['after']['value']:.4g}",
        f"{change['value']:.4g} [{change['low']:.4g}, {change['high']:.4g}]",
        *(f"{one[name]['change']['value']:.4g}" for name in ("shuffled", "averaged", "regrouped")),
        outcome,
    ]
    return f"| {' | '.join(cells)} |"


def claims(layer: str) -> None:
    """Print a layer's claims as tables, and draw its figures."""
    print(f"### {result.title(layer)}")
    for claim in found[layer]:
        print(f'\n**"{claim["claim"]}": {claim["verdict"]}.**\n')
        print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
        print("\n".join(row(one) for one in claim["definitions"]))
    show(figure_bytes(figure3_of(result, layer), dpi=160), f"figure3_{layer}.png")
    show(figure_bytes(figure4_of(result, layer), dpi=160), f"figure4_{layer}.png")


claims("layer3.5")

# %% [hidden]
claims("layer4.2")

# %% [markdown]
# The published Figure 4 reads 1.25 to 2.15 before and 1.4 to 2.3 after: another network, on another
# scale.
#
# ## Accuracy of the same weights
#
# `evaluate` on Imagenette's 3,925 validation pictures, 1,000-way: 78.45% top-1, 91.75% top-5. The hits
# are compared, in the tests, with torchvision's own preprocessing, folders and counting.
