//! What a start prints: the address, where the secrets lie, and a line to try. Never a secret itself.

use std::io::{self, Write};
use std::path::Path;

use crate::demonstration;

/// What it says.
pub(crate) struct Places<'a> {
    pub(crate) public: String,
    pub(crate) operations: String,
    pub(crate) secrets: &'a Path,
    pub(crate) demonstration_key: Option<&'a Path>,
}

/// Writes it, with the `ready` line that programs wait for at its end.
pub(crate) fn write(out: &mut impl Write, places: &Places<'_>) -> io::Result<()> {
    let Places { public, operations, secrets, demonstration_key } = places;
    writeln!(out, "Gatewright listens on {public} (probes and metrics: {operations})")?;
    writeln!(out, "Its secrets are in {}: back them up with the database", secrets.display())?;
    if let Some(key) = demonstration_key {
        let router = demonstration::ROUTER;
        writeln!(out, "\nTry it:\n")?;
        writeln!(out, "curl {public}/v1/chat/completions \\")?;
        writeln!(out, "  -H \"Authorization: Bearer $(cat '{}')\" \\", key.display())?;
        writeln!(out, "  -H 'Content-Type: application/json' \\")?;
        writeln!(
            out,
            "  -d '{{\"model\": \"{router}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n"
        )?;
    }
    writeln!(out, "ready: public={public} operations={operations}")?;
    out.flush()
}
