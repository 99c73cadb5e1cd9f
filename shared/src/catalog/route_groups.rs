//! Which parts of the HTTP surface an operator switches off or leaves out of the API document.
//!
//! One table from path to group, for both planes: what is not in it can be neither switched off nor hidden.

use super::kinds::RouteGroup;

/// A set of groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RouteGroups(u32);

impl RouteGroups {
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether a group is in it.
    #[must_use]
    pub const fn contains(self, group: RouteGroup) -> bool {
        self.0 & (1 << group as u32) != 0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they share a group.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a route of one of these groups lies at this path. Document paths (`/v1/keys/{id}`) work as well.
    #[must_use]
    pub fn hold(self, path: &str) -> bool {
        !self.is_empty() && self.meets(Self::of(path))
    }

    /// The groups in it.
    pub fn iter(self) -> impl Iterator<Item = RouteGroup> {
        RouteGroup::ALL.iter().copied().filter(move |group| self.contains(*group))
    }

    /// The groups of a path; some routes have been in different ones over time and belong to all of those.
    #[must_use]
    pub fn of(path: &str) -> Self {
        use RouteGroup as G;
        let mut segments = path.split('/').skip(1).filter(|segment| !matches!(*segment, "v1" | "v2"));
        let (first, second, third) = (segments.next(), segments.next(), segments.next());
        let groups: &[RouteGroup] = match (first.unwrap_or_default(), second.unwrap_or_default()) {
            ("me", "keys") => &[G::Me, G::Keys],
            ("me", "usage") => &[G::Me, G::Usage],
            ("me", _) => &[G::Me],
            ("documents", _) if third == Some("chunks") => &[G::Documents, G::Chunks],
            ("documents", _) => &[G::Documents],
            ("chat" | "completions" | "responses" | "messages", _) => &[G::Chat],
            ("health", _) => &[G::Health, G::Monitoring],
            ("metrics", _) => &[G::Monitoring],
            ("ocr" | "ocr-beta", _) => &[G::Ocr],
            ("parse" | "parse-beta", _) => &[G::Parse],
            (other, _) => return other.parse().map_or(Self::NONE, |group| Self::from_iter([group])),
        };
        groups.iter().copied().collect()
    }
}

impl FromIterator<RouteGroup> for RouteGroups {
    fn from_iter<I: IntoIterator<Item = RouteGroup>>(groups: I) -> Self {
        Self(groups.into_iter().fold(0, |set, group| set | 1 << group as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_its_groups() {
        use RouteGroup as G;
        for (path, groups) in [
            ("/v1/admin/routers/{id}", vec![G::Admin]),
            ("/v1/chat/completions", vec![G::Chat]),
            ("/chat/completions", vec![G::Chat]),
            ("/v1/completions", vec![G::Chat]),
            ("/v1/embeddings", vec![G::Embeddings]),
            ("/v1/models/a/b", vec![G::Models]),
            ("/v2/rerank", vec![G::Rerank]),
            ("/v1/me/keys/3", vec![G::Keys, G::Me]),
            ("/v1/me/usage", vec![G::Me, G::Usage]),
            ("/v1/me/info", vec![G::Me]),
            ("/v1/keys", vec![G::Keys]),
            ("/v1/usage", vec![G::Usage]),
            ("/v1/auth/login", vec![G::Auth]),
            ("/v1/documents/7/chunks/1", vec![G::Chunks, G::Documents]),
            ("/health", vec![G::Health, G::Monitoring]),
            ("/openapi.json", vec![]),
            ("/", vec![]),
            ("*", vec![]),
        ] {
            assert_eq!(RouteGroups::of(path).iter().collect::<Vec<_>>(), groups, "{path}");
        }
        let closed: RouteGroups = [G::Keys].into_iter().collect();
        assert!(closed.hold("/v1/me/keys") && !closed.hold("/v1/me/info") && !RouteGroups::NONE.hold("/v1/me"));
    }
}
