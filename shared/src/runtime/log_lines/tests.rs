//! Lines are the same, letter by letter, as those of `tracing-subscriber`; and no value leaves its line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::{PlainFields, PlainLines, moment};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Sink {
    type Writer = Self;
    fn make_writer(&self) -> Self::Writer {
        self.clone()
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

/// What `tell` says, with the formatter of the library around our fields.
fn by_the_library(tell: impl FnOnce()) -> String {
    let sink = Sink::default();
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(sink.clone());
    tracing::subscriber::with_default(lines.with_ansi(false).fmt_fields(PlainFields).finish(), tell);
    sink.text()
}

fn by_us(tell: impl FnOnce()) -> String {
    let sink = Sink::default();
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(sink.clone());
    let lines = lines.with_ansi(false).event_format(PlainLines).fmt_fields(PlainFields);
    tracing::subscriber::with_default(lines.finish(), tell);
    sink.text()
}

/// Lines without the time that they begin with, which is checked for its form.
fn timeless(lines: &str) -> Vec<&str> {
    let form = |time: &str| time.replace(|letter: char| letter.is_ascii_digit(), "0");
    let split = |line| str::split_once(line, ' ').unwrap();
    lines
        .lines()
        .map(split)
        .inspect(|(time, _)| assert_eq!(form(time), "0000-00-00T00:00:00.000000Z"))
        .map(|(_, rest)| rest)
        .collect()
}

#[derive(Debug, thiserror::Error)]
#[error("outer\n{0}")]
struct Outer(&'static str, #[source] io::Error);

/// Lines of every level, with and without fields and spans.
fn tell() {
    tracing::trace!("trace");
    tracing::debug!(answer = 42, "debug");
    tracing::info!(target: "access", call_id = %"0192", text = "plain", odd = "a \"b\"\n\\", r#type = "t", none = Option::<u64>::None, "call");
    tracing::warn!(yes = true, no = false, half = 0.5, less = i64::MIN, more = u64::MAX, wide = u128::MAX);
    let outer = tracing::info_span!("outer", id = %"a\nb", later = tracing::field::Empty, "type" = 7);
    let _outer = outer.enter();
    tracing::error!(error = &Outer("x\u{1b}[31m", io::Error::other("inner\r")) as &dyn Error, what = ?Some("é"), "a\nb");
    outer.record("later", "now");
    let _bare = tracing::debug_span!("bare").entered();
    tracing::info!(parent: &outer, "within one");
    tracing::info!("within {}", "two");
    tracing::info!(parent: None, "within none");
}

#[test]
fn lines_are_those_of_the_library() {
    let (theirs, ours) = (by_the_library(tell), by_us(tell));
    assert_eq!(timeless(&ours), timeless(&theirs));
    assert!(ours.ends_with('\n'));
}

#[test]
fn lines_are_as_people_read_them() {
    let target = module_path!();
    let lines = [
        "TRACE TARGET: trace",
        "DEBUG TARGET: debug answer=42",
        " INFO access: call call_id=0192 text=\"plain\" odd=\"a \\\"b\\\"\\n\\\\\" type=\"t\"",
        " WARN TARGET: yes=true no=false half=0.5 less=-9223372036854775808 more=18446744073709551615 wide=340282366920938463463374607431768211455",
        "ERROR outer{id=a\\nb type=7}: TARGET: a\\nb error=outer\\nx\\u{1b}[31m error.sources=[inner\\r] what=Some(\"é\")",
        " INFO outer{id=a\\nb type=7 later=\"now\"}: TARGET: within one",
        " INFO outer{id=a\\nb type=7 later=\"now\"}:bare: TARGET: within two",
        " INFO TARGET: within none",
    ];
    assert_eq!(timeless(&by_us(tell)), lines.map(|line| line.replace("TARGET", target)));
}

#[test]
fn no_value_speaks_to_a_terminal() {
    let lines = by_us(|| tracing::info!(what = %"é\n\u{9b}31m", text = "\u{7f}\u{85}", "told"));
    assert!(lines.ends_with("told what=é\\n\\u{9b}31m text=\"\\u{7f}\\u{85}\"\n"), "{lines}");
}

fn time(second: i64, micros: u32) -> String {
    let whole = Duration::from_secs(second.unsigned_abs());
    let time = if second < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    moment(time + Duration::from_micros(micros.into()))
}

fn moment(time: SystemTime) -> String {
    let mut text = String::new();
    moment::push(&mut text, time);
    text
}

#[test]
fn times_are_those_of_the_calendar() {
    for (second, text) in [
        (0, "1970-01-01T00:00:00"),
        (-1, "1969-12-31T23:59:59"),
        (951_782_399, "2000-02-28T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (951_868_800, "2000-03-01T00:00:00"),
        (1_735_689_599, "2024-12-31T23:59:59"),
        (1_735_689_600, "2025-01-01T00:00:00"),
        (4_107_542_400, "2100-03-01T00:00:00"),
        (-2_203_891_201, "1900-02-28T23:59:59"),
        (-2_203_891_200, "1900-03-01T00:00:00"),
        (253_402_300_799, "9999-12-31T23:59:59"),
        (253_402_300_800, "+10000-01-01T00:00:00"),
        (-62_167_219_200, "0000-01-01T00:00:00"),
        (-62_167_219_201, "-0001-12-31T23:59:59"),
    ] {
        for micros in [0, 1, 500_000, 999_999] {
            assert_eq!(time(second, micros), format!("{text}.{micros:06}Z"));
        }
    }
    assert_eq!(moment(UNIX_EPOCH + Duration::from_nanos(1_999)), "1970-01-01T00:00:00.000001Z");
    assert_eq!(moment(UNIX_EPOCH - Duration::from_nanos(1_500)), "1969-12-31T23:59:59.999998Z");
}

#[test]
fn years_have_the_days_of_their_kind() {
    let days = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
    let mut second = 0;
    for year in 1970..2370 {
        assert_eq!(time(second, 7), format!("{year}-01-01T00:00:00.000007Z"));
        second += days(year) * 86_400;
        assert_eq!(time(second - 1, 0), format!("{year}-12-31T23:59:59.000000Z"));
    }
}
