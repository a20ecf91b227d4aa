# SPDX-License-Identifier: Apache-2.0
"""The image classification component: images to labels, captures and messages, through the edge agent."""
