"""The customer's phone page, driven in Chromium against the emulator and a scripted product."""

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from tests.browser import LAUNCH_FLAGS, required_chromium
from tests.sandbox.emulated import FARAH, NUMBER, OTHER_NUMBER, PRIYA, Emulated, free_port, served
from tests.sandbox.scripted_product import scripted

pytestmark = pytest.mark.browser

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EXPECT_TIMEOUT_MS = 20_000
READ, DELIVERED, SENT = "read", "delivered", "sent"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = required_chromium()
    expect.set_options(timeout=EXPECT_TIMEOUT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(LAUNCH_FLAGS))
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Emulated]:
    async with served(tmp_path_factory.mktemp("phone"), statuses={"enabled": False}) as running:
        running.product.on_post = scripted(running)
        yield running


@pytest.fixture
async def emulator(server: Emulated) -> Emulated:
    """The emulator with nothing said yet."""
    await server.client.delete("/sandbox/state")
    server.product.received.clear()
    server.product.answers.clear()
    return server


@pytest.fixture
async def page(browser: Browser, emulator: Emulated) -> AsyncIterator[Page]:
    """The page, opened; afterwards nothing may have been fetched elsewhere, and nothing may have gone wrong inside."""
    context = await browser.new_context(locale="en-IN", viewport={"width": 1200, "height": 800})
    page = await context.new_page()
    faults: list[str] = []
    fetched: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type in ("error", "warning") else None)
    page.on("request", lambda request: fetched.append(request.url))
    await page.goto(str(emulator.client.base_url))
    await expect(page.locator("#presence")).to_have_text("connected")
    yield page
    await context.close()
    assert faults == []
    assert [url for url in fetched if not url.startswith(str(emulator.client.base_url))] == []


def said(page: Page, words: str) -> Locator:
    return page.locator("#log .message", has_text=words)


async def write(page: Page, words: str) -> None:
    await page.get_by_role("textbox", name="Message").fill(words)
    await page.get_by_role("textbox", name="Message").press("Enter")


async def act_on(page: Page, message: Locator, name: str) -> None:
    await message.get_by_role("button", name="Message actions").focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("menuitem", name=name).press("Enter")


async def test_a_suggested_question_is_sent_read_and_answered(page: Page) -> None:
    await page.get_by_role("button", name="Can I get a tax receipt for my donation?").click()
    answer = said(page, "Source: Tax receipts for donations")
    await expect(answer).to_be_visible()
    await expect(answer.locator("strong")).to_have_text("80G receipt")
    await expect(answer.locator(".quoted")).to_contain_text("Can I get a tax receipt")
    await expect(page.locator("#log .customer")).to_have_attribute("data-tick", READ)
    await expect(page.locator("#log .day")).to_have_text("Today")
    link = answer.get_by_role("link")
    await expect(link).to_have_text("https://asha.example/receipts")
    assert await link.get_attribute("rel") == "noopener noreferrer nofollow"


async def test_a_button_can_be_chosen_once(page: Page) -> None:
    await write(page, "Change my amount")
    await page.get_by_role("button", name="No, keep ₹500").click()
    await expect(said(page, "You sent interactive: No, keep ₹500")).to_be_visible()
    await expect(page.locator(".option.chosen")).to_have_text("No, keep ₹500")
    assert await page.locator(".option:enabled").count() == 0


async def test_a_row_is_chosen_by_keyboard(page: Page) -> None:
    await write(page, "Where is your office?")
    await page.get_by_role("button", name="Choose a city").press("Enter")
    sheet = page.get_by_role("dialog", name="Choose a city")
    await expect(sheet.get_by_role("heading", name="North and west")).to_be_visible()
    await sheet.get_by_role("button", name="Lucknow").press("Enter")
    await expect(sheet).to_be_hidden()
    await expect(said(page, "You sent interactive: Lucknow")).to_be_visible()


async def test_a_message_is_quoted_edited_and_deleted_by_keyboard(page: Page, emulator: Emulated) -> None:
    await write(page, "Helo")
    await expect(said(page, "You sent text: Helo")).to_be_visible()
    await act_on(page, said(page, "You sent text: Helo"), "Reply")
    await write(page, "I meant hello")
    mine = page.locator("#log .customer", has_text="I meant hello")
    await expect(mine.locator(".quoted")).to_contain_text("Asha Foundation")
    await act_on(page, page.locator("#log .customer").first, "Edit")
    await expect(page.get_by_role("textbox", name="Message")).to_have_value("Helo")
    await write(page, "Hello")
    await expect(page.locator("#log .customer").first).to_contain_text("edited")
    await act_on(page, page.locator("#log .customer").first, "Delete")
    await expect(page.locator("#log .customer").first).to_contain_text("You deleted this message")
    kinds = [one.value()["messages"][0]["type"] for one in emulator.product.received if "messages" in one.value()]
    assert kinds == ["text", "text", "edit", "revoke"]


async def test_a_reaction_is_set_and_taken_back(page: Page) -> None:
    await write(page, "Hi")
    answer = said(page, "You sent text: Hi")
    for expected in (1, 0):
        await answer.hover()
        await answer.get_by_role("button", name="Message actions").click()
        await page.get_by_role("menuitemcheckbox", name="React with 🙏").click()
        await expect(answer.locator(".reactions")).to_have_count(expected)


async def test_an_image_and_a_document_are_attached(page: Page) -> None:
    files = page.locator("#file")
    await files.set_input_files({"name": "dot.png", "mimeType": "image/png", "buffer": PNG})
    await expect(page.locator("#attached-name")).to_have_text("dot.png")
    await write(page, "My receipt")
    await expect(said(page, "Thank you, I have your image.")).to_be_visible()
    await expect(page.get_by_role("img", name="My receipt")).to_have_js_property("naturalWidth", 1)
    await files.set_input_files({"name": "pan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"})
    await page.get_by_role("button", name="Send").click()
    await expect(said(page, "Thank you, I have your document.")).to_be_visible()
    await expect(page.get_by_role("link", name="pan.pdf")).to_have_attribute("download", "pan.pdf")


async def test_words_are_never_markup(page: Page, emulator: Emulated) -> None:
    words = '<img src=x onerror="window.broken=1"> javascript:alert(1) <b>bold</b>'
    await emulator.send(text=words)
    await expect(page.locator("#log .business .text")).to_have_text(words)
    assert await page.locator("#log img, #log b, #log a").count() == 0
    assert await page.evaluate("window.broken") is None


async def test_the_typing_sign_shows_until_the_answer_comes(page: Page, emulator: Emulated) -> None:
    await write(page, "slow")
    await expect(page.locator("#typing")).to_be_visible()
    await expect(page.locator("#presence")).to_have_text("typing…")
    await emulator.send(text="Here I am")
    await expect(said(page, "Here I am")).to_be_visible()
    await expect(page.locator("#typing")).to_be_hidden()


async def test_one_tick_says_that_the_product_has_not_taken_it(page: Page, emulator: Emulated) -> None:
    emulator.product.answers[:] = [503] * 5
    await write(page, "silent one")
    mine = said(page, "silent one")
    await expect(mine).to_contain_text("The organisation's system answered 503; given up.")
    await expect(mine).to_have_attribute("data-tick", SENT)
    await write(page, "silent two")
    await expect(said(page, "silent two")).to_have_attribute("data-tick", DELIVERED)


async def test_five_fast_messages_keep_their_order(page: Page, emulator: Emulated) -> None:
    words = [f"silent {number}" for number in range(5)]
    for one in words:
        await write(page, one)
    await expect(page.locator("#log .customer .text")).to_have_text(words)
    received = await emulator.product.until(lambda all_: len(all_) == 5)
    assert [one.value()["messages"][0]["text"]["body"] for one in received] == words


async def test_another_organisation_shows_what_is_unread(page: Page, emulator: Emulated) -> None:
    body = {"messaging_product": "whatsapp", "to": PRIYA, "type": "text", "text": {"body": "Your scooter is ready"}}
    headers = {"authorization": "Bearer EAAother"}
    await emulator.client.post(f"/v26.0/{OTHER_NUMBER}/messages", json=body, headers=headers)
    other = page.locator("#businesses").get_by_role("button", name="Nagar Motors")
    await expect(other.locator(".badge")).to_have_text("1")
    await other.click()
    await expect(said(page, "Your scooter is ready")).to_be_visible()
    await expect(other.locator(".badge")).to_have_count(0)
    await expect(page.get_by_role("button", name="When are you open?")).to_be_visible()


async def test_a_person_without_a_number_writes_and_is_answered(page: Page, emulator: Emulated) -> None:
    await page.locator("#people").get_by_role("button", name="Farah").click()
    await expect(page.locator("#me")).to_have_text("as Farah")
    await write(page, "Hello")
    await expect(said(page, "You sent text: Hello")).to_be_visible()
    assert emulator.product.received[0].value()["messages"][0]["from_user_id"] == FARAH
    await page.reload()
    await expect(said(page, "You sent text: Hello")).to_be_visible()
    await expect(page.locator("#me")).to_have_text("as Farah")


async def test_an_answer_by_a_person_is_marked(page: Page, emulator: Emulated) -> None:
    path = f"/sandbox/businesses/{NUMBER}/echoes"
    await emulator.client.post(path, json={"customer": PRIYA, "text": "Meera here"})
    await expect(said(page, "Meera here")).to_contain_text("A person, from the organisation's own app")


async def test_a_conversation_that_is_started_over_empties_the_open_page(page: Page, emulator: Emulated) -> None:
    await write(page, "Hello")
    await expect(said(page, "You sent text: Hello")).to_be_visible()
    await emulator.client.delete("/sandbox/state")
    await expect(page.locator("#log .message")).to_have_count(0)
    await expect(page.locator("#log .empty")).to_be_visible()


async def test_a_new_message_waits_below_for_a_reader_who_scrolled_up(page: Page, emulator: Emulated) -> None:
    for number in range(12):
        await emulator.send(text=f"paragraph {number}\n\nwith two lines")
    await expect(said(page, "paragraph 11")).to_be_in_viewport()
    await page.locator("#scroller").hover()
    await page.mouse.wheel(0, -600)
    await expect(page.locator("#to-end")).to_be_visible()
    await emulator.send(text="The newest")
    await expect(page.locator("#unseen")).to_have_text("1")
    await expect(said(page, "The newest")).not_to_be_in_viewport()
    await page.get_by_role("button", name="Go to the newest message").click()
    await expect(said(page, "The newest")).to_be_in_viewport()
    await expect(page.locator("#to-end")).to_be_hidden()


async def test_every_button_has_a_name(page: Page) -> None:
    await write(page, "Change my amount")
    await expect(page.get_by_role("button", name="Talk to a person")).to_be_visible()
    nameless = "b => [...b].filter(one => !(one.getAttribute('aria-label') || one.textContent).trim()).length"
    assert await page.locator("button").evaluate_all(nameless) == 0


async def test_a_narrow_page_fits_and_opens_its_list(page: Page) -> None:
    await page.set_viewport_size({"width": 340, "height": 700})
    await write(page, "A long word: " + "x" * 300)
    await expect(page.locator("#log .business")).to_have_count(1)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 340
    await page.get_by_role("button", name="Choose a person and an organisation").click()
    await page.locator("#people").get_by_role("button", name="Sanjay Kulkarni").click()
    await expect(page.locator("#me")).to_have_text("as Sanjay Kulkarni")
    await expect(page.locator("#business-name")).to_have_text("Nagar Motors")
    await expect(page.locator("#side")).not_to_have_class(re.compile("open"))


async def test_a_refused_file_leaves_the_words_where_they_were(page: Page) -> None:
    await page.get_by_role("textbox", name="Message").fill("See this")
    await page.locator("#file").set_input_files({"name": "empty.txt", "mimeType": "text/plain", "buffer": b""})
    await expect(page.get_by_role("alert")).to_have_text("empty.txt is empty.")
    await expect(page.get_by_role("textbox", name="Message")).to_have_value("See this")


async def test_the_page_finds_its_way_back_after_a_restart(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    page = await browser.new_page()
    async with served(tmp_path, port=port) as before:
        await page.goto(str(before.client.base_url))
        await write(page, "Hello")
        await expect(page.locator("#log .customer")).to_have_count(1)
    await expect(page.locator("#presence")).to_have_text("connecting…")
    async with served(tmp_path, port=port):
        await expect(page.locator("#presence")).to_have_text("connected")
        await expect(page.locator("#log .customer")).to_have_count(0)
        await write(page, "Hello again")
        await expect(said(page, "Hello again")).to_be_visible()
    await page.close()
