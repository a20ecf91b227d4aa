# SPDX-License-Identifier: Apache-2.0
"""Captured data on its way from the acknowledgement to its destination.

A capture passes through three folders, each step one rename:

    pending/<sequence>.capture    written before the acknowledgement; holds the tensors
    batches/<sequence>-<id>.json  a plan: which captures go together and under which keys
    done/<sequence>-<id>.json     the plan after everything arrived; its captures are removed then

A plan never changes, and what is written for it follows from the plan and its captures alone. So a delivery that was
cut off at any point is repeated with the same keys and the same bytes, and each capture arrives exactly once.
"""
