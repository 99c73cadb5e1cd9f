//! A log line as people read it: `time LEVEL spans: target: message name=value`.
//!
//! The text is the one that `tracing-subscriber` writes by itself. It is put together here because every request has such
//! a line: in one buffer that each thread keeps, instead of piece by piece through its layers of writers.
//!
//! | file | holds |
//! |---|---|
//! | [`moment`] | the time a line begins with |
//! | [`fields`] | `name=value`, also of spans |

mod fields;
mod moment;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::time::SystemTime;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

pub(super) use fields::PlainFields;

/// Writes whole lines.
pub(super) struct PlainLines;

thread_local! {
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

impl<S, N> FormatEvent<S, N> for PlainLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // A value that logs while it is written finds nothing here, and takes a buffer of its own.
        let mut line = LINE.take();
        line.clear();
        moment::push(&mut line, SystemTime::now());
        line.push_str(level(*event.metadata().level()));
        push_spans(&mut line, context);
        line.push_str(event.metadata().target());
        line.push_str(": ");
        let result = fields::push(&mut line, event);
        line.push('\n');
        let result = result.and_then(|()| writer.write_str(&line));
        LINE.set(line);
        result
    }
}

/// All of one width, so that what follows stands in columns.
const fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => " ERROR ",
        Level::WARN => "  WARN ",
        Level::INFO => "  INFO ",
        Level::DEBUG => " DEBUG ",
        Level::TRACE => " TRACE ",
    }
}

/// Within what it happened, from the outermost inwards.
fn push_spans<S, N>(line: &mut String, context: &FmtContext<'_, S, N>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let Some(scope) = context.event_scope() else { return };
    let before = line.len();
    for span in scope.from_root() {
        line.push_str(span.metadata().name());
        if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
            line.push('{');
            line.push_str(fields);
            line.push('}');
        }
        line.push(':');
    }
    if line.len() > before {
        line.push(' ');
    }
}
