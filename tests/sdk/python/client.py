"""The official OpenAI SDK for Python, used the way its users use it."""

import asyncio
import os

import openai
from openai import AsyncOpenAI, OpenAI

BASE = os.environ["BASE_URL"]
KEY = os.environ["API_KEY"]
CHAT = os.environ["CHAT_MODEL"]
EMBEDDING = os.environ["EMBEDDING_MODEL"]
FORBIDDEN = os.environ["FORBIDDEN_MODEL"]

client = OpenAI(base_url=BASE, api_key=KEY, max_retries=0)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def say(text, **arguments):
    model = arguments.pop("model", CHAT)
    speaker = arguments.pop("client", client)
    messages = [{"role": "user", "content": text}]
    return speaker.chat.completions.create(model=model, messages=messages, **arguments)


def chat():
    answer = say("Good day?", temperature=0.5, seed=7, extra_body={"top_k": 3})
    assert answer.choices[0].message.content == "Good day!", answer
    assert answer.usage.total_tokens == 14, answer.usage
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=[{"role": "user", "content": "Good day?"}]
    )
    assert raw.headers["x-request-id"], raw.headers
    assert raw.parse()._request_id == raw.headers["x-request-id"]


def stream():
    words = [chunk.choices[0].delta.content or "" for chunk in say("Good day?", stream=True)]
    assert "".join(words) == "Good day!", words
    chunks = list(say("Good day?", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.prompt_tokens == 11, chunks[-1]
    assert chunks[-1].choices == [], chunks[-1]
    with say("Good day?", stream=True) as partial:
        for _ in partial:
            break


async def concurrently():
    async with AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0) as many:
        message = [{"role": "user", "content": "Good day?"}]
        answers = await asyncio.gather(
            *(many.chat.completions.create(model=CHAT, messages=message) for _ in range(20))
        )
        assert all(answer.choices[0].message.content == "Good day!" for answer in answers)


def tools():
    answer = say("use the tool", tools=TOOLS, tool_choice="auto")
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Lyon"}'), call
    arguments = ""
    for chunk in say("use the tool", tools=TOOLS, stream=True):
        for part in chunk.choices[0].delta.tool_calls or []:
            arguments += part.function.arguments
    assert arguments == '{"city":"Lyon"}', arguments


def embeddings():
    for encoding in ("float", openai.NOT_GIVEN):
        answer = client.embeddings.create(model=EMBEDDING, input=["one", "two"], encoding_format=encoding)
        assert answer.data[0].embedding[:2] == [0.25, -0.5], answer
        assert answer.usage.prompt_tokens == 11, answer.usage


def models():
    names = {model.id for model in client.models.list()}
    assert names == {CHAT, EMBEDDING}, names
    assert client.models.retrieve(CHAT).id == CHAT
    expect(openai.NotFoundError, 404, lambda: client.models.retrieve("no-such-model"))


def expect(kind, status, action):
    try:
        action()
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        assert error.status_code == status, error
        assert error.message and isinstance(error.body, dict), error.body
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def errors():
    wrong = OpenAI(base_url=BASE, api_key="sk-wrong", max_retries=0)
    error = expect(openai.AuthenticationError, 401, lambda: say("x", client=wrong))
    assert error.code == "invalid_api_key", error.body
    error = expect(openai.NotFoundError, 404, lambda: say("x", model="no-such-model"))
    assert (error.code, error.param) == ("model_not_found", "model"), error.body
    expect(openai.PermissionDeniedError, 403, lambda: say("x", model=FORBIDDEN))
    error = expect(openai.BadRequestError, 400, lambda: say("status 400"))
    assert "the prompt is odd" in error.message, error.message
    expect(openai.BadRequestError, 400, lambda: client.post("/chat/completions", body=[], cast_to=object))
    expect(openai.RateLimitError, 429, lambda: say("status 429"))
    try:
        say("status 500")
    except openai.InternalServerError as error:
        assert error.status_code >= 500, error
    else:
        raise AssertionError("InternalServerError was expected")
    try:
        say("status 500", stream=True)
    except openai.InternalServerError:
        pass
    else:
        raise AssertionError("InternalServerError was expected before the stream")


chat()
stream()
asyncio.run(concurrently())
tools()
embeddings()
models()
errors()
print("ok")
