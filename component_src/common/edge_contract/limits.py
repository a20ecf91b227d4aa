# SPDX-License-Identifier: Apache-2.0
"""Bounds that both ends of the socket share."""

from __future__ import annotations

#: Longest message in either direction, bytes: an inline 4K RGB frame as float32 (95 MiB) fits. The agent's default too.
MAX_MESSAGE_BYTES = 128 * 1024 * 1024
#: A unix socket's path as the kernel limits it, without the terminating zero.
MAX_SOCKET_PATH_BYTES = 107
