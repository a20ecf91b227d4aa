# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from edge_recipe import Dependency, Recipe, RecipeError, Severity, parse, serialize

if TYPE_CHECKING:
    from collections.abc import Sequence


def problems(recipe: Any) -> Sequence[Any]:
    with pytest.raises(RecipeError) as caught:
        parse(recipe, source="app/recipe.json")
    return caught.value.problems


def put(document: Any, path: Sequence[Any], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    if value is REMOVED:
        del document[path[-1]]
    else:
        document[path[-1]] = value


REMOVED = object()
LIFECYCLE = ("Manifests", 0, "Lifecycle")
DEFAULTS = ("ComponentConfiguration", "DefaultConfiguration")
POLICY = (*DEFAULTS, "accessControl", "aws.greengrass.ipc.mqttproxy", "dev.com.example.App:mqtt:1")
ARTIFACT = ("Manifests", 0, "Artifacts", 0)


def test_a_good_recipe_is_read_whole(recipe: dict[str, Any]) -> None:
    result = Recipe.parse(recipe, source="recipe.json")
    assert (result.name, result.version) == ("dev.com.example.App", "1.2.3")
    assert result.default_configuration["Labels"] == ["a", "b"]
    assert result.dependencies == (Dependency("aws.greengrass.TokenExchangeService", ">=2.0.0 <3.0.0", hard=True),)
    (manifest,) = result.manifests
    assert manifest.steps["install"].timeout == 600
    assert manifest.steps["install"].setenv == {"A": "1", "B": "1"}
    assert manifest.steps["run"].setenv == {"A": "1", "B": "2"}
    assert manifest.steps["run"].timeout is None
    (artifact,) = manifest.artifacts
    assert (artifact.file_name, artifact.unarchive, artifact.read, artifact.execute) == (
        "app.zip",
        "ZIP",
        "ALL",
        "OWNER",
    )


@pytest.mark.parametrize("form", [json.dumps, serialize, lambda recipe: json.dumps(recipe).encode()])
def test_text_bytes_and_mapping_read_alike(recipe: dict[str, Any], form: Any) -> None:
    assert parse(form(recipe), source="x") == parse(recipe, source="x")


def test_the_service_s_digest_is_read(recipe: dict[str, Any]) -> None:
    put(recipe, (*ARTIFACT, "Digest"), "A" * 43 + "=")
    put(recipe, (*ARTIFACT, "Algorithm"), "SHA-256")
    assert parse(recipe, source="x").manifests[0].artifacts[0].digest == "A" * 43 + "="


BREAKS = [
    # path, value, place of the problem, part of its text
    (("Lifecyle",), {}, "$", "'Lifecyle'"),
    (("Lifecycle",), {"linux": {}}, "$", "global lifecycle"),
    (("RecipeFormatVersion",), "2021-01-01", "$.RecipeFormatVersion", "2020-01-25"),
    (("ComponentName",), REMOVED, "$.ComponentName", "name the component"),
    (("ComponentName",), "has space", "$.ComponentName", "a-z A-Z"),
    (("ComponentName",), "x" * 129, "$.ComponentName", "128"),
    (("ComponentName",), "aws.greengrass.Mine", "$.ComponentName", "prefix"),
    (("ComponentVersion",), "1.2", "$.ComponentVersion", "x.y.z"),
    (("ComponentVersion",), "1.2.03", "$.ComponentVersion", "x.y.z"),
    (("ComponentVersion",), "1.2.1000000", "$.ComponentVersion", "999999"),
    (("ComponentVersion",), 1, "$.ComponentVersion", "int 1"),
    (("ComponentType",), "aws.greengrass.lambda", "$.ComponentType", "generic"),
    (("Manifests",), REMOVED, "$.Manifests", "a list"),
    (("Manifests",), [], "$.Manifests", "at least one"),
    (("Manifests", 0, "Platform"), REMOVED, "$.Manifests[0].Platform", "an object"),
    (("Manifests", 0, "Platform", "runtime"), REMOVED, "$.Manifests[0].Platform.runtime", "found nothing"),
    (("Manifests", 0, "Platform", "runtime"), "aws_nucleus_lite", "$.Manifests[0].Platform.runtime", "both nuclei"),
    (("Manifests", 0, "Platform", "os"), REMOVED, "$.Manifests[0].Platform.os", "operating system"),
    (("Manifests", 0, "Platform", "os"), "*", "$.Manifests[0].Platform.os", "linux"),
    (("Manifests", 0, "Platform", "architecture"), "x86_64", "$.Manifests[0].Platform.architecture", "amd64"),
    (
        ("Manifests", 0, "Platform", "architecture.detail"),
        "/a|b/",
        "$.Manifests[0].Platform.architecture.detail",
        "no pat",
    ),
    (("Manifests", 0, "Selections"), ["all"], "$.Manifests[0]", "'Selections'"),
    ((*LIFECYCLE, "Run"), "x", "$.Manifests[0].Lifecycle", "write 'run'"),
    ((*LIFECYCLE, "rum"), "x", "$.Manifests[0].Lifecycle", "write 'run'"),
    ((*LIFECYCLE, "startup"), "x", "$.Manifests[0].Lifecycle", "Debian 12"),
    ((*LIFECYCLE, "recover"), "x", "$.Manifests[0].Lifecycle", "never runs"),
    ((*LIFECYCLE, "install"), "pip install x", "$.Manifests[0].Lifecycle.install.Timeout", "explicit Timeout"),
    ((*LIFECYCLE, "install", "Timeout"), REMOVED, "$.Manifests[0].Lifecycle.install.Timeout", "explicit Timeout"),
    (
        (*LIFECYCLE, "install", "Timeout"),
        "{configuration:/t}",
        "$.Manifests[0].Lifecycle.install.Timeout",
        "whole number",
    ),
    ((*LIFECYCLE, "install", "Timeout"), True, "$.Manifests[0].Lifecycle.install.Timeout", "whole number"),
    ((*LIFECYCLE, "install", "Timeout"), 0, "$.Manifests[0].Lifecycle.install.Timeout", "above 0"),
    ((*LIFECYCLE, "run", "script"), "x", "$.Manifests[0].Lifecycle.run", "write 'Script'"),
    ((*LIFECYCLE, "run", "Skipif"), "onpath x", "$.Manifests[0].Lifecycle.run", "ignores Skipif"),
    ((*LIFECYCLE, "run", "Script"), REMOVED, "$.Manifests[0].Lifecycle.run.Script", "shell script"),
    ((*LIFECYCLE, "run", "Script"), "echo ${HOME}", "$.Manifests[0].Lifecycle.run.Script", "write $HOME"),
    ((*LIFECYCLE, "run", "Script"), "awk '{print}'", "$.Manifests[0].Lifecycle.run.Script", "cuts the script"),
    ((*LIFECYCLE, "run", "Script"), "f() {\n x\n}", "$.Manifests[0].Lifecycle.run.Script", "cuts the script"),
    ((*LIFECYCLE, "run", "Script"), "x }", "$.Manifests[0].Lifecycle.run.Script", "found }"),
    ((*LIFECYCLE, "run", "Script"), "{other:work:path}", "$.Manifests[0].Lifecycle.run.Script", "another component"),
    ((*LIFECYCLE, "run", "Script"), "{configuration:/No}", "$.Manifests[0].Lifecycle.run.Script", "a default for"),
    ((*LIFECYCLE, "run", "Setenv", "X"), "${Y}", "$.Manifests[0].Lifecycle.run.Setenv.X", "write $Y"),
    ((*LIFECYCLE, "run", "Setenv", "X"), 1, "$.Manifests[0].Lifecycle.run.Setenv.X", "int 1"),
    ((*LIFECYCLE, "run", "RequiresPrivilege"), "true", "$.Manifests[0].Lifecycle.run.RequiresPrivilege", "quotes"),
    ((*DEFAULTS, "Interval"), 60, "$.Manifests[0].Lifecycle.run.Script", "300.0"),
    ((*DEFAULTS, "accessControl"), [], "$.ComponentConfiguration.DefaultConfiguration.accessControl", "an object"),
    (
        (*DEFAULTS, "accessControl", "aws.greengrass.SecretManager"),
        {},
        "$.ComponentConfiguration.DefaultConfiguration.accessControl.aws.greengrass.SecretManager",
        "lite has no other",
    ),
    ((*POLICY, "operations"), [], ".".join(["$", *POLICY, "operations"]), "not empty"),
    ((*POLICY, "operations"), ["PublishToIoTCore"], ".".join(["$", *POLICY, "operations"]), "full name"),
    ((*POLICY, "resources"), "*", ".".join(["$", *POLICY, "resources"]), "a list"),
    ((*POLICY, "resource"), ["*"], ".".join(["$", *POLICY]), "'resource'"),
    (("ComponentDependencies", "x"), {}, "$.ComponentDependencies.x.VersionRequirement", "a range"),
    (
        ("ComponentDependencies", "x"),
        {"VersionRequirement": "newest"},
        "$.ComponentDependencies.x.VersionRequirement",
        "npm",
    ),
    (
        ("ComponentDependencies", "x"),
        {"VersionRequirement": "*", "DependencyType": "hard"},
        "$.ComponentDependencies.x.DependencyType",
        "HARD or SOFT",
    ),
    ((*ARTIFACT, "URI"), "s3://b/k", "$.Manifests[0].Artifacts[0]", "exactly that"),
    ((*ARTIFACT, "Uri"), "https://example.com/x", "$.Manifests[0].Artifacts[0].Uri", "s3://"),
    ((*ARTIFACT, "Uri"), "s3://bucket/", "$.Manifests[0].Artifacts[0].Uri", "s3://"),
    ((*ARTIFACT, "Unarchive"), "TAR", "$.Manifests[0].Artifacts[0].Unarchive", "a zip"),
    ((*ARTIFACT, "Permission", "Read"), "Everyone", "$.Manifests[0].Artifacts[0].Permission.Read", "ALL"),
    ((*ARTIFACT, "Algorithm"), "MD5", "$.Manifests[0].Artifacts[0].Algorithm", "SHA-256"),
]


@pytest.mark.parametrize(("path", "value", "place", "text"), BREAKS)
def test_what_breaks_on_a_nucleus_is_refused_where_it_stands(
    recipe: dict[str, Any], path: Sequence[Any], value: Any, place: str, text: str
) -> None:
    put(recipe, path, value)
    found = problems(recipe)
    assert place in {problem.place for problem in found}
    assert text in "\n".join(str(problem) for problem in found if problem.place == place)


# What the classic nucleus runs, or runs most of the time, and nucleus lite does not: path, value, part of the remedy.
WARNINGS = [
    (("Lifecycle",), {"all": {"run": "x"}}, "move it into the manifest"),
    (("componentdescription",), "x", "write 'ComponentDescription'"),
    (("ComponentName",), "aws.greengrass.Mine", "prefix"),
    (("ComponentVersion",), "1.2.3-rc.1", "pre-releases"),
    (("ComponentType",), "aws.greengrass.lambda", "generic components only"),
    (("Manifests", 0, "Platform"), None, "skips a manifest without it"),
    (("Manifests", 0, "Platform", "runtime"), "aws_nucleus_lite", "it alone matches both"),
    (("Manifests", 0, "Platform", "os"), "all", "explicitly"),
    (("Manifests", 0, "Platform", "architecture"), "/amd64|x86/", "a manifest for each value"),
    (("Manifests", 0, "Platform", "board"), "raspberry", "configured with this attribute"),
    (("Manifests", 0, "Selections"), ["all"], "selects only in part"),
    ((*LIFECYCLE, "RUN"), "x", "write 'run'"),
    ((*LIFECYCLE, "Recover"), "x", "never runs it"),
    ((*LIFECYCLE, "bootstrap"), {"Script": "x", "Timeout": 9}, "only in part"),
    ((*LIFECYCLE, "install"), "pip install x", "the default is 120"),
    ((*LIFECYCLE, "install", "Timeout"), "600", "the number itself"),
    ((*LIFECYCLE, "install", "Timeout"), "{configuration:/t}", "the number itself"),
    ((*LIFECYCLE, "run", "skipif"), "onpath x", "ignores Skipif"),
    ((*LIFECYCLE, "run", "Script"), "echo ${HOME}", "write $HOME"),
    ((*LIFECYCLE, "run", "Script"), "awk '{print}'", "cuts the script"),
    ((*LIFECYCLE, "run", "Script"), "{other:work:path}", "another component"),
    ((*LIFECYCLE, "run", "Script"), "{configuration:/No}", "give it one"),
    ((*DEFAULTS, "Interval"), 60, 'write "60"'),
    ((*DEFAULTS, "accessControl", "aws.greengrass.SecretManager"), {}, "lite has no other"),
    ((*ARTIFACT, "Uri"), "docker:image", "no images"),
]
ERRORS_EVERYWHERE = [
    (("Manifests", 0, "Lifecyle"), {}, "write 'Lifecycle'"),
    ((*LIFECYCLE, "rum"), "x", "write 'run'"),
    ((*LIFECYCLE, "startup"), "x", "keep 'run'"),
    (("ComponentVersion",), "$VERSION$", "a placeholder"),
    (("ComponentVersion",), "1.0.0-" + "x" * 64, "three numbers"),
    (("ComponentType",), "generic", "leave it out"),
    (("Manifests", 0, "Platform", "os"), "Linux", "name the operating system"),
    (("Manifests", 0, "Platform", "os"), 1, "name the operating system"),
    (("Manifests", 0, "Platform", "architecture"), "x86_64", "Greengrass's word"),
    (("Manifests", 0, "Platform", "architecture.detail"), 7, "in quotes"),
    ((*LIFECYCLE, "run", "Script"), "python3 {{artifacts:path}}/x.py", "write {artifacts:path}"),
    ((*LIFECYCLE, "run", "Script"), "ls { work:path }", "without spaces"),
    ((*LIFECYCLE, "install", "Timeout"), -1, "the number itself"),
    ((*DEFAULTS, "accessControl", "PubSub"), {}, "no other"),
    ((*ARTIFACT, "Unarchive"), "TAR", "a zip"),
    (("ComponentDescription",), "x" * 16_000, "large defaults"),
]


@pytest.mark.parametrize(
    ("path", "value", "remedy", "severity"),
    [(*case, Severity.WARNING) for case in WARNINGS] + [(*case, Severity.ERROR) for case in ERRORS_EVERYWHERE],
)
def test_a_problem_says_whether_it_breaks_everywhere(
    recipe: dict[str, Any], path: Sequence[Any], value: Any, remedy: str, severity: Severity
) -> None:
    put(recipe, path, value)
    found = problems(recipe)
    assert {problem.severity for problem in found if remedy in problem.remedy} == {severity}


@pytest.mark.parametrize("phase", ["Install", "INSTALL"])
def test_what_stands_below_a_key_of_the_wrong_case_is_read_as_well(recipe: dict[str, Any], phase: str) -> None:
    lifecycle = recipe["Manifests"][0]["Lifecycle"]
    del lifecycle["install"]
    lifecycle[phase] = {"script": "echo ${A}", "timeout": 600}
    places = [problem.place for problem in problems(recipe)]
    assert places == [
        "$.Manifests[0].Lifecycle",
        "$.Manifests[0].Lifecycle.install",
        "$.Manifests[0].Lifecycle.install",
        "$.Manifests[0].Lifecycle.install.Script",
    ]


def test_two_artifacts_of_one_file_name_are_refused(recipe: dict[str, Any]) -> None:
    artifacts = recipe["Manifests"][0]["Artifacts"]
    artifacts.append({"Uri": "s3://bucket/other/app.zip"})
    assert "'app.zip' twice" in str(problems(recipe)[0])


def test_a_recipe_has_at_most_8_kib(recipe: dict[str, Any]) -> None:
    recipe["ComponentDescription"] = ""
    room = 8192 - len(serialize(recipe))
    recipe["ComponentDescription"] = "x" * room
    parse(recipe, source="x")
    recipe["ComponentDescription"] += "x"
    (problem,) = problems(recipe)
    assert "8193 bytes" in problem.found
    assert problem.severity is Severity.WARNING  # the service and the classic nucleus take it
    recipe["ComponentDescription"] = "ä" * (room // 2 + 1)
    assert "bytes" in problems(recipe)[0].found


def test_all_problems_come_in_one_error_that_names_the_source(recipe: dict[str, Any]) -> None:
    recipe["ComponentVersion"] = "1"
    recipe["Manifests"][0]["Platform"] = {}
    recipe["Manifests"][0]["Lifecycle"]["run"]["Script"] = "{x} ${Y}"
    with pytest.raises(RecipeError) as caught:
        parse(recipe, source="component_src/app/recipe.json")
    assert str(caught.value).startswith(
        "component_src/app/recipe.json: 5 problems in this recipe:\n  $.ComponentVersion"
    )
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("text", ["{", "RecipeFormatVersion: '2020-01-25'", b"\xff\xfe", "[]", "null"])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    assert problems(text)


def test_a_key_twice_is_refused() -> None:
    assert "'a' twice" in str(problems('{"a": 1, "a": 2}')[0])


def test_the_first_manifest_that_fits_is_chosen(recipe: dict[str, Any]) -> None:
    manifest = recipe["Manifests"][0]
    for name, platform in (
        ("arm", {"os": "linux", "architecture": "aarch64", "runtime": "*"}),
        ("mac", {"os": "darwin", "runtime": "*"}),
    ):
        recipe["Manifests"].insert(0, {**copy.deepcopy(manifest), "Name": name, "Platform": platform})
    result = parse(recipe, source="x")
    chosen = {
        key: getattr(result.manifest_for(os=key[0], architecture=key[1]), "name", None)
        for key in (("linux", "aarch64"), ("linux", "amd64"), ("darwin", "aarch64"), ("windows", "amd64"))
    }
    assert list(chosen.values()) == ["arm", "linux", "mac", None]
