# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_recipe import rules
from edge_recipe.errors import RecipeError, describe, warning
from edge_recipe.model import Artifact, Dependency, Manifest, Platform, Recipe, Step
from edge_recipe.reader import Reader, load_json
from edge_recipe.serialization import serialize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_recipe.errors import Problem

FORMAT_VERSION = "2020-01-25"
_TOP_KEYS = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentType",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
)
_TOP_ADVICE = {"Lifecycle": "move it into the manifest: nucleus lite reads a global lifecycle only in part"}
_MANIFEST_ADVICE = {"Selections": "write the lifecycle into the manifest: nucleus lite selects only in part"}
_PERMISSIONS = ("NONE", "OWNER", "ALL")


def parse(recipe: str | bytes | Mapping[str, Any], *, source: str) -> Recipe:
    """Read a deployable recipe and hold it to every rule of both Greengrass nuclei.

    Args:
        recipe: JSON text, or the object that it stands for.
        source: the file or component that messages name.

    Raises:
        RecipeError: with all problems of the recipe at once.
    """
    document = load_json(recipe, source=source) if isinstance(recipe, (str, bytes)) else recipe
    text = recipe if isinstance(recipe, (str, bytes)) else serialize(recipe)
    result, problems = check(document, byte_count=len(text.encode() if isinstance(text, str) else text))
    if problems:
        raise RecipeError(source, problems)
    return result


def check(document: object, *, byte_count: int) -> tuple[Recipe, list[Problem]]:
    """Read a recipe as far as it can be read, and list all that is wrong with it.

    Args:
        document: the recipe as JSON values.
        byte_count: its length as a file.
    """
    reader = Reader()
    recipe = _recipe(reader, reader.mapping(document, "$", what="a recipe"))
    reader.extend(rules.size(byte_count))
    return recipe, reader.problems


def _recipe(reader: Reader, value: Mapping[str, Any]) -> Recipe:
    value = reader.keys(value, "$", known=_TOP_KEYS, advice=_TOP_ADVICE)
    reader.text(value, "RecipeFormatVersion", "$", allowed=(FORMAT_VERSION,), remedy=f"write {FORMAT_VERSION!r}")
    name = reader.text(value, "ComponentName", "$", remedy="name the component")
    version = reader.text(value, "ComponentVersion", "$", remedy="take the version from the lock of versions")
    if name:
        reader.extend(rules.component_name(name, "$.ComponentName"))
    if version:
        reader.extend(rules.component_version(version, "$.ComponentVersion"))
    reader.extend(rules.component_type(value.get("ComponentType", rules.COMPONENT_TYPE), "$.ComponentType"))
    configuration = _configuration(reader, value.get("ComponentConfiguration", {}))
    return Recipe(
        name=name,
        version=version,
        description=reader.text(value, "ComponentDescription", "$", default=""),
        publisher=reader.text(value, "ComponentPublisher", "$", default=""),
        default_configuration=configuration,
        dependencies=_dependencies(reader, value.get("ComponentDependencies", {})),
        manifests=_manifests(reader, value.get("Manifests"), configuration),
    )


def _configuration(reader: Reader, value: object) -> Mapping[str, Any]:
    place = "$.ComponentConfiguration"
    holder = reader.mapping(value, place, what="with DefaultConfiguration")
    holder = reader.keys(holder, place, known=("DefaultConfiguration",))
    place += ".DefaultConfiguration"
    configuration = reader.mapping(holder.get("DefaultConfiguration", {}), place, what="the default values")
    if "accessControl" in configuration:
        reader.extend(rules.access_control(configuration["accessControl"], f"{place}.accessControl"))
    return configuration


def _dependencies(reader: Reader, value: object) -> tuple[Dependency, ...]:
    result = []
    for name, item in reader.mapping(value, "$.ComponentDependencies", what="dependencies by name").items():
        place = f"$.ComponentDependencies.{name}"
        entry = reader.mapping(item, place, what="VersionRequirement and DependencyType")
        entry = reader.keys(entry, place, known=("VersionRequirement", "DependencyType"))
        requirement = reader.text(entry, "VersionRequirement", place, remedy="write a range, such as '^1.0.0'")
        if requirement:
            reader.extend(rules.version_requirement(requirement, f"{place}.VersionRequirement"))
        kind = reader.text(
            entry, "DependencyType", place, default="HARD", allowed=("HARD", "SOFT"), remedy="write HARD or SOFT"
        )
        result.append(Dependency(name=name, requirement=requirement, hard=kind == "HARD"))
    return tuple(result)


def _manifests(reader: Reader, value: object, configuration: Mapping[str, Any]) -> tuple[Manifest, ...]:
    manifests = reader.array(value, "$.Manifests", what="one manifest for each kind of device")
    if isinstance(value, list) and not value:
        reader.add("$.Manifests", expected="at least one manifest", found="none", remedy="add one for linux")
    return tuple(_manifest(reader, item, f"$.Manifests[{i}]", configuration) for i, item in enumerate(manifests))


def _manifest(reader: Reader, value: object, place: str, configuration: Mapping[str, Any]) -> Manifest:
    entry = reader.mapping(value, place, what="a manifest")
    known = ("Name", "Platform", "Lifecycle", "Artifacts")
    entry = reader.keys(entry, place, known=known, advice=_MANIFEST_ADVICE)
    artifacts = reader.array(entry.get("Artifacts", []), f"{place}.Artifacts", what="artifacts")
    result = Manifest(
        name=reader.text(entry, "Name", place, default=""),
        platform=_platform(reader, entry.get("Platform"), f"{place}.Platform"),
        steps=_steps(reader, entry.get("Lifecycle", {}), f"{place}.Lifecycle", configuration),
        artifacts=tuple(_artifact(reader, item, f"{place}.Artifacts[{i}]") for i, item in enumerate(artifacts)),
    )
    reader.extend(rules.unique_file_names([artifact.uri for artifact in result.artifacts], f"{place}.Artifacts"))
    return result


def _platform(reader: Reader, value: object, place: str) -> Platform:
    if value is None:
        remedy = 'write {"os": "linux", "runtime": "*"}: nucleus lite skips a manifest without it'
        reader.extend([warning(place, expected="an object", found="nothing", remedy=remedy)])
        return Platform(os="*", runtime="*")
    entry = reader.mapping(value, place, what='such as {"os": "linux", "runtime": "*"}')
    if isinstance(value, dict):
        reader.extend(rules.platform(entry, place))
    return Platform(
        os=str(entry.get("os", "*")),
        runtime="*",
        architecture=str(entry.get("architecture", "*")),
        architecture_detail=str(entry.get("architecture.detail", "*")),
    )


def _steps(reader: Reader, value: object, place: str, configuration: Mapping[str, Any]) -> dict[str, Step]:
    lifecycle = reader.mapping(value, place, what="scripts by phase")
    lifecycle = reader.keys(lifecycle, place, known=(*rules.PHASES, "Setenv"), advice=rules.PHASE_ADVICE)
    reader.extend(rules.phases(lifecycle, place))
    common = _setenv(reader, lifecycle.get("Setenv", {}), f"{place}.Setenv")
    for phase in ("bootstrap", "install"):
        if phase in lifecycle:
            reader.extend(rules.install_timeout(lifecycle[phase], f"{place}.{phase}.Timeout"))
    steps = {}
    for phase in (*rules.PHASES, *rules.PHASE_ADVICE):
        if phase in lifecycle:
            step = _step(reader, lifecycle[phase], f"{place}.{phase}", common)
            reader.extend(rules.script(step.script, configuration, f"{place}.{phase}.Script"))
            for key, text in step.setenv.items():
                reader.extend(rules.script(text, configuration, f"{place}.{phase}.Setenv.{key}"))
            steps[phase] = step
    return steps


def _step(reader: Reader, value: object, place: str, common: Mapping[str, str]) -> Step:
    if isinstance(value, str):
        value = {"Script": value}
    entry = reader.mapping(value, place, what="with Script")
    entry = reader.keys(
        entry, place, known=("Script", "RequiresPrivilege", "Setenv", "Timeout"), advice=rules.STEP_ADVICE
    )
    privilege = entry.get("RequiresPrivilege", False)
    if not isinstance(privilege, bool):
        reader.add(
            f"{place}.RequiresPrivilege", expected="true or false", found=describe(privilege), remedy="drop the quotes"
        )
    if "Timeout" in entry:
        reader.extend(rules.timeout(entry["Timeout"], f"{place}.Timeout"))
    return Step(
        script=reader.text(entry, "Script", place, remedy="write the shell script"),
        requires_privilege=privilege is True,
        timeout=entry.get("Timeout"),
        setenv={**common, **_setenv(reader, entry.get("Setenv", {}), f"{place}.Setenv")},
    )


def _setenv(reader: Reader, value: object, place: str) -> dict[str, str]:
    entry = reader.mapping(value, place, what="environment variables")
    return {key: reader.text(entry, key, place, default="") for key in entry}


def _artifact(reader: Reader, value: object, place: str) -> Artifact:
    entry = reader.mapping(value, place, what="with Uri")
    entry = reader.keys(entry, place, known=("Uri", "Unarchive", "Permission", "Digest", "Algorithm"))
    uri = reader.text(entry, "Uri", place, remedy="name the object in S3")
    if uri:
        reader.extend(rules.artifact_uri(uri, f"{place}.Uri"))
    permission = reader.mapping(entry.get("Permission", {}), f"{place}.Permission", what="Read and Execute")
    permission = reader.keys(permission, f"{place}.Permission", known=("Read", "Execute"))

    def allowed_to(key: str, default: str) -> str:
        remedy = "say who may do it"
        return reader.text(permission, key, f"{place}.Permission", default=default, allowed=_PERMISSIONS, remedy=remedy)

    digest = reader.text(entry, "Digest", place, default="") or None
    if digest is not None or "Algorithm" in entry:
        reader.extend(rules.artifact_digest(digest or "", str(entry.get("Algorithm")), place))
    return Artifact(
        uri=uri,
        unarchive=reader.text(
            entry,
            "Unarchive",
            place,
            default="NONE",
            allowed=("NONE", "ZIP"),
            remedy="publish a zip: neither nucleus unpacks anything else",
        ),
        read=allowed_to("Read", "OWNER"),
        execute=allowed_to("Execute", "NONE"),
        digest=digest,
    )
