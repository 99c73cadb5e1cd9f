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
                        spool.begin(call.clone()).unwrap();
                        spool.submit(call.clone()).unwrap();
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
        spool.begin(call.clone()).unwrap();
        spool.submit(call.clone()).unwrap();
    }
    println!("one thread: {:?} a call", began.elapsed() / 20_000);
}
