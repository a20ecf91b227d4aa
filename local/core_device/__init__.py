# SPDX-License-Identifier: Apache-2.0
"""A Greengrass core device on this machine, as strict as nucleus lite: real recipes, processes, IPC and credentials.

Emulated here: the nucleus and the token exchange service. A device's certificate is replaced by the AWS keys of the
environment, its MQTT connection by iot-data's Publish, and every process runs as the user who starts the device.
"""
