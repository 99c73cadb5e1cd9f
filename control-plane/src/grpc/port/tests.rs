//! How connections begin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use tokio::io::{AsyncWriteExt as _, duplex};

use super::*;

#[tokio::test]
async fn only_http2_begins_like_this() {
    // In pieces of any length.
    for piece in 1..=PREFACE.len() {
        let (mut theirs, mut ours) = duplex(64);
        let saying = tokio::spawn(async move {
            for part in PREFACE.chunks(piece) {
                theirs.write_all(part).await.unwrap();
            }
            theirs
        });
        begun(&mut ours).await.unwrap_or_else(|refusal| panic!("pieces of {piece}: {refusal}"));
        drop(saying.await.unwrap());
    }
    for (other, reason) in [(&b"GET / HTTP/1.1\r\n"[..], "not_http2"), (b"\0", "not_http2"), (b"PRI * HTT", "broken")] {
        let (mut theirs, mut ours) = duplex(64);
        theirs.write_all(other).await.unwrap();
        drop(theirs);
        assert_eq!(begun(&mut ours).await.unwrap_err().reason(), reason, "{other:?}");
    }
}

#[test]
fn the_word_for_the_wrong_port_is_whole() {
    let text = std::str::from_utf8(WRONG_PORT).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
}
