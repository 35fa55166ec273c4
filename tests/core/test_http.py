import httpx

from core.http import provider_client


async def test_one_call_leaves_no_cookie_for_the_next() -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"set-cookie": "tenant=one"})

    async with provider_client("http://provider.example") as client:
        client._transport = httpx.MockTransport(answer)
        await client.get("/a")
        await client.get("/b")
    assert seen == [None, None]


async def test_a_redirect_is_not_followed() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "http://elsewhere.example/"})

    async with provider_client("http://provider.example") as client:
        client._transport = httpx.MockTransport(answer)
        assert (await client.get("/a")).status_code == httpx.codes.FOUND
