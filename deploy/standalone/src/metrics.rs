//! The document about metrics, made from the declarations themselves.

use std::io::{self, Write};

use shared::runtime::metrics::{Family, FamilyKind};
use shared::runtime::{logs, telemetry, tls};

const HEAD: &str = "\
# Metrics

Made by `gatewright metrics` from the declarations in the code; a test fails when it is stale (rewrite it with
`GATEWRIGHT_REWRITE=1 cargo test -p gatewright-tests metrics_are_documented`).

Every process serves its families as Prometheus text at `/metrics` of its operations port; standalone serves those of
both planes. A family appears with its first series. Values of labels come from closed sets and from what operators
configured, never from what callers send: a name that nobody configured counts under an empty `router`.

Money is counted in billionths of the unit of the prices. `provider` is a provider's id.
";

const ALIASES: &str = "\
Dashboards made for OpenGateLLM keep working: these have its names, labels and bounds, and are always served. Its `http_…`
families describe its web framework and have no counterpart here.
";

/// Writes the whole document.
pub(crate) fn write(out: &mut impl Write) -> io::Result<()> {
    let (aliases, own): (Vec<Family>, Vec<Family>) =
        data_plane::app::families().into_iter().partition(|family| family.name.starts_with("ogl_"));
    out.write_all(HEAD.as_bytes())?;
    section(out, "Data plane", "", &own)?;
    section(out, "Control plane", "", &control_plane::app::families())?;
    let every = [logs::FAMILIES, telemetry::FAMILIES, telemetry::reports::FAMILIES, tls::FAMILIES].concat();
    section(out, "Every process", "", &every)?;
    section(out, "OpenGateLLM's names", ALIASES, &aliases)
}

fn section(out: &mut impl Write, title: &str, text: &str, families: &[Family]) -> io::Result<()> {
    let separator = if text.is_empty() { "" } else { "\n" };
    write!(out, "\n## {title}\n\n{text}{separator}")?;
    writeln!(out, "| name | kind | unit | labels | meaning |\n|---|---|---|---|---|")?;
    for family in families {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = match family.kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        };
        writeln!(
            out,
            "| `{}` | {kind} | {} | {} | {} |",
            family.name,
            unit(family.name),
            labels.join(", "),
            family.help
        )?;
    }
    Ok(())
}

/// The unit that a name tells.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        _ if name.ends_with("tokens_per_second") => "tokens per second",
        Some("seconds") => "seconds",
        Some("milliseconds") => "milliseconds",
        Some("bytes") => "bytes",
        Some("billionths") => "billionths",
        Some("tokens") => "tokens",
        _ => "count",
    }
}
