# SPDX-License-Identifier: Apache-2.0
"""The object detection component: images to places and labels, captures and messages, through the edge agent."""
