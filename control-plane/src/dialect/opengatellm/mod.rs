//! OpenGateLLM's configuration file, which is our own format extended by our keys.

mod database;
mod dependency_keys;
mod description;
mod model_keys;
mod models;
mod network;
mod sentry;
mod setting_keys;
mod settings;

use shared::runtime::yaml::Node;

use super::finding::Findings;
use super::plan::Plan;
use super::schema::{Key, Kind, honoured};
use super::walk::Walk;

/// The whole table of keys.
pub(super) const ROOT: &[Key] = &[
    honoured("models", Kind::Maps(model_keys::ROUTER), "none", "Routers to have in the catalog."),
    honoured("dependencies", Kind::Map(dependency_keys::DEPENDENCIES), "none", "Systems that the gateway talks to."),
    honoured("settings", Kind::Map(setting_keys::SETTINGS), "none", "Settings of the gateway."),
];

/// Reads a tree of this dialect.
pub(super) fn read(root: &Node, dev: bool) -> (Plan, Findings) {
    let mut findings = Findings::default();
    let fields = Walk { findings: &mut findings, root: ROOT }.map(root, "", ROOT, false);
    let mut settings = settings::read(&fields.map("settings"), dev, &mut findings);
    settings.database = database::read(&fields.map("dependencies").map("postgres"), &mut findings);
    settings.logs.reports =
        sentry::read(&fields.map("dependencies").map("sentry"), &fields.map("settings"), &mut findings);
    let routers = models::read(fields.maps("models"), &mut findings);
    (Plan { settings, routers }, findings)
}
