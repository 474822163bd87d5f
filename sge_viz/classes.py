"""The classes of a network's head: their names, its first choices, and how a person names one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torchvision.models import ResNet50_Weights  # type: ignore[import-untyped]

IMAGENET_CLASSES: tuple[str, ...] = tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


class UnknownClassError(ValueError):
    """No class, or more than one, is what was asked for; the text says which there are."""


@dataclass(frozen=True)
class ClassLabel:
    """One output of the network's head.

    Attributes:
        index: Its place in the head, 0-based.
        name: Its ImageNet name, or "class 17" for a head of another size.
    """

    index: int
    name: str


@dataclass(frozen=True)
class Prediction:
    """One class and the probability that the network gives it.

    Attributes:
        index: The class's place in the network's head, 0-based.
        label: Its ImageNet name, or "class 17" for a head of another size.
        probability: Softmax of the logits, in [0, 1].
    """

    index: int
    label: str
    probability: float


def class_name(index: int, classes: int) -> str:
    """Name class `index` of a head of `classes` classes: ImageNet's name where it has 1,000."""
    return IMAGENET_CLASSES[index] if classes == len(IMAGENET_CLASSES) else f"class {index}"


def top5(logits: Tensor) -> tuple[Prediction, ...]:
    """Return the five most probable classes of logits (classes,), best first; fewer if there are.

    Probabilities are the softmax of the logits.
    """
    probabilities, indices = logits.softmax(0).topk(min(5, len(logits)))
    return tuple(
        Prediction(index, class_name(index, len(logits)), probability)
        for index, probability in zip(indices.tolist(), probabilities.tolist(), strict=True)
    )


def label(index: int, classes: int) -> ClassLabel:
    """Return class ``index`` of a head of ``classes`` classes.

    Raises:
        UnknownClassError: If the head has no such class.
    """
    if not 0 <= index < classes:
        raise UnknownClassError(f"There is no class {index}: this head has 0 to {classes - 1}.")
    return ClassLabel(int(index), class_name(int(index), classes))


def labels(asked: int | Iterable[int] | None, logits: Tensor) -> tuple[ClassLabel, ...]:
    """Return the asked classes; None means the first choice of the batch's first picture.

    Args:
        asked: Indices, 0-based.
        logits: Shape (B, classes).

    Raises:
        UnknownClassError: If the head has no such class.
    """
    if asked is None:
        asked = int(logits[0].argmax())
    indices = asked if isinstance(asked, Iterable) else [asked]
    return tuple(label(int(index), logits.shape[1]) for index in indices)


def search(text: str, classes: int = 1000, limit: int = 20) -> tuple[ClassLabel, ...]:
    """Find classes by name: the exact name, names with a word that begins so, all that contain it.

    Args:
        text: Part of a name, in any case.
        classes: Size of the head.
        limit: How many to return at most.
    """
    wanted = " ".join(text.casefold().split())
    if not wanted:
        return ()
    ranked = []
    for index in range(classes):
        name = class_name(index, classes).casefold()
        if wanted in name:
            rank = 0 if name == wanted else 1 if f" {name}".find(f" {wanted}") >= 0 else 2
            ranked.append((rank, index))
    return tuple(label(index, classes) for _, index in sorted(ranked)[:limit])


def find(text: str, classes: int = 1000) -> ClassLabel:
    """Return the one class that a person means: its index, its name, or an unmistakable part of it.

    Raises:
        UnknownClassError: If there is none, or there are several; the text names them.
    """
    if text.strip().lstrip("-").isdecimal():
        return label(int(text), classes)
    found = search(text, classes)
    exact = [one for one in found if one.name.casefold() == " ".join(text.casefold().split())]
    if len(found) == 1 or len(exact) == 1:
        return found[0]
    if not found:
        raise UnknownClassError(f"No class is called {text!r}; try another word, or an index.")
    listed = "; ".join(f"{one.index} {one.name}" for one in found)
    raise UnknownClassError(f"{text!r} fits several classes, choose one by its index: {listed}.")
