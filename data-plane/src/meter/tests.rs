//! Usage as reported, and as counted where nothing was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use bytes::Bytes;
use shared::catalog::UsageTokenizer;
use shared::kernel::tokens::TokenUsage;

use super::reported::{Reported, read};
use super::text::{Countable, Deltas, Said, answered, asked};
use super::tokenizer::count;
use crate::translate::Operation;

fn tokens(prompt: impl Into<Option<u64>>, completion: impl Into<Option<u64>>) -> TokenUsage {
    TokenUsage { prompt: prompt.into(), completion: completion.into(), ..TokenUsage::default() }
}

#[test]
fn usage_is_read_leniently() {
    let exact = |tokens| Some(Reported { tokens, bounded: false });
    let bounded = |tokens| Some(Reported { tokens, bounded: true });
    let cases = [
        (r#"{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"new":1e2}"#, exact(tokens(5, 7))),
        (r#"{"prompt_tokens":5,"total_tokens":5}"#, exact(tokens(5, None))),
        (r#"{"prompt_tokens":5,"total_tokens":9}"#, exact(tokens(5, 4))),
        (r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#, exact(tokens(0, 0))),
        (r#"{"input_tokens":3,"output_tokens":4}"#, exact(tokens(3, 4))),
        (r#"{"prompt_tokens":-5,"completion_tokens":7}"#, bounded(tokens(0, 7))),
        (r#"{"prompt_tokens":5,"completion_tokens":99999999999999999999999}"#, bounded(tokens(5, 1_000_000_000))),
        (r#"{"prompt_tokens":5.0,"completion_tokens":"7"}"#, exact(tokens(5, None))),
        (r#"{"prompt_tokens":null,"completion_tokens":null}"#, None),
        (r#"{"total_tokens":8}"#, exact(tokens(8, None))),
        (r#"{}"#, None),
        ("null", None),
        ("[1]", None),
        ("{", None),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text.as_bytes()), expected, "{text}");
    }
    let details = r#"{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}"#;
    let expected = TokenUsage { cached: Some(4), reasoning: Some(3), ..tokens(9, 8) };
    assert_eq!(read(details.as_bytes()).unwrap().tokens, expected);
    let odd = r#"{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":[1,{"a":2}],"completion_tokens_details":null}"#;
    assert_eq!(read(odd.as_bytes()).unwrap().tokens, tokens(9, 8));
}

#[test]
fn all_text_of_a_request_counts() {
    let body = r#"{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":[{"type":"text","text":"Look"},
        {"type":"image_url","image_url":{"url":"data:AAAA"}}]},{"role":"assistant","content":null,
        "tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}],"tools":[{"type":"function"}]}"#;
    let countable = asked(Operation::Chat, body.as_bytes());
    assert_eq!(countable.text, "Be kind.\nLook\nf\n{}\n{\"type\":\"function\"}");
    let embeddings = |input: &str| asked(Operation::Embeddings, format!("{{\"input\":{input}}}").as_bytes());
    assert_eq!(embeddings("\"a b\"").text, "a b");
    assert_eq!(embeddings("[\"a\",\"b\"]").text, "a\nb");
    assert_eq!(embeddings("[1,2,3]").tokens, 3);
    assert_eq!(embeddings("[[1,2],[3]]").tokens, 3);
    assert_eq!(asked(Operation::Chat, b"[").text, "");
    assert_eq!(asked(Operation::Completions, br#"{"prompt":["a","b"]}"#).text, "a\nb");
    assert_eq!(asked(Operation::Rerank, br#"{"query":"q","documents":["a",{"text":"b"}]}"#).text, "q\na\nb");
}

#[test]
fn deltas_are_kept_and_read() {
    let mut deltas = Deltas::default();
    for event in [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta" : {"content":"Good \"delta\""}},{"index":1,"delta":{"content":" day"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm","tool_calls":[{"function":{"arguments":"{\"a\""}}]}}]}"#,
        r#"{"choices":[{"delta":{"content":"cut"#,
        "no json",
    ] {
        deltas.keep(Operation::Chat, event.as_bytes());
    }
    let (countable, share) = deltas.text();
    assert_eq!(countable.text, "Good \"delta\" dayhm\n{\"a\"");
    assert!((share - 1.0).abs() < f64::EPSILON);
    let mut words = Deltas::default();
    words.keep(Operation::Completions, br#"data: {"choices":[{"text":"Good \"text\""},{"text" : " day"}]}"#);
    assert_eq!(words.text().0.text, "Good \"text\" day");
    let mut many = Deltas::default();
    let event = format!("{{\"delta\":{{\"content\":\"{}\"}}}}", "word ".repeat(1000));
    for _ in 0..1000 {
        many.keep(Operation::Chat, event.as_bytes());
    }
    let (countable, share) = many.text();
    assert!(countable.text.len() > 1_000_000 && (0.3..0.5).contains(&share), "{share}");
}

#[test]
fn calls_are_counted() {
    let body = br#"{"messages":[{"role":"user","content":"Good day to you, how are you?"}]}"#;
    let answer = Bytes::from_static(br#"{"choices":[{"message":{"content":"I am fine, thank you <|endoftext|>!"}}]}"#);
    assert_eq!(answered(Operation::Chat, &answer).text, "I am fine, thank you <|endoftext|>!");
    for vocabulary in [UsageTokenizer::Gpt2, UsageTokenizer::Cl100kBase] {
        let counted = count(vocabulary, Operation::Chat, body, &Said::Whole(answer.clone()));
        assert!(
            counted.prompt.is_some_and(|prompt| (7..12).contains(&prompt)) && (8..20).contains(&counted.completion),
            "{counted:?}"
        );
    }
    let counted = count(UsageTokenizer::Gpt2, Operation::Chat, body, &Said::Nothing);
    assert_eq!(counted.completion, 0);
    let long = format!("{{\"messages\":[{{\"content\":\"{}\"}}]}}", "word ".repeat(600_000));
    let counted = count(UsageTokenizer::Gpt2, Operation::Chat, long.as_bytes(), &Said::Nothing);
    assert!(counted.prompt.is_some_and(|prompt| (590_000..610_000).contains(&prompt)), "{counted:?}");
    assert_eq!(Countable::default().tokens, 0);
}
