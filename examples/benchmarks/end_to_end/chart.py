"""A bar chart as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import ceil

_COLOURS = ("#9aa5b1", "#4c78a8", "#d1495b", "#72b7b2", "#eeca3b", "#b279a2")
_BAR, _GAP, _HEIGHT = 18, 26, 260
_LEFT, _TOP, _BOTTOM = 50, 70, 60


def bar_chart(title: str, groups: Mapping[str, Mapping[str, float]], *, line: float = 1.0) -> str:
    """Groups of bars above one another's names.

    Parameters
    ----------
    title : str
        What the bars are.
    groups : mapping of str to mapping of str to float
        For each group, positive heights by label; a group may lack some labels.
    line : float
        A height that is marked all across.

    Returns
    -------
    str
        The picture.
    """
    labels = list(dict.fromkeys(label for bars in groups.values() for label in bars))
    colour = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    top = max([line, *(value for bars in groups.values() for value in bars.values())]) * 1.08
    group = _BAR * len(labels) + _GAP
    width = max(640, _LEFT + group * len(groups) + _GAP)

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - value / top)

    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 20, 50, ceil(top)) if top / s <= 8)
    ticks = [i * step for i in range(int(top / step) + 1)]
    parts = [_text(_LEFT, 24, title, size=15)]
    for tick in ticks:
        parts.append(f'<line x1="{_LEFT}" x2="{width}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#e3e6ea"/>')
        parts.append(_text(_LEFT - 6, y(tick) + 4, f"{tick:g}", anchor="end"))
    for i, (name, bars) in enumerate(groups.items()):
        x = _LEFT + _GAP / 2 + i * group
        for k, label in enumerate(labels):
            if label in bars:
                parts.append(_bar(x + k * _BAR, y(bars[label]), y(0), colour[label], f"{name}, {label}", bars[label]))
        parts.append(_text(x + (group - _GAP) / 2, y(0) + 18, name, anchor="middle"))
    parts.append(f'<line x1="{_LEFT}" x2="{width}" y1="{y(line):.1f}" y2="{y(line):.1f}" stroke="#333"/>')
    x = _LEFT
    for label in labels:
        parts.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{colour[label]}"/>')
        parts.append(_text(x + 17, 48, label))
        x += 30 + 7 * len(label)
    height = _TOP + _HEIGHT + _BOTTOM
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(width, x)} {height}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _bar(x: float, top: float, bottom: float, colour: str, name: str, value: float) -> str:
    size = f'x="{x:.1f}" y="{top:.1f}" width="{_BAR - 2}" height="{bottom - top:.1f}" fill="{colour}"'
    return f"<rect {size}><title>{escape(name)}: {value:.2f}</title></rect>" + _text(
        x + _BAR / 2 - 1, top - 3, f"{value:.2f}", size=8, anchor="middle"
    )


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'
