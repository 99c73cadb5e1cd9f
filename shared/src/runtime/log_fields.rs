//! The fields of a log line as people read them: `name=value`, texts in quotes.
//!
//! Written for the line that every request has, which the general formatter spends most of its time on; and no value can
//! end a line or speak to a terminal, whatever a client or an upstream put into it.

use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes `name=value`, and the message without a name.
pub(super) struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, first: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Clean<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.name(field.name()).and_then(|()| value(&mut Clean(&mut self.writer)));
        }
    }

    fn name(&mut self, name: &str) -> fmt::Result {
        if !std::mem::replace(&mut self.first, false) {
            self.writer.write_char(' ')?;
        }
        if name == MESSAGE {
            return Ok(());
        }
        self.writer.write_str(name.strip_prefix("r#").unwrap_or(name))?;
        self.writer.write_char('=')
    }
}

const MESSAGE: &str = "message";

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let message = field.name() == MESSAGE;
        self.field(field, |out| match value {
            _ if message => out.write_str(value),
            // Nothing in it needs a spelling of its own.
            _ if is_plain(value) && !value.contains(['"', '\\']) => {
                out.0.write_char('"')?;
                out.0.write_str(value)?;
                out.0.write_char('"')
            }
            _ => write!(out, "{value:?}"),
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |out| write!(out.0, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |out| write!(out.0, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |out| out.0.write_str(if value { "true" } else { "false" }));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let name = field.name();
        self.field(field, |out| {
            write!(out, "{value}")?;
            let Some(first) = value.source() else { return Ok(()) };
            write!(out, " {name}.sources=[{first}")?;
            let mut cause = first.source();
            while let Some(next) = cause {
                write!(out, ", {next}")?;
                cause = next.source();
            }
            out.write_char(']')
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |out| write!(out, "{value:?}"));
    }
}

/// Spells out what would end a line or be a command to a terminal.
struct Clean<'a>(&'a mut dyn Write);

impl Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if is_plain(text) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|letter| match letter.is_control() {
            true => write!(self.0, "{}", letter.escape_default()),
            false => self.0.write_char(letter),
        })
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

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
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer\n{0}")]
    struct Outer(&'static str, #[source] io::Error);

    fn said(tell: impl FnOnce()) -> String {
        let sink = Sink::default();
        let format = tracing_subscriber::fmt().with_writer(sink.clone()).fmt_fields(PlainFields);
        let subscriber = format.with_ansi(false).without_time().with_target(false).finish();
        tracing::subscriber::with_default(subscriber, tell);
        String::from_utf8_lossy(&sink.0.lock()).into_owned()
    }

    #[test]
    fn fields_are_as_people_read_them() {
        let id = format_args!("a-1");
        let line = said(|| {
            tracing::info!(text = "plain", odd = "a \"b\"\n", number = 7, less = -1_i64, yes = true, %id, none = Option::<u64>::None, "told {}", 1);
        });
        assert_eq!(line, " INFO told 1 text=\"plain\" odd=\"a \\\"b\\\"\\n\" number=7 less=-1 yes=true id=a-1\n");
    }

    #[test]
    fn no_value_ends_a_line_or_speaks_to_a_terminal() {
        let error = Outer("x\u{1b}[31m", io::Error::other("inner\r"));
        let line = said(|| {
            tracing::error!(error = &error as &dyn Error, what = %"é\n\u{9b}31m", "a\nb");
        });
        assert_eq!(line, "ERROR a\\nb error=outer\\nx\\u{1b}[31m error.sources=[inner\\r] what=é\\n\\u{9b}31m\n");
    }
}
