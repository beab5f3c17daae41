"""A hosted endpoint: an OpenAI-compatible API that somebody else runs. Nothing is launched; it is asked, seldom, because it costs.

What a refusal means stands here as data (``MEANS``), by status: DeepSeek's and NVIDIA's documentation, and what was seen of
``integrate.api.nvidia.com`` in public threads. A retired model is still listed under ``/v1/models`` while completions say 410
(deepseek-v4-flash and -pro, 2026-08-07), so the list is not believed: a short completion is asked for now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from launchpad.engines import base

if TYPE_CHECKING:
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec

AS_OF: Final = "2026-11-23"
#: The one stage of its start.
ASKED: Final = "asked"
#: Seconds between two looks at the list of models (free), between two questions of a start, and between two completions.
_LOOK_S: Final = 60.0
_START_S: Final = 5.0
_COMPLETION_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status says. ``ends`` is whether asking again is no use: "ever", "start" (before it has served), or "never"."""

    says: str
    hint: str
    ends: str
    source: str
    as_of: str = AS_OF


_DEEPSEEK: Final = "https://api-docs.deepseek.com/quick_start/error_codes"
_NVCF: Final = "NVIDIA's samples for cloud functions"
_NVIDIA: Final = "https://build.nvidia.com (deprecation notice), public threads of its users"

_KEY: Final = "check hosted.key: is it whole, and still valid? launchpad restart NAME reads a key file again"
_MAY: Final = "check hosted.key, and what its account may use; launchpad restart NAME reads a key file again"
_PROXY: Final = "put user and password into HTTPS_PROXY, or the host into NO_PROXY"
_ASKED: Final = "correct model.served_name, serving.reasoning or probes.completion.extra"

_TOP_UP: Final = "top the account up; if it is FAILED, launchpad up NAME"
_NAMES: Final = "correct model.served_name or hosted.base_url"
_LATER: Final = "it is asked again by itself"
_ADDRESS: Final = "set hosted.base_url to the address that it names, if that is its own"
_RFC: Final = "RFC 9110, 15.4"

MEANS: Final[dict[int, Meaning]] = {
    202: Meaning("it wants to be polled for its answer", "choose a model that answers at once", "never", _NVCF),
    301: Meaning("it has moved for good", _ADDRESS, "start", _RFC),
    302: Meaning("it sends us elsewhere: a portal or proxy may be in between", _ADDRESS, "never", _RFC),
    307: Meaning("it sends us elsewhere: a portal or proxy may be in between", _ADDRESS, "never", _RFC),
    308: Meaning("it has moved for good", _ADDRESS, "start", _RFC),
    400: Meaning("it refuses the question: an unknown model or field", _ASKED, "start", _DEEPSEEK),
    401: Meaning("it does not accept the API key", _KEY, "start", _DEEPSEEK),
    402: Meaning("the account has no balance left", _TOP_UP, "start", _DEEPSEEK),
    403: Meaning("it does not accept the API key for this", _MAY, "start", _NVIDIA),
    404: Meaning("it has no such model or path, or withdrew it", _NAMES, "start", _NVIDIA),
    407: Meaning("the proxy on the way wants its own password", _PROXY, "start", "RFC 9110, 15.5.8"),
    410: Meaning("the model is gone for good", "put a model that it still serves under model.served_name", "ever", _NVIDIA),
    422: Meaning("it refuses the question's fields", _ASKED, "start", _DEEPSEEK),
    429: Meaning("it limits how often it may be asked", "fewer requests at once, or a higher tier", "never", _DEEPSEEK),
    500: Meaning("it failed", _LATER, "never", _DEEPSEEK),
    502: Meaning("something in front of it found it away", _LATER, "never", _RFC),
    503: Meaning("it is overloaded, or away", _LATER, "never", _DEEPSEEK),
    504: Meaning("something in front of it waited in vain", _LATER, "never", _RFC),
}  # fmt: skip
#: What to try where the question could not even be asked, or nobody answered.
UNASKED: Final = (
    "check hosted.base_url and the way out: DNS, HTTPS_PROXY, and SSL_CERT_FILE where a proxy signs with its own CA"
)


class Hosted:
    """An endpoint that somebody else runs."""

    name = "hosted"
    port = 443
    stages: tuple[str, ...] = (ASKED,)
    marks: tuple[base.StageMark, ...] = ()

    def render(self, profile: Profile, seat: base.Seat) -> tuple[ContainerSpec, ...]:  # noqa: ARG002 - nothing to launch
        """Nothing runs here."""
        return ()

    def health(self, profile: Profile) -> base.Health:
        """The list of models is free; a completion is not."""
        return base.health_with(
            profile,
            base.Health(
                ready_paths=("/v1/models",),
                ready_timeout_s=20.0,
                live_path="/v1/models",
                live_interval_s=_LOOK_S,
                live_timeout_s=20.0,
                live_failures=2,
                idle_interval_s=_COMPLETION_S,
                start_interval_s=_START_S,
                unready_interval_s=_LOOK_S,
            ),
        )


def base_of(url: str) -> str:
    """The base URL without the last ``/v1``, which every path of the API begins with."""
    whole = url.rstrip("/")
    return whole if whole.endswith("//v1") else whole.removesuffix("/v1")  # a host may be called v1
