# SPDX-License-Identifier: Apache-2.0
"""Partitions of AWS: each has accounts and ARNs of its own, and nobody in one can trust anybody in another."""

from __future__ import annotations

_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}


def partition_of(region: str) -> str:
    """The partition that a region lies in, as ARNs name it."""
    return next((partition for start, partition in _PARTITIONS.items() if region.startswith(start)), "aws")
