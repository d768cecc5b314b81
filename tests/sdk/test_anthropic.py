"""The official Anthropic SDK through the gateway: what comes back, what it cost, what was recorded."""

import json

import anthropic
import pytest

MODEL = "claude-sonnet-5"
ASK = {"model": MODEL, "max_tokens": 1024, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
WHO = {"provider": "anthropic", "dialect": "anthropic", "client": "anthropic-python"}
# What the mock provider makes of that: a token for four bytes, and 16 tokens of answer.
USAGE = {"input": 5, "output": 16, "source": "provider", "complete": True}
# claude-sonnet-5: 2000 and 10000 nano-USD a token.
COST = 5 * 2_000 + 16 * 10_000


@pytest.fixture
def client(connect_anthropic, key):
    return connect_anthropic(key)


@pytest.fixture
def direct(connect_anthropic):
    return connect_anthropic("sk-direct", direct=True)


def test_a_message_is_the_providers_own(gateway, client, direct, request_id):
    expected = direct.messages.create(**ASK)
    answer = client.messages.create(**ASK, extra_headers={"x-request-id": request_id})
    assert answer.content == expected.content
    assert answer.usage == expected.usage
    assert answer.stop_reason == "end_turn"
    gateway.assert_recorded(
        request_id, **WHO, verdict="PASS", endpoint="messages", stream=False, status=200, model_requested=MODEL,
        model_served=MODEL, ended="complete", usage=USAGE, cost_nano_usd=COST,
    )


def test_a_streamed_message_is_the_providers_own(gateway, client, direct, request_id):
    with direct.messages.stream(**ASK) as stream:
        expected = "".join(stream.text_stream)
    with client.messages.stream(**ASK, extra_headers={"x-request-id": request_id}) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == expected != ""
    assert message.content[0].text == expected
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 16)
    assert message.stop_reason == "end_turn"
    gateway.assert_recorded(request_id, stream=True, ended="complete", usage=USAGE, cost_nano_usd=COST)


def test_every_event_of_a_stream_arrives(client, direct):
    expected = [event.type for event in direct.messages.create(**ASK, stream=True)]
    events = [event.type for event in client.messages.create(**ASK, stream=True)]
    assert events == expected
    assert (events[0], events[-1]) == ("message_start", "message_stop")


def test_a_stream_in_awkward_pieces_is_the_same(client, direct):
    with direct.messages.stream(**ASK) as stream:
        expected = "".join(stream.text_stream)
    with client.messages.stream(**ASK, extra_headers={"x-mock-fault": "split"}) as stream:
        assert "".join(stream.text_stream) == expected


def test_cached_tokens_are_counted_by_kind(gateway, client, request_id):
    messages = [{"role": "user", "content": "x" * 400}]
    ask = {**ASK, "model": f"{MODEL}-cached", "messages": messages}
    answer = client.messages.create(**ask, extra_headers={"x-request-id": request_id})
    # The dialect counts what came from the cache apart, the event counts it as a part of the input.
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (52, 48)
    gateway.assert_recorded(request_id, usage={"input": 100, "cache_read": 48, "output": 16})


def test_a_streamed_tool_use_arrives_whole(client):
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}}}
    ask = {**ASK, "model": f"{MODEL}-tools", "tools": [tool]}
    with client.messages.stream(**ask) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    assert message.content[0].name == "weather"
    assert message.content[0].input == json.loads("".join(pieces)) != {}


def test_tokens_are_counted_and_cost_nothing(gateway, client, request_id):
    counted = client.messages.count_tokens(
        model=MODEL, messages=ASK["messages"], extra_headers={"x-request-id": request_id}
    )
    assert counted.input_tokens == 5
    gateway.assert_recorded(
        request_id, endpoint="messages/count_tokens", ended="complete",
        usage={"input": 0, "output": 0, "source": "none"}, cost_nano_usd=0,
    )


def test_models_are_those_that_can_be_used(client):
    listed = [model.id for model in client.models.list()]
    assert MODEL in listed and "slow-claude" in listed
    assert not any("gpt" in model for model in listed)
    assert client.models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "sk-ant-left-over"}], ids=["alone", "beside a provider's key"])
def test_the_key_may_come_as_an_auth_token(gateway, key, request_id, headers):
    """As Claude Code sends it, which sends both of its variables if both are set."""
    headers = {**headers, "x-request-id": request_id}
    with anthropic.Anthropic(base_url=gateway.base_url, auth_token=key, default_headers=headers) as client:
        assert client.messages.create(**ASK).content[0].text
    gateway.assert_recorded(request_id, verdict="PASS")
    assert not any(b"left-over" in connection.asked for connection in gateway.tap.connections)


def test_the_key_may_come_as_x_api_key(gateway, key, request_id):
    """As SDKs before this one sent it."""
    headers = {"x-api-key": key, "x-request-id": request_id, "authorization": anthropic.Omit()}
    with anthropic.Anthropic(base_url=gateway.base_url, api_key=key, default_headers=headers) as client:
        assert client.messages.create(**ASK).content[0].text
    gateway.assert_recorded(request_id, verdict="PASS")
