# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.aws.server import EmbeddedAws

ACCOUNT = "111122223333"
REGION = "us-east-1"


@pytest.fixture
def own_aws(tmp_path: Path) -> Iterator[EmbeddedAws]:
    """An embedded AWS of the test's own."""
    with EmbeddedAws.start(directory=tmp_path / "aws", account=ACCOUNT, region=REGION) as aws:
        yield aws


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """One embedded AWS for all the tests that leave others alone by the names they use."""
    with EmbeddedAws.start(directory=tmp_path_factory.mktemp("aws"), account=ACCOUNT, region=REGION) as aws:
        yield aws
