# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from local.core_device.cloud import CloudRefusedError
from local.core_device.files import read_json, write_json
from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.core_device.iot_core import IotCore
    from local.core_device.options import Options


class Reporter:
    """Tells the cloud, on the reserved topics of a core device, how deployments end and how the components are.

    Reports on deployments are kept on disk until the cloud has them.
    """

    def __init__(self, iot_core: IotCore, options: Options) -> None:
        self._iot_core = iot_core
        self._options = options
        self._path = options.root / "deployments" / "unsent-reports.json"
        self._unsent: list[dict[str, Any]] = read_json(self._path, default=[])
        self._sequence = 0

    def deployment(self, job_id: str, status: str, *, details: dict[str, str]) -> None:
        """Note a deployment's status for sending."""
        self._unsent.append({"job": job_id, "status": status, "details": details})
        write_json(self._path, self._unsent)

    def flush(self) -> None:
        """Send the reports that wait, oldest first.

        Raises:
            CloudUnreachableError: what is not sent stays.
        """
        while self._unsent:
            report = self._unsent[0]
            topic = f"$aws/things/{self._options.thing_name}/jobs/{report['job']}/update"
            self._send(topic, {"status": report["status"], "statusDetails": report["details"]})
            del self._unsent[0]
            write_json(self._path, self._unsent)

    def health(self, components: Sequence[dict[str, Any]], *, nucleus_version: str) -> None:
        """Send the state of every component.

        Raises:
            CloudUnreachableError: nothing was sent.
        """
        self._sequence += 1
        broken = any(component["status"] in {"BROKEN", "ERRORED"} for component in components)
        message = {
            "ggcVersion": nucleus_version,
            "platform": self._options.operating_system,
            "architecture": self._options.architecture,
            "runtime": "aws_nucleus_lite",
            "thing": self._options.thing_name,
            "sequenceNumber": self._sequence,
            "timestamp": time.time_ns() // 1_000_000,
            "messageType": "COMPLETE",
            "overallDeviceStatus": "UNHEALTHY" if broken else "HEALTHY",
            "components": list(components),
        }
        self._send(f"$aws/things/{self._options.thing_name}/greengrassv2/health/json", message)

    def _send(self, topic: str, message: dict[str, Any]) -> None:
        try:
            self._iot_core.send(topic, json.dumps(message).encode(), qos=1)
        except CloudRefusedError as error:
            event("report_refused", level=logging.ERROR, topic=topic, reason=str(error))
