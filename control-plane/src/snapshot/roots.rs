//! Resources without a row: the pepper and the master key, made from their files when a snapshot is built.

use aws_lc_rs::digest::{SHA256, digest};
use shared::catalog::{
    Item, MASTER_KEY_ID, PEPPER_GENERATION, PEPPER_ID, Resource, SecretPurpose, SecretValue, Verifier, VerifierScheme,
    VirtualKey,
};
use shared::kernel::secret::{Secret, SecretBytes};
use shared::kernel::virtual_key::hmac_digest;
use uuid::Uuid;

/// The two roots that nodes need.
#[derive(Debug, Clone)]
pub struct Roots {
    pepper: SecretBytes,
    /// Of the master key only what checks it.
    master: Option<[u8; 32]>,
}

impl Roots {
    /// From the values in use.
    #[must_use]
    pub fn new(pepper: SecretBytes, master: Option<&Secret>) -> Self {
        let master = master.map(|master| hmac_digest(pepper.expose(), master.expose()));
        Self { pepper, master }
    }

    /// As resources.
    pub(super) fn resources(&self) -> Vec<Resource> {
        let pepper = Item::Secret(SecretValue {
            purpose: SecretPurpose::Pepper,
            generation: PEPPER_GENERATION,
            value: self.pepper.clone(),
        });
        let master = self.master.map(|digest| {
            let verifier = Verifier {
                scheme: VerifierScheme::HmacSha256,
                pepper_version: PEPPER_GENERATION,
                digest: digest.to_vec(),
                not_after: None,
            };
            let key = VirtualKey {
                public_id: String::new(),
                name: "master".to_owned(),
                verifiers: vec![verifier],
                allowed_routers: None,
                master: true,
                compatibility: String::new(),
                number: 0,
            };
            resource(MASTER_KEY_ID, version(&digest), Item::Key(key))
        });
        std::iter::once(resource(PEPPER_ID, version(self.pepper.expose()), pepper)).chain(master).collect()
    }
}

const fn resource(id: Uuid, version: u64, item: Item) -> Resource {
    Resource { id, version, parents: Vec::new(), blocked: false, expires: None, requires: Vec::new(), item }
}

/// Another value gives another version, so that another file gives another digest of the catalog.
fn version(value: &[u8]) -> u64 {
    let hash = digest(&SHA256, value);
    hash.as_ref().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte)) & (u64::MAX >> 1)
}
