# SPDX-License-Identifier: Apache-2.0


class ConfigurationError(Exception):
    """A parameter is missing or wrong. The message names it, what was expected and what came."""


class ImageError(Exception):
    """An image cannot be given to the model: it is skipped, and the pass goes on."""


class ResultError(Exception):
    """What the model answered does not fit the labels."""
