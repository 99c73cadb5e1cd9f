//! The time a line begins with: UTC by RFC 3339, with microseconds.

use std::cell::RefCell;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: i64 = 86_400;

thread_local! {
    /// The second of the thread's last line, and its text: most lines share it with the one before.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// Appends `2025-01-02T03:04:05.000006Z`.
pub(super) fn push(line: &mut String, time: SystemTime) {
    let (second, nanos) = since_epoch(time);
    SECOND.with_borrow_mut(|(last, text)| {
        if *last != second {
            text.clear();
            push_second(text, second);
            *last = second;
        }
        line.push_str(text);
    });
    push_micros(line, nanos / 1_000);
}

/// Whole seconds, downwards, and the nanoseconds upon them.
fn since_epoch(time: SystemTime) -> (i64, u32) {
    let seconds = |whole: u64| i64::try_from(whole).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (seconds(after.as_secs()), after.subsec_nanos()),
        Err(before) => match (seconds(before.duration().as_secs()), before.duration().subsec_nanos()) {
            (whole, 0) => (-whole, 0),
            (whole, nanos) => (-whole - 1, 1_000_000_000 - nanos),
        },
    }
}

fn push_second(text: &mut String, second: i64) {
    let (year, month, day) = date(second.div_euclid(SECONDS_PER_DAY));
    let of_day = second.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    // A text takes whatever is written to it.
    let _ = match year {
        0..=9_999 => write!(text, "{year:04}"),
        10_000.. => write!(text, "+{year}"),
        _ => write!(text, "{year:05}"),
    };
    let _ = write!(text, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar of all times.
///
/// Counted in eras of 400 years that begin on 1 March of year 0, so that a leap day is the last of its year.
const fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_BEFORE_1970: i64 = 719_468;
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + DAYS_BEFORE_1970;
    let (era, of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March on have 153 days, and so have the next five.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let (month, next_year) = if from_march < 10 { (from_march + 3, 0) } else { (from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

fn push_micros(line: &mut String, mut micros: u32) {
    let mut text = *b".000000Z";
    for digit in text.iter_mut().skip(1).take(6).rev() {
        *digit += (micros % 10) as u8;
        micros /= 10;
    }
    line.push_str(str::from_utf8(&text).unwrap_or_default());
}
