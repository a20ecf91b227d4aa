# SPDX-License-Identifier: Apache-2.0
"""What an environment says about the pace of a deployment, and about what stops it (specification §10).

The limits are those of Greengrass V2's API and, where it is looser, of the AWS IoT jobs behind it, which take one
digit after the point of a factor and two of a percentage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

_settings = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
FASTEST = 1000  # devices a minute, the most that a job takes


def _digits(count: int) -> Callable[[float], float]:
    def check(value: float) -> float:
        if round(value, count) != value:
            raise ValueError(f"should have at most {count} {'digit' if count == 1 else 'digits'} after the point")
        return value

    return check


PerMinute = Annotated[int, Field(ge=1, le=FASTEST)]
Devices = Annotated[int, Field(ge=1)]


@_settings
class ExponentialRate:
    """A pace that begins at `base_per_minute` and grows by `increment_factor` again and again.

    It grows each time that so many more devices were `notified`, or that so many more have `succeeded`: one of the two.
    """

    base_per_minute: PerMinute
    increment_factor: Annotated[float, Field(ge=1.1, le=5), AfterValidator(_digits(1))]
    notified: Devices | None = None
    succeeded: Devices | None = None

    @model_validator(mode="after")
    def _one_criterion(self) -> Self:
        if (self.notified is None) == (self.succeeded is None):
            raise ValueError("either notified or succeeded is expected, not both and not none")
        return self


@_settings
class AbortCriterion:
    """What cancels a deployment: `percentage` of at least `minimum` devices that ended ended in this way."""

    failure_type: Literal["FAILED", "REJECTED", "TIMED_OUT", "ALL"] = "ALL"
    percentage: Annotated[float, Field(gt=0, le=100), AfterValidator(_digits(2))] = 100
    minimum: Devices = 1


@_settings
class RolloutSettings:
    """How fast a deployment reaches devices, what they do when it fails, and what stops it.

    Attributes:
        maximum_per_minute: devices that are told of it in a minute.
        exponential: a slower beginning below that.
        abort: criteria, of which any cancels it; none: nothing does.
        in_progress_minutes: after which a device that began and says nothing counts as TIMED_OUT.
        failure_handling: whether a device on which it fails returns to what it ran before.
        update_action: whether components are told of an update, and may put it off until they are idle.
        update_timeout_seconds: how long each of them has for its answer.
    """

    maximum_per_minute: PerMinute = FASTEST
    exponential: ExponentialRate | None = None
    abort: tuple[AbortCriterion, ...] = (AbortCriterion(),)
    in_progress_minutes: Annotated[int, Field(ge=1, le=10080)] = 30
    failure_handling: Literal["ROLLBACK", "DO_NOTHING"] = "ROLLBACK"
    update_action: Literal["NOTIFY_COMPONENTS", "SKIP_NOTIFY_COMPONENTS"] = "NOTIFY_COMPONENTS"
    update_timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 60

    @model_validator(mode="after")
    def _whole(self) -> Self:
        types = [criterion.failure_type for criterion in self.abort]
        if twice := sorted({name for name in types if types.count(name) > 1}):
            raise ValueError(f"abort: one criterion for each failure_type is expected, {', '.join(twice)} has several")
        rate = self.exponential
        if rate is not None and rate.base_per_minute > self.maximum_per_minute:
            raise ValueError(
                f"exponential.base_per_minute {rate.base_per_minute} is more than maximum_per_minute "
                f"{self.maximum_per_minute}: the pace would never grow"
            )
        if self.update_timeout_seconds >= self.in_progress_minutes * 60:
            raise ValueError(
                f"update_timeout_seconds {self.update_timeout_seconds} must be below in_progress_minutes "
                f"{self.in_progress_minutes}: a device that waits for its components would count as timed out"
            )
        return self

    def at_once(self) -> RolloutSettings:
        """The same without a pace."""
        return dataclasses.replace(self, maximum_per_minute=FASTEST, exponential=None)  # type: ignore[type-var] # the decorator has an alias
