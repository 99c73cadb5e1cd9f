//! Many threads at once, and what a record costs.

use std::collections::HashSet;
use std::time::Instant;

use super::*;

const THREADS: usize = 8;
const EACH: usize = 10_000;

#[test]
fn a_crowd_loses_nothing_and_doubles_nothing() {
    let folder = Folder::new();
    let (spool, _) = folder.open(1 << 30, OnFull::Refuse);
    let began = Instant::now();
    let ids: HashSet<CallId> = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let one = || {
                        let call = record("m");
                        begin(&spool, &call).unwrap();
                        submit(&spool, &call).unwrap();
                        call.id
                    };
                    std::iter::repeat_with(one).take(EACH).collect::<Vec<_>>()
                })
            })
            .collect();
        crowd.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let written = began.elapsed();
    let calls = THREADS * EACH;
    assert_eq!(ids.len(), calls);
    let killed = folder.after_a_kill();
    drop(spool);
    let began = Instant::now();
    let (again, recovered) = killed.open(1 << 30, OnFull::Refuse);
    let found = began.elapsed();
    assert_eq!(recovered, Recovered { records: calls as u64, ..Recovered::default() });
    let began = Instant::now();
    let sent = drain(&mut again.reader());
    let bytes = again.journal.used();
    println!(
        "{calls} calls, {THREADS} threads: {written:?} to write, {found:?} to recover, {:?} to read, {bytes} bytes",
        began.elapsed()
    );
    assert_eq!(sent.len(), calls);
    assert_eq!(sent.iter().map(|record| record.id).collect::<HashSet<_>>(), ids);
}

#[test]
fn what_a_call_costs() {
    let folder = Folder::new();
    let (spool, _) = folder.open(1 << 30, OnFull::Refuse);
    let calls: Vec<_> = (0..20_000).map(|_| record("m")).collect();
    let began = Instant::now();
    for call in &calls {
        begin(&spool, call).unwrap();
        submit(&spool, call).unwrap();
    }
    println!("one thread: {:?} a call", began.elapsed() / 20_000);
}

#[test]
fn one_write_makes_all_durable_that_wait() {
    let folder = Folder::new();
    let (spool, _) = folder.open(1 << 30, OnFull::Refuse);
    let found = || folder.after_a_kill().open(1 << 30, OnFull::Refuse).1.interrupted;
    let tickets: Vec<_> = (0..10).map(|_| spool.begin(&record("m")).unwrap()).collect();
    assert_eq!(found(), 0, "nothing is written before somebody commits");
    spool.commit(tickets[3]).unwrap();
    assert_eq!(found(), 10);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let real = spool.journal.writer().divert(full);
    spool.commit(tickets[9]).unwrap();
    spool.journal.writer().restore(real);
}
