//! What the inference surface offers, as an OpenAPI document made from these declarations.
//!
//! Requests are described by the fields that the gateway reads; everything else is passed on to the model's server.

#![expect(dead_code, reason = "declarations that only the document's maker reads")]

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as _, ToSchema};

/// A request for a chat completion. Fields that are not listed here reach the model's server as they are.
#[derive(Serialize, ToSchema)]
struct ChatCompletionRequest {
    /// Name or alias of a model.
    model: String,
    /// The conversation so far.
    messages: Vec<Value>,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
    /// With `include_usage`, a stream ends with a chunk that holds its usage.
    stream_options: Option<Value>,
    /// The most tokens to answer with.
    max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`.
    max_tokens: Option<u32>,
    /// How many answers.
    n: Option<u32>,
}

/// A request for a text that goes on. Fields that are not listed here reach the model's server as they are.
#[derive(Serialize, ToSchema)]
struct CompletionRequest {
    /// Name or alias of a model.
    model: String,
    /// A text, texts, or tokens.
    prompt: Value,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
    /// With `include_usage`, a stream ends with a chunk that holds its usage.
    stream_options: Option<Value>,
    /// The most tokens to answer with.
    max_tokens: Option<u32>,
    /// How many answers.
    n: Option<u32>,
}

/// A request for a ranking. The older words `prompt` and `input` are understood in place of `query` and `documents`.
#[derive(Serialize, ToSchema)]
struct RerankRequest {
    /// Name or alias of a model.
    model: String,
    /// What is asked.
    query: String,
    /// Texts, or objects with a `text`.
    documents: Vec<Value>,
    /// Only the best so many.
    top_n: Option<u32>,
}

/// A recording to be written down, as a form.
#[derive(Serialize, ToSchema)]
struct TranscriptionRequest {
    /// Name or alias of a model.
    model: String,
    /// The recording.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// The language spoken.
    language: Option<String>,
    /// What came before.
    prompt: Option<String>,
    /// `json`, `verbose_json`, `text`, `srt` or `vtt`.
    response_format: Option<String>,
    /// How daring the model is.
    temperature: Option<f64>,
}

/// A request for embeddings.
#[derive(Serialize, ToSchema)]
struct EmbeddingsRequest {
    /// Name or alias of a model.
    model: String,
    /// A text, texts, tokens, or lists of tokens.
    input: Value,
    /// How many numbers each vector has.
    dimensions: Option<u32>,
}

/// What a call used.
#[derive(Serialize, ToSchema)]
struct Usage {
    /// Tokens asked with.
    prompt_tokens: u64,
    /// Tokens answered with.
    completion_tokens: Option<u64>,
    /// Both.
    total_tokens: u64,
}

/// A chat completion, as the model's server wrote it.
#[derive(Serialize, ToSchema)]
struct ChatCompletion {
    /// Its id.
    id: String,
    /// `chat.completion`, or `chat.completion.chunk` in a stream.
    object: String,
    /// The answers.
    choices: Vec<Value>,
    /// What it used.
    usage: Option<Usage>,
}

/// Embeddings, as the model's server wrote them.
#[derive(Serialize, ToSchema)]
struct Embeddings {
    /// `list`.
    object: String,
    /// One vector for each input.
    data: Vec<Value>,
    /// What they used.
    usage: Option<Usage>,
}

/// Documents by how well they answer the query.
#[derive(Serialize, ToSchema)]
struct Ranking {
    /// Its id.
    id: Option<String>,
    /// `relevance_score` and `index` of each document; `data` with `score` and `index` when asked in the older words.
    results: Vec<Value>,
    /// What it used.
    usage: Option<Usage>,
}

/// A recording, written down.
#[derive(Serialize, ToSchema)]
struct Transcription {
    /// What was said.
    text: String,
}

/// Prices for a million tokens.
#[derive(Serialize, ToSchema)]
struct Costs {
    /// Of what is asked.
    prompt_tokens: f64,
    /// Of what is answered.
    completion_tokens: f64,
}

/// A model that the caller may use.
#[derive(Serialize, ToSchema)]
struct Model {
    /// `model`.
    object: String,
    /// Its name.
    id: String,
    /// What it does.
    r#type: String,
    /// Other names for it.
    aliases: Vec<String>,
    /// When it was made, in Unix seconds.
    created: i64,
    /// Who offers it.
    owned_by: String,
    /// Tokens of prompt and answer together.
    max_context_length: Option<u64>,
    /// What it charges.
    costs: Costs,
}

/// Models that the caller may use.
#[derive(Serialize, ToSchema)]
struct ModelList {
    /// `list`.
    object: String,
    /// The models.
    data: Vec<Model>,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    /// A sentence for people.
    message: String,
    /// The family of the error.
    r#type: String,
    /// The field that is to blame.
    param: Option<String>,
    /// A word for programs.
    code: Option<String>,
}

/// An error, in the form of OpenAI and in that of FastAPI.
#[derive(Serialize, ToSchema)]
struct ErrorBody {
    /// For clients of OpenAI.
    error: ErrorDetail,
    /// For clients of OpenGateLLM.
    detail: Value,
}

/// That the gateway answers.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: String,
}

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "chat", request_body = ChatCompletionRequest,
    responses((status = 200, body = ChatCompletion), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
const fn chat_completions() {}

/// Lets a text go on.
#[utoipa::path(post, path = "/v1/completions", tag = "chat", request_body = CompletionRequest,
    responses((status = 200, body = ChatCompletion), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
const fn completions() {}

/// Ranks documents by how well they answer a query.
#[utoipa::path(post, path = "/v1/rerank", tag = "rerank", request_body = RerankRequest,
    responses((status = 200, body = Ranking), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
const fn rerank() {}

/// Writes a recording down.
#[utoipa::path(post, path = "/v1/audio/transcriptions", tag = "audio",
    request_body(content = TranscriptionRequest, content_type = "multipart/form-data"),
    responses((status = 200, body = Transcription), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
const fn transcriptions() {}

/// Makes vectors of texts.
#[utoipa::path(post, path = "/v1/embeddings", tag = "embeddings", request_body = EmbeddingsRequest,
    responses((status = 200, body = Embeddings), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
const fn embeddings() {}

/// Lists the models that the caller may use.
#[utoipa::path(get, path = "/v1/models", tag = "models",
    responses((status = 200, body = ModelList), (status = "4XX", body = ErrorBody)))]
const fn models() {}

/// Shows one model, by its name or an alias.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "models", params(("model" = String, Path, description = "Name or alias; may hold slashes.")),
    responses((status = 200, body = Model), (status = "4XX", body = ErrorBody)))]
const fn model() {}

/// Says that the gateway answers.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)), security(()))]
const fn health() {}

/// Every route asks for a key, save those that say otherwise.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        // The management side calls it so too: a client of both enters its key once.
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Gatewright: inference", description = "One OpenAI-compatible address in front of every model.", license(name = "Apache-2.0")),
    paths(chat_completions, completions, embeddings, rerank, transcriptions, models, model, health),
    modifiers(&Keys),
    security(("bearer" = []))
)]
struct Document;

/// The document of the inference surface; standalone merges it into that of the management side.
#[must_use]
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}
