"""One gateway for each test module, with the official SDKs as its clients."""

import uuid

import anthropic
import openai
import pytest

pytest.register_assert_rewrite("running")

from running import Gateway  # noqa: E402


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, request):
    gateway = Gateway(tmp_path_factory.mktemp("kt"))
    try:
        gateway.start()
        yield gateway
        gateway.close_books()
        gateway.stop()
    finally:
        gateway.kill()


@pytest.fixture(scope="module")
def key(gateway):
    gateway.kt("teams", "create", "--name", "frontend")
    return gateway.create_key("jane-sdk", "--team", "frontend")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """What the machine has set for the SDKs must not decide where the tests go."""
    for name in ["OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"]:
        monkeypatch.delenv(name, raising=False)
    for name in ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"]:
        monkeypatch.delenv(name, raising=False)
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def connect_openai(gateway):
    """An OpenAI client of the gateway with a key; with `direct`, of the mock provider itself."""

    def connect(key, direct=False, **more):
        base_url = gateway.quick if direct else gateway.base_url
        client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, **more)
        clients.append(client)
        return client

    clients = []
    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def connect_anthropic(gateway):
    """An Anthropic client of the gateway with a key; with `direct`, of the mock provider itself."""

    def connect(key, direct=False, **more):
        base_url = gateway.quick if direct else gateway.base_url
        client = anthropic.Anthropic(base_url=base_url, api_key=key, **more)
        clients.append(client)
        return client

    clients = []
    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def request_id():
    """An id to send along as `x-request-id`, by which events are found again."""
    return uuid.uuid4().hex
