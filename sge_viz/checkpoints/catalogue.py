"""The catalogue: an enum of frozen records, one for each checkpoint this software knows by name."""

from dataclasses import dataclass
from enum import Enum

PREPROCESSING = (
    "RGB; resize shorter side to 256 (bilinear), centre crop 224; "
    "mean .485 .456 .406, std .229 .224 .225"
)
PAPER = (
    "Li, Hu and Yang, Spatial Group-wise Enhance: Improving Semantic Feature Learning in "
    "Convolutional Networks, arXiv 1905.09646"
)
REPOSITORY = "https://github.com/implus/PytorchInsight"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of one checkpoint; `load_model` hangs it on the model as `model.card`.

    Attributes:
        name: The catalogue's name, or the bare file name of a file that is not in the catalogue.
        architecture: Such as "sge_resnet50" or "resnet101".
        title: One line for a menu.
        file: Bare name of its file in the checkpoints directory.
        sha256: SHA-256 of the file in hexadecimal; None where nobody has recorded it yet.
        source: Where the weights come from.
        licence: Their licence, or "not stated".
        paper: The paper they belong to.
        top1: Published ImageNet top-1 accuracy (single crop, 224 px) in percent, or None.
        top5: Published top-5 accuracy in percent, or None.
        preprocessing: What the weights expect of a picture.
        good_for: What to use them for.
        published: True only for the authors' own weights.
        notes: What else a user must know, in sentences.
        groups: SGE groups of every block; None for a network without SGE.
        classes: Outputs of the last layer.
        drive_id: Google Drive id of the published file, or None.
    """

    name: str
    architecture: str
    title: str
    file: str
    sha256: str | None = None
    source: str = "not stated"
    licence: str = "not stated"
    paper: str = "not stated"
    top1: float | None = None
    top5: float | None = None
    preprocessing: str = PREPROCESSING
    good_for: str = "not stated"
    published: bool = False
    notes: str = ""
    groups: int | None = None
    classes: int = 1000
    drive_id: str | None = None

    @property
    def url(self) -> str | None:
        """Address that the file is fetched from, or None if it is not on Google Drive."""
        return f"https://drive.google.com/uc?id={self.drive_id}" if self.drive_id else None


def _published(
    name: str, title: str, drive_id: str, *, top1: float, top5: float, good_for: str
) -> Card:
    return Card(
        name=name,
        architecture=name,
        title=title,
        file=f"{name}.pth",
        source=f"{REPOSITORY} (Google Drive id {drive_id})",
        licence="not stated by its repository",
        paper=PAPER,
        top1=top1,
        top5=top5,
        good_for=good_for,
        published=True,
        groups=64 if name.startswith("sge_") else None,
        drive_id=drive_id,
    )


class Catalogue(Enum):
    """Every checkpoint with a name. `DEFAULT` is what `load_model()` loads."""

    SGE_RESNET50 = _published(
        "sge_resnet50",
        "SGE-ResNet50, published weights",
        "13HPCjrEle6aFbiCo8Afkr2jJssdNwdRn",
        top1=77.584,
        top5=93.664,
        good_for="the paper's figures and statistics",
    )
    SGE_RESNET101 = _published(
        "sge_resnet101",
        "SGE-ResNet101, published weights",
        "1ihu0NVvVJZEv0zj49izapn4V0FhwxCh6",
        top1=78.798,
        top5=94.368,
        good_for="the paper's claims in a deeper network",
    )
    RESNET50 = _published(
        "resnet50",
        "ResNet50 without SGE, published by the same authors",
        "1ijUOmyDCSQTU9JaNwOu4_fs1cBXHnHPF",
        top1=76.384,
        top5=92.908,
        good_for="comparison: the network of SGE-ResNet50 without SGE, trained alike",
    )
    RESNET101 = _published(
        "resnet101",
        "ResNet101 without SGE, published by the same authors",
        "1125qwL4psGqJWrPDtSoxfBRLPMAnRzx4",
        top1=78.2,
        top5=93.906,
        good_for="comparison: the network of SGE-ResNet101 without SGE, trained alike",
    )
    SGE_RESNET50_ANIMALS = Card(
        name="sge_resnet50_animals",
        architecture="sge_resnet50",
        title="SGE-ResNet50, distilled on animals",
        file="sge_resnet50_animals.safetensors",
        sha256="899f1865d063e37ef5506ba5ff17cece45cede74b7ad8dbbc75ef459946ac628",
        source="made for this project by `python -m sge_viz train`; comes with the repository",
        licence="MIT, as this software; its teacher: Apache 2.0; no picture is part of it",
        paper=PAPER,
        good_for="seeing what groups look at in cats and dogs, with no network and no download",
        notes=(
            "Made by this project, not the paper's weights. Distilled from EfficientNet-Lite on "
            "66,000 pictures, mostly of cats and dogs, they know only what they were shown. On "
            "pictures never trained on, 224 px: top-1 of 1,000 classes 78.4% on Imagenette and "
            "61.6% on Imagewoof; cats told from dogs in 81.7% of 2,000 pictures from elsewhere, "
            "and its teacher's first choice met in 23.7%. Gates vary over a map by 0.40 in "
            "layer3.5 and 0.28 in layer4.2."
        ),
        groups=64,
    )
    SGE_RESNET50_STOPGAP = Card(
        name="sge_resnet50_stopgap",
        architecture="sge_resnet50",
        title="SGE-ResNet50, stop-gap weights",
        file="sge_resnet50_stopgap.safetensors",
        sha256="988b64d4691092d1a6c76be43b70656df6e6d78c222d1fed69c7c35e1efc1480",
        source="made for this project; comes with the repository",
        paper=PAPER,
        good_for="trying the page out on cats and dogs, with no network and no download",
        notes=(
            "A stop-gap, not the paper's weights: distilled from EfficientNet-Lite0 on Imagenette "
            "and on pictures of cats and dogs, it knows only what it was shown (top-1 at 224 px: "
            "71.1% on Imagenette's validation pictures, 1.4% on 1,000 ImageNet pictures, one of "
            "each class). Before and after SGE differ little in it: gamma is still small."
        ),
        groups=64,
    )

    DEFAULT = SGE_RESNET50_ANIMALS


def find(name: str) -> Card | None:
    """Return the catalogue's record of that name, or None."""
    return next((entry.value for entry in Catalogue if entry.value.name == name), None)
