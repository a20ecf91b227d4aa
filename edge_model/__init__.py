# SPDX-License-Identifier: Apache-2.0
"""The edge-model command: models checked, packaged, signed and made smaller before a fleet sees them."""
