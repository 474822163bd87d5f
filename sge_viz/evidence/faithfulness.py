"""Does a map point at what the network uses? Deletion, insertion and ROAD.

Pixels are taken in the order of the map, which is enlarged to the input bilinearly; the score is
the probability of one class.

- Deletion: the strongest pixels first become the mean colour. A faithful map makes the probability
  fall early: a SMALL area under the curve is good.
- Insertion: the strongest pixels first appear in a blurred picture. A faithful map makes it rise
  early: a LARGE area is good. Both: Petsiuk et al., "RISE", BMVC 2018, arXiv 1806.07421.
- ROAD: the removed pixels are filled in from their neighbours (`imputation`), most relevant first
  and least relevant first. The score is half the mean difference, least less most, in [-0.5, 0.5];
  LARGE is good, and a map that knows nothing has about 0. Rong et al., arXiv 2202.00449.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur  # type: ignore[import-untyped]

from sge_viz.evidence.imputation import impute

ROAD_FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
Network = nn.Module | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Curve:
    """The class's probability against the share of pixels taken.

    Attributes:
        fractions: Shares of the picture's pixels, rising, in [0, 1].
        probabilities: The class's probability at each.
    """

    fractions: tuple[float, ...]
    probabilities: tuple[float, ...]

    @property
    def auc(self) -> float:
        """The area under the curve by the trapezoidal rule, in [0, 1] for a curve from 0 to 1."""
        points = torch.tensor(self.probabilities, dtype=torch.float64)
        return float(torch.trapezoid(points, torch.tensor(self.fractions, dtype=torch.float64)))


@dataclass(frozen=True)
class Faithfulness:
    """How faithful one map is to what the network uses for one class.

    Attributes:
        deletion: Probability as the strongest pixels vanish.
        insertion: Probability as the strongest pixels appear.
        most_relevant_first: Probability with the strongest pixels filled in (ROAD).
        least_relevant_first: Probability with the weakest pixels filled in (ROAD).
    """

    deletion: Curve
    insertion: Curve
    most_relevant_first: Curve
    least_relevant_first: Curve

    @property
    def road(self) -> float:
        """Half the mean of least less most relevant first, in [-0.5, 0.5]; large is faithful."""
        least = self.least_relevant_first.probabilities
        most = self.most_relevant_first.probabilities
        return (sum(least) - sum(most)) / 2 / len(most)

    @property
    def measures(self) -> dict[str, float]:
        """The three numbers by name: "deletion", "insertion" (areas) and "road"."""
        return {"deletion": self.deletion.auc, "insertion": self.insertion.auc, "road": self.road}


def faithfulness(
    model: Network,
    x: Tensor,
    maps: Mapping[str, Tensor],
    index: int,
    *,
    steps: int = 16,
    road_fractions: Iterable[float] = ROAD_FRACTIONS,
    chunk: int = 16,
    seed: int = 0,
) -> dict[str, Faithfulness]:
    """Measure maps of one picture.

    Args:
        model: What gives logits (B, classes) for pictures (B, 3, H, W); a network in eval mode.
        x: The picture as the network is given it, normalised, shape (1, 3, H, W).
        maps: Maps by name, any (h, w) each; the larger, the more relevant.
        index: The class, 0-based.
        steps: Steps of the deletion and insertion curves.
        road_fractions: Shares of the pixels that ROAD fills in.
        chunk: Pictures in one batch.
        seed: Of ROAD's noise.

    Raises:
        ValueError: If ``x`` is not one picture, a map is not one (h, w) map of finite numbers, or a
            fraction is not in (0, 1).
    """
    _check(x, maps, road_fractions := tuple(road_fractions), steps)
    shares = tuple(step / steps for step in range(steps + 1))

    def curve(fractions: tuple[float, ...], pictures: Iterator[Tensor]) -> Curve:
        return Curve(fractions, tuple(_probabilities(model, pictures, index, chunk)))

    results = {}
    for name, values in maps.items():
        order = pixel_order(values, (x.shape[2], x.shape[3])).to(x.device)
        weakest = order.flip(0)
        results[name] = Faithfulness(
            deletion=curve(shares, _mixed(x, torch.zeros_like(x), order, shares)),
            insertion=curve(shares, _mixed(blurred(x), x, order, shares)),
            most_relevant_first=curve(road_fractions, _filled(x, order, road_fractions, seed)),
            least_relevant_first=curve(road_fractions, _filled(x, weakest, road_fractions, seed)),
        )
    return results


def pixel_order(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels' flat indices, the map's strongest first; ties in reading order.

    Args:
        values: A map (h, w).
        size: Height and width of the picture that it is enlarged to, bilinearly.
    """
    enlarged = functional.interpolate(
        values.detach().cpu().double()[None, None], size, mode="bilinear", align_corners=False
    )
    return enlarged.flatten().argsort(descending=True, stable=True)


def blurred(x: Tensor) -> Tensor:
    """Blur a picture (1, 3, H, W) as RISE does: sigma 5 in 11 pixels at 224, in proportion."""
    side = min(x.shape[2:])
    kernel = round(11 * side / 224) // 2 * 2 + 1
    result: Tensor = gaussian_blur(x, [kernel, kernel], [5 * side / 224] * 2)
    return result


def _taken(order: Tensor, fraction: float, shape: torch.Size) -> Tensor:
    """Return which pixels (H, W) the first ``fraction`` of the order are."""
    mask = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    mask[order[: round(fraction * len(order))]] = True
    return mask.view(shape[2:])


def _mixed(start: Tensor, end: Tensor, order: Tensor, shares: Iterable[float]) -> Iterator[Tensor]:
    for share in shares:
        yield torch.where(_taken(order, share, start.shape), end[0], start[0])


def _filled(x: Tensor, order: Tensor, shares: Iterable[float], seed: int) -> Iterator[Tensor]:
    for share in shares:
        yield impute(x[0], _taken(order, share, x.shape), seed=seed)


def _probabilities(
    model: Network, pictures: Iterator[Tensor], index: int, chunk: int
) -> Iterator[float]:
    while part := list(islice(pictures, chunk)):
        with torch.inference_mode():
            yield from model(torch.stack(part)).float().softmax(1)[:, index].tolist()


def _check(x: Tensor, maps: Mapping[str, Tensor], fractions: tuple[float, ...], steps: int) -> None:
    if x.dim() != 4 or len(x) != 1:
        raise ValueError(f"Give one picture, of shape (1, 3, H, W), not {tuple(x.shape)}.")
    for name, values in maps.items():
        if values.dim() != 2 or not values.isfinite().all():
            raise ValueError(f"The map {name!r} must be one (h, w) map of finite numbers.")
    if steps < 1 or not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError("Give at least one step, and ROAD fractions between 0 and 1.")
