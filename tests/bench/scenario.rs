//! What is asked of each target.

use crate::load::Shape;

/// One kind of load.
pub(crate) struct Scenario {
    /// Short name for the table.
    pub(crate) name: &'static str,
    /// What the mock shall answer with; also the name of the router.
    pub(crate) requested: &'static str,
    /// Bytes of the prompt.
    pub(crate) prompt: usize,
    /// Whether the answer is streamed.
    pub(crate) stream: bool,
    /// How requests come.
    pub(crate) shape: Shape,
}

impl Scenario {
    /// The request's body; the name of the model comes first because the mock looks there.
    pub(crate) fn body(&self) -> String {
        let stream = if self.stream { r#""stream":true,"stream_options":{"include_usage":true},"# } else { "" };
        let prompt = "lorem ".repeat(self.prompt / 6);
        format!(r#"{{"model":"{}",{stream}"messages":[{{"role":"user","content":"{prompt}"}}]}}"#, self.requested)
    }
}

/// All of them, in the order of the table.
pub(crate) const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "small c=16", requested: "small", prompt: 60, stream: false, shape: Shape::Closed(16) },
    Scenario { name: "small c=64", requested: "small", prompt: 60, stream: false, shape: Shape::Closed(64) },
    Scenario {
        name: "64 KiB prompt c=16",
        requested: "large",
        prompt: 65_536,
        stream: false,
        shape: Shape::Closed(16),
    },
    Scenario { name: "open 500/s", requested: "small", prompt: 60, stream: false, shape: Shape::Open(500) },
    Scenario { name: "burst streams x16", requested: "burst", prompt: 60, stream: true, shape: Shape::Streams(16) },
    Scenario { name: "paced streams x512", requested: "paced", prompt: 60, stream: true, shape: Shape::Streams(512) },
];

/// Names of routers that a gateway needs.
pub(crate) const ROUTERS: [&str; 4] = ["small", "large", "burst", "paced"];
