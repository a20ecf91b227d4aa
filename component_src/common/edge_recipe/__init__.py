# SPDX-License-Identifier: Apache-2.0
"""The strict model of a Greengrass recipe: what runs on nucleus lite and on the classic nucleus alike.

It needs Python 3.9 and ``semantic-version``, and makes no calls. ``python -m edge_recipe lint FILE...`` holds other
people's recipes to its rules.
"""

from edge_recipe.errors import Problem, RecipeError, Severity
from edge_recipe.model import Artifact, Dependency, Manifest, Platform, Recipe, Step
from edge_recipe.parsing import parse
from edge_recipe.rendering import render
from edge_recipe.serialization import serialize
from edge_recipe.variables import MissingValueError, VariableValues, interpolate, resolve_pointer
from edge_recipe.versions import VersionRange, newest, satisfies

__all__ = [
    "Artifact",
    "Dependency",
    "Manifest",
    "MissingValueError",
    "Platform",
    "Problem",
    "Recipe",
    "RecipeError",
    "Severity",
    "Step",
    "VariableValues",
    "VersionRange",
    "interpolate",
    "newest",
    "parse",
    "render",
    "resolve_pointer",
    "satisfies",
    "serialize",
]
