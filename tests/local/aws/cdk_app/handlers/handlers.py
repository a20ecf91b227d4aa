# SPDX-License-Identifier: Apache-2.0
"""Handlers of a custom resource that writes a greeting into a bucket; done on the second look."""

from typing import Any

import boto3


class GreetingRefusedError(Exception):
    """The greeting asked for a failure."""


def on_event(event: dict[str, Any], _context: object) -> dict[str, Any]:
    properties = event["ResourceProperties"]
    s3 = boto3.client("s3")
    if event["RequestType"] == "Delete":
        for item in s3.list_objects_v2(Bucket=properties["Bucket"], Prefix="greetings/").get("Contents", ()):
            s3.delete_object(Bucket=properties["Bucket"], Key=item["Key"])
        return {}
    if properties["Greeting"] == "fail":
        raise GreetingRefusedError("this greeting is refused")
    s3.put_object(Bucket=properties["Bucket"], Key="greetings/1", Body=properties["Greeting"].encode())
    return {"PhysicalResourceId": "greeting"}


def is_complete(event: dict[str, Any], _context: object) -> dict[str, Any]:
    properties = event["ResourceProperties"]
    if event["RequestType"] == "Delete":
        return {"IsComplete": True}
    s3 = boto3.client("s3")
    looks = s3.list_objects_v2(Bucket=properties["Bucket"], Prefix="looks/").get("KeyCount", 0)
    s3.put_object(Bucket=properties["Bucket"], Key=f"looks/{looks}", Body=b"")
    if looks % 2 == 0:
        return {"IsComplete": False}
    return {"IsComplete": True, "Data": {"Length": str(len(properties["Greeting"]))}}
