"""Rules for the forms that were chosen, and for their neighbours' so that no conversion stands between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from ..rules.dsl import Term
from ..rules.layouts import PASSING
from ..rules.rule import Rule, RuleSet
from .form import Form
from .records import Choice
from .site import Site

#: Forms of one operator that enter the e-graph, the best first.
MOST = 2


def program_id(sites: Mapping[Site, int]) -> str:
    """A digest of the operators of a program whose form can be chosen."""
    text = "\n".join(sorted(f"{count} {site}" for site, count in sites.items()))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def best_forms(ratios: Mapping[Site, Mapping[Form, float]]) -> dict[str, list[Form]]:
    """Of each operator the forms that are faster than in the fixed layouts.

    Parameters
    ----------
    ratios : mapping
        For each operator and form, the logarithm of its latency relative to the fixed layouts'.
    """
    found = {}
    for site, forms in ratios.items():
        good = sorted((ratio, form) for form, ratio in forms.items() if ratio < 0)
        if good:
            found[str(site)] = [form for _, form in good[:MOST]]
    return found


def rules_for(sites: Iterable[Site], choice: Choice) -> RuleSet:
    """The rules that put forms beside operators, and those that pass their layouts on.

    Parameters
    ----------
    sites : iterable of Site
        The operators of the program.
    choice : mapping of str to sequence of Form
        What was chosen for some of them.
    """
    table: dict[Form, list[Site]] = {}
    sites = list(sites)
    for site in sites:
        for form in [*choice.get(str(site), ()), *_offered(site, choice)]:
            table.setdefault(form, []).append(site)
    if not table:
        return RuleSet()
    return PASSING + RuleSet(_only_at(form.rule(), table[form]) for form in sorted(table))


def _offered(site: Site, choice: Choice) -> list[Form]:
    """The program's commonest block, to convolutions that nothing was chosen for: conversions beside them vanish."""
    blocks = Counter(form.sizes[1] for forms in choice.values() for form in forms if form.kind == "blocked")
    if site.op != "conv2d" or str(site) in choice or not blocks:
        return []
    (block, _), *_ = sorted(blocks.items(), key=lambda item: (-item[1], item[0]))
    fits = site.channels % block == 0 and site.filters % block == 0
    return [Form("blocked", (block, block))] if fits else []


def _only_at(rule: Rule, sites: Iterable[Site]) -> Rule:
    """The rule, for these operators alone."""
    keys = {(site.attrs, site.data, site.weight) for site in sites}
    if any(site.op == "conv2d" for site in sites):

        def conv(x: Term, w: Term, a: Any) -> bool:
            return w.const and (a, x.type, w.type) in keys

        return replace(rule, pays=conv)
    types = {key[1:] for key in keys}

    def matmul(x: Term, w: Term) -> bool:
        return w.const and (x.type, w.type) in types

    return replace(rule, pays=matmul)
