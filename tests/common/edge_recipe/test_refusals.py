# SPDX-License-Identifier: Apache-2.0
"""What synth refuses in a component's recipe.json, said by what makes the deployable recipe of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge_recipe import RecipeError, render

mark = pytest.mark.refusal
Says = tuple[str, str, str, str]


def _lifecycle(recipe: dict[str, Any]) -> dict[str, Any]:
    lifecycle: dict[str, Any] = recipe["Manifests"][0]["Lifecycle"]
    return lifecycle


def _rename(document: dict[str, Any], old: str, new: str) -> None:
    document[new] = document.pop(old)


def _script(text: str) -> Callable[[dict[str, Any]], None]:
    return lambda recipe: _lifecycle(recipe)["run"].update(Script=text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            lambda recipe: _rename(recipe["Manifests"][0], "Lifecycle", "Lifecyle"),
            ("$.Manifests[0]", "expected only the keys", "found 'Lifecyle'", "write 'Lifecycle'"),
            marks=mark("Recipe", "an unknown key"),
        ),
        pytest.param(
            lambda recipe: _rename(_lifecycle(recipe), "run", "rum"),
            ("$.Manifests[0].Lifecycle", "expected only the keys", "found 'rum'", "write 'run'"),
            marks=mark("Recipe", "a misspelt phase"),
        ),
        pytest.param(
            lambda recipe: _rename(_lifecycle(recipe), "run", "Run"),
            ("$.Manifests[0].Lifecycle", "expected only the keys", "found 'Run'", "write 'run': nucleus lite"),
            marks=mark("Recipe", "a phase with a capital letter"),
        ),
        pytest.param(
            _script("exec ./app ${HOME}"),
            ("run.Script", "expected no ${...}", "found ${HOME}", "write $HOME without braces"),
            marks=mark("Recipe", "${VAR} in a script"),
        ),
        pytest.param(
            _script("awk '{print}' list"),
            ("run.Script", "expected braces only around", "found {print}", "reword it"),
            marks=mark("Recipe", "other braces in a script"),
        ),
        pytest.param(
            _script("exec ./app {com.example.Model:work:path}"),
            ("run.Script", "expected braces only", "found {com.example.Model:work:path}", "through configuration"),
            marks=mark("Recipe", "a variable of another component"),
        ),
        pytest.param(
            lambda recipe: recipe["ComponentConfiguration"]["DefaultConfiguration"].update(Interval=60),
            ("run.Script", "expected a string at /Interval", "found int 60", 'write "60"'),
            marks=mark("Recipe", "a number that a script interpolates"),
        ),
        pytest.param(
            lambda recipe: recipe["Manifests"][0]["Platform"].pop("runtime"),
            ("Platform.runtime", "expected '*'", "found nothing", 'write "runtime": "*"'),
            marks=mark("Recipe", "no runtime"),
        ),
        pytest.param(
            lambda recipe: _lifecycle(recipe).update(install="pip install app"),
            ("install.Timeout", "expected an explicit Timeout", "found none", '"Timeout": 600'),
            marks=mark("Recipe", "an installation without a timeout"),
        ),
        pytest.param(
            lambda recipe: recipe.update(ComponentDescription="x" * 8192),
            ("$:", "expected at most 8192 bytes", "bytes; ", "move large defaults"),
            marks=mark("Recipe", "more than 8 KiB"),
        ),
        pytest.param(
            lambda recipe: recipe["Manifests"][0]["Artifacts"][0].update(Uri="ap.zip"),
            ("Artifacts[0].Uri", "expected a file that is published", "found str 'ap.zip'", "correct the name"),
            marks=mark("Recipe", "an artifact without a file"),
        ),
        pytest.param(
            lambda recipe: recipe.update(ComponentVersion="1.0.0"),
            ("recipe of com.example.App", "expected a template without ComponentVersion", "found one", "remove it"),
            marks=mark("Recipe", "a version that the lock did not allot"),
        ),
    ],
)
def test_a_template(
    recipe: dict[str, Any], refusal: Callable[..., None], change: Callable[[dict[str, Any]], object], says: Says
) -> None:
    del recipe["ComponentVersion"]
    recipe["ComponentName"] = "com.example.App"
    recipe["Manifests"][0]["Artifacts"][0]["Uri"] = "app.zip"
    change(recipe)
    with pytest.raises(RecipeError) as caught:
        render(
            recipe,
            namespace="dev",
            version="1.0.0",
            artifact_base_uri="s3://bucket/app",
            own_components=[],
            artifacts=["app.zip"],
            source="recipe of com.example.App",
        )
    refusal(str(caught.value), says)
