//! The official SDKs, run as scripts against the running product.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::paths;
use crate::skip::skipped;

/// The longest that a script may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `tests/sdk/python/{script}` with these variables, unless the SDK is not installed.
pub async fn python(script: &str, variables: &[(&str, &str)]) {
    python_at(&paths::root().join("tests/sdk/python").join(script), variables).await;
}

/// Runs a script that lies anywhere, unless the SDK is not installed.
pub async fn python_file(script: &Path) {
    python_at(script, &[]).await;
}

async fn python_at(script: &Path, variables: &[(&str, &str)]) {
    let interpreter = paths::target().join("counterparts/python/bin/python");
    if !interpreter.exists() {
        skipped("python sdk", "the package openai is not installed for Python; ./check installs it");
        return;
    }
    let mut command = Command::new(interpreter);
    command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
    succeed(command, &script.to_string_lossy(), variables).await;
}

/// Runs `tests/sdk/node/{script}` with these variables, unless the SDK is not installed.
pub async fn node(script: &str, variables: &[(&str, &str)]) {
    let modules: PathBuf = paths::target().join("counterparts/node/node_modules");
    if !modules.join("openai").exists() {
        skipped("node sdk", "the package openai is not installed for Node; ./check installs it");
        return;
    }
    let mut command = Command::new("node");
    command.arg(paths::root().join("tests/sdk/node").join(script)).env("NODE_PATH", modules);
    succeed(command, script, variables).await;
}

async fn succeed(mut command: Command, script: &str, variables: &[(&str, &str)]) {
    // A proxy of the developer's machine must not stand between the SDK and the loopback address.
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy);
    }
    command.envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output =
        output.unwrap_or_else(|_| panic!("{script} does not end")).unwrap_or_else(|error| panic!("{script}: {error}"));
    assert!(
        output.status.success(),
        "{script} fails:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
