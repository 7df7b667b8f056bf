"""What the Hub's library raises, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from astroclip_bench.errors import DataError


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn what goes wrong with a repository on the Hub into a `DataError`."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except DataError:
        raise
    except errors.HFValidationError as error:
        raise DataError(f"{repository!r} is no name of a repository", "org/name", "check the spelling") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        found, todo = _status_texts(repository, status, error.server_message or str(error))
        raise DataError(found, todo=todo) from error
    except (httpx2.TransportError, errors.OfflineModeIsEnabled) as error:
        raise DataError(
            f"the Hub cannot be reached ({error})", todo="check the network and the variable HF_HUB_OFFLINE"
        ) from error


def _status_texts(repository: str, status: int, message: str) -> tuple[str, str]:
    """Return what was found and what to do about an HTTP status of the Hub."""
    again = "run the same command again: what the Hub has got by now is not sent twice"
    if status == 401:
        return (
            "the Hub does not know you (HTTP 401)",
            "run hf auth login, or set HF_TOKEN to a token with the role write",
        )
    if status == 403:
        return (
            f"the Hub does not let you write to {repository} (HTTP 403)",
            "use a token with the role write, ask its owners, or propose the change with --create-pr",
        )
    if status == 404:
        return f"no data set {repository} on the Hub, or it is not open to you", "check the spelling and hf auth whoami"
    if status in (409, 412):
        return f"{repository} was changed by someone else meanwhile (HTTP {status})", again
    if status == 429 or status >= 500:
        return f"the Hub is busy or down (HTTP {status})", f"wait a while, and {again}"
    return f"the Hub refuses the push to {repository} (HTTP {status}): {message}", "check the card and the files"
