//! No room, and disks that refuse.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::super::frame::Frames;
use super::*;

#[test]
fn a_full_spool_refuses_calls_before_they_begin_and_keeps_room_for_those_that_run() {
    let folder = Folder::new();
    let (spool, _) = folder.open(48 << 10, OnFull::Refuse);
    let mut running = Vec::new();
    while spool.has_room() {
        let call = record("m");
        begin(&spool, &call).unwrap();
        running.push(call);
    }
    assert!(running.len() > 10);
    while submit(&spool, &record("never begun")).is_ok() {}
    for call in &running {
        submit(&spool, call).unwrap();
    }
    assert!(spool.journal.used() <= 48 << 10, "what runs ends within the limit");
    let mut reader = spool.reader();
    while let Some(batch) = reader.next_batch(5) {
        reader.acknowledge(batch.boot, batch.seq);
    }
    assert!(spool.has_room(), "what is acknowledged makes room");
}

#[test]
fn drop_and_count_serves_calls_without_records() {
    let folder = Folder::new();
    let (spool, _) = folder.open(32 << 10, OnFull::DropAndCount);
    let mut lost = 0;
    let calls: Vec<_> = (0..200).map(|_| record("m")).collect();
    for call in &calls {
        assert!(spool.has_room());
        begin(&spool, call).unwrap();
    }
    for call in &calls {
        lost += usize::from(submit(&spool, call).is_err());
    }
    assert!(lost > 0 && lost < 200);
    assert_eq!(drain(&mut spool.reader()).len(), 200 - lost);
    let (_again, recovered) = folder.after_a_kill().open(LARGE, OnFull::Refuse);
    assert_eq!((recovered.records, recovered.interrupted), (200 - lost as u64, 0));
}

#[test]
fn a_disk_that_refuses_stops_new_calls_until_it_takes_again() {
    let folder = Folder::new();
    let (spool, _) = folder.open(LARGE, OnFull::Refuse);
    let (running, refused) = (record("running"), record("refused"));
    begin(&spool, &running).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let real = spool.journal.writer().divert(full);
    assert_eq!(begin(&spool, &refused), Err(NoRoom));
    assert!(!spool.has_room());
    submit(&spool, &running).unwrap();
    assert_eq!(submit(&spool, &record("refused too")), Err(NoRoom));
    assert_eq!(drain(&mut spool.reader()), []);
    spool.journal.writer().restore(real);
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while !spool.has_room() {
        assert!(std::time::Instant::now() < patience, "it is tried again by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(drain(&mut spool.reader()), [running]);
    let (_again, recovered) = folder.after_a_kill().open(LARGE, OnFull::Refuse);
    assert_eq!((recovered.records, recovered.interrupted), (1, 0), "the refused call was taken back");
}

#[test]
fn a_write_cut_short_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let (spool, _) = folder.open(LARGE, OnFull::Refuse);
    let (mut far, near) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let real = spool.journal.writer().divert(OwnedFd::from(near).into());
    let mut large = record("m");
    large.attempts = vec![large.attempts[0].clone(); 4000];
    let (mut calls, mut seen) = (1, Vec::new());
    while submit(&spool, &large).is_ok() && spool.journal.writer().is_clean() {
        calls += 1;
    }
    assert!(!spool.has_room());
    while !spool.journal.writer().is_clean() {
        // Ends with "would block" once everything there is read.
        let _more = far.read_to_end(&mut seen);
        spool.journal.retry();
    }
    let _more = far.read_to_end(&mut seen);
    let mut frames = Frames::new(&seen);
    assert_eq!((frames.by_ref().count(), frames.end(), frames.damaged()), (calls, seen.len(), 0));
    spool.journal.writer().restore(real);
}
