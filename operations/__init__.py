# SPDX-License-Identifier: Apache-2.0
"""What is done to real accounts beside synthesising: deploy, destroy, prune, and the making of devices."""
