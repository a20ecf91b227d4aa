# SPDX-License-Identifier: Apache-2.0
"""What every inference component does: passes over images through the edge agent, captures, messages.

A component adds its `Task`: how an image becomes the model's input, and what the model's output says of it.
"""
