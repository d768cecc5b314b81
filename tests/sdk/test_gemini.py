"""Google's own SDK through the gateway: what comes back, what it cost, what was recorded."""

import pytest
from google import genai
from google.genai import errors, types

MODEL = "gemini-3.8-flash"
ASK = {"model": MODEL, "contents": "Why is the sky blue?"}
WHO = {"provider": "gemini", "dialect": "gemini", "client": "google-genai"}
USAGE = {"input": 5, "output": 16, "source": "provider", "complete": True}
# gemini-3.8-flash: 750 and 3750 nano-USD a token.
COST = 5 * 750 + 16 * 3_750


@pytest.fixture
def connect(gateway, monkeypatch):
    """A client of the gateway with a key; with `direct`, of the mock provider itself."""
    for name in ["GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_USE_VERTEXAI"]:
        monkeypatch.delenv(name, raising=False)

    def connect(key, direct=False, **headers):
        base_url = gateway.quick if direct else gateway.base_url
        client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, headers=headers))
        clients.append(client)
        return client

    # A client that nobody holds any more closes, even under a running stream.
    clients = []
    yield connect
    for client in clients:
        client.close()


def text(stream):
    return "".join(chunk.text or "" for chunk in stream)


def test_an_answer_is_the_providers_own(gateway, connect, key, request_id):
    expected = connect("AIza-direct", direct=True).models.generate_content(**ASK)
    answer = connect(key, **{"x-request-id": request_id}).models.generate_content(**ASK)
    assert answer.text == expected.text != ""
    assert answer.usage_metadata == expected.usage_metadata
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    gateway.assert_recorded(
        request_id, **WHO, verdict="PASS", endpoint="generateContent", stream=False, status=200, model_requested=MODEL,
        model_served=MODEL, ended="complete", usage=USAGE, cost_nano_usd=COST,
    )


@pytest.mark.parametrize("fault", ["none", "split"])
def test_a_stream_is_the_providers_own(gateway, connect, key, request_id, fault):
    expected = text(connect("AIza-direct", direct=True).models.generate_content_stream(**ASK))
    client = connect(key, **{"x-request-id": request_id, "x-mock-fault": fault})
    assert text(client.models.generate_content_stream(**ASK)) == expected != ""
    gateway.assert_recorded(request_id, stream=True, ended="complete", usage=USAGE, cost_nano_usd=COST)


def test_thoughts_and_cached_content_are_counted_by_kind(gateway, connect, key, request_id):
    client = connect(key, **{"x-request-id": request_id})
    client.models.generate_content(model=f"{MODEL}-cached-reason", contents="x" * 400)
    gateway.assert_recorded(request_id, usage={"input": 100, "cache_read": 48, "output": 16, "reasoning": 4})


def test_a_function_is_called(connect, key):
    look_up = types.FunctionDeclaration(name="look_up", description="Looks something up.")
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[look_up])])
    stream = connect(key).models.generate_content_stream(model=f"{MODEL}-tools", contents="x", config=config)
    calls = [call for chunk in stream for call in chunk.function_calls or []]
    assert [call.name for call in calls] == ["look_up"] and calls[0].args["text"]


def test_embeddings_and_counts(gateway, connect, key, request_id):
    client = connect(key, **{"x-request-id": request_id})
    embedded = client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert [len(embedding.values) for embedding in embedded.embeddings] == [768, 768]
    gateway.assert_recorded(request_id, endpoint="batchEmbedContents", usage={"input": 1, "source": "provider"})
    assert connect(key).models.count_tokens(**ASK).total_tokens == 5


def test_models_are_those_that_can_be_used(connect, key):
    names = [model.name for model in connect(key).models.list()]
    assert f"models/{MODEL}" in names and "models/slow-gemini" in names
    assert not any("gpt" in name for name in names)
    assert connect(key).models.get(model=MODEL).display_name == MODEL


def test_a_refusal_reads_as_one(connect):
    with pytest.raises(errors.ClientError) as refused:
        connect("kt_ak_nobody").models.generate_content(**ASK)
    assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")
    assert "access key" in refused.value.message


def test_a_revoked_stream_says_why_and_ends_as_any_other(gateway, connect, request_id):
    key = gateway.create_key("jane-gemini-cut", "--team", "frontend")
    stream = connect(key, **{"x-request-id": request_id}).models.generate_content_stream(
        model="slow-gemini", contents="Tell a long story."
    )
    chunks = []
    for chunk in stream:
        chunks.append(chunk)
        if len(chunks) == 5:
            gateway.kt("keys", "revoke", "jane-gemini-cut")
    assert "[keeptrusts: key_revoked:" in chunks[-1].text
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    _, ended = gateway.outcome(request_id)
    assert (ended["ended"], ended["usage"]["source"]) == ("revoked", "estimated")


def test_a_provider_that_breaks_off_raises(connect, key):
    stream = connect(key, **{"x-mock-fault": "mid-event:3"}).models.generate_content_stream(**ASK)
    with pytest.raises(errors.APIError) as failed:
        list(stream)
    assert failed.value.code == 502
