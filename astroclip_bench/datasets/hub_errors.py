"""What the Hub's library raises, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from astroclip_bench.errors import DataError

AGAIN = "run the same command again: what the Hub has got by now is not sent twice"
LOG_IN = "run hf auth login, or set HF_TOKEN to a token with the role write"


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
    except errors.LocalTokenNotFoundError as error:
        raise DataError("no token for the Hub on this machine", todo=LOG_IN) from error
    except (httpx2.TransportError, ConnectionError, TimeoutError) as error:  # offline mode is a ConnectionError
        raise DataError(
            f"the Hub cannot be reached ({error})", todo="check the network and the variable HF_HUB_OFFLINE"
        ) from error
    except (PermissionError, RuntimeError) as error:
        # What hf_xet, which sends the large files, raises of itself; an error of the disk names a file.
        if isinstance(error, OSError) and error.filename:
            raise
        raise DataError(f"sending files to {repository} failed ({error})", todo=AGAIN) from error


def _status_texts(repository: str, status: int, message: str) -> tuple[str, str]:
    """Return what was found and what to do about an HTTP status of the Hub."""
    if status == 401:
        return "the Hub does not know you (HTTP 401)", LOG_IN
    if status == 403:
        return (
            f"the Hub does not let you write to {repository} (HTTP 403)",
            "use a token with the role write, ask its owners, or propose the change with --create-pr",
        )
    if status == 404:
        return f"no data set {repository} on the Hub, or it is not open to you", "check the spelling and hf auth whoami"
    if status in (409, 412):
        return f"{repository} was changed by someone else meanwhile (HTTP {status})", AGAIN
    if status == 429 or status >= 500:
        return f"the Hub is busy or down (HTTP {status})", f"wait a while, and {AGAIN}"
    return f"the Hub refuses the push to {repository} (HTTP {status}): {message}", "check the card and the files"
