"""Boosted trees, several times over resampled data: their mean is the answer, their spread part of the doubt."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xgboost

from ...errors import FormatError

#: Shallow trees: there are hundreds of kernels to learn from, not millions.
PARAMETERS: dict[str, Any] = {
    "objective": "reg:squarederror",
    "max_depth": 4,
    "eta": 0.08,
    "min_child_weight": 2.0,
    "lambda": 2.0,
    "colsample_bytree": 0.5,
    "tree_method": "hist",
    "max_bin": 64,
    "nthread": 1,
    "verbosity": 0,
}
MEMBERS, ROUNDS = 8, 160


@dataclass(frozen=True)
class Known:
    """Where the data lies, to tell how far away a question is.

    Attributes
    ----------
    points : list of list of float
        The inputs that were learned from, each column divided by ``scale``.
    scale : list of float
        For each column: its spread over its weight, so that distances count what matters to the trees.
    reach : float
        The distance to the nearest other point that 9 in 10 of the points have at most.
    noise : float
        Standard deviation of what resampling left unexplained.
    spread : float
        Standard deviation of what there was to explain.
    """

    points: list[list[float]]
    scale: list[float]
    reach: float
    noise: float
    spread: float

    @cached_property
    def _array(self) -> np.ndarray:
        return np.array(self.points)

    def novelty(self, x: np.ndarray) -> np.ndarray:
        """For each row: 0 among the data, towards 1 far away from it."""
        distance = _nearest(x / np.array(self.scale), self._array)
        return 1 - np.exp(-np.maximum(0.0, distance / self.reach - 1))


class Ensemble:
    """Bagged gradient-boosted trees.

    Parameters
    ----------
    members : list of xgboost.Booster
        One for each resampling.
    known : Known
        About the data.
    """

    def __init__(self, members: list[xgboost.Booster], known: Known) -> None:
        self.members = members
        self.known = known

    @classmethod
    def fit(
        cls, x: np.ndarray, y: np.ndarray, groups: np.ndarray, weights: np.ndarray, falling: int, seed: int = 0
    ) -> Ensemble:
        """Learn.

        Parameters
        ----------
        x : numpy.ndarray
            [rows, columns], finite.
        y : numpy.ndarray
            [rows]: what to predict.
        groups : numpy.ndarray
            [rows]: rows of the same number are resampled together.
        weights : numpy.ndarray
            [rows]: how much each counts.
        falling : int
            A column with which ``y`` can only fall.
        seed : int
            Of the resampling.
        """
        rng = np.random.default_rng(seed)
        monotone = tuple(-1 if column == falling else 0 for column in range(x.shape[1]))
        names, index = np.unique(groups, return_inverse=True)
        members = []
        answers, heard = np.zeros(len(y)), np.zeros(len(y))
        for member in range(MEMBERS):
            drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))[index]
            data = xgboost.DMatrix(x, y, weight=weights * drawn)
            settings = PARAMETERS | {"seed": seed * MEMBERS + member, "monotone_constraints": monotone}
            members.append(xgboost.train(settings, data, ROUNDS))
            left_out = drawn == 0
            answers[left_out] += members[-1].inplace_predict(x[left_out])
            heard += left_out
        asked = heard > 0
        noise = _spread(answers[asked] / heard[asked] - y[asked])
        _, first = np.unique(groups, return_index=True)
        return cls(members, _known(x[first], _importance(members, x.shape[1]), noise, float(np.std(y))))

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the members' answers, and the standard deviation of the truth around it, for each row."""
        answers = np.array([member.inplace_predict(x) for member in self.members])
        strange = self.known.novelty(x) * self.known.spread
        return answers.mean(axis=0), np.sqrt(answers.var(axis=0) + self.known.noise**2 + strange**2)

    @property
    def importance(self) -> np.ndarray:
        """For each column, its share in what all splits gained."""
        return _importance(self.members, len(self.known.scale))

    def to_json(self) -> dict[str, Any]:
        """As a JSON value; each member is xgboost's own JSON."""
        return {"members": [json.loads(m.save_raw("json")) for m in self.members], "known": asdict(self.known)}

    @classmethod
    def from_json(cls, value: Any, columns: int) -> Ensemble:
        """The inverse of :meth:`to_json`.

        Raises
        ------
        FormatError
            The value isn't what :meth:`to_json` makes of trees over that many columns.
        """
        try:
            known = Known(**value["known"])
            members = []
            for raw in value["members"]:
                member = xgboost.Booster({"nthread": 1})
                member.load_model(bytearray(json.dumps(raw), "utf-8"))
                members.append(member)
            if not members or any(m.num_features() != columns for m in members):
                raise FormatError(f"its trees aren't over {columns} numbers")
            if np.array(known.points).shape[1:] != (columns,) or not min(known.scale) > 0 or not known.reach > 0:
                raise FormatError("its figures of the data don't fit together")
        except (KeyError, TypeError, ValueError, xgboost.core.XGBoostError) as err:
            raise FormatError(str(err).strip().splitlines()[0]) from err
        return cls(members, known)


def _spread(errors: np.ndarray) -> float:
    """Standard deviation, by the quartile, which a few failures don't move."""
    return float(1.4826 * np.median(np.abs(errors))) if len(errors) else 0.0


def _importance(members: list[xgboost.Booster], columns: int) -> np.ndarray:
    total = np.zeros(columns)
    for member in members:
        for name, gain in member.get_score(importance_type="total_gain").items():
            total[int(name[1:])] += float(gain)
    return total / max(total.sum(), 1e-30)


def _known(x: np.ndarray, importance: np.ndarray, noise: float, spread: float) -> Known:
    weight = np.sqrt((importance + 1 / len(importance)) / 2)  # what never varied must count, too, should it vary
    scale = np.maximum(x.std(axis=0), 0.25) / weight
    points = x / scale
    near = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, min(1, len(points) - 1)]
    reach = max(float(np.quantile(near, 0.9)), 1e-3)
    return Known(points.round(4).tolist(), scale.tolist(), reach, noise, spread)


def _nearest(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(points - row, axis=1).min() for row in x])
