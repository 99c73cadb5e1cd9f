//! A future beside a busy one: it is looked at only when it was woken itself.
//!
//! A connection is polled many times for each request; its clocks and the signals of the process, which almost never have
//! anything to say, would each time cost as much as part of the request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls a future only after something woke it.
pub(super) struct Rarely<F> {
    future: F,
    bell: Arc<Bell>,
    /// What the future is given to be woken by.
    waker: Waker,
}

/// Between whatever wakes the future and the task that it is part of.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl<F: Future + Unpin> Rarely<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future, waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl<F: Future + Unpin> Future for Rarely<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        // First the task, then the bell: whoever rings in between finds somebody to wake.
        this.bell.task.register(cx.waker());
        if !this.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_was_woken_and_not_else() {
        let (notify, polls) = (Arc::new(Notify::new()), AtomicUsize::new(0));
        let mut waiting = pin!(notify.notified());
        let counted = std::future::poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            waiting.as_mut().poll(cx)
        });
        let mut rarely = Rarely::new(counted);
        for _ in 0..100 {
            assert_eq!((&mut rarely).now_or_never(), None);
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        let other = Arc::clone(&notify);
        let ringing = tokio::spawn(async move { other.notify_waiters() });
        rarely.await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
        assert!(ringing.await.is_ok());
    }
}
