//! How a certificate names a node: `gatewright://node/<id>?group=<group>`.

use shared::kernel::ids::NodeId;
use url::Url;
use uuid::Uuid;

/// A node and the Group it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeName {
    pub(crate) node: NodeId,
    pub(crate) group: String,
}

impl NodeName {
    pub(super) fn to_uri(&self) -> String {
        let group: String = url::form_urlencoded::byte_serialize(self.group.as_bytes()).collect();
        format!("gatewright://node/{}?group={group}", self.node)
    }

    pub(super) fn parse(uri: &str) -> Option<Self> {
        let uri = Url::parse(uri).ok()?;
        if uri.scheme() != "gatewright" || uri.host_str() != Some("node") {
            return None;
        }
        let node = NodeId::from_uuid(Uuid::try_parse(uri.path().strip_prefix('/')?).ok()?);
        let group = uri.query_pairs().find(|(name, _)| name == "group")?.1.into_owned();
        Some(Self { node, group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        for group in ["default", "a b&group=c", "é/?#"] {
            let name = NodeName { node: NodeId::generate(), group: group.to_owned() };
            assert!(name.to_uri().is_ascii());
            assert_eq!(NodeName::parse(&name.to_uri()), Some(name));
        }
        for bad in ["", "gatewright://node/x?group=a", "https://node/0?group=a", "gatewright://node/"] {
            assert_eq!(NodeName::parse(bad), None, "{bad}");
        }
    }
}
