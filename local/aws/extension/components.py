# SPDX-License-Identifier: Apache-2.0
import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from local.aws.extension.errors import conflict, invalid, not_found
from local.aws.extension.world import World

KIND = "component version"
RECIPE_FORMAT = "2020-01-25"
MAXIMUM_RECIPE_BYTES = 16_000
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,128}")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_S3_URI = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class ComponentVersion:
    """One immutable version of a component.

    Attributes:
        recipe: The JSON recipe with the digest of every artifact in it, as devices get it.
        created: Seconds since the epoch.
    """

    arn: str
    name: str
    version: str
    recipe: bytes
    created: float
    publisher: str
    description: str
    platforms: tuple[Mapping[str, Any], ...]
    tags: Mapping[str, str]


def is_version(text: str) -> bool:
    """Whether ``text`` is a semantic version as component versions are."""
    return _VERSION.fullmatch(text) is not None


class ComponentVersions:
    """The component versions of one account and region, by name and version."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._versions: dict[tuple[str, str], ComponentVersion] = {}

    def __iter__(self) -> Any:
        return iter(sorted(self._versions.values(), key=lambda version: (version.name, version.created)))

    def get(self, name: str, version: str) -> ComponentVersion | None:
        """The version, or None."""
        return self._versions.get((name, version))

    def at(self, arn: str) -> ComponentVersion:
        """The version with this ARN; ``ResourceNotFoundException`` when there is none."""
        for version in self._versions.values():
            if version.arn == arn:
                return version
        raise not_found(KIND, arn)

    def create(self, inline_recipe: bytes, *, tags: Mapping[str, str]) -> ComponentVersion:
        """Registers a version: the recipe parsed, every artifact read and its digest written into the recipe.

        Raises:
            ApiError: ``ValidationException`` for a recipe or an artifact that is not acceptable;
                ``ConflictException`` (409) when the version exists.
        """
        recipe = _parse(inline_recipe)
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        if (name, version) in self._versions:
            raise conflict(
                KIND,
                f"{name}:{version}",
                f"component {name} already has a version {version}; versions are immutable: give the new content a "
                "new version",
            )
        self._add_digests(recipe)
        world = self._world
        created = ComponentVersion(
            arn=f"arn:aws:greengrass:{world.region}:{world.account}:components:{name}:versions:{version}",
            name=name,
            version=version,
            recipe=json.dumps(recipe, ensure_ascii=False).encode(),
            created=world.now(),
            publisher=recipe.get("ComponentPublisher", ""),
            description=recipe.get("ComponentDescription", ""),
            platforms=tuple(manifest.get("Platform", {}) for manifest in recipe["Manifests"]),
            tags=dict(tags),
        )
        self._versions[name, version] = created
        return created

    def delete(self, arn: str) -> None:
        """Forgets a version; deployments that name it fail on devices that do not have it yet."""
        version = self.at(arn)
        del self._versions[version.name, version.version]

    def _add_digests(self, recipe: Mapping[str, Any]) -> None:
        refused: dict[str, str] = {}
        for manifest in recipe["Manifests"]:
            for artifact in manifest.get("Artifacts", ()):
                uri = _uri(artifact)
                location = _S3_URI.fullmatch(uri)
                content = self._world.read_object(*location.groups()) if location else None
                if content is None:
                    refused[uri] = "no such object" if location else "not of the form s3://bucket/key"
                    continue
                artifact["Digest"] = base64.b64encode(hashlib.sha256(content).digest()).decode()
                artifact["Algorithm"] = "SHA-256"
        if refused:
            name = f"{recipe['ComponentName']} {recipe['ComponentVersion']}"
            reasons = "; ".join(f"{uri}: {reason}" for uri, reason in refused.items())
            raise invalid(f"artifacts of component {name} cannot be read: {reasons}. Upload them first")


def _uri(artifact: Mapping[str, Any]) -> str:
    """An artifact's URI: the cloud takes the key in any case, and devices of the strict kind only ``Uri``."""
    for key, value in artifact.items():
        if key.lower() == "uri" and isinstance(value, str):
            return value
    raise invalid(f"an artifact has no Uri; its keys are {sorted(artifact)}")


def _parse(document: bytes) -> dict[str, Any]:
    if len(document) > MAXIMUM_RECIPE_BYTES:
        raise invalid(f"the recipe has {len(document)} bytes, at most {MAXIMUM_RECIPE_BYTES} are allowed")
    try:
        recipe = json.loads(document)
    except ValueError as error:
        raise invalid(f"the recipe is not JSON ({error}); this stand-in reads no YAML") from error
    if not isinstance(recipe, dict):
        raise invalid(f"the recipe is a JSON {type(recipe).__name__}, expected an object")
    _require(recipe, "RecipeFormatVersion", lambda value: value == RECIPE_FORMAT, f"{RECIPE_FORMAT!r}")
    _require(recipe, "ComponentName", _matches(_NAME), "up to 128 letters, digits, '.', '_' and '-'")
    _require(recipe, "ComponentVersion", _matches(_VERSION), "a semantic version such as '1.0.0'")
    _require(recipe, "Manifests", _is_list_of_objects, "a list of at least one manifest")
    for manifest in recipe["Manifests"]:
        if "Artifacts" in manifest:
            _require(manifest, "Artifacts", _is_list_of_objects, "a list of artifacts")
    return recipe


def _require(document: Mapping[str, Any], key: str, accepts: Any, expected: str) -> None:
    if key not in document:
        raise invalid(f"the recipe has no {key}; expected {expected}")
    if not accepts(document[key]):
        raise invalid(f"{key} of the recipe is {document[key]!r}; expected {expected}")


def _matches(pattern: re.Pattern[str]) -> Any:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
