"""OpenAI's SDK as a client of Azure, through the gateway."""

import io

import openai
import pytest

ASK = {"model": "our-gpt", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
USAGE = {"input": 5, "output": 16, "source": "provider", "complete": True}


@pytest.fixture
def client(gateway, key, monkeypatch):
    for name in ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"]:
        monkeypatch.delenv(name, raising=False)
    with openai.AzureOpenAI(azure_endpoint=gateway.base_url, api_key=key, api_version="2024-10-21") as client:
        yield client


def test_a_deployment_answers(gateway, client, request_id):
    answer = client.chat.completions.create(**ASK, extra_headers={"x-request-id": request_id})
    assert answer.choices[0].message.content and answer.usage.completion_tokens == 16
    gateway.assert_recorded(
        request_id, provider="azure", dialect="openai", client="openai-python", endpoint="chat/completions",
        model_requested="our-gpt", ended="complete", usage=USAGE,
    )


def test_a_deployment_streams(gateway, client, request_id):
    stream = client.chat.completions.create(**ASK, stream=True, extra_headers={"x-request-id": request_id})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text
    gateway.assert_recorded(request_id, stream=True, ended="complete", usage=USAGE)


def test_embeddings_and_transcripts(gateway, client, request_id):
    assert len(client.embeddings.create(model="our-embedding", input="a").data[0].embedding) == 1536
    file = ("a.wav", io.BytesIO(b"RIFF" * 1000))
    headers = {"x-request-id": request_id}
    assert client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, extra_headers=headers).text
    gateway.assert_recorded(request_id, endpoint="audio/transcriptions", model_requested="gpt-4o-transcribe")


def test_the_newer_interface_is_openais_own(gateway, key, request_id):
    with openai.OpenAI(base_url=f"{gateway.base_url}/azure/v1", api_key=key) as client:
        client.responses.create(model="our-gpt", input="x", extra_headers={"x-request-id": request_id})
    gateway.assert_recorded(request_id, provider="azure", endpoint="responses")


def test_a_refusal_reads_as_one(gateway):
    with openai.AzureOpenAI(azure_endpoint=gateway.base_url, api_key="kt_ak_nobody", api_version="2024-10-21") as client:
        with pytest.raises(openai.AuthenticationError, match="access key"):
            client.chat.completions.create(**ASK)
