//! Who this node is: an id that outlives its process where there is a folder for it, and one for each start.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shared::kernel::ids::{BootId, NodeId};
use uuid::Uuid;

const FILE: &str = "node.id";

/// The id file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read or made.
    #[error("{path} cannot be read or written")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} does not hold a UUID; delete it to make this a new node")]
    Content {
        /// Which file.
        path: PathBuf,
    },
}

/// The ids of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Stable for a node.
    pub node: NodeId,
    /// New at each start.
    pub boot: BootId,
}

impl Identity {
    /// A node that nobody knows again after its end.
    #[must_use]
    pub fn passing() -> Self {
        Self { node: NodeId::generate(), boot: BootId::generate() }
    }

    /// The node that lives in a data folder; made at its first start.
    ///
    /// # Errors
    /// [`IdentityError`] when the file in the folder cannot be used.
    pub fn of_folder(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        let failed = |source| IdentityError::File { path: path.clone(), source };
        let node = match std::fs::read_to_string(&path) {
            Ok(text) => NodeId::from_uuid(
                Uuid::try_parse(text.trim()).map_err(|_| IdentityError::Content { path: path.clone() })?,
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let node = NodeId::generate();
                let mut file =
                    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
                writeln!(file, "{node}").and_then(|()| file.sync_all()).map_err(failed)?;
                node
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { node, boot: BootId::generate() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_node_is_known_again() {
        let folder = std::env::temp_dir().join(format!("gatewright-identity-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let (first, second) = (Identity::of_folder(&folder).unwrap(), Identity::of_folder(&folder).unwrap());
        assert_eq!(first.node, second.node);
        assert_ne!(first.boot, second.boot);
        std::fs::write(folder.join(FILE), "x").unwrap();
        assert!(matches!(Identity::of_folder(&folder), Err(IdentityError::Content { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
