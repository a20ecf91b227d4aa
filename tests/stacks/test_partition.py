# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import boto3
import pytest

from stacks.partition import partition_of

# Held against botocore's table, which the synthesis cannot ask.
REGIONS = [
    (region, partition)
    for partition in boto3.Session().get_available_partitions()
    for region in boto3.Session().get_available_regions("ec2", partition_name=partition)
]


@pytest.mark.parametrize(("region", "partition"), REGIONS)
def test_a_region_lies_in_the_partition_that_botocore_knows(region: str, partition: str) -> None:
    assert partition_of(region) == partition


def test_the_table_knows_other_partitions() -> None:
    assert {"aws", "aws-cn", "aws-us-gov"} <= {partition for _, partition in REGIONS}
