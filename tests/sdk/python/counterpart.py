"""The official OpenAI SDK, through Gatewright, to a real inference server."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0)
MODEL = os.environ["CHAT_MODEL"]
MESSAGES = [{"role": "user", "content": "Good day?"}]

answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8)
assert answer.usage.completion_tokens > 0, answer
chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, stream=True))
assert chunks, "no chunk came"
print("ok")
