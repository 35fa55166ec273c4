"""The one place that makes HTTP clients: every call of ours has a deadline and a limit on connections."""

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 15.0
CONNECTIONS_MAX = 64
USER_AGENT = "chowk/0.1"


def provider_client(base_url: str = "", *, read_timeout_s: float = READ_TIMEOUT_S) -> httpx.AsyncClient:
    """A client for a provider that the operator chose. Redirects are not followed: a token must not travel on."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=httpx.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
        headers={"user-agent": USER_AGENT},
        follow_redirects=False,
        # One client serves all tenants, so it must remember nothing of one call in the next.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )
