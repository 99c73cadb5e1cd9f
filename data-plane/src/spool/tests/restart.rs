//! Records and open calls across restarts, and what acknowledgements leave of them.

use super::*;

#[test]
fn what_was_not_acknowledged_is_sent_again_under_its_own_boot_and_number() {
    let folder = Folder::new();
    let records: Vec<_> = (0..10).map(|number| record(&format!("m{number}"))).collect();
    let (spool, recovered) = folder.open(LARGE, OnFull::Refuse);
    assert_eq!(recovered, Recovered::default());
    for record in &records {
        begin(&spool, record).unwrap();
        submit(&spool, record).unwrap();
    }
    let mut reader = spool.reader();
    let first = reader.next_batch(4).unwrap();
    let second = reader.next_batch(4).unwrap();
    assert_eq!((first.seq, second.seq, reader.backlog()), (4, 8, 10));
    assert_eq!((first.boot, first.records.len()), (second.boot, 4));
    reader.acknowledge(first.boot, first.seq);
    assert_eq!(reader.backlog(), 6);
    reader.rewind();
    assert_eq!(reader.next_batch(4).unwrap(), second);
    drop(spool);

    let killed = folder.after_a_kill();
    let (spool, recovered) = killed.open(LARGE, OnFull::Refuse);
    assert_eq!(recovered, Recovered { records: 6, ..Recovered::default() });
    let mut reader = spool.reader();
    assert_eq!(reader.next_batch(4).unwrap(), second);
    let last = reader.next_batch(4).unwrap();
    assert_eq!((last.boot, last.seq, last.records.len()), (second.boot, 10, 2));
    assert_eq!(reader.next_batch(4), None);
    let fresh = record("fresh");
    submit(&spool, &fresh).unwrap();
    let batch = reader.next_batch(4).unwrap();
    assert!(batch.boot != last.boot && batch.seq == 1);
    reader.acknowledge(last.boot, last.seq);
    reader.acknowledge(batch.boot, batch.seq);
    assert_eq!(reader.backlog(), 0);
    assert_eq!(killed.segments().len(), 1, "segments of the earlier start are gone");
    drop((spool, reader));
    assert_eq!(killed.open(LARGE, OnFull::Refuse).1, Recovered::default());
}

#[test]
fn a_call_that_a_kill_cut_off_becomes_one_interrupted_record() {
    let folder = Folder::new();
    let (cut_off, finished) = (record("cut-off"), record("finished"));
    let (spool, _) = folder.open(LARGE, OnFull::Refuse);
    begin(&spool, &cut_off).unwrap();
    begin(&spool, &finished).unwrap();
    submit(&spool, &finished).unwrap();

    let killed = folder.after_a_kill();
    for start in 0..3 {
        let (spool, recovered) = killed.open(LARGE, OnFull::Refuse);
        assert_eq!((recovered.records, recovered.interrupted), (2, u64::from(start == 0)), "start {start}");
        let sent = drain(&mut spool.reader());
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0], finished);
        let UsageRecord { id, outcome, status, tokens, cost, ref requested, key, latency, .. } = sent[1];
        assert_eq!((id, outcome, status, key), (cut_off.id, Outcome::Interrupted, 0, cut_off.key));
        assert_eq!((tokens, cost, requested.as_str()), (TokenUsage::default(), Amount::ZERO, "cut-off"));
        assert_eq!(latency, finished.latency, "it ran at least until the node was last seen alive");
    }
}

#[test]
fn a_call_whose_tokens_were_still_being_counted_is_not_called_interrupted() {
    let folder = Folder::new();
    let (spool, _) = folder.open(LARGE, OnFull::Refuse);
    let call = record("m");
    begin(&spool, &call).unwrap();
    let uncounted = UsageRecord { tokens: TokenUsage::default(), ..call };
    spool.revise(&uncounted);
    spool.revise(&record("of a call that never began"));
    let killed = folder.after_a_kill();
    let (again, recovered) = killed.open(LARGE, OnFull::Refuse);
    assert_eq!((recovered.records, recovered.interrupted), (1, 1));
    assert_eq!(drain(&mut again.reader()), [uncounted]);
}

#[test]
fn a_long_call_does_not_hold_up_the_rest() {
    let folder = Folder::new();
    let (spool, _) = folder.open(128 << 10, OnFull::Refuse);
    let mut reader = spool.reader();
    let long = record("long");
    begin(&spool, &long).unwrap();
    for _ in 0..2000 {
        let short = record("short");
        begin(&spool, &short).unwrap();
        submit(&spool, &short).unwrap();
        let batch = reader.next_batch(500).unwrap();
        reader.acknowledge(batch.boot, batch.seq);
    }
    assert!(folder.segments().len() <= 2, "{:?}", folder.segments());
    assert!(spool.journal.used() < 64 << 10);
    let killed = folder.after_a_kill();
    let (other, recovered) = killed.open(LARGE, OnFull::Refuse);
    assert_eq!((recovered.records, recovered.interrupted), (1, 1));
    assert_eq!(drain(&mut other.reader())[0].id, long.id);
    submit(&spool, &long).unwrap();
    assert_eq!(drain(&mut reader), [long]);
}

#[test]
fn one_process_at_a_time() {
    let folder = Folder::new();
    let (_spool, _) = folder.open(LARGE, OnFull::Refuse);
    let options = SpoolOptions { max_bytes: LARGE, on_full: OnFull::Refuse, boot: BootId::generate() };
    let error = Spool::open(folder.path(), options).unwrap_err();
    assert!(matches!(error, SpoolError::InUse { .. }), "{error}");
}

#[test]
fn what_is_written_is_soon_synced() {
    let folder = Folder::new();
    let (spool, _) = folder.open(LARGE, OnFull::Refuse);
    submit(&spool, &record("m")).unwrap();
    assert!(spool.journal.doorbell.age() > Duration::ZERO);
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while spool.journal.doorbell.age() > Duration::ZERO {
        assert!(std::time::Instant::now() < patience);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_queue_in_memory_hands_out_like_a_spool() {
    let boot = BootId::generate();
    let mut queue = MemoryQueue::new(boot, 3);
    let records: Vec<_> = (0..3).map(|_| record("m")).collect();
    for record in &records {
        queue.submit(record).unwrap();
    }
    assert_eq!((queue.submit(&record("too many")), queue.has_room()), (Err(NoRoom), false));
    let first = queue.next_batch(2).unwrap();
    assert_eq!((first.boot, first.seq, first.records.len()), (boot, 2, 2));
    assert_eq!(queue.next_batch(2).unwrap().seq, 3);
    queue.acknowledge(boot, 2);
    queue.rewind();
    let again = queue.next_batch(2).unwrap();
    assert_eq!((again.seq, decode(&again.records[0]).unwrap().0, queue.backlog()), (3, records[2].id, 1));
    queue.acknowledge(boot, 3);
    assert_eq!((queue.backlog(), queue.next_batch(2)), (0, None));
}
