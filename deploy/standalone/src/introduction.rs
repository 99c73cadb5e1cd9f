//! What a start prints: the address, where the secrets lie, and a line to try. Never a secret itself.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::demonstration;

/// Writes it, with the `ready` line that programs wait for at its end.
pub(crate) fn write(
    out: &mut impl Write,
    public: SocketAddr,
    operations: SocketAddr,
    secrets_dir: &Path,
    demonstration_key: Option<&Path>,
) -> io::Result<()> {
    writeln!(out, "Gatewright listens on http://{public} (probes and metrics: http://{operations})")?;
    writeln!(out, "Its secrets are in {}: back them up with the database", secrets_dir.display())?;
    if let Some(key) = demonstration_key {
        let router = demonstration::ROUTER;
        writeln!(out, "\nTry it:\n")?;
        writeln!(out, "curl http://{public}/v1/chat/completions \\")?;
        writeln!(out, "  -H \"Authorization: Bearer $(cat '{}')\" \\", key.display())?;
        writeln!(out, "  -H 'Content-Type: application/json' \\")?;
        writeln!(out, "  -d '{{\"model\": \"{router}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n")?;
    }
    writeln!(out, "ready: public=http://{public} operations=http://{operations}")?;
    out.flush()
}
