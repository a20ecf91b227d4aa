# SPDX-License-Identifier: Apache-2.0
"""Which stacks an environment has: the one list that the app, operations and tests go by."""

from __future__ import annotations

from stacks.environment import Environment


def stack_ids(environment: Environment) -> tuple[str, ...]:
    """The environment's stacks in the order of their deployment, without its namespace.

    In sagemaker mode AWS's agent sent its heartbeats to a service that is gone: there is nothing to monitor.
    """
    monitoring = ("Monitoring",) if environment.edge_manager == "open" else ()
    rollout = ("Rollout",) if environment.canaries else ()
    return ("Fleet", *monitoring, "Models", "Release", *rollout)


def stack_names(environment: Environment) -> tuple[str, ...]:
    """The same under CloudFormation's names."""
    return tuple(f"{environment.namespace}-{id_}" for id_ in stack_ids(environment))
