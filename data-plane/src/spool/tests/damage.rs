//! Files cut at every byte and flipped at every byte.

use std::collections::HashSet;
use std::ops::Range;

use super::super::entry::Entry;
use super::super::frame::{Frames, HEAD};
use super::super::recover::recover;
use super::*;

/// A file of a few calls, some of them open, with the place of every frame in it.
fn sample() -> (Folder, PathBuf, Vec<u8>, Vec<Range<usize>>) {
    let folder = Folder::new();
    let (spool, _) = folder.open(LARGE, OnFull::Refuse);
    let calls: Vec<_> = (0..6).map(|number| record(&"m".repeat(number * 7 + 1))).collect();
    for call in &calls {
        begin(&spool, call).unwrap();
    }
    for call in calls.iter().step_by(2) {
        submit(&spool, call).unwrap();
    }
    let boot = spool.reader().next_batch(1).unwrap().boot;
    spool.reader().acknowledge(boot, 1);
    submit(&spool, &record("refused")).unwrap();
    drop(spool);
    let path = folder.segments().remove(0);
    let bytes = std::fs::read(&path).unwrap();
    let frames = frames_of(&bytes);
    assert_eq!((frames.len(), frames.last().unwrap().end), (11, bytes.len()));
    (folder, path, bytes, frames)
}

fn frames_of(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut frames = Frames::new(bytes);
    let mut ranges = Vec::new();
    while let Some(body) = frames.next() {
        ranges.push(frames.end() - body.len() - HEAD..frames.end());
    }
    ranges
}

/// How many calls are open and how many records are there, after some frames.
fn expect<'a>(bytes: &[u8], frames: impl Iterator<Item = &'a Range<usize>>) -> (usize, usize) {
    let (mut open, mut records) = (HashSet::new(), 0);
    for frame in frames {
        match Entry::read(&bytes[frame.start + HEAD..frame.end]).unwrap() {
            Entry::Open(record) => drop(open.insert(decode(record).unwrap().0)),
            Entry::Close { record, .. } => {
                open.remove(&decode(record).unwrap().0);
                records += 1;
            }
            _ => {}
        }
    }
    (open.len(), records)
}

#[test]
fn a_file_cut_anywhere_keeps_every_frame_before_the_cut() {
    let (folder, path, bytes, frames) = sample();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let whole = frames.iter().filter(|frame| frame.end <= length);
        let end = whole.clone().map(|frame| frame.end).max().unwrap_or(0);
        let found = recover(folder.path()).unwrap();
        assert_eq!(found.open.len(), expect(&bytes, whole).0, "cut at {length}");
        assert_eq!(found.summary.torn_bytes, (length - end) as u64, "cut at {length}");
        assert_eq!(found.summary.damaged, 0, "cut at {length}");
        assert_eq!(frames_of(&bytes[..length]).len(), frames.iter().filter(|frame| frame.end <= length).count());
    }
}

#[test]
fn a_flipped_byte_costs_its_own_frame_and_nothing_else() {
    let (folder, path, bytes, frames) = sample();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let intact: Vec<_> = frames.iter().filter(|frame| !frame.contains(&at)).cloned().collect();
            assert_eq!(frames_of(&damaged), intact, "byte {at} with {flip:02x}");
        }
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xFF;
        std::fs::write(&path, &damaged).unwrap();
        let found = recover(folder.path()).unwrap();
        let intact = frames.iter().filter(|frame| !frame.contains(&at));
        assert_eq!(found.open.len(), expect(&bytes, intact).0, "byte {at}");
        let in_last = frames.last().unwrap().contains(&at);
        assert_eq!((found.summary.damaged > 0, found.summary.torn_bytes > 0), (!in_last, in_last), "byte {at}");
    }
}

#[test]
fn noise_is_not_a_record() {
    let mut noise = Vec::new();
    for round in 0..200_000_u32 {
        let word = u64::from(round).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        noise.extend_from_slice(if round % 50 == 0 { &[0xFF, b'G', 0xFE, b'W', 3, 0, 0, 0] } else { &word });
    }
    assert!(frames_of(&noise).is_empty());
}

#[test]
fn damage_between_records_is_counted_and_put_aside() {
    let (folder, path, mut bytes, frames) = sample();
    bytes[frames[8].start + 30] ^= 0xFF;
    std::fs::write(&path, &bytes).unwrap();
    let (spool, recovered) = folder.open(LARGE, OnFull::Refuse);
    assert_eq!(recovered.damaged, 1);
    let mut reader = spool.reader();
    while let Some(batch) = reader.next_batch(500) {
        reader.acknowledge(batch.boot, batch.seq);
    }
    assert_eq!(reader.backlog(), 0, "what cannot be sent is not waited for");
    assert_eq!(folder.segments().len(), 1);
    assert!(path.with_extension("damaged").exists(), "kept for whoever wants to look");
}
