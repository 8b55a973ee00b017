"""What goes wrong with an object store, in a line that says what to do.

Every library behind fsspec has errors of its own; only missing files are alike in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UsageError, VadError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # of vad, by scheme
REFUSED = (401, 403)  # HTTP status


@contextmanager
def told(address: str) -> Iterator[None]:
    """Turn the errors of an object store into UsageError; FileNotFoundError stays what it is.

    The libraries have tried again before they raise.
    """
    try:
        yield
    except (VadError, FileNotFoundError):
        raise
    except ImportError as error:
        scheme = address.partition("://")[0]
        install = f"pip install 'wsvad[{EXTRAS[scheme]}]'" if scheme in EXTRAS else str(error)
        raise UsageError(f"{address} needs another package", hint=install) from error
    except Exception as error:
        if _is_refusal(error):
            raise UsageError(
                f"{address} refuses access: {_line(error)}",
                hint="credentials come from the environment or a profile; see docs/distribution.md",
            ) from error
        raise UsageError(
            f"{address} cannot be reached: {_line(error)}",
            hint="what is stored stays; run the command again",
        ) from error


def _is_refusal(error: Exception) -> bool:
    return (
        isinstance(error, PermissionError)
        or "Credentials" in type(error).__name__  # of botocore: none found, or incomplete ones
        or getattr(error, "code", None) in REFUSED  # of gcsfs
    )


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
