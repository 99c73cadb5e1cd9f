//! Compiles the protocol files without an installed `protoc`.
use std::error::Error;

const FILES: [&str; 5] = [
    "gatewright/v1/catalog.proto",
    "gatewright/v1/config_sync.proto",
    "gatewright/v1/usage.proto",
    "gatewright/v1/enrollment.proto",
    "gatewright/v1/quota.proto",
];

/// Messages that carry a secret must not be printable.
const SECRETS: [&str; 8] = [
    "gatewright.v1.SecretValue",
    "gatewright.v1.Resource",
    "gatewright.v1.Chunk",
    "gatewright.v1.ControlMessage",
    "gatewright.v1.ControlMessage.message",
    "gatewright.v1.EnrollRequest",
    "gatewright.v1.Verifier",
    "gatewright.v1.VirtualKey",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../proto");
    let descriptors = protox::compile(FILES, ["../proto"])?;
    tonic_prost_build::configure()
        .skip_debug(SECRETS)
        // Encoded once, then shared by every node that it is sent to.
        .bytes(".gatewright.v1.Resource.body")
        // Slices of the message that they came in.
        .bytes(".gatewright.v1.UsageBatch.records")
        .compile_fds(descriptors)?;
    Ok(())
}
