# SPDX-License-Identifier: Apache-2.0
"""The least that an environment's file says; tests put keys in front of it and tables behind it."""

MINIMAL = """
devices = ["device-1"]
[greengrass]
nucleus_version = "2.14.3"
token_exchange_service_version = "2.0.3"
[inference]
model = "digits"
"""
