# SPDX-License-Identifier: Apache-2.0
"""The install step of a component: its locked requirements into a virtual environment of its own. Standard library."""
