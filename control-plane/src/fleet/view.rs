//! Every node of the fleet, from all that control planes and certificates tell of it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::nodes::NodeStatus;
use super::standing::status;
use crate::store::nodes::NodeRow;
use crate::store::standings::{ControlPlaneRow, StandingRow};

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It is connected.
    Live,
    /// It was let in, and is connected nowhere.
    Away,
    /// It is shut out.
    Revoked,
}

impl MemberState {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Away => "away",
            Self::Revoked => "revoked",
        }
    }
}

impl std::str::FromStr for MemberState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Live, Self::Away, Self::Revoked].into_iter().find(|state| state.as_str() == word).ok_or(())
    }
}

/// One node, from all that is known of it anywhere.
#[derive(Debug, Clone)]
pub struct Member {
    /// Which.
    pub id: Uuid,
    /// How it stands.
    pub state: MemberState,
    /// When it was last heard.
    pub last_seen: DateTime<Utc>,
    /// What it said, where it was connected within a day.
    pub status: Option<NodeStatus>,
    /// The control plane that it is, or was, connected to.
    pub control_plane: Option<Uuid>,
    /// Its certificate, where it has one.
    pub enrolled: Option<NodeRow>,
}

/// The whole fleet.
#[derive(Debug, Clone)]
pub struct FleetView {
    /// The control plane that tells.
    pub control_plane: Uuid,
    /// Every control plane that lives.
    pub control_planes: Vec<ControlPlaneRow>,
    /// Every node, by id.
    pub members: Vec<Member>,
}

/// Puts together what is known of each node.
pub(super) fn members(
    here: Uuid,
    own: Vec<NodeStatus>,
    elsewhere: Vec<StandingRow>,
    enrolled: Vec<NodeRow>,
) -> Vec<Member> {
    let mut known: BTreeMap<Uuid, (NodeStatus, Uuid)> = BTreeMap::new();
    let own = own.into_iter().map(|status| (status, here));
    let others = elsewhere.into_iter().filter_map(|row| {
        let control_plane = row.control_plane;
        status(row).map(|status| (status, control_plane))
    });
    for (status, plane) in own.chain(others) {
        let newer = |old: &NodeStatus| (status.connected, status.last_seen) > (old.connected, old.last_seen);
        let id = status.facts.node.uuid();
        if known.get(&id).is_none_or(|(old, _)| newer(old)) {
            known.insert(id, (status, plane));
        }
    }
    let mut enrolled: BTreeMap<Uuid, NodeRow> = enrolled.into_iter().map(|row| (row.id, row)).collect();
    let all: BTreeSet<Uuid> = known.keys().chain(enrolled.keys()).copied().collect();
    let member = |id: Uuid| {
        let (known, enrolled) = (known.remove(&id), enrolled.remove(&id));
        let (status, control_plane) = known.map_or((None, None), |(status, plane)| (Some(status), Some(plane)));
        let state = match (&status, &enrolled) {
            (_, Some(row)) if row.revoked.is_some() => MemberState::Revoked,
            (Some(status), _) if status.connected => MemberState::Live,
            _ => MemberState::Away,
        };
        let times = [status.as_ref().map(|status| status.last_seen), enrolled.as_ref().map(|row| row.last_seen)];
        let last_seen = times.into_iter().flatten().max().unwrap_or_default();
        Member { id, state, last_seen, status, control_plane, enrolled }
    };
    all.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use chrono::TimeDelta;

    use shared::kernel::ids::{BootId, Epoch, NodeId, Revision};

    use super::*;
    use crate::fleet::nodes::{NodeFacts, NodePulse};
    use crate::fleet::standing::told;

    fn node(id: u128, connected: bool, seconds_ago: i64) -> NodeStatus {
        let at = Utc::now() - TimeDelta::seconds(seconds_ago);
        NodeStatus {
            facts: NodeFacts {
                node: NodeId::from_uuid(Uuid::from_u128(id)),
                boot: BootId::from_uuid(Uuid::from_u128(id)),
                build: "1".into(),
                labels: [("rack".to_owned(), "a\0b".to_owned())].into(),
                group: "edge".into(),
                local: false,
            },
            connected,
            since: at,
            last_seen: at,
            acknowledged: Some((Epoch::from_uuid(Uuid::nil()), Revision(7))),
            acknowledged_at: Some(at),
            rejected: vec![],
            stopped: None,
            pulse: NodePulse { revision: 7, in_flight: 3, ..NodePulse::default() },
        }
    }

    fn elsewhere(status: &NodeStatus, plane: u128) -> StandingRow {
        let told = told(status);
        StandingRow {
            node: told.node,
            control_plane: Uuid::from_u128(plane),
            connected: told.connected,
            last_seen: told.last_seen,
            standing: told.standing,
        }
    }

    fn enrolled(id: u128, revoked: bool) -> NodeRow {
        let now = Utc::now();
        NodeRow {
            id: Uuid::from_u128(id),
            node_group: "edge".into(),
            facts: Default::default(),
            not_after: now,
            enrolled: now,
            last_seen: now - TimeDelta::hours(1),
            revoked: revoked.then_some(now),
        }
    }

    #[test]
    fn where_a_node_is_connected_counts_and_then_who_saw_it_last() {
        let here = Uuid::from_u128(100);
        let own = vec![node(1, false, 1), node(2, true, 5), node(3, false, 50)];
        let others = vec![
            elsewhere(&node(1, true, 9), 200),
            elsewhere(&node(3, false, 10), 200),
            elsewhere(&node(4, true, 1), 200),
        ];
        let members = members(here, own, others, vec![enrolled(2, false), enrolled(4, true), enrolled(5, false)]);
        let told: Vec<_> = members
            .iter()
            .map(|one| (one.id.as_u128(), one.state.as_str(), one.control_plane.map(|plane| plane.as_u128())))
            .collect();
        assert_eq!(
            told,
            [
                (1, "live", Some(200)),
                (2, "live", Some(100)),
                (3, "away", Some(200)),
                (4, "revoked", Some(200)),
                (5, "away", None)
            ]
        );
        let first = members[0].status.as_ref().unwrap();
        assert_eq!((first.pulse.in_flight, first.facts.labels["rack"].as_str()), (3, "a\u{fffd}b"));
    }
}
