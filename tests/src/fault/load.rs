//! A client that calls at a constant rate, whatever the answers do, and never tries again; and the balancer before it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::client::{Client, header};
use crate::upstream::{Answer, Seen};

/// What was asked and answered, with times in microseconds since the load began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The request's own number.
    pub number: u64,
    /// Which node it went to; none was in when there is none.
    pub node: Option<usize>,
    /// Which key it used.
    pub key: usize,
    /// Whether a stream was asked for.
    pub streamed: bool,
    /// When it was due.
    pub due: u64,
    /// When it was sent.
    pub sent: u64,
    /// When the head of the answer came.
    pub head: Option<u64>,
    /// When the answer, or hope of it, ended.
    pub ended: u64,
    /// The status; 0 without an answer.
    pub status: u16,
    /// Whether the answer is complete and answers this request.
    pub whole: bool,
    /// Prompt tokens that the answer told of.
    pub prompt: Option<u64>,
    /// Completion tokens that the answer told of.
    pub completion: Option<u64>,
    /// The gateway's id of the call.
    pub call: String,
    /// What went wrong.
    pub error: String,
}

impl Entry {
    /// Whether the caller got what it asked for.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.status == 200 && self.whole
    }
}

/// The id under which a request of this number is known everywhere.
#[must_use]
pub fn request_id(number: u64) -> String {
    format!("load-{number}")
}

/// The number of a request by its id.
#[must_use]
pub fn number_of(request_id: &str) -> Option<u64> {
    request_id.strip_prefix("load-")?.parse().ok()
}

/// Prompt and completion tokens of a request, as the upstream counts them.
#[must_use]
pub const fn tokens(number: u64) -> (u64, u64) {
    (11 + number % 97, 3 + number % 13)
}

/// All that was asked and answered.
pub struct History {
    began: Instant,
    entries: Mutex<Vec<Entry>>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), entries: Mutex::default() }
    }
}

impl History {
    /// Microseconds since it began.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When it began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// Adds what was seen.
    pub fn add(&self, entry: Entry) {
        self.entries.lock().push(entry);
    }

    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().clone()
    }
}

/// Entries as JSON lines, for whoever wants to look.
#[must_use]
pub fn json_lines(entries: &[Entry]) -> String {
    entries.iter().map(|entry| format!("{}\n", serde_json::to_string(entry).expect("an entry as JSON"))).collect()
}

/// What a load balancer does: round robin over the nodes that are in.
#[derive(Default)]
pub struct Balancer {
    inner: Mutex<(Vec<Option<String>>, usize)>,
}

impl Balancer {
    /// A node serves at this address, or again.
    pub fn put(&self, node: usize, url: &str) {
        let mut inner = self.inner.lock();
        if inner.0.len() <= node {
            inner.0.resize(node + 1, None);
        }
        inner.0[node] = Some(url.to_owned());
    }

    /// A node gets no more requests.
    pub fn take(&self, node: usize) {
        if let Some(place) = self.inner.lock().0.get_mut(node) {
            *place = None;
        }
    }

    /// Where a node is, if it is in.
    #[must_use]
    pub fn url(&self, node: usize) -> Option<String> {
        self.inner.lock().0.get(node).cloned().flatten()
    }

    fn pick(&self) -> Option<(usize, String)> {
        let mut inner = self.inner.lock();
        let count = inner.0.len();
        for _ in 0..count {
            inner.1 += 1;
            let node = inner.1 % count;
            if let Some(url) = inner.0[node].clone() {
                return Some((node, url));
            }
        }
        None
    }
}

/// Requests to be made.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many in a second.
    pub rate: u32,
    /// For how long.
    pub lasts: Duration,
    /// How many of a hundred are streamed.
    pub streams: u64,
    /// Whose; they take turns.
    pub keys: Vec<String>,
    /// The router asked for.
    pub router: String,
}

impl Load {
    /// Makes all requests at their times, and waits for the last answer.
    pub async fn drive(&self, balancer: &Arc<Balancer>, history: &Arc<History>) {
        let count = u64::from(self.rate) * u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX) / 1000;
        let beat = Duration::from_secs(1) / self.rate;
        let mut calls = JoinSet::new();
        for number in 0..count {
            let due = history.began() + beat * u32::try_from(number).unwrap_or(u32::MAX);
            sleep_until(due.into()).await;
            let micros = u64::try_from((due - history.began()).as_micros()).unwrap_or(u64::MAX);
            calls.spawn(self.call(number, micros, Arc::clone(balancer), Arc::clone(history)));
            while calls.try_join_next().is_some() {}
        }
        calls.join_all().await;
    }

    fn call(
        &self,
        number: u64,
        due: u64,
        balancer: Arc<Balancer>,
        history: Arc<History>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let place = usize::try_from(number).unwrap_or(0) % self.keys.len();
        let (key, router) = (self.keys[place].clone(), self.router.clone());
        // 37 shares nothing with 100, so streams are spread.
        let streamed = number * 37 % 100 < self.streams;
        async move {
            let mut entry = Entry { number, key: place, streamed, due, sent: history.now(), ..Entry::default() };
            match balancer.pick() {
                Some((node, url)) => {
                    entry.node = Some(node);
                    one(&mut entry, &Client::new(url).bearer(key), &router, &history).await;
                }
                None => entry.error = "no node is in".to_owned(),
            }
            entry.ended = history.now();
            history.add(entry);
        }
    }
}

/// One request by a client that knows where to and as whom.
pub async fn one(entry: &mut Entry, client: &Client, router: &str, history: &History) {
    let mut body =
        json!({"model": router, "messages": [{"role": "user", "content": format!("call {}", entry.number)}]});
    if entry.streamed {
        body["stream"] = true.into();
    }
    if entry.streamed && entry.number.is_multiple_of(2) {
        body["stream_options"] = json!({"include_usage": true});
    }
    let call = client.post("/v1/chat/completions", &body).header("x-request-id", &request_id(entry.number));
    let open = match call.try_open().await {
        Ok(open) => open,
        Err(error) => {
            entry.error = error;
            return;
        }
    };
    entry.head = Some(history.now());
    entry.status = open.status;
    header(&open.headers, "x-gatewright-call-id").clone_into(&mut entry.call);
    let body = match open.collect().await {
        Ok(body) => body,
        Err(error) => {
            entry.error = error;
            return;
        }
    };
    let text = String::from_utf8_lossy(&body);
    if entry.status != 200 {
        entry.error = text.into_owned();
    } else if entry.streamed {
        read_stream(entry, &text);
    } else {
        read_whole(entry, &text);
    }
}

fn answer_to(number: u64) -> String {
    format!("answer {number} ends.")
}

fn read_whole(entry: &mut Entry, text: &str) {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    note_usage(entry, &body["usage"]);
    entry.whole = body["choices"][0]["message"]["content"] == answer_to(entry.number).as_str();
    if !entry.whole {
        entry.error = format!("another answer: {text}");
    }
}

fn read_stream(entry: &mut Entry, text: &str) {
    let mut said = String::new();
    for event in text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(event).unwrap_or_default();
        said.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        note_usage(entry, &event["usage"]);
    }
    entry.whole = said == answer_to(entry.number) && text.ends_with("data: [DONE]\n\n");
    if !entry.whole {
        entry.error = format!("another stream: {text}");
    }
}

fn note_usage(entry: &mut Entry, usage: &Value) {
    if let (Some(prompt), Some(completion)) = (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64()) {
        (entry.prompt, entry.completion) = (Some(prompt), Some(completion));
    }
}

/// The number of the request that an upstream was asked.
#[must_use]
pub fn number_asked(seen: &Seen) -> Option<u64> {
    let body: Value = serde_json::from_slice(&seen.body).ok()?;
    body["messages"][0]["content"].as_str()?.strip_prefix("call ")?.parse().ok()
}

/// What the upstream of a load answers: the number it was asked, the tokens of that number; most streams are short and
/// some are not.
#[must_use]
pub fn script(seen: &Seen) -> Answer {
    let Some(number) = number_asked(seen) else { return Answer::proper(seen) };
    let (prompt, completion) = tokens(number);
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let answer = if body["stream"] == true {
        let number = number.to_string();
        let asked = body["stream_options"]["include_usage"] == true;
        let words = ["answer", " ", &number, " ", "ends."];
        Answer::stream(&words, asked.then_some((prompt, completion)))
    } else {
        Answer::chat(&answer_to(number), prompt, completion)
    };
    let pause = if number.is_multiple_of(16) { 120 } else { 8 };
    answer.after(Duration::from_millis(4)).paced(Duration::from_millis(pause))
}
