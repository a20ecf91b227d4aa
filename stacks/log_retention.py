# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk.aws_logs as logs

from stacks.environment import Environment

_LOG_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


def log_retention(environment: Environment) -> logs.RetentionDays:
    """The CDK's name for the environment's number of days."""
    return _LOG_RETENTION[environment.retention.logs_days]
