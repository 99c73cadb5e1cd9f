//! Rebuilds the crate when a migration is added: the migrator embeds the folder, which Cargo does not watch by itself.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
