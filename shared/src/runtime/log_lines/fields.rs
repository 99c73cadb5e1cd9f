//! The fields of a log line: `name=value`, texts in quotes.
//!
//! No value can end a line or speak to a terminal, whatever a client or an upstream put into it.

use std::error::Error;
use std::fmt::{self, Debug, Write};

use itoa::Integer;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

const MESSAGE: &str = "message";

/// Writes the fields of spans.
pub(in crate::runtime) struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        push(&mut text, fields)?;
        writer.write_str(&text)
    }
}

/// Appends `name=value` for each field, and the message without a name.
pub(super) fn push(line: &mut String, fields: impl RecordFields) -> fmt::Result {
    let mut fields_of_line = Fields { line, first: true, result: Ok(()) };
    fields.record(&mut fields_of_line);
    fields_of_line.result
}

struct Fields<'a> {
    line: &'a mut String,
    first: bool,
    /// Whether every value could write itself.
    result: fmt::Result,
}

impl Fields<'_> {
    /// Begins a field; what is appended then is its value.
    fn name(&mut self, name: &str) -> &mut String {
        if !std::mem::replace(&mut self.first, false) {
            self.line.push(' ');
        }
        if name != MESSAGE {
            self.line.push_str(name.strip_prefix("r#").unwrap_or(name));
            self.line.push('=');
        }
        self.line
    }

    fn number(&mut self, field: &Field, value: impl Integer) {
        self.name(field.name()).push_str(itoa::Buffer::new().format(value));
    }

    fn clean(&mut self, field: &Field, write: impl FnOnce(&mut Clean<'_>) -> fmt::Result) {
        let result = write(&mut Clean(self.name(field.name())));
        self.result = self.result.and(result);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.clean(field, |out| out.write_str(value));
        } else if all(value, |byte| is_plain(byte) & (byte != b'"') & (byte != b'\\')) {
            // Nothing in it needs a spelling of its own.
            let line = self.name(field.name());
            line.push('"');
            line.push_str(value);
            line.push('"');
        } else {
            self.clean(field, |out| write!(out, "{value:?}"));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field.name()).push_str(if value { "true" } else { "false" });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let name = field.name();
        self.clean(field, |out| {
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
        self.clean(field, |out| write!(out, "{value:?}"));
    }
}

/// Spells out what would end a line or be a command to a terminal.
struct Clean<'a>(&'a mut String);

impl Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if all(text, is_plain) {
            self.0.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|letter| match letter.is_control() {
            true => write!(self.0, "{}", letter.escape_default()),
            false => self.0.write_char(letter),
        })
    }
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f)
}

/// Whether all bytes are so. Asked of sixteen at once, because most texts are ids; the last sixteen overlap the others.
fn all(text: &str, is: impl Fn(u8) -> bool) -> bool {
    let block = |bytes: &[u8; 16]| bytes.iter().fold(true, |all, byte| all & is(*byte));
    match text.as_bytes().last_chunk() {
        Some(last) => block(last) && text.as_bytes().as_chunks().0.iter().all(block),
        None => text.bytes().all(is),
    }
}
