# SPDX-License-Identifier: Apache-2.0
import dataclasses
from collections.abc import Sequence

from local.aws.extension.errors import ApiError, not_found
from local.aws.extension.world import World

KIND = "role alias"
DEFAULT_SECONDS = 3_600
SECONDS = range(900, 43_201)


@dataclasses.dataclass
class RoleAlias:
    """The name by which devices ask for a role; dates in seconds since the epoch."""

    name: str
    arn: str
    role_arn: str
    seconds: int
    owner: str
    created: float
    modified: float


class RoleAliases:
    """The role aliases of one account and region."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._aliases: dict[str, RoleAlias] = {}

    def names(self) -> Sequence[str]:
        """Every alias's name, sorted."""
        return sorted(self._aliases)

    def get(self, name: str) -> RoleAlias:
        """The alias; ``ResourceNotFoundException`` when there is none."""
        if name not in self._aliases:
            raise not_found(KIND, name)
        return self._aliases[name]

    def create(self, name: str, *, role_arn: str, seconds: int = DEFAULT_SECONDS) -> RoleAlias:
        """Adds an alias; ``ResourceAlreadyExistsException`` (409) when the name is taken."""
        world = self._world
        arn = f"arn:aws:iot:{world.region}:{world.account}:rolealias/{name}"
        if name in self._aliases:
            raise ApiError("ResourceAlreadyExistsException", f"role alias {name!r} exists already", 409, (name, arn))
        now = world.now()
        self._aliases[name] = RoleAlias(name, arn, role_arn, _checked(seconds), world.account, now, now)
        return self._aliases[name]

    def update(self, name: str, *, role_arn: str | None = None, seconds: int | None = None) -> RoleAlias:
        """Changes what is given."""
        alias = self.get(name)
        alias.role_arn = role_arn or alias.role_arn
        alias.seconds = alias.seconds if seconds is None else _checked(seconds)
        alias.modified = self._world.now()
        return alias

    def delete(self, name: str) -> None:
        """Removes the alias."""
        self.get(name)
        del self._aliases[name]


def _checked(seconds: int) -> int:
    if seconds not in SECONDS:
        raise ApiError(
            "InvalidRequestException",
            f"credentialDurationSeconds is {seconds}, expected {SECONDS.start} to {SECONDS.stop - 1}",
        )
    return seconds
