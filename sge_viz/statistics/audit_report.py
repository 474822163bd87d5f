"""An audit in words and tables (Markdown, which a terminal shows as well), and for JSON."""

from __future__ import annotations

from typing import Any

from sge_viz.statistics.audit import (
    CONTROL_SENTENCES,
    KEPT,
    NOTATION,
    Change,
    Finding,
    Outcome,
    Verdict,
    audit,
)
from sge_viz.statistics.result import Result

FEW_PICTURES = 100


def audit_text(result: Result, layers: list[str] | None = None) -> str:
    """Write the audit of some layers (all for None).

    Raises:
        ValueError: A layer is not there, or the controls were not taken.
    """
    record = result.provenance
    checkpoint = record["checkpoint"] or {}
    counted = record["counted"]
    lines = [
        "# The paper's claims, checked",
        "",
        f"{counted} pictures; weights: {checkpoint.get('title') or record['weights_sha256'][:12]}"
        + ("." if result.published else " (not the paper's)."),
        f"Notation: {NOTATION.format(near_zero=result.settings.near_zero)}.",
        "Intervals: 95%, bootstrap over pictures, "
        f"{result.settings.replicates} replicates, percentiles.",
        "Controls: " + "; ".join(f"*{n}*: {text}" for n, text in CONTROL_SENTENCES.items()) + ".",
    ]
    if counted < FEW_PICTURES:
        lines.append(f"Only {counted} pictures: the intervals are rough.")
    for layer in layers or list(result.layers):
        path, _ = result.layer(layer)
        lines += ["", f"## {result.title(path)}"]
        for verdict in audit(result, path):
            lines += ["", *_verdict(verdict)]
    return "\n".join(lines) + "\n"


def _verdict(verdict: Verdict) -> list[str]:
    heads = ["definition", "claimed", "before", "after", "change", "outcome", "groups"]
    heads += [f"change, {name}" for name in CONTROL_SENTENCES]
    rows = [_row(finding) for finding in verdict.findings]
    return [
        f'### "{verdict.claim}": {verdict.word}',
        "",
        _sentence(verdict),
        "",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _row(finding: Finding) -> list[str]:
    definition = finding.definition
    agree = "" if finding.groups is None else f"{finding.groups[0]} of {finding.groups[1]}"
    return [
        f"{definition.name} ({definition.kind}): {definition.formula}",
        definition.claimed,
        f"{finding.sge.before.value:.4g}",
        str(finding.sge.after),
        str(finding.sge.change),
        finding.outcome.value,
        agree,
        *(str(finding.controls[name].change) for name in CONTROL_SENTENCES),
    ]


def _sentence(verdict: Verdict) -> str:
    """Say which definitions agree with the claim and which do not, and whether groups matter."""
    parts = []
    for outcome, words in (
        (Outcome.SUPPORTED, "Supported by"),
        (Outcome.NOT_BEYOND, "Changed as claimed, but no more than a control does it:"),
        (Outcome.UNDECIDED, "No clear change in"),
        (Outcome.OPPOSITE, "The opposite in"),
    ):
        names = [f.definition.name for f in verdict.findings if f.outcome is outcome]
        if names:
            parts.append(f"{words} {', '.join(names)}.")
    supported = [f for f in verdict.findings if f.outcome is Outcome.SUPPORTED]
    if supported:
        special = [f.definition.name for f in supported if f.specific]
        parts.append(
            f"Stronger than in random groups of channels: {', '.join(special) or 'none of these'}."
        )
    return " ".join(parts)


def plain_audit(result: Result, layers: list[str] | None = None) -> dict[str, Any]:
    """Return the audit of some layers (all for None) as plain values, for JSON.

    Raises:
        ValueError: A layer is not there, or the controls were not taken.
    """
    paths = [result.layer(layer)[0] for layer in layers or list(result.layers)]
    return {
        "notation": NOTATION.format(near_zero=result.settings.near_zero),
        "interval": "95% of the Poisson bootstrap's replicates over pictures (percentiles)",
        "controls": CONTROL_SENTENCES,
        "kept": KEPT,
        "provenance": result.provenance,
        "layers": {path: _plain(audit(result, path)) for path in paths},
    }


def _plain(verdicts: tuple[Verdict, ...]) -> list[dict[str, Any]]:
    return [
        {
            "claim": verdict.claim,
            "verdict": verdict.word,
            "definitions": [_plain_finding(finding) for finding in verdict.findings],
        }
        for verdict in verdicts
    ]


def _plain_finding(finding: Finding) -> dict[str, Any]:
    definition = finding.definition
    return {
        "name": definition.name,
        "kind": definition.kind,
        "formula": definition.formula,
        "claimed": definition.claimed,
        "outcome": finding.outcome.value,
        "beyond_random_groups": finding.specific,
        "groups_as_claimed": finding.groups,
        "sge": _plain_change(finding.sge),
        **{name: _plain_change(change) for name, change in finding.controls.items()},
    }


def _plain_change(change: Change) -> dict[str, Any]:
    parts = {name: getattr(change, name) for name in ("before", "after", "change", "excess")}
    return {name: vars(part) for name, part in parts.items() if part is not None}
