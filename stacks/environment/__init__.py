# SPDX-License-Identifier: Apache-2.0
"""An environment: what `environments/<name>.toml` says, typed and checked before anything is synthesised.

`settings` has the keys of the file and the names that follow from them, `tables` the keys of its tables, `rules` what
must hold between keys; `file` reads it all. Three tables belong to constructs: `edge_constructs.rollout_settings`,
`compilation_settings` and `packaging_settings`.
"""

from stacks.environment.file import DEFAULT_REGION, DOCUMENTATION_ACCOUNT, load_environment, overrides_for
from stacks.environment.rules import DISCONTINUED, check_together
from stacks.environment.settings import Environment
from stacks.environment.tables import Alarms, Inference, Verification
from stacks.settings_file import EnvironmentFileError

__all__ = [
    "DEFAULT_REGION",
    "DISCONTINUED",
    "DOCUMENTATION_ACCOUNT",
    "Alarms",
    "Environment",
    "EnvironmentFileError",
    "Inference",
    "Verification",
    "check_together",
    "load_environment",
    "overrides_for",
]
