"""What the official SDKs make of refusals, of failing providers, and of leaving in the middle."""

import time
import zlib

import anthropic
import openai
import pytest

from running import wait_for

ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
ASK_CLAUDE = {"max_tokens": 1024, **ASK, "model": "claude-sonnet-5"}

UNKNOWN = "This access key is well-formed but not known here."
CUT_OFF = "it was cut off, copy it again"
MISTYPED = "a character was mistyped, copy it again"
PADDED = "the key has spaces or quotes around it"
REVOKED = "This access key was revoked."
FOREIGN = "This looks like a provider's own key"
BROKE_OFF = "The provider could not be reached or broke off its answer."
TOO_LATE = "The provider did not answer in time."


def unknown_key():
    """A key that is well-formed and nobody's."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    signed = "kt_ak_" + "0123456789abcdefghijklmnop"
    rest, checksum = zlib.crc32(signed.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        checksum = alphabet[digit] + checksum
    return signed + checksum


@pytest.fixture
def chat(connect_openai, key):
    """Asks the gateway for a completion, once."""
    client = connect_openai(key, max_retries=0)

    def chat(fault, request_id, **more):
        headers = {"x-mock-fault": fault, "x-request-id": request_id}
        return client.chat.completions.create(**{**ASK, **more}, extra_headers=headers)

    return chat


@pytest.fixture
def message(connect_anthropic, key):
    """Asks the gateway for a message, once."""
    client = connect_anthropic(key, max_retries=0)

    def message(fault, request_id, **more):
        headers = {"x-mock-fault": fault, "x-request-id": request_id}
        return client.messages.create(**{**ASK_CLAUDE, **more}, extra_headers=headers)

    return message


BAD_KEYS = [
    pytest.param(lambda key: unknown_key(), "key_unknown", UNKNOWN, id="unknown"),
    pytest.param(lambda key: key[:-5], "key_malformed", CUT_OFF, id="truncated"),
    pytest.param(lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"), "key_malformed", MISTYPED, id="mistyped"),
    pytest.param(lambda key: f'"{key}"', "key_malformed", PADDED, id="quoted"),
]


@pytest.mark.parametrize("spoil, code, sentence", BAD_KEYS)
def test_a_bad_key_is_refused_once_with_our_sentence(gateway, key, connect_openai, connect_anthropic, spoil, code, sentence):
    bad = spoil(key)
    before = gateway.metric("refusals_total", code=code, key="none")
    # With the SDKs' own retries.
    with pytest.raises(openai.AuthenticationError, match=sentence) as refused:
        connect_openai(bad).chat.completions.create(**ASK)
    assert (refused.value.status_code, refused.value.code) == (401, code)
    assert refused.value.type == "authentication_error"
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert bad not in refused.value.response.text
    with pytest.raises(anthropic.AuthenticationError, match=sentence) as refused:
        connect_anthropic(bad).messages.create(**ASK_CLAUDE)
    assert refused.value.type == "authentication_error"
    assert bad not in refused.value.response.text
    assert gateway.metric("refusals_total", code=code, key="none") == before + 2, "the refusal was retried"


def test_a_providers_own_key_is_refused(connect_openai):
    with pytest.raises(openai.PermissionDeniedError, match=FOREIGN) as refused:
        connect_openai("sk-proj-0123456789").chat.completions.create(**ASK)
    assert refused.value.code == "passthrough_disabled"


def test_a_revoked_key_is_refused_from_the_next_request_on(gateway, connect_openai, connect_anthropic, request_id):
    key = gateway.create_key("leaver")
    client = connect_openai(key)
    assert client.chat.completions.create(**ASK).choices
    gateway.kt("keys", "revoke", "leaver")
    with pytest.raises(openai.AuthenticationError, match=REVOKED) as refused:
        client.chat.completions.create(**ASK, extra_headers={"x-request-id": request_id})
    assert refused.value.code == "key_revoked"
    with pytest.raises(anthropic.AuthenticationError, match=REVOKED):
        connect_anthropic(key).messages.create(**ASK_CLAUDE)
    (event,) = wait_for("the event", lambda: gateway.events(request_id=request_id))
    assert (event["phase"], event["verdict"], event["reason"]) == ("INPUT", "DENY", "key_revoked")
    assert event["key"]["name"] == "leaver"
    assert gateway.metric("refusals_total", code="key_revoked", key="leaver") == 2


def test_a_model_the_provider_does_not_know_is_its_404(chat, message, request_id, gateway):
    with pytest.raises(openai.NotFoundError, match="The model `unknown-model` does not exist"):
        chat("none", request_id, model="unknown-model")
    gateway.assert_recorded(request_id, verdict="PASS", status=404, cost_nano_usd=None, usage={"source": "none"})
    with pytest.raises(anthropic.NotFoundError, match="unknown-model"):
        message("none", f"{request_id}-2", model="unknown-model")


def test_a_model_of_the_other_api_is_our_404(chat, request_id):
    with pytest.raises(openai.NotFoundError, match="send the request in the Anthropic API instead") as refused:
        chat("none", request_id, model="claude-sonnet-5")
    assert refused.value.code == "model_unknown"


def test_a_wrong_base_url_is_told(gateway, key):
    with openai.OpenAI(base_url=gateway.base_url, api_key=key) as client:
        with pytest.raises(openai.NotFoundError, match="Check the base URL") as refused:
            client.chat.completions.create(**ASK)
        assert refused.value.code == "route_unknown"


def test_a_request_without_a_model_is_malformed(connect_openai, key):
    with pytest.raises(openai.BadRequestError) as refused:
        connect_openai(key).post("/chat/completions", body={"messages": ASK["messages"]}, cast_to=object)
    assert refused.value.code == "request_malformed"


def test_a_providers_error_passes_through(gateway, chat, message, request_id):
    with pytest.raises(openai.InternalServerError) as failed:
        chat("status:500", request_id)
    assert failed.value.status_code == 500 and failed.value.type == "server_error"
    assert "keeptrusts" not in failed.value.response.text
    gateway.assert_recorded(
        request_id, verdict="ERROR", reason="upstream_status", status=500, cost_nano_usd=0, usage={"source": "none"}
    )
    with pytest.raises(openai.RateLimitError) as limited:
        chat("status:429", f"{request_id}-2")
    assert limited.value.response.headers["retry-after"] == "1"
    assert "x-should-retry" not in limited.value.response.headers
    gateway.assert_recorded(f"{request_id}-2", verdict="PASS", status=429, usage={"source": "none"})
    with pytest.raises(anthropic.OverloadedError):
        message("status:529", f"{request_id}-3")


@pytest.mark.parametrize("fault", ["garbage", "refuse", "reset", "stall"])
def test_a_provider_without_an_answer_gets_ours(gateway, chat, message, request_id, fault):
    status, sentence = (504, TOO_LATE) if fault == "stall" else (502, BROKE_OFF)
    with pytest.raises(openai.InternalServerError, match=sentence) as failed:
        chat(fault, request_id)
    assert failed.value.status_code == status
    with pytest.raises(anthropic.InternalServerError, match=sentence):
        message(fault, f"{request_id}-2")
    gateway.assert_recorded(request_id, verdict="ERROR", status=status, ended="upstream_failed")
    gateway.assert_recorded(f"{request_id}-2", verdict="ERROR", status=status, ended="upstream_failed")


def test_a_page_of_html_passes_through(gateway, chat, request_id):
    with pytest.raises(openai.InternalServerError) as failed:
        chat("html:502", request_id)
    assert "<html>" in failed.value.response.text
    gateway.assert_recorded(request_id, status=502)


@pytest.mark.parametrize("fault", ["cut:5", "mid-event:5", "eof:5", "reset:5", "stall:5"])
def test_a_stream_that_breaks_off_is_an_error_and_no_short_answer(gateway, chat, message, request_id, fault):
    sentence = TOO_LATE if fault == "stall:5" else BROKE_OFF
    with pytest.raises(openai.APIError, match=sentence):
        for _ in chat(fault, request_id, stream=True):
            pass
    with pytest.raises(anthropic.APIError, match=sentence):
        for _ in message(fault, f"{request_id}-2", stream=True):
            pass
    for request_id in [request_id, f"{request_id}-2"]:
        gateway.assert_recorded(
            request_id, verdict="ERROR", ended="upstream_failed", usage={"source": "estimated", "complete": False}
        )


def test_a_streamed_response_that_breaks_off_ends_with_an_error_event(connect_openai, key, request_id):
    headers = {"x-mock-fault": "cut:5", "x-request-id": request_id}
    client = connect_openai(key, max_retries=0)
    stream = client.responses.create(model="gpt-4o-mini", input="Why?", stream=True, extra_headers=headers)
    # The SDK either hands the event on or raises it, by version; it must not end in silence.
    try:
        last = [event for event in stream][-1]
        assert last.type == "error" and BROKE_OFF in last.message
    except openai.APIError as error:
        assert BROKE_OFF in error.message


def test_an_error_event_of_the_provider_passes_through(chat, message, request_id):
    with pytest.raises(openai.APIError, match="The server had an error while processing your request"):
        for _ in chat("error-event:5", request_id, stream=True):
            pass
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        for _ in message("error-event:5", f"{request_id}-2", stream=True):
            pass


@pytest.mark.parametrize("connect, ask", [("openai", ASK), ("anthropic", ASK_CLAUDE)], ids=["openai", "anthropic"])
def test_an_error_event_of_the_provider_is_the_last(gateway, key, request, connect, ask):
    connect = request.getfixturevalue(f"connect_{connect}")

    def events(client):
        completions = client.chat.completions if ask is ASK else client.messages
        headers = {"x-mock-fault": "error-event:5"}
        with completions.with_streaming_response.create(**ask, stream=True, extra_headers=headers) as raw:
            return [line for line in raw.iter_lines() if line.startswith("data:")]

    direct, through = events(connect("sk-direct", direct=True)), events(connect(key))
    assert len(through) == len(direct)
    assert through[-1] == direct[-1]


@pytest.mark.parametrize("fault", ["cut:0", "length"])
def test_a_plain_answer_that_breaks_off_is_an_error(gateway, chat, request_id, fault):
    with pytest.raises(openai.APIError):
        chat(fault, request_id)
    gateway.assert_recorded(request_id, verdict="ERROR", ended="upstream_failed")


def test_leaving_a_stream_ends_it_at_the_provider(gateway, connect_openai, key, request_id):
    client = connect_openai(key)
    begun = time.monotonic()
    stream = client.chat.completions.create(
        **{**ASK, "model": "slow-gpt"}, stream=True, extra_headers={"x-request-id": request_id}
    )
    with stream:
        for _ in range(3):
            next(stream)
        connection = gateway.slow_tap.find(request_id)
        assert not connection.closed_by_gateway.is_set()
    assert connection.closed_by_gateway.wait(5), "the provider still streams"
    gateway.assert_recorded(
        request_id, verdict="PASS", ended="client_closed", provider="slow-openai", model_requested="slow-gpt",
        model_served="gpt-4o-mini", stream=True, status=200, usage={"source": "estimated", "complete": False},
    )
    _, ended = gateway.outcome(request_id)
    # What was passed on is charged, and no more: the whole answer would be 5000 tokens in 50 s.
    assert 1 <= ended["usage"]["output"] < 500 and ended["cost_nano_usd"] > 0
    assert time.monotonic() - begun < 10


def test_leaving_a_message_ends_it_at_the_provider(gateway, connect_anthropic, key, request_id):
    client = connect_anthropic(key)
    ask = {**ASK_CLAUDE, "model": "slow-claude"}
    with client.messages.stream(**ask, extra_headers={"x-request-id": request_id}) as stream:
        for _ in range(6):
            next(stream)
        connection = gateway.slow_tap.find(request_id)
    assert connection.closed_by_gateway.wait(5), "the provider still streams"
    gateway.assert_recorded(
        request_id, ended="client_closed", provider="slow-anthropic", model_served="claude-sonnet-5",
        usage={"source": "estimated", "complete": False},
    )


def test_one_who_leaves_before_the_answer_is_recorded(gateway, connect_openai, key, request_id):
    client = connect_openai(key, max_retries=0, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**ASK, extra_headers={"x-mock-fault": "stall", "x-request-id": request_id})
    gateway.assert_recorded(request_id, ended="client_closed", status=499)


SLOW_CHAT = {**ASK, "model": "slow-gpt"}
SLOW_MESSAGE = {**ASK_CLAUDE, "model": "slow-claude", "max_tokens": 5000}
NOTICE = "[keeptrusts: key_revoked: This access key was revoked. Ask whoever issued it for a new one.]"


@pytest.mark.parametrize("form", ["chat", "responses", "messages"])
def test_a_stream_whose_key_is_revoked_ends_with_a_notice_and_without_an_error(
    gateway, connect_openai, connect_anthropic, request_id, form
):
    key = gateway.create_key(f"leaver-{form}")
    headers = {"x-request-id": request_id}
    texts = []

    def heard(text):
        texts.append(text)
        if len(texts) == 3:
            gateway.kt("keys", "revoke", f"leaver-{form}")

    if form == "chat":
        with connect_openai(key).chat.completions.stream(**SLOW_CHAT, extra_headers=headers) as stream:
            for event in stream:
                if event.type == "content.delta":
                    heard(event.delta)
            assert stream.get_final_completion().choices[0].finish_reason == "stop"
    elif form == "responses":
        with connect_openai(key).responses.stream(model="slow-gpt", input="Why?", extra_headers=headers) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    heard(event.delta)
            assert stream.get_final_response().status == "completed"
    else:
        with connect_anthropic(key).messages.stream(**SLOW_MESSAGE, extra_headers=headers) as stream:
            for text in stream.text_stream:
                heard(text)
            assert stream.get_final_message().stop_reason == "end_turn"
    assert "".join(texts).endswith(NOTICE)
    _, ended = gateway.outcome(request_id)
    found = {name: ended[name] for name in ("verdict", "ended", "reason", "status")}
    assert found == {"verdict": "DENY", "ended": "revoked", "reason": "key_revoked", "status": 200}
