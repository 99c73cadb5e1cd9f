//! The seal of a commit: proof, shown again on resume, that this fleet's control plane once stated this state.

use aws_lc_rs::hmac;
use shared::catalog::Digest;
use shared::kernel::ids::{Epoch, Revision};

use super::{KeyId, KeyRing};

/// Tells one view of the catalog from another: what a digest was computed over.
pub type ViewMark = [u8; 16];

impl KeyRing {
    /// Seals a commit: key id and view, then HMAC over view, epoch, revision and digest.
    #[must_use]
    pub fn seal_of_commit(&self, epoch: Epoch, revision: Revision, digest: &Digest, view: ViewMark) -> Vec<u8> {
        let tag = hmac::sign(self.active.commits(), &message(epoch, revision, digest, view));
        [self.active.id().bytes(), &view, tag.as_ref()].concat()
    }

    /// The view that a seal was made for, by a key of this ring and for exactly this commit; absent when it was not.
    #[must_use]
    pub fn verify_commit(&self, epoch: Epoch, revision: Revision, digest: &Digest, seal: &[u8]) -> Option<ViewMark> {
        let (id, rest) = seal.split_at_checked(KeyId::LENGTH)?;
        let (view, tag) = rest.split_first_chunk()?;
        let message = message(epoch, revision, digest, *view);
        let signed = |key: &super::RingKey| hmac::verify(key.commits(), &message, tag).is_ok();
        self.keys().filter(|key| key.id().bytes() == id).any(signed).then_some(*view)
    }
}

/// Every part has a fixed length or a terminator, so no two commits share a message.
fn message(epoch: Epoch, revision: Revision, digest: &Digest, view: ViewMark) -> Vec<u8> {
    let mut message = b"commit 2\0".to_vec();
    message.extend_from_slice(&view);
    message.extend_from_slice(epoch.uuid().as_bytes());
    message.extend_from_slice(&revision.0.to_be_bytes());
    for (kind, sum) in digest.sums() {
        message.extend_from_slice(kind.as_str().as_bytes());
        message.push(0);
        message.extend_from_slice(&sum.to_be_bytes());
    }
    message
}
