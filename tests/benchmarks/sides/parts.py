"""Where the time of a step goes, measured inside the step: calls are wrapped, and gradients are met on their way.

    prepare ─ backbone forward ─ head ─ codes, loss, metrics ─ backward of these ─ backbone backward ─ optimizer ─ other

The backward pass of the backbone begins when the first gradient of features comes and ends where the gradients are
handed to the optimizer: crops need no gradient, so it is the last to run. Class methods are wrapped, so that a run
goes the way it always goes; a process that has installed this is for measuring.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from pipeline.models.backbone import Backbone
from pipeline.models.heads import ProjectionHead, Prototypes
from pipeline.models.regnet import RegNet
from pipeline.objectives import SwAV

BACKBONE = ("backbone forward", "backbone backward")
NAMES = (
    "prepare",
    BACKBONE[0],
    "head and prototypes",
    "codes, loss, metrics",
    "backward outside the backbone",
    BACKBONE[1],
    "optimizer",
    "other",
)


class Clock:
    """Seconds of one step by part, and moments in it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.moments: dict[str, float] = {}
        self.objective: SwAV | None = None

    def install(self) -> None:
        """Wrap what a step calls, for the rest of this process."""
        Backbone.prepare = self._timed("prepare", Backbone.prepare)  # type: ignore[method-assign]
        RegNet.forward = self._meeting_gradients(self._timed(BACKBONE[0], RegNet.forward))  # type: ignore[method-assign]
        for head in (ProjectionHead, Prototypes):
            head.forward = self._timed("head and prototypes", head.forward)  # type: ignore[method-assign]
        Prototypes.normalise_ = self._timed("optimizer", Prototypes.normalise_)  # type: ignore[method-assign]
        SwAV.forward = self._outer(SwAV.forward)  # type: ignore[method-assign]
        SwAV.adjust_gradients = self._marking(SwAV.adjust_gradients, "gradients")  # type: ignore[method-assign]
        SwAV.finish_step = self._marking(SwAV.finish_step, "stepped")  # type: ignore[method-assign]

    def clear(self) -> None:
        """Forget the last step."""
        self.seconds.clear()
        self.moments.clear()

    def of_step(self, whole: float) -> dict[str, float]:
        """Seconds by part of the step since `clear`, which took so many."""
        found, at = dict(self.seconds), self.moments
        inside = sum(found.get(name, 0.0) for name in NAMES[:3])
        found["codes, loss, metrics"] = found.pop("objective") - inside
        found["backward outside the backbone"] = at["features"] - at["loss"]
        found[BACKBONE[1]] = at["gradients"] - at["features"]
        found["optimizer"] = found.get("optimizer", 0.0) + at["stepped"] - at["gradients"]
        found["other"] = whole - sum(found.values())
        return {name: found[name] for name in NAMES}

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **settings: Any) -> Any:
            began = time.perf_counter()
            result = call(*arguments, **settings)
            self.seconds[name] += time.perf_counter() - began
            return result

        return timed

    def _outer(self, call: Callable[..., Any]) -> Callable[..., Any]:
        timed = self._timed("objective", call)

        def outer(objective: SwAV, *arguments: Any) -> Any:
            self.objective = objective
            result = timed(objective, *arguments)
            self.moments["loss"] = time.perf_counter()
            return result

        return outer

    def _meeting_gradients(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def meet(_: Any) -> None:
            self.moments.setdefault("features", time.perf_counter())

        def forward(*arguments: Any) -> Any:
            features = call(*arguments)
            if features.requires_grad:
                features.register_hook(meet)
            return features

        return forward

    def _marking(self, call: Callable[..., Any], moment: str) -> Callable[..., Any]:
        def marking(*arguments: Any) -> Any:
            self.moments[moment] = time.perf_counter()
            return call(*arguments)

        return marking
