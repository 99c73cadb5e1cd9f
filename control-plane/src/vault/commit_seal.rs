//! The seal of a commit: proof, shown again on resume, that this fleet's control plane once stated this state.

use aws_lc_rs::hmac;
use shared::catalog::Digest;
use shared::kernel::ids::{Epoch, Revision};

use super::{KeyId, KeyRing};

impl KeyRing {
    /// Seals a commit: key id, then HMAC over epoch, revision and digest.
    #[must_use]
    pub fn seal_of_commit(&self, epoch: Epoch, revision: Revision, digest: &Digest) -> Vec<u8> {
        let tag = hmac::sign(self.active.commits(), &message(epoch, revision, digest));
        [self.active.id().bytes(), tag.as_ref()].concat()
    }

    /// Whether a seal was made by a key of this ring for exactly this commit.
    #[must_use]
    pub fn verify_commit(&self, epoch: Epoch, revision: Revision, digest: &Digest, seal: &[u8]) -> bool {
        let Some((id, tag)) = seal.split_at_checked(KeyId::LENGTH) else { return false };
        let message = message(epoch, revision, digest);
        self.keys().filter(|key| key.id().bytes() == id).any(|key| hmac::verify(key.commits(), &message, tag).is_ok())
    }
}

/// Every part has a fixed length or a terminator, so no two commits share a message.
fn message(epoch: Epoch, revision: Revision, digest: &Digest) -> Vec<u8> {
    let mut message = b"commit 1\0".to_vec();
    message.extend_from_slice(epoch.uuid().as_bytes());
    message.extend_from_slice(&revision.0.to_be_bytes());
    for (kind, sum) in digest.sums() {
        message.extend_from_slice(kind.as_str().as_bytes());
        message.push(0);
        message.extend_from_slice(&sum.to_be_bytes());
    }
    message
}
