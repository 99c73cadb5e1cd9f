//! One runtime and one launching thread for the whole test process.
//!
//! Upstreams and gateways are shared between tests, so they must not live in the runtime of whichever test came
//! first. Children carry a parent-death signal, which Linux sends when the *thread* that started them ends; a test's
//! thread ends with its test, hence the launcher that lives as long as the process.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

/// The longest that one test may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The runtime that everything asynchronous in this process runs on.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime for the tests")
    })
}

/// Runs one test to its end, or fails it when it hangs.
pub fn run<F: Future>(test: F) -> F::Output {
    run_within(PATIENCE, test)
}

/// Runs one test that may take longer than others.
pub fn run_within<F: Future>(patience: Duration, test: F) -> F::Output {
    runtime().block_on(async {
        match tokio::time::timeout(patience, test).await {
            Ok(output) => output,
            Err(_) => panic!("the test did not end within {patience:?}"),
        }
    })
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts a child from the thread that outlives all tests.
pub fn launch(command: Command) -> io::Result<Child> {
    static LAUNCHER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::Builder::new()
            .name("launcher".into())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    // A test that gave up waiting is gone; its child is killed by being dropped with the answer.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread that launches children");
        Mutex::new(orders)
    });
    let (reply, answer) = sync_channel(1);
    launcher.lock().send((command, reply)).expect("the launcher lives");
    answer.recv().expect("the launcher answers")
}
