//! Any cut of a stream gives the same events and the same bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;

const WIRES: &[&str] = &[
    "data: {\"a\":1}\n\ndata: [DONE]\n\n",
    "data:{\"a\":1}\r\n\r\ndata: two\r\ndata: lines\r\n\r\n: comment\r\n\r\nevent: ping\r\ndata\r\n\r\n",
    "\u{feff}data: bom\n\n: c\n\n\nid: 3\nevent: x\ndata:  y\ndata:\n\nretry: 5\n\n",
    "data: mixed\n\r\ndata: ends\r\n\ndata: é😀\n\ndata: unfinished",
    "\n\n\n\ndata: a\n\n",
];

/// The name of an event, where it has one, and its data.
type Event = (Option<Vec<u8>>, Vec<u8>);

fn run(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Event>) {
    let mut splitter = Splitter::default();
    let (mut bytes, mut seen) = (Vec::new(), Vec::new());
    let mut take = |batch: Bytes| {
        let mut at = 0;
        for event in events(&batch) {
            assert_eq!(event.range.start, at, "no byte is skipped");
            at = event.range.end;
            if let Some(data) = event.data {
                seen.push((event.name.map(<[u8]>::to_vec), data.to_vec()));
            }
        }
        assert_eq!(at, batch.len());
        bytes.extend_from_slice(&batch);
    };
    for piece in pieces {
        take(splitter.push(Bytes::copy_from_slice(piece)).unwrap());
    }
    take(splitter.finish());
    (bytes, seen)
}

#[test]
fn any_cut_gives_the_same() {
    for wire in WIRES {
        let wire = wire.as_bytes();
        let whole = run(&[wire]);
        assert_eq!(whole.0, wire);
        for size in 1..=wire.len() {
            let pieces: Vec<&[u8]> = wire.chunks(size).collect();
            assert_eq!(run(&pieces), whole, "pieces of {size}");
        }
        for one in 0..wire.len() {
            for two in one..wire.len() {
                assert_eq!(run(&[&wire[..one], &wire[one..two], &wire[two..]]), whole, "cuts at {one} and {two}");
            }
        }
    }
}

#[test]
fn data_is_read_as_the_standard_says() {
    let data: Vec<_> = run(&[WIRES[1].as_bytes()]).1;
    let text: Vec<_> = data.iter().map(|(_, data)| std::str::from_utf8(data).unwrap()).collect();
    assert_eq!(text, ["{\"a\":1}", "two\nlines", ""]);
    assert_eq!(data[2].0.as_deref(), Some(&b"ping"[..]));
    let data = run(&[WIRES[2].as_bytes()]).1;
    assert_eq!(data, [(None, b"bom".to_vec()), (Some(b"x".to_vec()), b" y\n".to_vec())]);
    assert_eq!(run(&[WIRES[3].as_bytes()]).1.last().unwrap().1, b"unfinished");
}

#[test]
fn one_read_leaves_as_one_slice_of_it() {
    let mut splitter = Splitter::default();
    let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\ndata: 3");
    let batch = splitter.push(chunk.clone()).unwrap();
    assert_eq!(batch.as_ptr(), chunk.as_ptr());
    assert_eq!(batch, &b"data: 1\n\ndata: 2\n\n"[..]);
    assert_eq!(splitter.push(Bytes::from_static(b"4\n\nx")).unwrap(), &b"data: 34\n\n"[..]);
}

#[test]
fn an_endless_event_is_refused() {
    let mut splitter = Splitter::default();
    let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
    let refused = (0..18).any(|_| splitter.push(piece.clone()).is_err());
    assert!(refused);
}
