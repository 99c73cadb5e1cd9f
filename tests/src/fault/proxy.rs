//! A proxy between any two parties that speak TCP: it delays, slows, silences, holds, cuts and flaps, and can be told
//! otherwise while it runs.
//!
//! Silence is what a partition looks like to the parties: nothing is lost, nothing arrives, no connection ends. What was
//! sent arrives when the weather is fair again, as it does over TCP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::scenario::span;
use crate::runtime;

/// Pieces that may be under way in one direction.
const UNDER_WAY: usize = 64;
/// A slowed direction carries so many pieces in a second.
const SLICES: u64 = 20;

/// How a link behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Weather {
    /// From whoever dialled to whom it dialled.
    pub there: Way,
    /// The other direction.
    pub back: Way,
    /// What becomes of new connections.
    pub door: Door,
    /// Good for a time, then all connections are cut and none is let in for a time.
    pub flap: Option<Flap>,
}

/// How one direction behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Way {
    /// Everything arrives so much later.
    #[serde(deserialize_with = "span")]
    pub delay: Duration,
    /// Nothing arrives.
    pub silent: bool,
    /// No more arrives in a second.
    pub bytes_per_second: Option<u64>,
    /// The connection ends when it has carried so much this way.
    pub cut_after: Option<u64>,
    /// How it ends then.
    pub cut: Cut,
}

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// They are carried.
    #[default]
    Open,
    /// They are accepted, and nothing is said.
    Hold,
    /// They are reset.
    Shut,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// By RST.
    #[default]
    Reset,
    /// By FIN.
    Finish,
}

/// The rhythm of a link that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// How long it works.
    #[serde(deserialize_with = "span")]
    pub up: Duration,
    /// How long it does not.
    #[serde(deserialize_with = "span")]
    pub down: Duration,
}

/// What all connections of a proxy know.
#[derive(Clone, Debug, Default)]
struct State {
    weather: Weather,
    /// A flapping link is down.
    down: bool,
    /// Connections older than this many cuts are to end, in this way.
    cuts: u64,
    how: Cut,
    /// Connections older than this many strandings carry nothing any more.
    strandings: u64,
}

/// A proxy on a port of its own; ends with its connections when it is dropped.
pub struct TcpFaultProxy {
    address: String,
    target: Arc<Mutex<String>>,
    state: Arc<watch::Sender<State>>,
    live: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for TcpFaultProxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl TcpFaultProxy {
    /// Carries to `host:port`, in fair weather.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the proxy");
        let address = listener.local_addr().expect("its address").to_string();
        let target = Arc::new(Mutex::new(target.to_owned()));
        let state = Arc::new(watch::Sender::new(State::default()));
        let live = Arc::default();
        let tasks = [
            runtime::runtime().spawn(serve(listener, Arc::clone(&target), Arc::clone(&state), Arc::clone(&live))),
            runtime::runtime().spawn(flap(Arc::clone(&state))),
        ];
        Self { address, target, state, live, tasks }
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes the weather, for the connections that there are too.
    pub fn set(&self, weather: Weather) {
        self.state.send_modify(|state| {
            state.down = false;
            state.weather = weather;
        });
    }

    /// Fair weather. Connections that were stranded stay so.
    pub fn heal(&self) {
        self.set(Weather::default());
    }

    /// New connections go to another place.
    pub fn retarget(&self, target: &str) {
        target.clone_into(&mut self.target.lock());
    }

    /// Ends all connections that there are.
    pub fn cut(&self, how: Cut) {
        self.state.send_modify(|state| {
            state.cuts += 1;
            state.how = how;
        });
    }

    /// The connections that there are never carry anything again and never end: the other side is gone without a word.
    pub fn strand(&self) {
        self.state.send_modify(|state| state.strandings += 1);
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

async fn serve(
    listener: TcpListener,
    target: Arc<Mutex<String>>,
    state: Arc<watch::Sender<State>>,
    live: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (target, state, live) = (Arc::clone(&target), state.subscribe(), Arc::clone(&live));
        connections.spawn(async move {
            live.fetch_add(1, Ordering::Relaxed);
            carry(stream, &target, state).await;
            live.fetch_sub(1, Ordering::Relaxed);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Opens and shuts a flapping link.
async fn flap(state: Arc<watch::Sender<State>>) {
    let mut seen = state.subscribe();
    loop {
        let rhythm = seen.borrow_and_update().weather.flap;
        let Some(Flap { up, down }) = rhythm else {
            if seen.changed().await.is_err() {
                return;
            }
            continue;
        };
        for (wait, goes_down) in [(up, true), (down, false)] {
            sleep(wait).await;
            state.send_if_modified(|state| {
                if state.weather.flap != rhythm {
                    return false;
                }
                state.down = goes_down;
                if goes_down {
                    state.cuts += 1;
                    state.how = Cut::Reset;
                }
                true
            });
        }
    }
}

/// One connection from its beginning to its end.
async fn carry(near: TcpStream, target: &Mutex<String>, mut state: watch::Receiver<State>) {
    let birth = {
        let state = state.borrow_and_update();
        (state.cuts, state.strandings)
    };
    let held = |state: &State| state.weather.door == Door::Hold && !state.down && state.cuts == birth.0;
    if state.wait_for(|state| !held(state)).await.is_err() {
        return;
    }
    let shut = {
        let state = state.borrow();
        state.down || state.weather.door == Door::Shut || state.cuts != birth.0
    };
    let place = target.lock().clone();
    let far = if shut { Err(io::ErrorKind::ConnectionRefused.into()) } else { TcpStream::connect(place).await };
    let Ok(far) = far else {
        let _ = near.set_zero_linger();
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, mut near_write), (far_read, mut far_write)) = (near.into_split(), far.into_split());
    let how = {
        let there = pump(near_read, &mut far_write, |weather| &weather.there, state.clone(), birth.1);
        let back = pump(far_read, &mut near_write, |weather| &weather.back, state.clone(), birth.1);
        tokio::pin!(there, back);
        let both = async {
            tokio::select! {
                cut = &mut there => if cut.is_some() { cut } else { back.await },
                cut = &mut back => if cut.is_some() { cut } else { there.await },
            }
        };
        tokio::select! {
            cut = both => cut,
            torn = state.wait_for(|state| state.cuts != birth.0) => Some(torn.map_or(Cut::Reset, |state| state.how)),
        }
    };
    if how == Some(Cut::Reset) {
        let _ = (near_write.as_ref().set_zero_linger(), far_write.as_ref().set_zero_linger());
        // Otherwise FIN would go first.
        near_write.forget();
        far_write.forget();
    }
}

/// What one read brought, and when.
type Piece = (Instant, io::Result<Bytes>);

/// Carries one direction; how it is to be cut, or nothing when it ended by itself.
async fn pump(
    from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    way: fn(&Weather) -> &Way,
    state: watch::Receiver<State>,
    birth: u64,
) -> Option<Cut> {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let write = write(receiver, to, way, state, birth);
    let read = async {
        read(from, sender).await;
        // What was read is still to be carried.
        std::future::pending().await
    };
    tokio::select! {
        how = write => how,
        never = read => never,
    }
}

async fn read(mut from: OwnedReadHalf, sender: mpsc::Sender<Piece>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(16 * 1024);
        let piece = match from.read_buf(&mut buffer).await {
            Ok(0) => return,
            Ok(_) => Ok(buffer.split().freeze()),
            Err(error) => Err(error),
        };
        let broken = piece.is_err();
        let sent = tokio::select! {
            sent = sender.send((Instant::now(), piece)) => sent.is_ok(),
            () = sender.closed() => false,
        };
        if broken || !sent {
            return;
        }
    }
}

async fn write(
    mut receiver: mpsc::Receiver<Piece>,
    to: &mut OwnedWriteHalf,
    way: fn(&Weather) -> &Way,
    mut state: watch::Receiver<State>,
    birth: u64,
) -> Option<Cut> {
    let mut carried = 0_u64;
    loop {
        let piece = receiver.recv().await;
        let at = piece.as_ref().map_or_else(Instant::now, |(at, _)| *at);
        let now = audible(&mut state, way, birth, at).await?;
        let bytes = match piece {
            Some((_, Ok(bytes))) => bytes,
            Some((_, Err(_))) => return Some(Cut::Reset),
            None => {
                let _ = to.shutdown().await;
                return None;
            }
        };
        let room = now
            .cut_after
            .map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(carried)).unwrap_or(usize::MAX));
        let allowed = bytes.slice(..bytes.len().min(room));
        let slice = now.bytes_per_second.map_or(usize::MAX, |most| usize::try_from(most / SLICES).unwrap_or(1).max(1));
        for slice in allowed.chunks(slice) {
            if to.write_all(slice).await.is_err() {
                return Some(Cut::Reset);
            }
            if now.bytes_per_second.is_some() {
                sleep(Duration::from_secs(1) / u32::try_from(SLICES).unwrap_or(1)).await;
            }
        }
        carried += allowed.len() as u64;
        if bytes.len() >= room {
            return Some(now.cut);
        }
    }
}

/// Waits until what was read at `at` may arrive; nothing when the proxy is gone.
async fn audible(
    state: &mut watch::Receiver<State>,
    way: fn(&Weather) -> &Way,
    birth: u64,
    at: Instant,
) -> Option<Way> {
    loop {
        let quiet = |state: &State| way(&state.weather).silent || state.strandings != birth;
        let now = way(&state.wait_for(|state| !quiet(state)).await.ok()?.weather).clone();
        sleep_until(at + now.delay).await;
        if !quiet(&state.borrow()) {
            return Some(now);
        }
    }
}
