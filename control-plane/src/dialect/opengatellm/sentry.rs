//! `dependencies.sentry` → where error reports go.

use shared::kernel::secret::Secret;
use shared::runtime::telemetry::reports::ReportSettings;

use crate::dialect::finding::Findings;
use crate::dialect::walk::Fields;

/// Reads the section; nothing when there is none, its DSN is empty or wrong, or the older switch turns reports off.
pub(super) fn read(fields: &Fields, settings: &Fields, findings: &mut Findings) -> Option<ReportSettings> {
    let field = fields.get("dsn")?;
    let dsn = fields.text("dsn").filter(|dsn| !dsn.trim().is_empty())?;
    let reports = ReportSettings::new(Secret::new(dsn), fields.text("environment"), fields.text("release"));
    match reports {
        Ok(reports) => Some(reports).filter(|_| settings.bool("monitoring_sentry_enabled") != Some(false)),
        Err(error) => {
            findings.refuse(&field.path, field.line, error.to_string());
            None
        }
    }
}
