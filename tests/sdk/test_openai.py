"""The official OpenAI SDK through the gateway: what comes back, what it cost, what was recorded."""

import asyncio
import json

import openai
import pytest

MODEL = "gpt-4o-mini"
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
WHO = {"provider": "openai", "dialect": "openai", "client": "openai-python"}
# What the mock provider makes of that: a token for four bytes, and 16 tokens of answer.
USAGE = {"input": 5, "output": 16, "source": "provider", "complete": True}
# gpt-4o-mini: 150 and 600 nano-USD a token.
COST = 5 * 150 + 16 * 600
WEATHER = {
    "name": "weather",
    "description": "The weather at a place",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
}


@pytest.fixture
def client(connect_openai, key):
    return connect_openai(key)


@pytest.fixture
def direct(connect_openai):
    return connect_openai("sk-direct", direct=True)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_completion_is_the_providers_own(gateway, client, direct, request_id):
    ask = {"model": MODEL, "messages": QUESTION}
    expected = direct.chat.completions.create(**ask)
    answer = client.chat.completions.create(**ask, extra_headers={"x-request-id": request_id})
    assert answer.choices == expected.choices
    assert answer.usage == expected.usage
    gateway.assert_recorded(
        request_id, **WHO, verdict="PASS", endpoint="chat/completions", stream=False, status=200,
        model_requested=MODEL, model_served=MODEL, ended="complete", usage=USAGE, cost_nano_usd=COST,
    )


def test_the_headers_name_the_request_and_the_verdict(client, request_id):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, extra_headers={"x-request-id": request_id}
    )
    assert raw.headers["x-request-id"] == request_id
    assert raw.headers["x-keeptrusts-verdict"] == "PASS"
    assert raw.headers["x-upstream-request-id"].startswith("req_")
    assert raw.headers["server-timing"].startswith("kt;dur=")


def test_a_stream_without_usage_stays_without(gateway, client, direct, request_id):
    ask = {"model": MODEL, "messages": QUESTION, "stream": True}
    expected = list(direct.chat.completions.create(**ask))
    chunks = list(client.chat.completions.create(**ask, extra_headers={"x-request-id": request_id}))
    assert text_of(chunks) == text_of(expected) != ""
    assert len(chunks) == len(expected)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    # The gateway asked for the figures all the same, to know what the request cost.
    gateway.assert_recorded(request_id, stream=True, ended="complete", usage=USAGE, cost_nano_usd=COST)


def test_a_stream_with_usage_ends_with_it(gateway, client, direct, request_id):
    ask = {"model": MODEL, "messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    expected = list(direct.chat.completions.create(**ask))
    *chunks, last = client.chat.completions.create(**ask, extra_headers={"x-request-id": request_id})
    assert text_of(chunks) == text_of(expected)
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == [] and last.usage == expected[-1].usage
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (5, 16)
    gateway.assert_recorded(request_id, usage=USAGE, cost_nano_usd=COST)


def test_a_stream_in_awkward_pieces_is_the_same(client, direct):
    ask = {"model": MODEL, "messages": QUESTION, "stream": True, "max_tokens": 15}
    expected = text_of(direct.chat.completions.create(**ask))
    assert text_of(client.chat.completions.create(**ask, extra_headers={"x-mock-fault": "split"})) == expected


def test_cached_tokens_are_billed_as_such(gateway, client, request_id):
    model = "gpt-4o-cached"
    messages = [{"role": "user", "content": "x" * 400}]
    headers = {"x-request-id": request_id}
    answer = client.chat.completions.create(model=model, messages=messages, extra_headers=headers)
    assert answer.usage.prompt_tokens_details.cached_tokens == 48
    gateway.assert_recorded(request_id, usage={"input": 100, "cache_read": 48, "output": 16})


def test_a_streamed_tool_call_arrives_whole(client, direct):
    tools = [{"type": "function", "function": WEATHER}]
    ask = {"model": "gpt-4o-tools", "messages": QUESTION, "tools": tools, "stream": True}

    def call(chunks):
        deltas = [chunk.choices[0].delta.tool_calls for chunk in chunks if chunk.choices]
        calls = [delta[0] for delta in deltas if delta]
        return calls[0].function.name, "".join(call.function.arguments for call in calls)

    name, arguments = call(client.chat.completions.create(**ask))
    assert name == "weather"
    assert json.loads(arguments)["text"]
    assert (name, arguments) == call(direct.chat.completions.create(**ask))


def test_a_response_is_the_providers_own(gateway, client, direct, request_id):
    ask = {"model": MODEL, "input": "Why is the sky blue?"}
    expected = direct.responses.create(**ask)
    answer = client.responses.create(**ask, extra_headers={"x-request-id": request_id})
    assert answer.output_text == expected.output_text != ""
    assert answer.usage == expected.usage
    gateway.assert_recorded(request_id, endpoint="responses", stream=False, usage=USAGE, cost_nano_usd=COST)


def test_a_streamed_response_is_the_providers_own(gateway, client, direct, request_id):
    ask = {"model": MODEL, "input": "Why is the sky blue?", "stream": True}
    expected = list(direct.responses.create(**ask))
    events = list(client.responses.create(**ask, extra_headers={"x-request-id": request_id}))
    assert [event.type for event in events] == [event.type for event in expected]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == expected[-1].response.output_text
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text
    assert events[-1].response.usage == expected[-1].response.usage
    gateway.assert_recorded(request_id, endpoint="responses", stream=True, usage=USAGE, cost_nano_usd=COST)


def test_embeddings_are_the_providers_own(gateway, client, direct, request_id):
    ask = {"model": "text-embedding-3-small", "input": ["Why is the sky blue?", "Zürich"]}
    expected = direct.embeddings.create(**ask)
    answer = client.embeddings.create(**ask, extra_headers={"x-request-id": request_id})
    assert answer.data == expected.data and len(answer.data) == 2
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens == 7
    usage = {"input": 7, "output": 0, "source": "provider", "complete": True}
    gateway.assert_recorded(request_id, endpoint="embeddings", usage=usage)


def test_models_are_those_that_can_be_used(client):
    listed = {model.id: model.owned_by for model in client.models.list()}
    assert listed[MODEL] == "openai"
    assert listed["slow-gpt"] == "slow-openai"
    assert not any("claude" in model for model in listed)
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_provider_can_be_addressed_by_name(gateway, key, request_id):
    base_url = f"{gateway.base_url}/openai/v1"
    with openai.OpenAI(base_url=base_url, api_key=key, default_headers={"x-request-id": request_id}) as client:
        assert client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message.content
    gateway.assert_recorded(request_id, model_requested=MODEL)


def test_a_large_question_arrives_whole(gateway, client, request_id):
    # Beyond every buffer on the way, and no multiple of any.
    messages = [{"role": "user", "content": "é" * 1_000_003}]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, extra_headers={"x-request-id": request_id}
    )
    assert answer.usage.prompt_tokens == 500_002
    gateway.assert_recorded(request_id, usage={"input": 500_002, "output": 16})


def test_many_streams_at_once_do_not_mix(gateway, key):
    async def ask(client, tokens):
        stream = await client.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, max_tokens=tokens,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        return text_of(chunks), chunks[-1].usage.completion_tokens

    async def ask_all():
        async with openai.AsyncOpenAI(base_url=f"{gateway.base_url}/v1", api_key=key) as client:
            return await asyncio.gather(*(ask(client, 1 + number % 16) for number in range(48)))

    answers = asyncio.run(ask_all())
    longest = max((text for text, _ in answers), key=len)
    for number, (text, tokens) in enumerate(answers):
        assert tokens == 1 + number % 16
        assert longest.startswith(text)
